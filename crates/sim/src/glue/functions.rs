//! User-defined functions.

use super::Answer;
use crate::api::{Caller, input, name, to_json};
use crate::error::ApiError;
use crate::state::World;
use serde_json::{Value, json};
use twinlake_core::catalog::{Function, Seen};
use twinlake_core::{FunctionId, Name};

pub(crate) fn function_id(r: &Value) -> Result<FunctionId, ApiError> {
    Ok(FunctionId::new(
        name(r, "DatabaseName")?,
        name(r, "FunctionName")?,
    ))
}

impl World {
    /// The functions of a database, or of all, as a caller sees them.
    pub(crate) fn get_functions(
        &self,
        c: Caller<'_>,
        database: Option<&Name>,
    ) -> Result<Vec<(FunctionId, Seen<Function>)>, ApiError> {
        if let Some(database) = database {
            self.get_database(c, database)?;
        }
        if self.is_blind(c.region, c.principal) {
            return Ok(Vec::new());
        }
        let (region, database) = match database {
            Some(database) => {
                let (region, database) = self.resolve(c.region, database);
                (region, Some(database))
            }
            None => (c.region.to_owned(), None),
        };
        let all = self.region(&region)?.functions.iter();
        let mine = all.filter(|(id, _)| database.as_ref().is_none_or(|d| id.database == *d));
        Ok(mine.map(|(id, seen)| (id.clone(), seen.clone())).collect())
    }

    pub(crate) fn get_function(
        &self,
        c: Caller<'_>,
        id: &FunctionId,
    ) -> Result<Seen<Function>, ApiError> {
        let all = self.get_functions(c, Some(&id.database))?;
        let found = all
            .into_iter()
            .find(|(other, _)| other.function == id.function);
        found.map(|(_, seen)| seen).ok_or_else(ApiError::not_found)
    }

    pub(super) fn write_function(&mut self, c: Caller<'_>, r: &Value, anew: bool) -> Answer {
        let function: Function = input(r, "FunctionInput")?;
        let asked = name(r, "DatabaseName")?;
        self.get_database(c, &asked)?;
        let (region, database) = self.resolve(c.region, &asked);
        let now = self.tick();
        let functions = &mut self.region_mut(&region)?.functions;
        let id = FunctionId::new(database, function.name.clone());
        let created = match functions.get(&id) {
            Some(_) if anew => return Err(ApiError::already_exists("Function")),
            None if !anew => return Err(ApiError::not_found()),
            Some(seen) => seen.created,
            None => Some(now),
        };
        let seen = Seen {
            object: function,
            created,
            version: None,
        };
        functions.insert(id, seen);
        Ok(json!({}))
    }

    pub(super) fn delete_function(&mut self, c: Caller<'_>, id: &FunctionId) -> Answer {
        let (region, database) = self.resolve(c.region, &id.database);
        self.tick();
        let id = FunctionId::new(database, id.function.clone());
        let gone = self.region_mut(&region)?.functions.remove(&id);
        gone.map(|_| json!({})).ok_or_else(ApiError::not_found)
    }
}

pub(super) fn function_json(id: &FunctionId, seen: &Seen<Function>) -> Value {
    let mut json = to_json(&seen.object);
    if let Some(object) = json.as_object_mut() {
        object.insert("DatabaseName".to_owned(), id.database.as_str().into());
        object.insert("CreateTime".to_owned(), to_json(&seen.created));
    }
    json
}
