//! Plans what was not found, by what proves its absence.

use super::{FindingKind, PlanBuilder, SubjectOutcome, finding_kind};
use crate::ledger::{LedgerRow, SubjectState};
use crate::scope::Subject;
use crate::snapshot::{AbsenceProof, Observation, Snapshot};

impl PlanBuilder<'_> {
    /// Plans a subject that was found in neither Region. One that the ledger ties to an object of
    /// the standby is forgotten only if its absence from both Regions is proven: what a lost
    /// permission hides seems absent, and would stay in the standby for ever. A problem of one that
    /// the ledger ties to no object is forgotten by whoever would see the object.
    pub(super) fn plan_absent(
        &mut self,
        subject: &Subject,
        primary: &AbsenceProof,
        standby: &AbsenceProof,
    ) {
        let row = self.inputs.rows.get(subject);
        let may_have_object = row.is_some_and(LedgerRow::may_have_object);
        let has_problem = row.is_some_and(|row| row.state != SubjectState::InSync);
        if may_have_object || has_problem {
            let (primary, standby) = match may_have_object {
                true => (primary.clone(), standby.clone()),
                false => (with_sibling_seen(primary), with_sibling_seen(standby)),
            };
            let regions = [
                ("primary", self.inputs.primary, &primary),
                ("standby", self.inputs.standby, &standby),
            ];
            for (region, snapshot, proof) in regions {
                if let Some((kind, why)) = unproven_absence(snapshot, proof) {
                    let reason = format!(
                        "it was found in neither Region, and its absence from the {region} is not \
                         proven: {why}"
                    );
                    let state = SubjectState::OutOfSync;
                    return self.mark_not_in_sync(subject, state, kind, reason);
                }
            }
        }
        self.subject_outcomes
            .insert(subject.clone(), SubjectOutcome::gone());
    }

    /// Marks a subject that the standby does not show although the ledger ties it to an object
    /// there, unless Twinlake's role is still an administrator and the listing lacks it too: to
    /// create it again would be refused. Returns whether it was marked.
    pub(super) fn mark_if_hidden(&mut self, subject: &Subject, proof: &AbsenceProof) -> bool {
        let row = self.inputs.rows.get(subject);
        if !row.is_some_and(LedgerRow::may_have_object) {
            return false;
        }
        // A creation is harmless where the proof lacks only the sight of another object, or of a
        // name of the deletion: if the object exists, the creation is refused.
        let with_sibling_seen = with_sibling_seen(proof);
        let Some((kind, why)) = unproven_absence(self.inputs.standby, &with_sibling_seen) else {
            return false;
        };
        let reason =
            format!("it was not found in the standby, and its absence is not proven: {why}");
        self.mark_not_in_sync(subject, SubjectState::OutOfSync, kind, reason);
        true
    }
}

/// Returns why an absence from a Region is not proven, with the kind of the finding; `None` if it
/// is proven.
pub(super) fn unproven_absence(
    snapshot: &Snapshot,
    proof: &AbsenceProof,
) -> Option<(FindingKind, &'static str)> {
    if proof.is_complete() {
        return None;
    }
    if !proof.is_administrator {
        return Some(why_not_all_is_seen(snapshot));
    }
    if !proof.not_returned || !proof.unlisted {
        let why = "a read by name and a complete listing do not both lack it";
        return Some((FindingKind::Unreadable, why));
    }
    if proof.read_error.is_some() {
        let why = "AWS refused to read it by name, no listing has it, and no event named its \
                   deletion; name it to `twinlake approve-deletions` if it was deleted";
        return Some((FindingKind::OnHold, why));
    }
    let why =
        "no event named the deletion, and no other object of the same database or catalog was seen";
    Some((FindingKind::Denied, why))
}

/// Returns why the deletion in the primary of what the standby has is not proven, with the kind of the finding. Somebody
/// is told at once, also where only an approval is missing: the standby has more than the primary until then.
pub(super) fn unproven_deletion(
    primary: &Snapshot,
    proof: &AbsenceProof,
) -> Option<(FindingKind, &'static str)> {
    let (kind, why) = unproven_absence(primary, proof)?;
    match kind == FindingKind::OnHold {
        true => Some((FindingKind::Denied, why)),
        false => Some((kind, why)),
    }
}

/// Returns why what a Region does not show may exist there all the same, with the kind of the finding; `None` if
/// Twinlake's role sees everything.
pub(super) fn unproven_sight(snapshot: &Snapshot) -> Option<(FindingKind, &'static str)> {
    (!snapshot.is_administrator).then(|| why_not_all_is_seen(snapshot))
}

/// Whether the role has lost its rights, or whether that could not be read: the second is read again.
fn why_not_all_is_seen(snapshot: &Snapshot) -> (FindingKind, &'static str) {
    match &snapshot.settings {
        Some(Observation::Unknown(error)) => (
            finding_kind(error),
            "the data lake settings there could not be read",
        ),
        Some(Observation::Present(_) | Observation::Absent(_)) | None => (
            FindingKind::Denied,
            "Twinlake's role is no longer a data lake administrator there",
        ),
    }
}

/// A proof, as if another object of the same parent had been seen, and no read had been refused.
fn with_sibling_seen(proof: &AbsenceProof) -> AbsenceProof {
    AbsenceProof {
        sibling_seen: true,
        read_error: None,
        ..proof.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CallError, CallErrorKind};

    #[test]
    fn every_missing_part_of_a_proof_has_its_own_finding() {
        let complete = AbsenceProof {
            not_returned: true,
            unlisted: true,
            is_administrator: true,
            sibling_seen: true,
            deletion_named: false,
            read_error: None,
        };
        let snapshot = Snapshot::default();
        assert_eq!(unproven_absence(&snapshot, &complete), None);
        let kind = |proof: AbsenceProof| unproven_absence(&snapshot, &proof).map(|(kind, _)| kind);
        let without = |remove: fn(&mut AbsenceProof)| {
            let mut proof = complete.clone();
            remove(&mut proof);
            kind(proof)
        };
        let denied = Some(FindingKind::Denied);
        let unreadable = Some(FindingKind::Unreadable);
        assert_eq!(without(|proof| proof.is_administrator = false), denied);
        assert_eq!(without(|proof| proof.sibling_seen = false), denied);
        assert_eq!(without(|proof| proof.unlisted = false), unreadable);
        assert_eq!(without(|proof| proof.not_returned = false), unreadable);
    }

    #[test]
    fn a_deletion_that_waits_for_an_approval_is_told_at_once_and_a_failed_read_is_made_again() {
        let error = |kind| CallError::new(kind, "x", "us-east-1", "no");
        let mut proof = AbsenceProof {
            not_returned: true,
            unlisted: true,
            is_administrator: true,
            sibling_seen: true,
            deletion_named: false,
            read_error: Some(error(CallErrorKind::Invalid)),
        };
        let mut snapshot = Snapshot::default();
        let kinds = |snapshot: &Snapshot, proof: &AbsenceProof| {
            [
                unproven_absence(snapshot, proof),
                unproven_deletion(snapshot, proof),
            ]
            .map(|unproven| unproven.map(|(kind, _)| kind))
        };
        let (held, denied) = (Some(FindingKind::OnHold), Some(FindingKind::Denied));
        assert_eq!(kinds(&snapshot, &proof), [held, denied]);
        proof.is_administrator = false;
        assert_eq!(kinds(&snapshot, &proof), [denied; 2]);
        snapshot.settings = Some(Observation::Unknown(error(CallErrorKind::Contended)));
        assert_eq!(kinds(&snapshot, &proof), [Some(FindingKind::Unreadable); 2]);
    }
}
