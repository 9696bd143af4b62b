//! Out-of-band changes: changes that somebody other than Twinlake makes in the standby to
//! replicated objects.

use crate::ports::Ledger;
use std::collections::BTreeSet;
use twinlake_core::event::OutOfBandChange;
use twinlake_core::policy::DataLakeSettingsPolicy;
use twinlake_core::{Alert, AlertKind, CallError, LfSubject, Policy, Scope, Subject, SubjectState};

/// Returns the alert for an out-of-band change, and the scope to reconcile because of it. Returns
/// `None` if the change concerns nothing that Twinlake manages.
///
/// # Errors
/// The ledger is out of reach.
pub async fn assess<L: Ledger>(
    ledger: &L,
    change: &OutOfBandChange,
    region: &str,
    policy: &Policy,
) -> Result<Option<(Alert, Scope)>, CallError> {
    let subjects: BTreeSet<Subject> = change.scope.read_requests.keys().cloned().collect();
    let rows = ledger.rows(&subjects).await?;
    let mut scope = Scope::default();
    for (subject, request) in &change.scope.read_requests {
        let row = rows.get(subject);
        let is_managed = match subject {
            // An event that names no object does not justify a scan of everything.
            Subject::Catalog => false,
            // Twinlake does not manage settings that it only compares.
            Subject::LakeFormation(LfSubject::Settings)
                if policy.data_lake_settings == DataLakeSettingsPolicy::Report =>
            {
                false
            }
            Subject::LakeFormation(_) => row.is_some_and(|row| !row.managed_keys.is_empty()),
            Subject::Database(_) | Subject::Table(_) | Subject::Function(_) => {
                // A subject on hold already differs, which is known.
                row.is_some_and(|row| row.pairing.is_some() && row.state != SubjectState::OnHold)
            }
        };
        if is_managed {
            scope.add(subject.clone(), request.clone());
        }
    }
    if scope.is_empty() {
        return Ok(None);
    }
    let affected: BTreeSet<String> = scope
        .read_requests
        .keys()
        .map(ToString::to_string)
        .collect();
    let databases = scope
        .read_requests
        .keys()
        .filter_map(Subject::database)
        .cloned();
    let subject = scope.to_string();
    let (caller, action) = (&change.caller, &change.action);
    let sentences = [
        format!("{caller} changed {subject} in the standby by {action}."),
        "Twinlake reconciles it now, so that it equals the primary again.".to_owned(),
        "Make such changes in the primary. To prevent them in the standby, remove the caller's \
         permission to make them."
            .to_owned(),
    ];
    let databases: BTreeSet<_> = databases.collect();
    let group = databases
        .first()
        .map_or(subject.clone(), ToString::to_string);
    let alert = Alert {
        group,
        affected,
        databases,
        samples: vec![format!("{action} on {subject} by {caller}")],
        ..Alert::new(
            AlertKind::Drift,
            region,
            &subject,
            sentences,
            change.event_time,
        )
    };
    Ok(Some((alert, scope)))
}
