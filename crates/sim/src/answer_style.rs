//! How the services answer where their documentation leaves it open.

use crate::error::ApiError;
use serde_json::Value;
use twinlake_core::CallErrorKind;
use twinlake_engine::ports::PermissionResourceType;

/// How the services answer. The facts, and what each call changes, are the same in every style.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerStyle {
    /// With the codes, messages and responses that are documented or were observed.
    #[default]
    Observed,
    /// With others that nothing documented excludes:
    ///
    /// - `AccessDeniedException` for what does not exist (LF-08),
    /// - another message for every error, and another code except where Twinlake relies on it (F-1, LF-10),
    /// - partitions that do not exist as unprocessed keys of `BatchGetPartition` (F-2),
    /// - errors of batch entries that name no entry,
    /// - a time-out for some writes that took effect.
    Unusual,
}

/// An answer of one Region that nothing documented excludes, beside those of [`AnswerStyle::Unusual`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnusualAnswer {
    /// `ListPermissions` refuses the listing of one resource type.
    RefusesGrantsOfType(PermissionResourceType),
    /// `GetDataLakeSettings` answers without the settings.
    OmitsSettings,
    /// `GetDataLakeSettings` lists no administrators.
    EmptyAdministrators,
    /// `GetTags` refuses tables.
    RefusesTagsOfTables,
    /// `UpdateLFTag` refuses to delete a value, and `GetLFTag` lists no values.
    OmitsLfTagValues,
}

/// Of the writes that take effect, in the unusual style, this one in so many is answered with a
/// time-out.
const WRITES_PER_TIME_OUT: u64 = 5;

/// The message of every error in the unusual style.
const MESSAGE: &str = "The request could not be completed.";

/// The members of a batch response that list failed entries.
const FAILURE_LISTS: [&str; 2] = ["Errors", "Failures"];
/// The members of a failed entry that name it.
const ENTRY_NAMES: [&str; 5] = [
    "PartitionValues",
    "PartitionValueList",
    "RequestEntry",
    "ColumnStatistics",
    "LFTag",
];
/// The members of a failed entry that hold its error.
const ENTRY_ERRORS: [&str; 2] = ["ErrorDetail", "Error"];

impl AnswerStyle {
    /// Returns an error of a call in this style.
    pub(crate) fn error(self, error: ApiError) -> ApiError {
        match self {
            Self::Observed => error,
            Self::Unusual => unusual_error(error),
        }
    }

    /// Returns the response to a successful call in this style.
    pub(crate) fn response(self, mut response: Value) -> Value {
        if self == Self::Observed {
            return response;
        }
        for list in FAILURE_LISTS {
            let entries = response.get_mut(list).and_then(Value::as_array_mut);
            for entry in entries.into_iter().flatten() {
                hide_entry(entry);
            }
        }
        response
    }

    /// Returns the time-out that answers a write which took effect, if it is one of those. `writes`
    /// is the number of writes so far.
    pub(crate) fn time_out(self, writes: u64) -> Option<ApiError> {
        let is_lost = self == Self::Unusual && writes.is_multiple_of(WRITES_PER_TIME_OUT);
        is_lost.then(|| {
            let code = "OperationTimeoutException";
            ApiError::new(CallErrorKind::Unavailable, code, MESSAGE)
        })
    }

    /// Whether `BatchGetPartition` returns partitions that do not exist as unprocessed.
    pub(crate) fn leaves_missing_partitions_unprocessed(self) -> bool {
        self == Self::Unusual
    }
}

fn unusual_error(error: ApiError) -> ApiError {
    let code = error.code.as_str();
    let is_code_relied_on = matches!(
        code,
        "AlreadyExistsException" | "ConflictException" | "AccessDeniedException"
    );
    match error.kind {
        CallErrorKind::NotFound => ApiError::denied(MESSAGE),
        CallErrorKind::Contended | CallErrorKind::Unavailable => ApiError {
            message: MESSAGE.to_owned(),
            ..error
        },
        CallErrorKind::AlreadyInState
        | CallErrorKind::NotPropagated
        | CallErrorKind::Denied
        | CallErrorKind::Invalid
        | CallErrorKind::Unsupported => match is_code_relied_on {
            true => ApiError {
                message: MESSAGE.to_owned(),
                ..error
            },
            // Only the message tells these from one another.
            false => ApiError::new(CallErrorKind::Invalid, "ValidationException", MESSAGE),
        },
    }
}

/// Removes from a failed entry of a batch what names it, and changes its error.
fn hide_entry(entry: &mut Value) {
    let Some(members) = entry.as_object_mut() else {
        return;
    };
    for name in ENTRY_NAMES {
        members.remove(name);
    }
    for key in ENTRY_ERRORS {
        let error = members.get_mut(key).and_then(Value::as_object_mut);
        let Some(error) = error else {
            continue;
        };
        let code = error.get("ErrorCode").and_then(Value::as_str);
        let code = match code.unwrap_or_default() {
            "EntityNotFoundException" => "AccessDeniedException",
            "InvalidInputException" => "ValidationException",
            other => other,
        };
        let code = code.to_owned();
        error.insert("ErrorCode".to_owned(), code.into());
        error.insert("ErrorMessage".to_owned(), MESSAGE.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unusual_answer_tells_neither_what_is_missing_nor_which_entry_failed() {
        let error = AnswerStyle::Unusual.error(ApiError::not_found());
        assert_eq!(error.kind, CallErrorKind::Denied);
        let error = AnswerStyle::Unusual.error(ApiError::nothing_to_revoke());
        assert_eq!(error.kind, CallErrorKind::Invalid);
        let error = AnswerStyle::Unusual.error(ApiError::already_exists("Table"));
        assert_eq!(error.kind, CallErrorKind::AlreadyInState);
        let detail = json!({"ErrorCode": "EntityNotFoundException", "ErrorMessage": "x"});
        let response = json!({"Errors": [{"PartitionValues": ["a"], "ErrorDetail": detail}]});
        assert_eq!(
            AnswerStyle::Observed.response(response.clone()),
            response.clone()
        );
        let unusual = AnswerStyle::Unusual.response(response);
        assert_eq!(unusual["Errors"][0].get("PartitionValues"), None);
        let code = &unusual["Errors"][0]["ErrorDetail"]["ErrorCode"];
        assert_eq!(code, "AccessDeniedException");
    }
}
