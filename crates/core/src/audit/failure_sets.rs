//! The sets of steps that failures of other steps can leave applied.
//!
//! A step is applied only after the steps that it requires. So what is applied is a closed set: it
//! contains, with each step, all that the step requires directly and indirectly (its closure). A
//! plan is safe if each step passes its check after every closed set that contains what the step
//! requires, and not the step itself.
//!
//! A plan has up to 2^n closed sets. This module returns enough of them: if a step fails its check
//! after some closed set, then some step of the plan fails its check after one of those returned.
//! The reasons:
//!
//! - A failed check has a witness: one thing that would be open. It depends on at most one grant (or
//!   one removed opt-in, or one revoke of the same grant) and on the LF-Tags, columns, filters and
//!   the named expression that decide about one table or one column ([`Change`]).
//! - What other steps change besides that only makes a check pass: they revoke, create, delete,
//!   opt in, close defaults, or make a grant that the primary has (a step that grants anything else
//!   fails its own check after every set). Such a step is in a returned set only if another one
//!   requires it.
//! - So a smaller set fails too: the closure of the step, of that one grant, and of those changes
//!   that concern the witness.
//!
//! # Guarantee
//!
//! The result is exact for each step and each table or column of which at most
//! [`MAX_SETS_OF_A_RESOURCE`] closed sets of changes are possible: 11 changes that are not ordered
//! with the step nor among themselves, or any number that are in a chain. So it is exact for every
//! plan of up to 12 steps, and for every larger plan without more such changes of one table. Of
//! more, it returns the closure of each, of each two, and of all.

use crate::catalog::AttachmentKey;
use crate::grant::{IAM_ALLOWED_PRINCIPALS, LfTagPolicy, PermissionGrant, Resource};
use crate::name::{Name, TableId};
use crate::scope::Subject;
use crate::step::{RevokeCause, Step, StepTarget};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The number of sets that are returned for one step, one grant and one resource, before only some
/// of them are.
const MAX_SETS_OF_A_RESOURCE: usize = 1 << 11;

/// A change by one step that can make the check of another step fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// A grant by an LF-Tag policy.
    PolicyGrant,
    /// A grant on a data cells filter.
    FilterGrant,
    /// A grant to `IAM_ALLOWED_PRINCIPALS` on a table, on all tables of a database, or by an LF-Tag
    /// policy.
    IamAllowedGrant,
    /// The creation of a database or table that an opt-in is on.
    Creation,
    /// A revoke of the same grant: there is nothing left to revoke.
    Revoke,
    /// The removal of an opt-in.
    OptInRemoval,
    /// An LF-Tag that is assigned or removed, or reset by the creation of a table.
    LfTags,
    /// The columns of a table.
    Columns,
    /// A data cells filter that is put or removed.
    Filters,
    /// A named LF-Tag expression that is put.
    Expression,
}

impl Change {
    /// Whether a witness depends on at most one change of this kind.
    fn is_alternative(self) -> bool {
        match self {
            Self::PolicyGrant
            | Self::FilterGrant
            | Self::IamAllowedGrant
            | Self::Creation
            | Self::Revoke => true,
            Self::OptInRemoval
            | Self::LfTags
            | Self::Columns
            | Self::Filters
            | Self::Expression => false,
        }
    }

    /// Whether the change concerns steps on any subject, not only on its own database or table.
    fn is_catalog_wide(self) -> bool {
        match self {
            Self::PolicyGrant | Self::Expression | Self::IamAllowedGrant | Self::OptInRemoval => {
                true
            }
            Self::FilterGrant
            | Self::Creation
            | Self::Revoke
            | Self::LfTags
            | Self::Columns
            | Self::Filters => false,
        }
    }
}

/// A step that may be applied before another one, or not.
struct Choice {
    position: usize,
    /// The relevant part of its closure.
    closure: BTreeSet<usize>,
}

/// The requirements of the steps of a plan.
pub(super) struct FailureSets<'a> {
    steps: &'a [Step],
    requires: &'a [Vec<usize>],
    /// Positions of the steps that make a change, by the change and the subject of the step.
    changes: BTreeMap<Change, BTreeMap<Subject, Vec<usize>>>,
    /// Closures of such steps on several objects.
    broad_closures: BTreeMap<usize, Rc<BTreeSet<usize>>>,
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
            changes: BTreeMap::new(),
            broad_closures: BTreeMap::new(),
        };
        for (position, step) in steps.iter().enumerate() {
            let subject = step.subject();
            let changes = changes_by(step);
            let is_broad = !matches!(subject, Subject::Table(_) | Subject::Function(_));
            if is_broad && !changes.is_empty() {
                let closure = Rc::new(sets.closure(position));
                sets.broad_closures.insert(position, closure);
            }
            for change in changes {
                let by_subject = sets.changes.entry(change).or_default();
                let positions = by_subject.entry(subject.clone()).or_default();
                positions.push(position);
            }
        }
        Some(sets)
    }

    /// Returns the sets of steps, each in order and without the step itself, after which the step at
    /// `position` is to be checked. Steps that do not concern its check are left out.
    pub(super) fn before(&self, position: usize) -> Vec<BTreeSet<usize>> {
        let Some(step) = self.steps.get(position) else {
            return Vec::new();
        };
        let closure = self.closure(position);
        let (alternatives, combined) = self.choices(position, step, &closure);
        let own = self.relevant(step, &closure);
        let groups = self.by_resource(&combined);
        let mut sets = Vec::new();
        for alternative in [None].into_iter().chain(alternatives.iter().map(Some)) {
            let mut base = own.clone();
            if let Some(alternative) = alternative {
                base.extend(&alternative.closure);
                base.insert(alternative.position);
            }
            for group in &groups {
                let closed = closed_sets(&base, group);
                sets.extend(closed.unwrap_or_else(|| some_closed_sets(&base, group)));
            }
            sets.push(base);
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

    fn closure_of_change(&self, position: usize) -> Rc<BTreeSet<usize>> {
        let stored = self.broad_closures.get(&position).cloned();
        stored.unwrap_or_else(|| Rc::new(self.closure(position)))
    }

    /// For a step on one table, only steps on that table, its database and Lake Formation matter.
    fn relevant(&self, step: &Step, closure: &BTreeSet<usize>) -> BTreeSet<usize> {
        let subject = step.subject();
        let closure = closure.iter().copied();
        if !matches!(subject, Subject::Table(_)) {
            return closure.collect();
        }
        let is_relevant = |other: &usize| {
            let other = self.steps.get(*other);
            other.is_some_and(|other| is_related(&subject, &other.subject()))
        };
        closure.filter(is_relevant).collect()
    }

    /// Returns the steps that can make the check of a step fail and are not ordered with it: those
    /// of which a witness needs at most one, and the others, in the order of the plan.
    fn choices(
        &self,
        position: usize,
        step: &Step,
        closure: &BTreeSet<usize>,
    ) -> (Vec<Choice>, Vec<Choice>) {
        // A step that makes several changes is combined, if one of them is.
        let mut candidates: BTreeMap<usize, bool> = BTreeMap::new();
        for change in changes_checked_by(step) {
            for other in self.steps_that_change(change, &step.subject()) {
                let other_step = self.steps.get(other);
                let is_concerned = other_step.is_some_and(|o| concerns(change, o, step));
                if other != position && !closure.contains(&other) && is_concerned {
                    let is_alternative = candidates.entry(other).or_insert(true);
                    *is_alternative &= change.is_alternative();
                }
            }
        }
        let (mut alternatives, mut combined) = (Vec::new(), Vec::new());
        for (other, is_alternative) in candidates {
            let closure = self.closure_of_change(other);
            if closure.contains(&position) {
                continue;
            }
            let choice = Choice {
                position: other,
                closure: self.relevant(step, &closure),
            };
            match is_alternative {
                true => alternatives.push(choice),
                false => combined.push(choice),
            }
        }
        (alternatives, combined)
    }

    /// Returns the positions of the steps that make a change, on a subject or on what decides about
    /// it: of a table also on its database, of a database also on its tables.
    fn steps_that_change(&self, change: Change, subject: &Subject) -> Vec<usize> {
        let Some(by_subject) = self.changes.get(&change) else {
            return Vec::new();
        };
        let at = |subject: &Subject| by_subject.get(subject).into_iter().flatten().copied();
        if change.is_catalog_wide() {
            return by_subject.values().flatten().copied().collect();
        }
        if change == Change::Revoke {
            return at(subject).collect();
        }
        match subject {
            Subject::Table(id) => {
                let database = Subject::Database(id.database.clone());
                at(subject).chain(at(&database)).collect()
            }
            Subject::Database(name) => {
                let first = TableId::new(name.clone(), Name::from_service(""));
                let from_first = by_subject.range(Subject::Table(first)..);
                let of_tables = from_first.take_while(
                    |(other, _)| matches!(other, Subject::Table(id) if id.database == *name),
                );
                let of_tables = of_tables.flat_map(|(_, positions)| positions.iter().copied());
                at(subject).chain(of_tables).collect()
            }
            Subject::LakeFormation(_) => by_subject.values().flatten().copied().collect(),
            Subject::Catalog | Subject::Function(_) => at(subject).collect(),
        }
    }

    /// Groups changes by the table or the column that they decide about. Changes of a database, and
    /// those of the catalog, are in every group of their tables.
    fn by_resource<'c>(&self, combined: &'c [Choice]) -> Vec<Vec<&'c Choice>> {
        let resource = |choice: &Choice| self.steps.get(choice.position).map(Resources::of);
        let mut all: BTreeSet<Resources> = combined.iter().filter_map(resource).collect();
        let every = all.clone();
        // A change of more is part of the groups of what it contains, if there are any.
        all.retain(|one| {
            !every
                .iter()
                .any(|other| other != one && one.contains(other))
        });
        let group = |one: &Resources| {
            let is_part = |choice: &&Choice| resource(choice).is_some_and(|of| of.contains(one));
            combined.iter().filter(is_part).collect()
        };
        all.iter().map(group).collect()
    }
}

/// The resources about which a change decides: those of the whole catalog, of a database, of a
/// table, or of a column. Each field that is `None` stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Resources {
    database: Option<Name>,
    table: Option<Name>,
    column: Option<Name>,
}

impl Resources {
    fn of(step: &Step) -> Self {
        let column = match step.target() {
            StepTarget::Attachment(_, AttachmentKey::LfTagAssignment { column, .. }) => column,
            StepTarget::Attachment(..)
            | StepTarget::Object(_)
            | StepTarget::TableDefaults(_)
            | StepTarget::Deletion(_)
            | StepTarget::Partition(..)
            | StepTarget::Grant(_)
            | StepTarget::Revoke(_)
            | StepTarget::Settings
            | StepTarget::NarrowedSettings => None,
        };
        match step.subject() {
            Subject::Table(id) => Self {
                database: Some(id.database),
                table: Some(id.table),
                column,
            },
            Subject::Database(name) => Self {
                database: Some(name),
                ..Self::default()
            },
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => Self::default(),
        }
    }

    /// Whether the other resources are among these.
    fn contains(&self, other: &Self) -> bool {
        let fields = [
            (&self.database, &other.database),
            (&self.table, &other.table),
            (&self.column, &other.column),
        ];
        fields
            .into_iter()
            .all(|(own, other)| own.is_none() || own == other)
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

/// The changes that a step makes.
fn changes_by(step: &Step) -> Vec<Change> {
    match step {
        Step::CreateTable { .. } => vec![Change::Columns, Change::LfTags, Change::Creation],
        Step::CreateDatabase { .. } => vec![Change::Creation],
        Step::UpdateTable { .. } => vec![Change::Columns],
        Step::Grant { grant, .. } => {
            let is_iam_allowed = grant.principal.0 == IAM_ALLOWED_PRINCIPALS;
            let possible = [
                (
                    Change::PolicyGrant,
                    matches!(grant.resource, Resource::LfTagPolicy { .. }),
                ),
                (
                    Change::FilterGrant,
                    matches!(grant.resource, Resource::DataCellsFilter(..)),
                ),
                (
                    Change::IamAllowedGrant,
                    is_iam_allowed && !matches!(grant.resource, Resource::Database(_)),
                ),
            ];
            let made = possible.into_iter().filter(|(_, is_made)| *is_made);
            made.map(|(change, _)| change).collect()
        }
        Step::Revoke { .. } => vec![Change::Revoke],
        Step::PutAttachment { attachment, .. } => match attachment.key() {
            AttachmentKey::DataCellsFilter(_) => vec![Change::Filters],
            AttachmentKey::LfTagAssignment { .. } => vec![Change::LfTags],
            AttachmentKey::NamedExpression(_) => vec![Change::Expression],
            AttachmentKey::OptIn(_)
            | AttachmentKey::Index(_)
            | AttachmentKey::Statistics(_)
            | AttachmentKey::GlueTag(_)
            | AttachmentKey::Registration(_)
            | AttachmentKey::LfTagValue { .. } => Vec::new(),
        },
        Step::RemoveAttachment { key, .. } => match key {
            AttachmentKey::DataCellsFilter(_) => vec![Change::Filters],
            AttachmentKey::LfTagAssignment { .. } => vec![Change::LfTags],
            AttachmentKey::OptIn(_) => vec![Change::OptInRemoval],
            AttachmentKey::NamedExpression(_)
            | AttachmentKey::Index(_)
            | AttachmentKey::Statistics(_)
            | AttachmentKey::GlueTag(_)
            | AttachmentKey::Registration(_)
            | AttachmentKey::LfTagValue { .. } => Vec::new(),
        },
        Step::UpdateDatabase { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutSettings { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => Vec::new(),
    }
}

/// The changes by other steps that can make the check of a step fail.
fn changes_checked_by(step: &Step) -> Vec<Change> {
    match step {
        Step::CreateTable { .. } | Step::UpdateTable { .. } => vec![
            Change::PolicyGrant,
            Change::FilterGrant,
            Change::LfTags,
            Change::Columns,
            Change::Filters,
            Change::IamAllowedGrant,
            Change::OptInRemoval,
        ],
        Step::Grant { grant, .. } => changes_checked_by_grant(grant),
        Step::Revoke { cause, .. } => match cause {
            RevokeCause::Replace => vec![Change::Revoke],
            RevokeCause::NotInPrimary
            | RevokeCause::NamedByEvent
            | RevokeCause::Deletion
            | RevokeCause::ExpressionChanged
            | RevokeCause::ColumnDropped => Vec::new(),
        },
        Step::PutAttachment { .. } | Step::RemoveAttachment { .. } => match step.target() {
            StepTarget::Attachment(_, AttachmentKey::LfTagAssignment { .. }) => {
                vec![Change::PolicyGrant, Change::LfTags, Change::Columns]
            }
            StepTarget::Attachment(_, AttachmentKey::DataCellsFilter(_)) => {
                vec![Change::FilterGrant, Change::Columns]
            }
            StepTarget::Attachment(_, AttachmentKey::NamedExpression(_)) => {
                vec![Change::PolicyGrant]
            }
            StepTarget::Attachment(_, AttachmentKey::OptIn(_)) if !step.only_narrows() => {
                vec![Change::Creation]
            }
            StepTarget::Attachment(..)
            | StepTarget::Object(_)
            | StepTarget::TableDefaults(_)
            | StepTarget::Deletion(_)
            | StepTarget::Partition(..)
            | StepTarget::Grant(_)
            | StepTarget::Revoke(_)
            | StepTarget::Settings
            | StepTarget::NarrowedSettings => Vec::new(),
        },
        Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutSettings { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => Vec::new(),
    }
}

fn changes_checked_by_grant(grant: &PermissionGrant) -> Vec<Change> {
    let mut changes = match &grant.resource {
        Resource::LfTagPolicy { .. } => vec![Change::LfTags, Change::Columns, Change::Expression],
        Resource::Column(..) => vec![Change::IamAllowedGrant],
        Resource::ColumnsExcept(..) => vec![Change::IamAllowedGrant, Change::Columns],
        Resource::DataCellsFilter(..) => vec![Change::Filters, Change::Columns],
        Resource::Table(_) | Resource::AllTables(_) => vec![Change::Columns],
        Resource::Database(_)
        | Resource::Catalog
        | Resource::DataLocation(_)
        | Resource::LfTag { .. }
        | Resource::LfTagExpression(_) => Vec::new(),
    };
    if grant.principal.0 == IAM_ALLOWED_PRINCIPALS {
        changes.extend([Change::OptInRemoval, Change::Creation]);
    }
    changes
}

/// Whether a change that a step makes concerns another step, as far as that depends on more than
/// the subjects of both.
fn concerns(change: Change, by: &Step, step: &Step) -> bool {
    match change {
        Change::Revoke => by.target() == step.target(),
        Change::Expression => matches!(
            (by.target(), step.target()),
            (
                StepTarget::Attachment(_, AttachmentKey::NamedExpression(put)),
                StepTarget::Grant(grant),
            ) if names_expression(&grant, &put)
        ),
        Change::PolicyGrant
        | Change::FilterGrant
        | Change::IamAllowedGrant
        | Change::Creation
        | Change::OptInRemoval
        | Change::LfTags
        | Change::Columns
        | Change::Filters => true,
    }
}

fn names_expression(grant: &PermissionGrant, expression: &str) -> bool {
    matches!(
        &grant.resource,
        Resource::LfTagPolicy { policy: LfTagPolicy::NamedExpression(name), .. } if name == expression
    )
}

/// Returns the closed sets that contain `base` and any of the choices, which are in the order of the
/// plan. Returns `None` if they are too many.
fn closed_sets(base: &BTreeSet<usize>, choices: &[&Choice]) -> Option<Vec<BTreeSet<usize>>> {
    // Each set, with the choices that are not in it.
    let mut sets = vec![(base.clone(), BTreeSet::new())];
    for choice in choices {
        let mut next = Vec::with_capacity(sets.len());
        for (set, excluded) in sets {
            if set.contains(&choice.position) {
                next.push((set, excluded));
                continue;
            }
            if choice.closure.is_disjoint(&excluded) {
                next.push((with_choices(&set, &[choice]), excluded.clone()));
            }
            let mut excluded = excluded;
            excluded.insert(choice.position);
            next.push((set, excluded));
        }
        if next.len() > MAX_SETS_OF_A_RESOURCE {
            return None;
        }
        sets = next;
    }
    Some(sets.into_iter().map(|(set, _)| set).collect())
}

/// Returns the closed sets that contain `base` and one choice, two, or all.
fn some_closed_sets(base: &BTreeSet<usize>, choices: &[&Choice]) -> Vec<BTreeSet<usize>> {
    let mut sets = vec![with_choices(base, choices)];
    for (index, one) in choices.iter().enumerate() {
        sets.push(with_choices(base, &[one]));
        let others = choices.iter().skip(index + 1);
        sets.extend(others.map(|other| with_choices(base, &[one, other])));
    }
    sets
}

fn with_choices(base: &BTreeSet<usize>, choices: &[&Choice]) -> BTreeSet<usize> {
    let mut set = base.clone();
    for choice in choices {
        set.extend(&choice.closure);
        set.insert(choice.position);
    }
    set
}

#[cfg(test)]
mod tests;
