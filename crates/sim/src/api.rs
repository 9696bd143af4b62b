//! Entry point for every API call: an operation name and a request in AWS's JSON.

use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::SimState;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::{Name, TableId};

impl SimState {
    /// Runs an API call as a principal in a Region. `name` is the AWS operation name, for example
    /// `GetTable`.
    ///
    /// # Errors
    /// The service's error response.
    pub fn call(
        &mut self,
        region: &str,
        principal: &str,
        name: &str,
        request: &Value,
    ) -> Result<Value, ApiError> {
        let caller = Caller { region, principal };
        let lost_response_error = self.begin_call(caller, name)?;
        let style = self.answer_style;
        let answer = self.run_operation(caller, name, request);
        let answer = answer.map_err(|error| style.error(error))?;
        let answer = style.response(answer);
        self.emit(caller, name, request, &answer);
        let time_out = match is_read(name) {
            true => None,
            false => {
                self.writes += 1;
                style.time_out(self.writes)
            }
        };
        match lost_response_error.or(time_out) {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }

    fn run_operation(
        &mut self,
        caller: Caller<'_>,
        name: &str,
        request: &Value,
    ) -> Result<Value, ApiError> {
        if !is_read(name) {
            self.check_refused_texts(caller, request)?;
        }
        match self.glue_call(caller, name, request) {
            Some(answer) => answer,
            None => match self.lakeformation_call(caller, name, request) {
                Some(answer) => answer,
                None => {
                    let redshift = &mut self.region_mut(caller.region)?.redshift;
                    redshift.call(name, request).unwrap_or_else(|| {
                        Err(ApiError::invalid(format!("unknown operation {name}")))
                    })
                }
            },
        }
    }

    /// Fails if the Region refuses a text of the request.
    fn check_refused_texts(&self, caller: Caller<'_>, request: &Value) -> Result<(), ApiError> {
        let refused = &self.region(caller.region)?.refused_texts;
        if refused.is_empty() {
            return Ok(());
        }
        let request = request.to_string();
        match refused.iter().find(|text| request.contains(text.as_str())) {
            Some(text) => Err(ApiError::invalid(format!("{text} is not accepted"))),
            None => Ok(()),
        }
    }
}

/// Whether an operation changes nothing.
fn is_read(name: &str) -> bool {
    let reads = ["Get", "BatchGet", "Describe", "List", "Search"];
    reads.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns a required string member of a request.
pub(crate) fn required_text<'v>(request: &'v Value, key: &str) -> Result<&'v str, ApiError> {
    request
        .get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| ApiError::invalid(format!("{key} is missing")))
}

pub(crate) fn required_name(request: &Value, key: &str) -> Result<Name, ApiError> {
    Name::new(required_text(request, key)?).map_err(|e| ApiError::invalid(format!("{key}: {e}")))
}

/// Returns the name of an object of a request as Glue stores it: in lower case (GL-05).
pub(crate) fn stored_name(name: &Name) -> Result<Name, ApiError> {
    Name::new(name.as_listed()).map_err(|e| ApiError::invalid(format!("Name: {e}")))
}

/// Parses a list of column names. Their case is kept (F-9).
pub(crate) fn column_names(list: &[Value]) -> Result<BTreeSet<Name>, ApiError> {
    let name = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        let checked = Name::new(text).map_err(|e| ApiError::invalid(e.to_string()));
        checked.map(|_| Name::from_service(text))
    };
    list.iter().map(name).collect()
}

/// Renders a list of column names with their case.
pub(crate) fn column_names_json(names: &BTreeSet<Name>) -> Value {
    names.iter().map(Name::as_listed).collect()
}

/// Returns an optional name member of a request.
pub(crate) fn optional_name(request: &Value, key: &str) -> Result<Option<Name>, ApiError> {
    match request.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => required_name(request, key).map(Some),
    }
}

pub(crate) fn table_id(request: &Value, key: &str) -> Result<TableId, ApiError> {
    table_id_from(request, "DatabaseName", key)
}

pub(crate) fn table_id_from(
    request: &Value,
    database: &str,
    key: &str,
) -> Result<TableId, ApiError> {
    Ok(TableId::new(
        required_name(request, database)?,
        required_name(request, key)?,
    ))
}

pub(crate) fn parse_field<T: DeserializeOwned>(request: &Value, key: &str) -> Result<T, ApiError> {
    let value = request.get(key).cloned().unwrap_or_default();
    serde_json::from_value(value).map_err(|e| ApiError::invalid(format!("{key}: {e}")))
}

pub(crate) fn array_field<'v>(request: &'v Value, key: &str) -> &'v [Value] {
    let list = request.get(key).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Renders one page of a listing. `NextToken` is the index of the next item.
pub(crate) fn page<T>(
    request: &Value,
    key: &str,
    max_size: usize,
    all_items: &[T],
    render: impl Fn(&T) -> Value,
) -> Value {
    let token = request.get("NextToken").and_then(Value::as_str);
    let from: usize = token.and_then(|t| t.parse().ok()).unwrap_or(0);
    let asked = request.get("MaxResults").and_then(Value::as_u64);
    let size = asked
        .and_then(|n| usize::try_from(n).ok())
        .map_or(max_size, |n| n.clamp(1, max_size));
    let rendered: Vec<Value> = all_items.iter().skip(from).take(size).map(render).collect();
    let next = from + rendered.len();
    let mut answer = json!({ key: rendered });
    if next < all_items.len()
        && let Some(object) = answer.as_object_mut()
    {
        object.insert("NextToken".to_owned(), next.to_string().into());
    }
    answer
}
