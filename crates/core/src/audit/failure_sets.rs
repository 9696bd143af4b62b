//! The sets of steps that failures of other steps can leave applied.
//!
//! A step is applied only after the steps that it requires. So what is applied contains, with each
//! step, all that the step requires directly and indirectly: its closure. The smallest such set with
//! a given step is its closure, and every other step may have failed. Access is open to somebody
//! in some of these sets exactly if it is open in the smallest one that contains the steps that
//! open it.

use crate::catalog::AttachmentKey;
use crate::name::Name;
use crate::scope::Subject;
use crate::step::{Step, StepTarget};
use std::collections::{BTreeMap, BTreeSet};

/// The requirements of the steps of a plan.
pub(super) struct FailureSets<'a> {
    steps: &'a [Step],
    requires: &'a [Vec<usize>],
    /// Positions of the steps on a subject.
    by_subject: BTreeMap<Subject, Vec<usize>>,
    /// Positions of the steps on several objects that may open access, with their closures.
    broad: BTreeMap<usize, BTreeSet<usize>>,
}

impl<'a> FailureSets<'a> {
    /// Returns `None` if a step requires a later one, or a step that does not exist.
    pub(super) fn new(steps: &'a [Step], requires: &'a [Vec<usize>]) -> Option<Self> {
        let is_ordered = requires.len() == steps.len()
            && requires
                .iter()
                .enumerate()
                .all(|(position, required)| required.iter().all(|earlier| *earlier < position));
        if !is_ordered {
            return None;
        }
        let mut sets = Self {
            steps,
            requires,
            by_subject: BTreeMap::new(),
            broad: BTreeMap::new(),
        };
        for (position, step) in steps.iter().enumerate() {
            let of_subject = sets.by_subject.entry(step.subject()).or_default();
            of_subject.push(position);
            if may_open(step) && !matches!(step.subject(), Subject::Table(_) | Subject::Function(_))
            {
                let closure = sets.closure(position);
                sets.broad.insert(position, closure);
            }
        }
        Some(sets)
    }

    /// Returns the sets of steps, each in order and without the step itself, after which the step at
    /// `position` is to be checked: its closure alone, and together with the closures of steps that
    /// may open access to the same resource and that are not ordered with it.
    pub(super) fn before(&self, position: usize) -> Vec<BTreeSet<usize>> {
        let Some(step) = self.steps.get(position) else {
            return Vec::new();
        };
        let own = self.relevant(step, self.closure(position));
        if !may_open(step) {
            return vec![own];
        }
        let others = self.unordered_with(position, step, &own);
        let mut sets = vec![own.clone()];
        for chosen in subsets(&others) {
            let mut set = own.clone();
            for other in chosen {
                set.insert(*other);
                let closure = self.broad.get(other).cloned();
                let closure = closure.unwrap_or_else(|| self.closure(*other));
                set.extend(self.relevant(step, closure));
            }
            set.remove(&position);
            sets.push(set);
        }
        sets
    }

    /// The steps that a step requires, directly and indirectly.
    fn closure(&self, position: usize) -> BTreeSet<usize> {
        let mut closure = BTreeSet::new();
        let mut open = vec![position];
        while let Some(next) = open.pop() {
            for required in self.requires.get(next).into_iter().flatten() {
                if closure.insert(*required) {
                    open.push(*required);
                }
            }
        }
        closure
    }

    /// For a step on one table, only steps on that table, its database and Lake Formation matter.
    fn relevant(&self, step: &Step, closure: BTreeSet<usize>) -> BTreeSet<usize> {
        let subject = step.subject();
        if !matches!(subject, Subject::Table(_)) {
            return closure;
        }
        let is_relevant = |other: &usize| {
            self.steps
                .get(*other)
                .is_some_and(|other| is_related(&subject, &other.subject()))
        };
        closure.into_iter().filter(is_relevant).collect()
    }

    fn unordered_with(
        &self,
        position: usize,
        step: &Step,
        closure: &BTreeSet<usize>,
    ) -> Vec<usize> {
        let subject = step.subject();
        let is_table = matches!(subject, Subject::Table(_));
        let same_table = self.by_subject.get(&subject).filter(|_| is_table);
        let same_table = same_table.into_iter().flatten();
        let candidates = same_table.chain(self.broad.keys());
        let mut unordered = Vec::new();
        for &other in candidates {
            let Some(other_step) = self.steps.get(other) else {
                continue;
            };
            let may_combine = other != position
                && may_open(other_step)
                && !(is_grant(step) && is_grant(other_step))
                && is_related(&subject, &other_step.subject());
            let is_ordered = closure.contains(&other)
                || match self.broad.get(&other) {
                    Some(closure) => closure.contains(&position),
                    None => self.closure(other).contains(&position),
                };
            if may_combine && !is_ordered {
                unordered.push(other);
            }
        }
        unordered
    }
}

/// Whether a step that changes one subject affects who can access the other.
fn is_related(subject: &Subject, other: &Subject) -> bool {
    let database: Option<&Name> = subject.database();
    subject == other
        || matches!(subject, Subject::LakeFormation(_))
        || matches!(other, Subject::LakeFormation(_))
        || match (subject, other) {
            (Subject::Database(_), _) | (_, Subject::Database(_)) => database == other.database(),
            (
                Subject::Catalog
                | Subject::LakeFormation(_)
                | Subject::Table(_)
                | Subject::Function(_),
                Subject::Catalog
                | Subject::LakeFormation(_)
                | Subject::Table(_)
                | Subject::Function(_),
            ) => false,
        }
}

fn is_grant(step: &Step) -> bool {
    matches!(step, Step::Grant { .. })
}

/// Whether a step may give access, alone or together with others.
fn may_open(step: &Step) -> bool {
    match step.target() {
        StepTarget::Object(Subject::Function(_))
        | StepTarget::TableDefaults(_)
        | StepTarget::Deletion(_)
        | StepTarget::Partition(..)
        | StepTarget::Revoke(_)
        | StepTarget::Settings => false,
        StepTarget::Object(_) | StepTarget::Grant(_) => true,
        StepTarget::Attachment(_, key) => match key {
            AttachmentKey::Index(_)
            | AttachmentKey::Statistics(_)
            | AttachmentKey::GlueTag(_)
            | AttachmentKey::Registration(_)
            | AttachmentKey::LfTagValue { .. } => false,
            AttachmentKey::DataCellsFilter(_) | AttachmentKey::LfTagAssignment { .. } => true,
            AttachmentKey::NamedExpression(_) => true,
            AttachmentKey::OptIn(_) => !step.only_closes(),
        },
    }
}

/// The subsets of the steps that are checked: all, if they are few; else those of one and two, and
/// the whole.
fn subsets(all: &[usize]) -> Vec<Vec<&usize>> {
    const MAX_STEPS_OF_ALL_SUBSETS: usize = 6;
    if all.len() <= MAX_STEPS_OF_ALL_SUBSETS {
        let masks = 1_usize..(1 << all.len());
        let chosen = |mask: usize| {
            let steps = all.iter().enumerate();
            steps
                .filter(|(bit, _)| mask & (1 << bit) != 0)
                .map(|(_, step)| step)
                .collect()
        };
        return masks.map(chosen).collect();
    }
    let mut chosen: Vec<Vec<&usize>> = vec![all.iter().collect()];
    for (index, one) in all.iter().enumerate() {
        chosen.push(vec![one]);
        let others = all.iter().skip(index + 1);
        chosen.extend(others.map(|other| vec![one, other]));
    }
    chosen
}
