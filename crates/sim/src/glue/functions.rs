//! Operations on user-defined functions.

use super::{ApiResult, MAX_FUNCTIONS_PER_PAGE};
use crate::api::{
    optional_name, page, parse_field, required_name, required_text, stored_name, to_json,
};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::quirk::Quirk;
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
        if self.sees_empty_catalog(caller.region, caller.principal) {
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

    pub(super) fn list_functions(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let database = optional_name(request, "DatabaseName")?;
        let pattern = required_text(request, "Pattern")?;
        let is_regex = self.has(Quirk::FunctionPatternIsRegularExpression);
        let names = NamePattern::parse(pattern, is_regex)?;
        let mut all = self.get_functions(caller, database.as_ref())?;
        all.retain(|(id, _)| names.matches(id.function.as_str()));
        Ok(page(
            request,
            "UserDefinedFunctions",
            MAX_FUNCTIONS_PER_PAGE,
            &all,
            |(id, observed)| function_json(id, observed),
        ))
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
        let mut function: Function = parse_field(request, "FunctionInput")?;
        function.name = stored_name(&function.name)?;
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
            updated: None,
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

/// The `Pattern` of `GetUserDefinedFunctions`, in parts between which any text may stand.
struct NamePattern(Vec<String>);

impl NamePattern {
    /// Parses a wildcard pattern, or a regular expression that has no operator but `.*`.
    ///
    /// # Errors
    /// The pattern is no such regular expression.
    fn parse(pattern: &str, is_regex: bool) -> Result<Self, ApiError> {
        let any = if is_regex { ".*" } else { "*" };
        let parts: Vec<String> = pattern.split(any).map(str::to_owned).collect();
        if is_regex && parts.iter().any(|part| part.contains(['*', '+', '?', '('])) {
            return Err(ApiError::invalid(
                "Invalid pattern syntax: error parsing regexp",
            ));
        }
        Ok(Self(parts))
    }

    /// Whether a name matches as a whole.
    fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.iter().all(|part| part == name);
        };
        let rest = name
            .strip_prefix(first.as_str())
            .and_then(|rest| rest.strip_suffix(last.as_str()));
        let Some(mut rest) = rest else {
            return false;
        };
        for part in middle {
            let Some((_, after)) = rest.split_once(part.as_str()) else {
                return false;
            };
            rest = after;
        }
        true
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_read_as_a_regular_expression_or_as_a_wildcard_pattern() {
        let matching = |pattern: &str, is_regex: bool| -> Option<Vec<&str>> {
            let parsed = NamePattern::parse(pattern, is_regex).ok()?;
            let names = ["mask", "mask_all", ".dotted"].into_iter();
            Some(names.filter(|name| parsed.matches(name)).collect())
        };
        assert_eq!(
            matching(".*", true),
            Some(vec!["mask", "mask_all", ".dotted"])
        );
        assert_eq!(matching("*", true), None);
        assert_eq!(
            matching("*", false),
            Some(vec!["mask", "mask_all", ".dotted"])
        );
        assert_eq!(matching(".*", false), Some(vec![".dotted"]));
        assert_eq!(matching("mask", true), Some(vec!["mask"]));
        assert_eq!(matching("m*_*l", false), Some(vec!["mask_all"]));
    }
}
