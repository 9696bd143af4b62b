//! What Lake Formation keeps for the catalog as a whole, and what opens by LF-Tags.

use super::{Observer, Readings, both, gather, known};
use crate::listing::GrantIndex;
use crate::ports::{GrantFilter, GrantType, ReadRegion};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{OptIn, Part, PartKey, Progress, SeenPart};
use twinlake_core::grant::{EntryResource, TagRule, Terms};
use twinlake_core::reading::{Observation, Parts, Reading, TagGrants, TagSearch, by_key};
use twinlake_core::scope::{Look, home_of};
use twinlake_core::{Atom, Facet, Fault, FaultKind, Grants, Lake, Principal, Resource, Subject};

/// What one Region keeps of one kind.
pub type Items = BTreeMap<Lake, Observation<Parts>>;

/// The kinds that have items.
pub(crate) const WITH_ITEMS: [Lake; 3] = [Lake::Tags, Lake::Expressions, Lake::Locations];

/// What is told of a listed part in the secondary's terms; none if it is left alone.
fn told(part: Part, terms: &Terms) -> Option<Part> {
    match part {
        Part::Registration(mut place) => {
            place.arn = terms.location(&place.arn)?;
            place.role = place.role.map(|role| terms.counterpart(&role));
            Some(Part::Registration(place))
        }
        Part::OptIn(opt_in) => {
            let principal = Principal(terms.counterpart(&opt_in.principal.0));
            principal.kind()?;
            let mut resource = opt_in.resource;
            if let EntryResource::Location(place) = &mut resource {
                *place = terms.location(place)?;
            }
            Some(Part::OptIn(Box::new(OptIn {
                principal,
                resource,
                condition: opt_in.condition,
            })))
        }
        Part::Index(_)
        | Part::Statistics(_)
        | Part::Tag { .. }
        | Part::Filter(_)
        | Part::Assigned { .. }
        | Part::TagValue { .. }
        | Part::Expression(_) => Some(part),
    }
}

/// Whether a Region does not know a call at all: then there is nothing of its kind.
fn has_none<T: Default>(listed: Result<T, Fault>) -> Result<T, Fault> {
    match listed {
        Err(fault) if fault.kind == FaultKind::Unsupported => Ok(T::default()),
        listed => listed,
    }
}

async fn list_items(region: &impl ReadRegion, lake: Lake, terms: &Terms) -> Observation<Parts> {
    let listed = region.parts(&Subject::Lake(lake), Facet::Items, &[]).await;
    known(has_none(listed).map(|all| {
        let told = all.into_iter().filter_map(|seen| {
            let progress = seen.progress;
            told(seen.part, terms).map(|part| SeenPart { part, progress })
        });
        by_key(told.collect())
    }))
}

/// Lists what a Region keeps, kind by kind.
pub(super) async fn items(region: &impl ReadRegion, terms: &Terms) -> Items {
    let mut all = Items::new();
    for lake in WITH_ITEMS {
        all.insert(lake, list_items(region, lake, terms).await);
    }
    all
}

/// Opt-ins of a Region, by the subject that they are on.
pub type OptIns = BTreeMap<Subject, Parts>;

pub(super) async fn opt_ins(region: &impl ReadRegion, terms: &Terms) -> Observation<OptIns> {
    let listed = has_none(region.opt_ins().await);
    known(listed.map(|all| {
        let mut by_subject = OptIns::new();
        for opt_in in all {
            let Some(home) = home_of(&opt_in.resource) else {
                continue;
            };
            // Whatever is on no database and on no table belongs together.
            let home = match matches!(home, Subject::Lake(_)) {
                true => Subject::Lake(Lake::Permissions),
                false => home,
            };
            if let Some(part) = told(Part::OptIn(Box::new(opt_in)), terms) {
                let progress = Progress::There;
                let own = by_subject.entry(home).or_default();
                own.insert(part.key(), SeenPart { part, progress });
            }
        }
        by_subject
    }))
}

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// One subject of the lake, with what its grants are understood by.
    pub(super) async fn lake(&self, lake: Lake, look: &Look, readings: &mut Readings) {
        let subject = Subject::Lake(lake);
        let names_tags = match lake {
            Lake::Tags | Lake::Expressions | Lake::Permissions => {
                vec![Lake::Tags, Lake::Expressions]
            }
            Lake::Locations | Lake::Settings => Vec::new(),
        };
        let own = WITH_ITEMS.contains(&lake) && look.facets.contains(&Facet::Items);
        for needed in names_tags.into_iter().chain(own.then_some(lake)) {
            let at = (Subject::Lake(needed), Facet::Items);
            let is_read = readings.primary.parts.contains_key(&at)
                && readings.secondary.parts.contains_key(&at);
            if !is_read || needed == lake {
                self.items(needed, readings).await;
            }
        }
        if look.facets.contains(&Facet::Grants) {
            self.grants(&subject, readings).await;
        }
        if lake == Lake::Expressions {
            self.tag_grants(readings).await;
        }
        if look.facets.contains(&Facet::OptIns) {
            self.opt_ins(&[subject], readings).await;
        }
        if lake == Lake::Permissions {
            self.search(readings).await;
        }
    }

    async fn items(&self, lake: Lake, readings: &mut Readings) {
        let (here, there) = match &self.prefetched.lake {
            Some((here, there)) => {
                let of = |all: &Items| all.get(&lake).cloned();
                let none = || Observation::Present(Parts::new());
                (
                    of(here).unwrap_or_else(none),
                    of(there).unwrap_or_else(none),
                )
            }
            None => {
                both(
                    list_items(self.primary, lake, &self.terms.0),
                    list_items(self.secondary, lake, &self.terms.1),
                )
                .await
            }
        };
        let at = (Subject::Lake(lake), Facet::Items);
        readings.primary.parts.insert(at.clone(), here);
        readings.secondary.parts.insert(at, there);
    }

    /// The opt-ins on subjects. They are few, and are listed together.
    pub(super) async fn opt_ins(&self, subjects: &[Subject], readings: &mut Readings) {
        let fetched;
        let (here, there) = match &self.prefetched.opt_ins {
            Some(sides) => (&sides.0, &sides.1),
            None => {
                fetched = both(
                    opt_ins(self.primary, &self.terms.0),
                    opt_ins(self.secondary, &self.terms.1),
                )
                .await;
                (&fetched.0, &fetched.1)
            }
        };
        let of = |all: &Observation<OptIns>, subject: &Subject| match all {
            Observation::Present(all) => {
                Observation::Present(all.get(subject).cloned().unwrap_or_default())
            }
            Observation::Absent(proof) => Observation::Absent(proof.clone()),
            Observation::Unknown(fault) => Observation::Unknown(fault.clone()),
        };
        for subject in subjects {
            let at = (subject.clone(), Facet::OptIns);
            let (here, there) = (of(here, subject), of(there, subject));
            readings.primary.parts.insert(at.clone(), here);
            readings.secondary.parts.insert(at, there);
        }
    }

    /// Whether neither Region has any LF-Tag, as far as that is known.
    pub(super) fn is_tagless(&self) -> bool {
        let empty = |items: &Items| {
            let tags = items.get(&Lake::Tags).and_then(Observation::present);
            tags.is_some_and(Parts::is_empty)
        };
        let lake = self.prefetched.lake.as_ref();
        lake.is_some_and(|(here, there)| empty(here) && empty(there))
    }

    /// Grants by LF-Tag policies: they open what is made, shown or tagged anew. Where the
    /// secondary has no LF-Tag, or nobody holds such a grant there, nothing opens.
    pub(super) async fn tag_grants(&self, readings: &mut Readings) {
        if readings.secondary.tag_grants.is_some() && readings.primary.tag_grants.is_some() {
            return;
        }
        let subject = Subject::Lake(Lake::Permissions);
        if let Some((here, there)) = &self.prefetched.grants {
            for (index, reading) in [
                (here, &mut readings.primary),
                (there, &mut readings.secondary),
            ] {
                reading.tag_grants = Some(match index {
                    Observation::Present(index) => Observation::Present(TagGrants {
                        grants: by_tags(index.on(&subject)),
                        whole: index.any,
                        ..TagGrants::default()
                    }),
                    Observation::Absent(proof) => Observation::Absent(proof.clone()),
                    Observation::Unknown(fault) => Observation::Unknown(fault.clone()),
                });
            }
        } else {
            self.list_tag_grants(readings).await;
        }
        self.expressions(readings).await;
    }

    async fn list_tag_grants(&self, readings: &mut Readings) {
        let none = || Some(Observation::Present(TagGrants::default()));
        let tags = list_items(self.secondary, Lake::Tags, &self.terms.1).await;
        if tags.present().is_some_and(Parts::is_empty) {
            readings.primary.tag_grants = none();
            readings.secondary.tag_grants = none();
            return;
        }
        let there = list_by_tags(self.secondary, &self.terms.1).await;
        let others = |tags: &TagGrants| {
            let mut atoms = tags.grants.keys();
            atoms.any(|atom| !self.ours.contains(&atom.principal.0))
        };
        let some = there.present().is_none_or(others);
        readings.secondary.tag_grants = Some(there);
        readings.primary.tag_grants = match some {
            true => Some(list_by_tags(self.primary, &self.terms.0).await),
            false => none(),
        };
    }

    /// The saved expressions that grants by LF-Tag policies name.
    async fn expressions(&self, readings: &mut Readings) {
        let named = |reading: &Reading| {
            let tags = reading.tag_grants.as_ref().and_then(Observation::present);
            let mut atoms = tags.into_iter().flat_map(|tags| tags.grants.keys());
            atoms.any(|atom| saved_name(atom).is_some())
        };
        if !(named(&readings.primary) || named(&readings.secondary)) {
            return;
        }
        let at = (Subject::Lake(Lake::Expressions), Facet::Items);
        if !readings.primary.parts.contains_key(&at) {
            self.items(Lake::Expressions, readings).await;
        }
    }

    /// Whether a grant by LF-Tags may come to open something of these subjects, and if
    /// so, their databases' LF-Tags.
    pub(super) async fn tags_around(&self, databases: &BTreeSet<Subject>, readings: &mut Readings) {
        if databases.is_empty() {
            return;
        }
        self.tag_grants(readings).await;
        let there = readings.secondary.tag_grants.as_ref();
        let opens = there
            .and_then(Observation::present)
            .is_none_or(|tags| !tags.grants.is_empty());
        if !opens {
            return;
        }
        let wanted: Vec<(Subject, Facet)> = databases
            .iter()
            .map(|subject| (subject.clone(), Facet::Assigned))
            .filter(|at| !readings.secondary.parts.contains_key(at))
            .collect();
        // Of a database that was not asked for, only its tags are read.
        let calls = wanted.into_iter().map(|at| async move {
            let primary = self.primary.parts(&at.0, at.1, &[]);
            let secondary = self.secondary.parts(&at.0, at.1, &[]);
            let (here, there) = both(primary, secondary).await;
            (at, here, there)
        });
        for (at, here, there) in gather(calls, self.parallel).await {
            let none = |listed: Result<Vec<SeenPart>, Fault>| match listed {
                Err(fault) if fault.kind == FaultKind::Absent => Observation::Present(Parts::new()),
                listed => known(listed.map(by_key)),
            };
            readings.primary.parts.insert(at.clone(), none(here));
            readings.secondary.parts.insert(at, none(there));
        }
    }

    /// What each grant by LF-Tags that is missing would open, in both Regions.
    async fn search(&self, readings: &mut Readings) {
        let subject = Subject::Lake(Lake::Permissions);
        let [here, there] = [&readings.primary, &readings.secondary].map(|reading| {
            let grants = reading.grants.get(&subject);
            grants.and_then(Observation::present)
        });
        let (Some(here), Some(there)) = (here, there) else {
            return;
        };
        let missing = here.iter().filter(|(atom, option)| {
            let held = there.get(atom);
            held.is_none_or(|held| **option && !held)
        });
        let searches: BTreeSet<TagSearch> =
            missing.filter_map(|(atom, _)| search_of(atom)).collect();
        let calls = searches.into_iter().filter_map(|search| {
            let expression = match &search.1 {
                TagRule::Inline(expression) => expression.clone(),
                TagRule::Saved(name) => {
                    let at = (Subject::Lake(Lake::Expressions), Facet::Items);
                    let all = readings.primary.parts.get(&at)?.present()?;
                    let seen = all.get(&PartKey::Expression(name.clone()))?;
                    let Part::Expression(saved) = &seen.part else {
                        return None;
                    };
                    saved.expression.clone()
                }
            };
            Some(async move {
                let found = both(
                    self.primary.search(search.0, &expression),
                    self.secondary.search(search.0, &expression),
                );
                let (here, there) = found.await;
                (search, here, there)
            })
        });
        let found = gather(calls.collect::<Vec<_>>().into_iter(), self.parallel).await;
        for (search, here, there) in found {
            // No resource carries a tag that is not there yet.
            let none = |found: Result<Vec<_>, Fault>| match found {
                Err(fault) if fault.kind == FaultKind::Absent => Observation::Present(Vec::new()),
                found => known(found),
            };
            readings.primary.tagged.insert(search.clone(), none(here));
            readings.secondary.tagged.insert(search, none(there));
        }
    }
}

fn search_of(atom: &Atom) -> Option<TagSearch> {
    if let Resource::TagPolicy { target, rule } = &atom.resource {
        return Some((*target, rule.clone()));
    }
    None
}

fn saved_name(atom: &Atom) -> Option<&String> {
    if let Resource::TagPolicy {
        rule: TagRule::Saved(name),
        ..
    } = &atom.resource
    {
        return Some(name);
    }
    None
}

fn by_tags(grants: Grants) -> Grants {
    let some = grants.into_iter();
    some.filter(|(atom, _)| search_of(atom).is_some()).collect()
}

async fn list_by_tags(region: &impl ReadRegion, terms: &Terms) -> Observation<TagGrants> {
    let mut entries = Vec::new();
    for kind in GrantType::BY_TAGS {
        match region.grants_on(&GrantFilter::Type(kind)).await {
            Ok(listed) => entries.extend(listed),
            Err(fault) => return Observation::Unknown(fault),
        }
    }
    let index = GrantIndex::new(&entries, terms);
    Observation::Present(TagGrants {
        grants: by_tags(index.on(&Subject::Lake(Lake::Permissions))),
        ..TagGrants::default()
    })
}
