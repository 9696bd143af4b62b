//! Batch grants and revokes: each entry has its own result (LF-13).

use super::ApiResult;
use crate::api::array_field;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::SimState;
use serde_json::{Value, json};

/// The maximum number of entries of one batch.
const MAX_BATCH_ENTRIES: usize = 20;

impl SimState {
    /// Applies the entries in order. A failed entry does not stop the others.
    pub(super) fn batch_change_permissions(
        &mut self,
        caller: Caller<'_>,
        request: &Value,
        is_grant: bool,
    ) -> ApiResult {
        let entries = array_field(request, "Entries");
        if entries.len() > MAX_BATCH_ENTRIES {
            return Err(ApiError::invalid(format!(
                "a batch has at most {MAX_BATCH_ENTRIES} entries"
            )));
        }
        let mut failures = Vec::new();
        let call = match is_grant {
            true => "GrantPermissions",
            false => "RevokePermissions",
        };
        for entry in entries {
            let injected = self.next_injected_fault(caller.region, call);
            let changed = match injected {
                Some((error, false)) => Err(error),
                // The fault is a lost response: the entry takes effect all the same.
                Some((error, true)) => self
                    .change_permissions(caller, entry, is_grant)
                    .and(Err(error)),
                None => self.change_permissions(caller, entry, is_grant),
            };
            if let Err(error) = changed {
                let detail = json!({"ErrorCode": error.code, "ErrorMessage": error.message});
                failures.push(json!({"RequestEntry": entry, "Error": detail}));
            }
        }
        Ok(json!({ "Failures": failures }))
    }
}
