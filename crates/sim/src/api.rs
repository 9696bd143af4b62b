//! One door for every caller: a call by name, with its request as AWS's JSON.

use crate::error::ApiError;
use crate::state::World;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use twinlake_core::{Name, TableId};

/// Who calls what, where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub region: &'a str,
    pub principal: &'a str,
}

impl World {
    /// Makes a call as a principal in a Region; `name` is the call as AWS spells it.
    ///
    /// # Errors
    /// The service's error answer.
    pub fn call(
        &mut self,
        region: &str,
        principal: &str,
        name: &str,
        request: &Value,
    ) -> Result<Value, ApiError> {
        let caller = Caller { region, principal };
        let lost = self.strike(caller, name)?;
        let answer = match self.glue(caller, name, request) {
            Some(answer) => answer,
            None => match self.lake(caller, name, request) {
                Some(answer) => answer,
                None => Err(ApiError::invalid(format!("unknown call {name}"))),
            },
        }?;
        self.emit(caller, name, request, &answer);
        match lost {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }
}

/// The text under a key, which the call needs.
pub(crate) fn text<'v>(request: &'v Value, key: &str) -> Result<&'v str, ApiError> {
    request
        .get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| ApiError::invalid(format!("{key} is missing")))
}

pub(crate) fn name(request: &Value, key: &str) -> Result<Name, ApiError> {
    Name::new(text(request, key)?).map_err(|e| ApiError::invalid(format!("{key}: {e}")))
}

/// A name that the call can do without.
pub(crate) fn optional_name(request: &Value, key: &str) -> Result<Option<Name>, ApiError> {
    match request.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => name(request, key).map(Some),
    }
}

pub(crate) fn table_id(request: &Value, key: &str) -> Result<TableId, ApiError> {
    table_of(request, "DatabaseName", key)
}

pub(crate) fn table_of(request: &Value, database: &str, key: &str) -> Result<TableId, ApiError> {
    Ok(TableId::new(name(request, database)?, name(request, key)?))
}

pub(crate) fn input<T: DeserializeOwned>(request: &Value, key: &str) -> Result<T, ApiError> {
    let value = request.get(key).cloned().unwrap_or_default();
    serde_json::from_value(value).map_err(|e| ApiError::invalid(format!("{key}: {e}")))
}

pub(crate) fn items<'v>(request: &'v Value, key: &str) -> &'v [Value] {
    let list = request.get(key).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn to_json<T: Serialize>(thing: &T) -> Value {
    serde_json::to_value(thing).unwrap_or_default()
}

/// One page of a listing. The token is the position of the next item.
pub(crate) fn page<T>(
    request: &Value,
    key: &str,
    largest: usize,
    all: &[T],
    render: impl Fn(&T) -> Value,
) -> Value {
    let token = request.get("NextToken").and_then(Value::as_str);
    let from: usize = token.and_then(|t| t.parse().ok()).unwrap_or(0);
    let asked = request.get("MaxResults").and_then(Value::as_u64);
    let size = asked
        .and_then(|n| usize::try_from(n).ok())
        .map_or(largest, |n| n.clamp(1, largest));
    let rendered: Vec<Value> = all.iter().skip(from).take(size).map(render).collect();
    let next = from + rendered.len();
    let mut answer = json!({ key: rendered });
    if next < all.len()
        && let Some(object) = answer.as_object_mut()
    {
        object.insert("NextToken".to_owned(), next.to_string().into());
    }
    answer
}
