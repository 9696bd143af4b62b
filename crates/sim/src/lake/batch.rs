//! Grants and revokes in batches: each entry has an answer of its own (LF-13).

use super::Answer;
use crate::api::{Caller, items};
use crate::error::ApiError;
use crate::state::World;
use serde_json::{Value, json};

/// What the service takes at once.
const BATCH: usize = 20;

impl World {
    /// Changes entry by entry, in their order; one that fails stops nothing.
    pub(super) fn batch(&mut self, c: Caller<'_>, r: &Value, grants: bool) -> Answer {
        let entries = items(r, "Entries");
        if entries.len() > BATCH {
            return Err(ApiError::invalid(format!(
                "a batch has at most {BATCH} entries"
            )));
        }
        let mut failures = Vec::new();
        let call = match grants {
            true => "GrantPermissions",
            false => "RevokePermissions",
        };
        for entry in entries {
            let struck = self.trouble(c.region, call);
            let changed = match struck {
                Some((error, false)) => Err(error),
                Some((error, true)) => self.change(c, entry, grants).and(Err(error)),
                None => self.change(c, entry, grants),
            };
            if let Err(error) = changed {
                let detail = json!({"ErrorCode": error.code, "ErrorMessage": error.message});
                failures.push(json!({"RequestEntry": entry, "Error": detail}));
            }
        }
        Ok(json!({ "Failures": failures }))
    }
}
