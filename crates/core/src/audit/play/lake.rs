//! What Lake Formation keeps beside grants: filters, opt-ins, and what is of the lake
//! as a whole.

use super::{Judged, Play, seen, veto};
use crate::audit::Rule;
use crate::catalog::{
    self, CellsFilter, FilterColumns, LakeSettings, OptIn, Part, PartKey, SeenPart,
};
use crate::grant::{Atom, IAM_ALLOWED_PRINCIPALS, Principal, Resource, TagRule};
use crate::name::TableId;
use crate::policy;
use crate::scope::{Facet, Lake, Subject, subject_of};
use std::collections::{BTreeMap, BTreeSet};

/// Filters by table and name.
pub(super) fn filters(
    parts: &[(&Subject, &SeenPart)],
) -> BTreeMap<TableId, BTreeMap<String, CellsFilter>> {
    let mut all: BTreeMap<TableId, BTreeMap<String, CellsFilter>> = BTreeMap::new();
    for (owner, seen) in parts {
        if let (Subject::Table(id), Part::Filter(filter)) = (owner, &seen.part) {
            let of_table = all.entry(id.clone()).or_default();
            of_table.insert(filter.name.clone(), filter.clone());
        }
    }
    all
}

pub(super) fn opt_ins(parts: &[(&Subject, &SeenPart)]) -> BTreeSet<OptIn> {
    let mut all = BTreeSet::new();
    for (_, seen) in parts {
        if let Part::OptIn(opt_in) = &seen.part {
            all.insert((**opt_in).clone());
        }
    }
    all
}

impl Play<'_> {
    fn holds_filter(&self, id: &TableId, name: &str) -> bool {
        let resource = Resource::Filter(id.clone(), name.to_owned());
        let mut held = self.held.keys();
        held.any(|atom| atom.resource == resource && !self.is_ignored(atom))
    }

    /// Whether a filter shows whatever columns its table has.
    pub(super) fn is_open_ended(&self, id: &TableId, name: &str) -> bool {
        let filter = self.filters.get(id).and_then(|all| all.get(name));
        filter.is_none_or(|filter| matches!(filter.columns, FilterColumns::AllBut(_)))
    }

    fn primary_filter(&self, id: &TableId, name: &str) -> Option<&CellsFilter> {
        let at = (Subject::Table(id.clone()), Facet::Filters);
        let all = seen(self.inputs.primary.parts.get(&at))?;
        let one = all.get(&PartKey::Filter(name.to_owned()))?;
        if let Part::Filter(filter) = &one.part {
            return Some(filter);
        }
        None
    }

    /// Every filter that somebody holds says what the primary's says: new columns show
    /// through those that only name what they leave out.
    pub(super) fn no_filter_beyond(&self, id: &TableId) -> Judged {
        for atom in self.held.keys().filter(|atom| !self.is_ignored(atom)) {
            let Resource::Filter(of, name) = &atom.resource else {
                continue;
            };
            if of != id {
                continue;
            }
            let now = self.filters.get(id).and_then(|all| all.get(name));
            if now.is_none() || now != self.primary_filter(id, name) {
                let detail = format!("new columns of {id} would show through its filter {name}");
                return veto(Rule::Wider, detail);
            }
        }
        Ok(())
    }

    /// A data cells filter that is granted shows at this point what the primary's shows.
    pub(super) fn no_filter_differs(&self, atom: &Atom) -> Judged {
        let Resource::Filter(id, name) = &atom.resource else {
            return Ok(());
        };
        let at = (Subject::Table(id.clone()), Facet::Filters);
        if seen(self.inputs.secondary.parts.get(&at)).is_none() && !self.made.contains(&at.0) {
            return veto(Rule::Wider, format!("the filters of {id} were not read"));
        }
        let there = self.filters.get(id).and_then(|all| all.get(name));
        // The service refuses it where there is none.
        match there.is_none() || there == self.primary_filter(id, name) {
            true => Ok(()),
            false => veto(
                Rule::Wider,
                format!("{atom}, and the filter is another one there"),
            ),
        }
    }

    pub(super) fn put_filter(&mut self, subject: &Subject, filter: &CellsFilter) -> Judged {
        let Subject::Table(id) = subject else {
            return veto(Rule::Altered, format!("{subject} has no filters"));
        };
        if self.holds_filter(id, &filter.name) {
            self.no_extras(subject)?;
            let here = seen(self.inputs.primary.tables.get(id)).map(|t| super::names(&t.object));
            let lacks = |column: &&String| {
                let hidden = match &filter.columns {
                    FilterColumns::AllBut(hidden) => hidden,
                    FilterColumns::Only(_) => return false,
                };
                let known = here.as_ref().is_some_and(|here| here.contains(*column));
                !known && !hidden.iter().any(|h| h.as_str() == column.to_lowercase())
            };
            let shown = self.columns.get(id).into_iter().flatten();
            if let Some(column) = shown.into_iter().find(lacks) {
                let detail = format!("filter {} of {id} would show {column}", filter.name);
                return veto(Rule::Wider, detail);
            }
        }
        let all = self.filters.entry(id.clone()).or_default();
        all.insert(filter.name.clone(), filter.clone());
        Ok(())
    }

    /// While `IAM_ALLOWED_PRINCIPALS` holds an object, only an opt-in keeps a principal
    /// to its grants there.
    pub(super) fn no_opt_in_missing(&self, atom: &Atom) -> Judged {
        if atom.principal.0 != IAM_ALLOWED_PRINCIPALS {
            return Ok(());
        }
        let subject = subject_of(atom);
        let at = (subject.clone(), Facet::OptIns);
        let Some(wanted) = seen(self.inputs.primary.parts.get(&at)) else {
            return veto(
                Rule::Wider,
                format!("the opt-ins on {subject} were not read"),
            );
        };
        for key in wanted.keys() {
            if let PartKey::OptIn(opt_in) = key
                && !self.opt_ins.contains(&**opt_in)
            {
                let who = &opt_in.principal;
                return veto(Rule::Wider, format!("{atom} before the opt-in of {who}"));
            }
        }
        Ok(())
    }

    /// What is of the lake is ours if it was paired, or if it is not there.
    pub(super) fn may_change_item(&self, subject: &Subject, key: &PartKey) -> Judged {
        let at = (subject.clone(), Facet::Items);
        let Some(there) = seen(self.inputs.secondary.parts.get(&at)) else {
            return veto(
                Rule::NotOurs,
                format!("{subject} in the secondary were not read"),
            );
        };
        let digest = catalog::digest(key);
        let row = self.inputs.rows.get(subject);
        let paired = row.is_some_and(|row| row.owned.iter().any(|mark| digest.starts_with(mark)));
        match paired || !there.contains_key(key) {
            true => Ok(()),
            false => veto(
                Rule::NotOurs,
                format!("the {key} in the secondary is not ours"),
            ),
        }
    }

    /// A saved expression changes only while nobody holds a grant that names it.
    pub(super) fn put_expression(&self, name: &str) -> Judged {
        let names = |atom: &&Atom| {
            matches!(&atom.resource, Resource::TagPolicy { rule: TagRule::Saved(of), .. } if of == name)
                && !self.is_ignored(atom)
        };
        match self.held.keys().find(names) {
            None => Ok(()),
            Some(atom) => veto(Rule::Wider, format!("{atom} would mean something else")),
        }
    }

    pub(super) fn put_settings(
        &self,
        added: [&BTreeSet<Principal>; 2],
        drop: &BTreeSet<Principal>,
        rest: &LakeSettings,
    ) -> Judged {
        let subject = Subject::Lake(Lake::Settings);
        if self.inputs.policy.settings != policy::Settings::Merge {
            return veto(
                Rule::NotOurs,
                "the policy does not let the settings be written",
            );
        }
        let Some(here) = seen(self.inputs.primary.settings.as_ref()) else {
            return veto(Rule::Altered, "the primary's settings were not read");
        };
        let to_second = self.inputs.epoch.0.is_multiple_of(2);
        let told = |one: &Principal| -> String {
            let pairs = self.inputs.policy.principals.iter();
            let mut sided = pairs.map(|(a, b)| if to_second { (a, b) } else { (b, a) });
            let there = sided.find(|(here, _)| **here == one.0);
            there.map_or_else(|| one.0.clone(), |(_, there)| there.clone())
        };
        for (added, allowed) in added
            .into_iter()
            .zip([&here.whole.admins, &here.whole.read_only_admins])
        {
            let allowed: BTreeSet<String> = allowed.iter().map(told).collect();
            if let Some(one) = added.iter().find(|one| !allowed.contains(&one.0)) {
                let detail = format!("{one} is no administrator in the primary");
                return veto(Rule::Wider, detail);
            }
        }
        let row = self.inputs.rows.get(&subject);
        let all: BTreeSet<String> = here.administrators.iter().map(told).collect();
        for one in drop {
            let paired = row.is_some_and(|row| row.owned.contains(&one.0));
            if self.inputs.ours.contains(&one.0) || all.contains(&one.0) || !paired {
                return veto(
                    Rule::NotOurs,
                    format!("administrator {one} would be dropped"),
                );
            }
            if !self.inputs.primary.administrator {
                return veto(Rule::Unproven, format!("dropping administrator {one}"));
            }
        }
        if rest.database_defaults_open || rest.table_defaults_open {
            return veto(Rule::Wider, "the defaults for new objects would be opened");
        }
        Ok(())
    }
}
