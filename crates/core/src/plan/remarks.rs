//! What a plan says about itself to people: which rights Twinlake's role lacks to see everything, and
//! how many objects become paired.

use super::{Finding, FindingKind, Inputs, SubjectOutcome};
use crate::call_error::CallErrorKind;
use crate::grant::Principal;
use crate::scope::Subject;
use crate::snapshot::{Observation, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Rights without which Lake Formation hides objects, columns and grants from a role, so that a plan
/// may lack changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingRights {
    /// The role, or the user.
    pub role: Principal,
    /// The Regions in which it is no data lake administrator.
    pub not_administrator_in: Vec<String>,
    /// The number of tables that are not compared because columns may be hidden from it.
    pub tables_with_hidden_columns: usize,
}

/// Returns the rights that Twinlake's role lacks. Where the data lake settings were not read, it
/// counts as an administrator.
pub(super) fn missing_rights(
    inputs: &Inputs<'_>,
    findings: &BTreeSet<Finding>,
) -> Option<MissingRights> {
    let lacks_administrator = |snapshot: &Snapshot| match &snapshot.settings {
        Some(Observation::Present(_)) => !snapshot.is_administrator,
        Some(Observation::Unknown(error)) => error.kind == CallErrorKind::Denied,
        Some(Observation::Absent(_)) | None => false,
    };
    let sites = [
        (inputs.policy.primary(inputs.epoch), inputs.primary),
        (inputs.policy.standby(inputs.epoch), inputs.standby),
    ];
    let lacking = sites
        .into_iter()
        .filter(|(_, snapshot)| lacks_administrator(snapshot));
    let is_hidden = |finding: &&Finding| finding.kind == FindingKind::HiddenColumns;
    let missing = MissingRights {
        role: inputs.reader_role.clone(),
        not_administrator_in: lacking.map(|(site, _)| site.region.clone()).collect(),
        tables_with_hidden_columns: findings.iter().filter(is_hidden).count(),
    };
    let lacks_something =
        !missing.not_administrator_in.is_empty() || missing.tables_with_hidden_columns > 0;
    lacks_something.then_some(missing)
}

/// Returns the number of objects that the plan pairs and the ledger does not.
pub(super) fn new_pairings(
    inputs: &Inputs<'_>,
    outcomes: &BTreeMap<Subject, SubjectOutcome>,
) -> usize {
    let is_paired = |subject: &Subject| {
        let row = inputs.rows.get(subject);
        row.is_some_and(|row| row.pairing.is_some())
    };
    let pairs = outcomes.iter().filter(|(subject, outcome)| {
        outcome.pairing.is_some() && !outcome.gone && !is_paired(subject)
    });
    pairs.count()
}
