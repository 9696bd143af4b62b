//! Plans user-defined functions.

use super::{FindingKind, PlanBuilder, absence::unproven_deletion, database::mark_withheld, link};
use crate::catalog::{Function, Observed, differences, digest};
use crate::ledger::{LedgerRow, Pairing, SubjectState};
use crate::name::FunctionId;
use crate::policy::DeletionPolicy;
use crate::scope::Subject;
use crate::snapshot::Observation;
use crate::step::Step;
use crate::topology::{BySite, Epoch};

pub(super) fn plan(builder: &mut PlanBuilder<'_>, id: &FunctionId) {
    let subject = Subject::Function(id.clone());
    let inputs = builder.inputs;
    let (Some(primary), Some(standby)) = (
        inputs.primary.functions.get(id),
        inputs.standby.functions.get(id),
    ) else {
        return;
    };
    if !inputs.policy.covers_database(&id.database) {
        return;
    }
    // The functions that a resource link shows belong to its target.
    let snapshots = [inputs.primary, inputs.standby];
    if snapshots
        .iter()
        .any(|snapshot| link::is_database_link(snapshot, &id.database))
    {
        let is_link_in_primary = link::is_database_link(inputs.primary, &id.database);
        if inputs.rows.contains_key(&subject)
            || (!is_link_in_primary && primary.present().is_some())
        {
            let reason = "its database is a resource link".to_owned();
            builder.mark_not_in_sync(
                &subject,
                SubjectState::Blocked,
                FindingKind::Unmanaged,
                reason,
            );
        }
        return;
    }
    match (primary, standby) {
        (Observation::Unknown(error), _) | (_, Observation::Unknown(error)) => {
            builder.mark_unread(&subject, error);
        }
        (Observation::Absent(in_primary), Observation::Absent(in_standby)) => {
            builder.plan_absent(&subject, in_primary, in_standby);
        }
        (Observation::Absent(proof), Observation::Present(existing)) => {
            if !is_paired(inputs.epoch, inputs.rows.get(&subject), existing) {
                return;
            }
            if let Some((kind, why)) = unproven_deletion(inputs.primary, proof) {
                let reason = format!(
                    "it was not found in the primary, and its deletion is not proven: {why}"
                );
                builder.mark_not_in_sync(&subject, SubjectState::OutOfSync, kind, reason);
            } else if inputs.policy.deletions == DeletionPolicy::Retain {
                let reason = "it was deleted in the primary, and the policy retains it".to_owned();
                builder.mark_not_in_sync(
                    &subject,
                    SubjectState::OnHold,
                    FindingKind::OnHold,
                    reason,
                );
            } else {
                builder.steps.push(Step::DeleteFunction { id: id.clone() });
                let outcome = builder.outcome_with_pairing(&subject, SubjectState::OutOfSync, None);
                builder.subject_outcomes.insert(subject, outcome);
            }
        }
        (Observation::Present(_), Observation::Absent(proof))
            if builder.mark_if_hidden(&subject, proof) => {}
        (Observation::Present(wanted), existing) => {
            reconcile(builder, id, wanted, existing.present());
        }
    }
}

fn reconcile(
    builder: &mut PlanBuilder<'_>,
    id: &FunctionId,
    wanted: &Observed<Function>,
    existing: Option<&Observed<Function>>,
) {
    let subject = Subject::Function(id.clone());
    if let Some((state, kind, reason)) = super::table::database_obstacle(builder, &id.database) {
        return builder.mark_not_in_sync(&subject, state, kind, reason);
    }
    let desired = match builder.translator.function(&wanted.object) {
        Ok(desired) => desired,
        Err(withheld) => return mark_withheld(builder, &subject, withheld),
    };
    for note in &desired.notes {
        builder.add_finding(FindingKind::Note, &subject, note.clone());
    }
    let function = desired.object;
    let mut outcome = builder.outcome_with_pairing(&subject, SubjectState::InSync, None);
    let id = id.clone();
    match existing {
        None => builder.steps.push(Step::CreateFunction { id, function }),
        Some(existing) => {
            let row = builder.inputs.rows.get(&subject);
            let is_managed = is_paired(builder.inputs.epoch, row, existing)
                || existing.object == function
                || row.is_some_and(|row| row.intends(&digest(&existing.object)));
            if !is_managed {
                let reason = "the standby has another function under this name, which Twinlake \
                              did not make"
                    .to_owned();
                return builder.mark_not_in_sync(
                    &subject,
                    SubjectState::Blocked,
                    FindingKind::Unmanaged,
                    reason,
                );
            }
            outcome.pairing = Some(Pairing {
                created: BySite::from_roles(builder.inputs.epoch, wanted.created, existing.created),
                digest: BySite::from_roles(
                    builder.inputs.epoch,
                    None,
                    Some(digest(&existing.object)),
                ),
                link: false,
            });
            if existing.object != function {
                builder.steps.push(Step::UpdateFunction {
                    id,
                    changes: differences(&existing.object, &function),
                    function,
                });
            }
        }
    }
    builder.subject_outcomes.insert(subject, outcome);
}

fn is_paired(epoch: Epoch, row: Option<&LedgerRow>, existing: &Observed<Function>) -> bool {
    let pairing = row.and_then(|row| row.pairing.as_ref());
    pairing.is_some_and(|pairing| pairing.is_of_object(epoch.standby(), existing.created))
}
