//! What has to be known beside the subjects that are looked at.

use super::{Observer, Readings, tables};
use crate::ports::ReadRegion;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::reading::{Observation, Reading};
use twinlake_core::scope::Look;
use twinlake_core::{Atom, Facet, Grants, Principal, Resource, Subject};

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// What has to be known beside the subjects themselves: opt-ins where IAM alone is to
    /// decide, data cells filters where they are granted or where columns come, and what
    /// LF-Tags may open.
    pub(super) async fn around(&self, looks: &BTreeMap<Subject, Look>, readings: &mut Readings) {
        let mut subjects: BTreeSet<Subject> = readings.primary.grants.keys().cloned().collect();
        let asks = |look: &Look| look.facets.contains(&Facet::OptIns);
        let asked = looks.iter().filter(|(_, look)| asks(look));
        subjects.extend(asked.map(|(subject, _)| subject.clone()));
        let mut opted = Vec::new();
        for subject in &subjects {
            let at = (subject.clone(), Facet::OptIns);
            let asked = looks.get(subject).is_some_and(asks);
            let is_read = readings.primary.parts.contains_key(&at);
            if asked || (opens_to_iam(subject, readings) && !is_read) {
                opted.push(subject.clone());
            }
            let at = (subject.clone(), Facet::Filters);
            if !readings.primary.parts.contains_key(&at) && needs_filters(subject, readings) {
                self.parts(&[at], readings).await;
            }
        }
        if !opted.is_empty() {
            self.opt_ins(&opted, readings).await;
        }
        let databases = tables::opened(readings);
        self.tags_around(&databases, readings).await;
    }
}

/// Whether the secondary holds parts that say who may do what and that the primary
/// lacks: they only go while we see everything.
pub(super) fn lacks_parts(readings: &Readings) -> bool {
    let permission = |facet: &Facet| match facet {
        Facet::Filters | Facet::Assigned | Facet::OptIns | Facet::Items => true,
        Facet::Definition
        | Facet::Partitions
        | Facet::Grants
        | Facet::Contents
        | Facet::Indexes
        | Facet::Statistics
        | Facet::Tags => false,
    };
    let parts = readings.secondary.parts.iter();
    let mut some = parts.filter(|((_, facet), _)| permission(facet));
    some.any(|(at, there)| {
        let here = readings
            .primary
            .parts
            .get(at)
            .and_then(Observation::present);
        let there = there.present().into_iter().flatten();
        here.is_some_and(|here| there.into_iter().any(|(key, _)| !here.contains_key(key)))
    })
}

/// Whether the primary lets IAM alone decide where the secondary does not.
fn opens_to_iam(subject: &Subject, readings: &Readings) -> bool {
    let held = |reading: &Reading| -> BTreeSet<Resource> {
        let grants = reading.grants.get(subject).and_then(Observation::present);
        let atoms = grants.into_iter().flat_map(Grants::keys);
        let of_group = atoms.filter(|atom| atom.principal == Principal::iam_allowed());
        of_group.map(|atom| atom.resource.clone()).collect()
    };
    let here = held(&readings.primary);
    !here.is_empty() && !here.is_subset(&held(&readings.secondary))
}

/// Whether grants through data cells filters differ, or a filter may show new columns.
fn needs_filters(subject: &Subject, readings: &Readings) -> bool {
    let Subject::Table(id) = subject else {
        return false;
    };
    let here = through_filters(subject, &readings.primary);
    let there = through_filters(subject, &readings.secondary);
    here != there || (!there.is_empty() && tables::changes(id, readings))
}

/// Whether a data cells filter of a table is granted to somebody, on either side.
pub(super) fn grants_filters(subject: &Subject, readings: &Readings) -> bool {
    let sides = [&readings.primary, &readings.secondary];
    let mut granted = sides
        .map(|reading| through_filters(subject, reading))
        .into_iter();
    granted.any(|atoms| !atoms.is_empty())
}

fn through_filters(subject: &Subject, reading: &Reading) -> BTreeSet<Atom> {
    let grants = reading.grants.get(subject).and_then(Observation::present);
    let atoms = grants.into_iter().flat_map(Grants::keys);
    let through = |atom: &&Atom| matches!(atom.resource, Resource::Filter(..));
    atoms.filter(through).cloned().collect()
}
