//! One database or table, from moment to moment of a plan.

use super::super::Draft;
use super::super::tags::{matches, rule_of, saved};
use super::{Held, columns, is_extra};
use crate::catalog::{Part, PartKey};
use crate::grant::{Atom, TagExpression, TagRule, TagTarget};
use crate::name::Name;
use crate::reading::{Observation, Parts, Reading, TagSet};
use crate::scope::{Facet, Subject};
use crate::step::Step;
use std::collections::{BTreeMap, BTreeSet};

/// LF-Tags that are assigned to a subject and its columns.
type Assigned = BTreeMap<(Option<Name>, String), String>;

fn assigned(reading: &Reading, subject: &Subject) -> Option<Assigned> {
    let at = (subject.clone(), Facet::Assigned);
    let parts: &Parts = reading.parts.get(&at)?.present()?;
    let all = parts.values().filter_map(|seen| one(&seen.part));
    Some(all.collect())
}

fn one(part: &Part) -> Option<((Option<Name>, String), String)> {
    if let Part::Assigned { column, key, value } = part {
        return Some(((column.clone(), key.clone()), value.clone()));
    }
    None
}

/// What a grant opens in one place.
pub(super) enum Opens {
    Nothing,
    InBetween,
    ForGood,
}

/// LF-Tags of the parts of a subject at one moment: by column, and of itself.
type Moment = BTreeMap<Option<Name>, TagSet>;

/// One database or table, from moment to moment of the plan.
pub(super) struct Place {
    target: TagTarget,
    /// Before the plan and after each step of it.
    moments: Vec<Moment>,
    /// As the primary has it, if it does.
    primary: Moment,
    /// Whose steps are left if it would be opened.
    pub(super) blamed: Subject,
}

impl Place {
    pub(super) fn of(
        draft: &Draft<'_>,
        subject: &Subject,
        steps: &BTreeMap<Subject, Vec<Step>>,
    ) -> Result<Self, Held> {
        let inputs = draft.inputs;
        let home = subject.database().cloned().map(Subject::Database);
        let home = home.unwrap_or_else(|| subject.clone());
        let is_table = *subject != home;
        let of = |subject: &Subject| steps.get(subject).into_iter().flatten();
        let mut all: Vec<&Step> = of(&home).collect();
        if is_table {
            all.extend(of(subject));
        }
        all.sort_by_key(|step| (step.phase(), step.rank()));
        let makes = |step: &&Step| matches!(step, Step::CreateTable { .. });
        let is_made = all.iter().any(makes);
        let blamed = match steps.contains_key(subject) {
            true => subject.clone(),
            false => home.clone(),
        };
        let unread = |of: &Subject| Held {
            subject: blamed.clone(),
            reason: format!("the LF-Tags of {of} were not read"),
        };
        let mut now = Now {
            on_database: assigned(inputs.secondary, &home).ok_or_else(|| unread(&home))?,
            own: Assigned::new(),
            columns: BTreeSet::new(),
            is_there: !is_made,
            is_table,
        };
        if let (Subject::Table(id), false) = (subject, is_made) {
            // One that is not read in depth is somebody else's: without own tags it
            // would inherit all.
            now.own = assigned(inputs.secondary, subject).unwrap_or_default();
            let seen = inputs
                .secondary
                .tables
                .get(id)
                .and_then(Observation::present);
            now.columns = columns(seen.map(|seen| &seen.object));
        }
        let mut moments = vec![now.moment()];
        for step in all {
            now.take(step, &home);
            moments.push(now.moment());
        }
        Ok(Self {
            target: match is_table {
                true => TagTarget::Table,
                false => TagTarget::Database,
            },
            moments,
            primary: in_primary(draft, subject, &home).unwrap_or_default(),
            blamed,
        })
    }

    pub(super) fn opens(&self, draft: &Draft<'_>, atom: &Atom) -> Opens {
        let Some((target, rule)) = rule_of(atom) else {
            return Opens::Nothing;
        };
        if target != self.target {
            return Opens::Nothing;
        }
        let there = expression(draft.inputs.secondary, rule);
        let here = expression(draft.inputs.primary, rule);
        // An expression that is not known may be satisfied by anything.
        let opened = |moment: &Moment| -> BTreeSet<Option<Name>> {
            let fits = |tags: &TagSet| there.is_none_or(|there| matches(there, tags));
            let some = moment.iter().filter(|(_, tags)| fits(tags));
            some.map(|(column, _)| column.clone()).collect()
        };
        let allowed = |column: &Option<Name>| {
            let tags = self.primary.get(column);
            let fits = tags.is_some_and(|tags| here.is_some_and(|here| matches(here, tags)));
            fits && !is_extra(draft, atom)
        };
        let Some(before) = self.moments.first().map(opened) else {
            return Opens::Nothing;
        };
        let beyond = |moment: &Moment| {
            let now = opened(moment);
            now.iter()
                .any(|column| !before.contains(column) && !allowed(column))
        };
        if self.moments.last().is_some_and(beyond) {
            return Opens::ForGood;
        }
        match self.moments.iter().any(beyond) {
            true => Opens::InBetween,
            false => Opens::Nothing,
        }
    }
}

fn expression<'e>(reading: &'e Reading, rule: &'e TagRule) -> Option<&'e TagExpression> {
    match rule {
        TagRule::Inline(expression) => Some(expression),
        TagRule::Saved(name) => saved(reading, name),
    }
}

fn in_primary(draft: &Draft<'_>, subject: &Subject, home: &Subject) -> Option<Moment> {
    let reading = draft.inputs.primary;
    let mut now = Now {
        on_database: assigned(reading, home)?,
        own: Assigned::new(),
        columns: BTreeSet::new(),
        is_there: true,
        is_table: subject != home,
    };
    if let Subject::Table(id) = subject {
        let seen = reading.tables.get(id).and_then(Observation::present)?;
        now.own = assigned(reading, subject)?;
        now.columns = columns(Some(&seen.object));
    }
    Some(now.moment())
}

/// A place as it is at one moment.
struct Now {
    on_database: Assigned,
    own: Assigned,
    columns: BTreeSet<Name>,
    is_there: bool,
    is_table: bool,
}

impl Now {
    fn take(&mut self, step: &Step, home: &Subject) {
        if let Step::CreateTable { table, .. } | Step::UpdateTable { table, .. } = step {
            self.columns = columns(Some(table));
            self.is_there = true;
        }
        let of_home = step.subject() == *home;
        let all = match of_home {
            true => &mut self.on_database,
            false => &mut self.own,
        };
        if let Step::PutPart { part, .. } = step
            && let Some((at, value)) = one(part)
        {
            all.insert(at, value);
        }
        if let Step::RemovePart {
            key: PartKey::Assigned { column, key },
            ..
        } = step
        {
            all.remove(&(column.clone(), key.clone()));
        }
    }

    fn moment(&self) -> Moment {
        let mut moment = Moment::new();
        if !self.is_there {
            return moment;
        }
        let of = |all: &Assigned, wanted: &Option<Name>| -> TagSet {
            let some = all.iter().filter(|((column, _), _)| column == wanted);
            some.map(|((_, key), value)| (key.clone(), value.clone()))
                .collect()
        };
        let mut tags = of(&self.on_database, &None);
        if self.is_table {
            tags.extend(of(&self.own, &None));
        }
        for column in &self.columns {
            let mut own = tags.clone();
            own.extend(of(&self.own, &Some(column.clone())));
            moment.insert(Some(column.clone()), own);
        }
        moment.insert(None, tags);
        moment
    }
}
