//! Operations on user-defined functions.

use super::ApiResult;
use crate::api::{parse_field, required_name, to_json};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::SimState;
use serde_json::{Value, json};
use twinlake_core::catalog::{Function, Observed};
use twinlake_core::{FunctionId, Name};

pub(crate) fn function_id(request: &Value) -> Result<FunctionId, ApiError> {
    Ok(FunctionId::new(
        required_name(request, "DatabaseName")?,
        required_name(request, "FunctionName")?,
    ))
}

impl SimState {
    /// Returns the functions of a database, or of all databases, that a caller has access to.
    pub(crate) fn get_functions(
        &self,
        caller: Caller<'_>,
        database: Option<&Name>,
    ) -> Result<Vec<(FunctionId, Observed<Function>)>, ApiError> {
        if let Some(database) = database {
            self.get_database(caller, database)?;
        }
        if self.has_no_access(caller.region, caller.principal) {
            return Ok(Vec::new());
        }
        let (region, database) = match database {
            Some(database) => {
                let (region, database) = self.resolve_database(caller.region, database);
                (region, Some(database))
            }
            None => (caller.region.to_owned(), None),
        };
        let all = self.region(&region)?.functions.iter();
        let mine = all.filter(|(id, _)| database.as_ref().is_none_or(|d| id.database == *d));
        Ok(mine
            .map(|(id, observed)| (id.clone(), observed.clone()))
            .collect())
    }

    pub(crate) fn get_function(
        &self,
        caller: Caller<'_>,
        id: &FunctionId,
    ) -> Result<Observed<Function>, ApiError> {
        let all = self.get_functions(caller, Some(&id.database))?;
        let found = all
            .into_iter()
            .find(|(other, _)| other.function == id.function);
        found
            .map(|(_, observed)| observed)
            .ok_or_else(ApiError::not_found)
    }

    pub(super) fn write_function(
        &mut self,
        caller: Caller<'_>,
        request: &Value,
        is_create: bool,
    ) -> ApiResult {
        let function: Function = parse_field(request, "FunctionInput")?;
        let database_name = required_name(request, "DatabaseName")?;
        self.get_database(caller, &database_name)?;
        let (region, database) = self.resolve_database(caller.region, &database_name);
        let now = self.tick();
        let functions = &mut self.region_mut(&region)?.functions;
        let id = FunctionId::new(database, function.name.clone());
        let created = match functions.get(&id) {
            Some(_) if is_create => return Err(ApiError::already_exists("Function")),
            None if !is_create => return Err(ApiError::not_found()),
            Some(observed) => observed.created,
            None => Some(now),
        };
        let observed = Observed {
            object: function,
            created,
            version: None,
        };
        functions.insert(id, observed);
        Ok(json!({}))
    }

    pub(super) fn delete_function(&mut self, caller: Caller<'_>, id: &FunctionId) -> ApiResult {
        let (region, database) = self.resolve_database(caller.region, &id.database);
        self.tick();
        let id = FunctionId::new(database, id.function.clone());
        let removed = self.region_mut(&region)?.functions.remove(&id);
        removed.map(|_| json!({})).ok_or_else(ApiError::not_found)
    }
}

pub(super) fn function_json(id: &FunctionId, observed: &Observed<Function>) -> Value {
    let mut json = to_json(&observed.object);
    if let Some(object) = json.as_object_mut() {
        object.insert("DatabaseName".to_owned(), id.database.as_str().into());
        object.insert("CreateTime".to_owned(), to_json(&observed.created));
    }
    json
}
