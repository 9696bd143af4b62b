//! What Lake Formation keeps for the catalog as a whole: LF-Tags, saved expressions,
//! registered locations, settings, and the grants that are on no database.
//!
//! The two catalogs are paired by the policy. Within them an item is ours if it was
//! paired before (its mark stands in the ledger) or if it equals the primary's; what is
//! not ours is left alone, and so are the grants on it.

use super::{Draft, Facets, FindingKind, grants, part, tags, unreadable};
use crate::catalog::{LakeSettings, Part, PartKey, digest};
use crate::grant::{Atom, Principal, Resource, TagRule, Terms};
use crate::ledger::State;
use crate::policy::{Deletions, Settings as Drift};
use crate::reading::{Observation, Parts, Reading};
use crate::scope::{Facet, Lake, Subject};
use crate::step::Step;
use std::collections::BTreeSet;

/// How many marks one row keeps: more would not fit into an item of the ledger. What is
/// beyond is never taken away.
const MOST_MARKS: usize = 20_000;

pub(super) fn plan(draft: &mut Draft<'_>, lake: Lake, facets: &Facets) {
    let subject = Subject::Lake(lake);
    let standing = draft.keep(&subject, State::Current, None);
    draft.standings.insert(subject.clone(), standing);
    if lake == Lake::Settings {
        return settings(draft, &subject);
    }
    if facets.contains(&Facet::Grants) {
        grants::plan(draft, &subject);
        draft.blame(&subject, Facet::Grants);
    }
    if facets.contains(&Facet::Items) {
        items(draft, &subject);
        draft.blame(&subject, Facet::Items);
    }
    if facets.contains(&Facet::OptIns) {
        part::plan_all(draft, &subject);
    }
}

/// What tells an item of a subject from others, short enough to keep many.
fn mark(key: &PartKey) -> String {
    let whole = digest(key);
    whole.get(..12).unwrap_or(&whole).to_owned()
}

/// Items of one kind on both sides.
fn items(draft: &mut Draft<'_>, subject: &Subject) {
    let at = (subject.clone(), Facet::Items);
    let (primary, secondary) = (draft.inputs.primary, draft.inputs.secondary);
    let (Some(here), Some(there)) = (primary.parts.get(&at), secondary.parts.get(&at)) else {
        return;
    };
    let (here, there) = match (here, there) {
        (Observation::Present(here), Observation::Present(there)) => (here, there),
        (Observation::Unknown(fault), _) | (_, Observation::Unknown(fault)) => {
            return draft.leave_unread(subject, fault);
        }
        (Observation::Absent(_), _) | (_, Observation::Absent(_)) => return,
    };
    let row = draft.inputs.rows.get(subject);
    let known = row.map(|row| row.owned.clone()).unwrap_or_default();
    let mut owned = BTreeSet::new();
    for (key, wanted) in here {
        let is_new = |seen: Option<&crate::catalog::SeenPart>| seen.is_none();
        let seen = there.get(key);
        let same = seen.is_some_and(|seen| digest(&seen.part) == digest(&wanted.part));
        if !is_new(seen) && !same && !known.contains(&mark(key)) {
            let reason = format!("the secondary has another {key}, which Twinlake did not make");
            draft.leave(subject, State::Blocked, FindingKind::Foreign, reason);
            continue;
        }
        if owned.len() < MOST_MARKS {
            owned.insert(mark(key));
        }
        if !same {
            put(draft, subject, &wanted.part);
        }
    }
    owned.extend(removals(draft, subject, here, there, &known));
    if let Some(standing) = draft.standings.get_mut(subject) {
        standing.owned = Some(owned);
    }
}

fn put(draft: &mut Draft<'_>, subject: &Subject, part: &Part) {
    if let Part::Expression(saved) = part {
        let by_it = |rule: &TagRule| *rule == TagRule::Saved(saved.name.clone());
        if let Some(reason) = tags::step_aside(draft, &by_it) {
            draft.waits.insert(subject.clone());
            return draft.leave(subject, State::Behind, FindingKind::Unreadable, reason);
        }
    }
    draft.steps.push(Step::PutPart {
        subject: subject.clone(),
        part: part.clone(),
        tightens: false,
    });
}

/// Takes away what was paired and is gone from the primary. Answers the marks of what
/// stays all the same.
fn removals(
    draft: &mut Draft<'_>,
    subject: &Subject,
    here: &Parts,
    there: &Parts,
    known: &BTreeSet<String>,
) -> Vec<String> {
    let is_extra = |key: &&PartKey| !here.contains_key(*key) && known.contains(&mark(key));
    let extra: Vec<&PartKey> = there.keys().filter(is_extra).collect();
    let Some(first) = extra.first() else {
        return Vec::new();
    };
    let look = draft.inputs.scope.looks.get(subject);
    if !look.is_some_and(|look| look.facets.contains(&Facet::Grants)) {
        return extra.into_iter().map(mark).collect();
    }
    let named = look.is_some_and(|look| look.deletion_named);
    let proven = draft.inputs.primary.administrator && (named || !here.is_empty());
    if !proven {
        let reason = format!("its {first} seems gone from the primary, and that is not proven");
        draft.leave(subject, State::Behind, FindingKind::Denied, reason);
    } else if draft.inputs.policy.deletions == Deletions::Retain {
        let reason = format!("the policy retains its {first}, which the primary lacks");
        draft.leave(subject, State::Held, FindingKind::Held, reason);
    } else {
        for key in &extra {
            draft.steps.push(Step::RemovePart {
                subject: subject.clone(),
                key: (*key).clone(),
            });
        }
    }
    // What does not go in this round is still ours in the next one.
    extra.into_iter().map(mark).collect()
}

/// Whether grants on a resource are ours to mirror. Those on databases and tables are
/// decided by their pairing; of the lake, by whether the primary knows what they name,
/// or did when it was paired.
pub(super) fn concerns(draft: &Draft<'_>, resource: &Resource) -> bool {
    let inputs = draft.inputs;
    let knows = |lake: Lake, fits: &dyn Fn(&PartKey) -> bool, key: &PartKey| {
        let subject = Subject::Lake(lake);
        let at = (subject.clone(), Facet::Items);
        let here = inputs.primary.parts.get(&at).and_then(Observation::present);
        let row = inputs.rows.get(&subject);
        here.is_some_and(|here| here.keys().any(fits))
            || row.is_some_and(|row| row.owned.contains(&mark(key)))
    };
    let tag = |key: &str, value: &str| {
        let fits =
            |part: &PartKey| matches!(part, PartKey::TagValue { key: known, .. } if known == key);
        let (key, value) = (key.to_owned(), value.to_owned());
        knows(Lake::Tags, &fits, &PartKey::TagValue { key, value })
    };
    let expression = |name: &String| {
        let key = PartKey::Expression(name.clone());
        knows(Lake::Expressions, &|part| *part == key, &key)
    };
    match resource {
        Resource::Database(_)
        | Resource::AllTables(_)
        | Resource::Table(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::Filter(..)
        | Resource::Catalog
        | Resource::Location(_) => true,
        Resource::Tag { key, value } => tag(key, value),
        Resource::TagPolicy {
            rule: TagRule::Inline(rule),
            ..
        } => rule
            .iter()
            .all(|(key, values)| values.iter().any(|value| tag(key, value))),
        Resource::TagPolicy {
            rule: TagRule::Saved(name),
            ..
        }
        | Resource::Expression(name) => expression(name),
    }
}

/// Why a grant cannot be given, if the primary lacks the LF-Tag or the expression that
/// it names.
pub(super) fn missing(draft: &Draft<'_>, atom: &Atom) -> Option<String> {
    let items = |lake: Lake| {
        let at = (Subject::Lake(lake), Facet::Items);
        let all = draft.inputs.primary.parts.get(&at);
        all.and_then(Observation::present)
    };
    let lacks = |lake: Lake, key: &PartKey| {
        let known = items(lake).is_none_or(|all| all.contains_key(key));
        (!known).then(|| format!("the primary has no {key}"))
    };
    let tag = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        lacks(Lake::Tags, &PartKey::TagValue { key, value })
    };
    match &atom.resource {
        Resource::Database(_)
        | Resource::AllTables(_)
        | Resource::Table(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::Filter(..)
        | Resource::Catalog
        | Resource::Location(_) => None,
        Resource::Tag { value, .. } if value == "*" => None,
        Resource::Tag { key, value } => tag(key, value),
        Resource::TagPolicy {
            rule: TagRule::Inline(rule),
            ..
        } => rule.iter().find_map(|(key, values)| {
            let named = values.iter().filter(|value| *value != "*");
            named.into_iter().find_map(|value| tag(key, value))
        }),
        Resource::TagPolicy {
            rule: TagRule::Saved(name),
            ..
        }
        | Resource::Expression(name) => {
            lacks(Lake::Expressions, &PartKey::Expression(name.clone()))
        }
    }
}

/// The settings: told where they differ, and written if the policy says so.
fn settings(draft: &mut Draft<'_>, subject: &Subject) {
    let read = |reading: &Reading| reading.settings.clone();
    let (Some(here), Some(there)) = (read(draft.inputs.primary), read(draft.inputs.secondary))
    else {
        return;
    };
    let (here, there) = match (here, there) {
        (Observation::Present(here), Observation::Present(there)) => (here.whole, there.whole),
        (Observation::Unknown(fault), _) | (_, Observation::Unknown(fault)) => {
            let kind = unreadable(&fault);
            return draft.leave(subject, State::Behind, kind, fault.to_string());
        }
        (Observation::Absent(_), _) | (_, Observation::Absent(_)) => return,
    };
    let merge = Merge::new(draft, subject, &here, &there);
    if let Some(standing) = draft.standings.get_mut(subject) {
        standing.owned = Some(merge.owned.clone());
    }
    let differs = merge.differences(&there);
    if differs.is_empty() {
        return;
    }
    match draft.inputs.policy.settings {
        Drift::Report => {
            let detail = format!(
                "the data lake settings differ in {}; they are not written \
                 (`settings = \"merge\"` would)",
                differs.join(", ")
            );
            draft.find(FindingKind::Note, subject, detail);
        }
        Drift::Merge if merge.too_many(&there) => {
            let reason = "with the primary's administrators there would be more than 30";
            draft.leave(
                subject,
                State::Blocked,
                FindingKind::Held,
                reason.to_owned(),
            );
        }
        Drift::Merge => draft.steps.push(Step::PutSettings {
            add: merge.add,
            add_readers: merge.add_readers,
            drop: merge.drop,
            rest: merge.rest,
        }),
    }
}

/// How many administrators of a kind there may be.
const MOST_ADMINISTRATORS: usize = 30;

/// What the secondary's settings are to become.
struct Merge {
    add: BTreeSet<Principal>,
    add_readers: BTreeSet<Principal>,
    drop: BTreeSet<Principal>,
    rest: LakeSettings,
    owned: BTreeSet<String>,
}

impl Merge {
    fn new(
        draft: &Draft<'_>,
        subject: &Subject,
        here: &LakeSettings,
        there: &LakeSettings,
    ) -> Self {
        let inputs = draft.inputs;
        let terms = Terms::of_primary(inputs.policy, inputs.epoch);
        let told = |all: &BTreeSet<Principal>| -> BTreeSet<Principal> {
            all.iter()
                .filter(|one| {
                    !inputs.ours.contains(&one.0) && !inputs.policy.ignored.contains(&one.0)
                })
                .map(|one| Principal(terms.counterpart(&one.0)))
                .collect()
        };
        let (admins, readers) = (told(&here.admins), told(&here.read_only_admins));
        let row = inputs.rows.get(subject);
        let known = row.map(|row| row.owned.clone()).unwrap_or_default();
        let is_kept = |one: &Principal| {
            admins.contains(one) || readers.contains(one) || inputs.ours.contains(&one.0)
        };
        let all = there.administrators();
        let gone = all
            .iter()
            .filter(|one| !is_kept(one) && known.contains(&one.0));
        let proven = inputs.primary.administrator;
        let drop: BTreeSet<Principal> = gone.filter(|_| proven).cloned().collect();
        let rest = LakeSettings {
            admins: BTreeSet::new(),
            read_only_admins: BTreeSet::new(),
            database_defaults_open: false,
            table_defaults_open: false,
            external_allow_list: told(&here.external_allow_list),
            ..here.clone()
        };
        Self {
            owned: admins.union(&readers).map(|one| one.0.clone()).collect(),
            add: admins.difference(&there.admins).cloned().collect(),
            add_readers: readers
                .difference(&there.read_only_admins)
                .cloned()
                .collect(),
            drop,
            rest,
        }
    }

    /// What differs, by AWS's names.
    fn differences(&self, there: &LakeSettings) -> Vec<&'static str> {
        let rest = &self.rest;
        let all = [
            (
                "DataLakeAdmins",
                !(self.add.is_empty() && self.drop.is_empty()),
            ),
            ("ReadOnlyAdmins", !self.add_readers.is_empty()),
            (
                "CreateDatabaseDefaultPermissions",
                there.database_defaults_open,
            ),
            ("CreateTableDefaultPermissions", there.table_defaults_open),
            ("Parameters", rest.parameters != there.parameters),
            (
                "TrustedResourceOwners",
                rest.trusted_resource_owners != there.trusted_resource_owners,
            ),
            (
                "AllowExternalDataFiltering",
                rest.external_data_filtering != there.external_data_filtering,
            ),
            (
                "AllowFullTableExternalDataAccess",
                rest.full_table_external_access != there.full_table_external_access,
            ),
            (
                "ExternalDataFilteringAllowList",
                rest.external_allow_list != there.external_allow_list,
            ),
            (
                "AuthorizedSessionTagValueList",
                rest.session_tag_values != there.session_tag_values,
            ),
        ];
        let differing = all.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(name, _)| name).collect()
    }

    fn too_many(&self, there: &LakeSettings) -> bool {
        let count = |now: &BTreeSet<Principal>, add: &BTreeSet<Principal>| {
            now.union(add)
                .filter(|one| !self.drop.contains(*one))
                .count()
        };
        count(&there.admins, &self.add) > MOST_ADMINISTRATORS
            || count(&there.read_only_admins, &self.add_readers) > MOST_ADMINISTRATORS
    }
}
