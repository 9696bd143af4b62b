//! Grants by LF-Tag policies: they open whatever carries the tags.

use super::{Draft, FindingKind, grants};
use crate::catalog::{Part, PartKey, digest};
use crate::grant::{Atom, Grants, TagExpression, TagRule, TagTarget};
use crate::ledger::State;
use crate::reading::{Observation, Reading, TagSet, Tagged};
use crate::scope::{Facet, Lake, Subject};
use crate::step::{RevokeCause, Step};
use std::collections::BTreeSet;

/// The grants by LF-Tag policies that a Region showed, if they were read.
pub(super) fn grants_of(reading: &Reading) -> Option<&Grants> {
    let lake = reading.grants.get(&Subject::Lake(Lake::Permissions));
    let all = lake.and_then(Observation::present);
    let some = reading.tag_grants.as_ref().and_then(Observation::present);
    all.or_else(|| some.map(|tags| &tags.grants))
}

/// Whether a set of LF-Tags satisfies an expression.
pub(super) fn matches(expression: &TagExpression, tags: &TagSet) -> bool {
    expression.iter().all(|(key, values)| {
        let value = tags.get(key);
        value.is_some_and(|value| values.contains(value) || values.contains("*"))
    })
}

/// A saved expression of a Region, as far as it was read.
pub(super) fn saved<'r>(reading: &'r Reading, name: &str) -> Option<&'r TagExpression> {
    let at = (Subject::Lake(Lake::Expressions), Facet::Items);
    let listed = reading.parts.get(&at).and_then(Observation::present);
    let listed = listed.and_then(|all| all.get(&PartKey::Expression(name.to_owned())));
    if let Some(Part::Expression(saved)) = listed.map(|seen| &seen.part) {
        return Some(&saved.expression);
    }
    let tags = reading.tag_grants.as_ref().and_then(Observation::present)?;
    tags.expressions.get(name)
}

/// What stands in the way of a grant by a LF-Tag policy, if something does: it must
/// open nothing in the secondary that the same grant does not open in the primary.
pub(super) fn opens_beyond(
    draft: &Draft<'_>,
    target: TagTarget,
    rule: &TagRule,
) -> Option<(State, FindingKind, String)> {
    let inputs = draft.inputs;
    let behind = |why: &str| Some((State::Behind, FindingKind::Unreadable, why.to_owned()));
    if let TagRule::Saved(name) = rule {
        let key = PartKey::Expression(name.clone());
        let at = (Subject::Lake(Lake::Expressions), Facet::Items);
        let [here, there] = [inputs.primary, inputs.secondary].map(|reading| {
            let all = reading.parts.get(&at).and_then(Observation::present)?;
            all.get(&key).map(|seen| digest(&seen.part))
        });
        let makes = |step: &Step| matches!(step, Step::PutPart { part, .. } if part.key() == key);
        if here.is_none() {
            let why = format!("the primary has no LF-Tag expression {name}");
            return Some((State::Held, FindingKind::Held, why));
        }
        if here != there && !draft.steps.iter().any(makes) {
            return behind("its LF-Tag expression is not the primary's yet");
        }
    }
    let search = (target, rule.clone());
    let [here, there] = [inputs.primary, inputs.secondary].map(|reading| {
        let found = reading.tagged.get(&search);
        found.and_then(Observation::present)
    });
    let (Some(here), Some(there)) = (here, there) else {
        return behind("what it would open was not read");
    };
    let expression = match rule {
        TagRule::Inline(expression) => Some(expression),
        TagRule::Saved(name) => saved(inputs.primary, name),
    };
    let Some(expression) = expression else {
        return behind("its LF-Tag expression was not read");
    };
    let here = places(here, expression);
    let there = places(there, expression);
    let beyond = there.difference(&here).next()?;
    let why = format!("it would open {beyond} in the secondary, which it does not in the primary");
    Some((State::Behind, FindingKind::Unreadable, why))
}

/// The databases, tables and columns of a search that satisfy an expression.
fn places(found: &[Tagged], expression: &TagExpression) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for one in found {
        let mut tags = one.on_database.clone();
        let Some(table) = &one.table else {
            if matches(expression, &tags) {
                places.insert(one.database.clone());
            }
            continue;
        };
        tags.extend(one.on_table.clone());
        let table = format!("{}.{table}", one.database);
        if matches(expression, &tags) {
            places.insert(table.clone());
        }
        for (column, own) in &one.on_columns {
            let mut tags = tags.clone();
            tags.extend(own.clone());
            if matches(expression, &tags) {
                places.insert(format!("{table}.{column}"));
            }
        }
    }
    places
}

/// Takes the grants whose rule is chosen from their holders: those that the primary gives,
/// to give them back at the end of the plan, and the others for good. Answers why what
/// they rest on has to wait, if it has to.
pub(super) fn step_aside(
    draft: &mut Draft<'_>,
    chosen: &dyn Fn(&TagRule) -> bool,
) -> Option<String> {
    let [here, there] = [draft.inputs.primary, draft.inputs.secondary].map(grants_of);
    let (Some(here), Some(there)) = (here, there) else {
        return Some("the grants by LF-Tag policies were not read".to_owned());
    };
    let ignored = grants::ignored(draft).unwrap_or_default();
    let held = there
        .iter()
        .filter(|(atom, _)| !ignored.contains(&atom.principal))
        .filter(|(atom, _)| rule_of(atom).is_some_and(|(_, rule)| chosen(rule)));
    for (atom, held) in held {
        match here.get(atom) {
            Some(may_grant) => aside(draft, atom.clone(), *held && *may_grant),
            None => {
                if let Some(why) = take_extra(draft, atom, *held) {
                    return Some(why);
                }
            }
        }
    }
    None
}

/// Takes a grant away that the primary lacks; answers why that has to wait, if it is not
/// proven.
pub(super) fn take_extra(draft: &mut Draft<'_>, atom: &Atom, grantable: bool) -> Option<String> {
    let is_planned =
        |step: &Step| matches!(step, Step::Revoke { atom: other, .. } if other == atom);
    if draft.steps.iter().any(is_planned) {
        return None;
    }
    let primary = draft.inputs.primary;
    if !is_whole(primary) || !primary.administrator {
        draft.unproven += 1;
        return Some(format!("it waits until {atom} is gone from the secondary"));
    }
    draft.steps.push(Step::Revoke {
        atom: atom.clone(),
        grantable,
        cause: RevokeCause::Extra,
    });
    None
}

fn is_whole(reading: &Reading) -> bool {
    let tags = reading.tag_grants.as_ref().and_then(Observation::present);
    let lake = Subject::Lake(Lake::Permissions);
    tags.is_some_and(|tags| tags.whole) || reading.grants_controlled.contains(&lake)
}

/// The LF-Tag policy that a grant is by, if it is.
pub(super) fn rule_of(atom: &Atom) -> Option<(TagTarget, &TagRule)> {
    if let crate::Resource::TagPolicy { target, rule } = &atom.resource {
        return Some((*target, rule));
    }
    None
}

/// Takes grants by LF-Tag policies away that are given again later in the plan.
pub(super) fn aside(draft: &mut Draft<'_>, atom: Atom, grantable: bool) {
    let is_planned =
        |step: &Step| matches!(step, Step::Revoke { atom: other, .. } if *other == atom);
    if draft.steps.iter().any(is_planned) {
        return;
    }
    let gives = |step: &Step| matches!(step, Step::Grant { atom: other, .. } if *other == atom);
    if !draft.steps.iter().any(gives) {
        draft.steps.push(Step::Grant {
            atom: atom.clone(),
            grantable,
        });
    }
    draft.steps.push(Step::Revoke {
        atom,
        grantable,
        cause: RevokeCause::Replace,
    });
}
