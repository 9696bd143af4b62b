//! The effective LF-Tags of one database or table after each step of a plan.

use super::super::PlanBuilder;
use super::super::lf_tag_policy_grants::{named_expression, policy_of, satisfies};
use super::{DeferredSubject, changes_lf_tags, columns, is_extra};
use crate::catalog::{Attachment, AttachmentKey};
use crate::grant::{LfTagExpression, LfTagPolicy, LfTagPolicyTarget, PermissionGrant};
use crate::ledger::SubjectState;
use crate::name::Name;
use crate::scope::{Facet, Subject};
use crate::snapshot::{Attachments, LfTags, Observation, Snapshot};
use crate::step::Step;
use std::collections::{BTreeMap, BTreeSet};

/// The LF-Tags that are assigned to a subject and its columns: values by column (`None` is the
/// subject itself) and key.
type AssignedTags = BTreeMap<(Option<Name>, String), String>;

fn assigned_tags(snapshot: &Snapshot, subject: &Subject) -> Option<AssignedTags> {
    let facet_key = (subject.clone(), Facet::LfTagAssignments);
    let attachments: &Attachments = snapshot.attachments.get(&facet_key)?.present()?;
    let all = attachments
        .values()
        .filter_map(|observed| assignment_of(&observed.attachment));
    Some(all.collect())
}

fn assignment_of(attachment: &Attachment) -> Option<((Option<Name>, String), String)> {
    if let Attachment::LfTagAssignment { column, key, value } = attachment {
        return Some(((column.clone(), key.clone()), value.clone()));
    }
    None
}

/// The extra access that a grant gives to one database or table.
pub(super) enum OpenedAccess {
    /// None.
    Nothing,
    /// Access between two steps of the plan.
    Temporarily,
    /// Access after the plan.
    Permanently,
}

/// The LF-Tags of a subject (`None`) and of its columns, inherited ones included.
type EffectiveTags = BTreeMap<Option<Name>, LfTags>;

/// The effective LF-Tags of one database or table over a plan.
pub(super) struct TagTimeline {
    target: LfTagPolicyTarget,
    /// Before the plan, and after each of its steps.
    tags_after_steps: Vec<EffectiveTags>,
    /// After some of its steps, where changes of LF-Tags failed or are made in another order.
    tags_after_failures: Vec<EffectiveTags>,
    /// In the primary; empty if it does not exist there or was not read.
    primary: EffectiveTags,
    /// The subject whose steps are left out if they would give extra access.
    pub(super) deferred_subject: Subject,
    /// Whether everything that decides was read: the LF-Tags in both Regions, or that the primary
    /// lacks the table, or that Twinlake does not manage it.
    pub(super) is_known: bool,
}

impl TagTimeline {
    pub(super) fn of(
        builder: &PlanBuilder<'_>,
        subject: &Subject,
        steps: &BTreeMap<Subject, Vec<Step>>,
    ) -> Result<Self, DeferredSubject> {
        let inputs = builder.inputs;
        let database = subject.database().cloned().map(Subject::Database);
        let database = database.unwrap_or_else(|| subject.clone());
        let is_table = *subject != database;
        let of = |subject: &Subject| steps.get(subject).into_iter().flatten();
        let mut all: Vec<&Step> = of(&database).collect();
        if is_table {
            all.extend(of(subject));
        }
        all.sort_by_key(|step| (step.phase(), step.rank()));
        let creates = |step: &&Step| matches!(step, Step::CreateTable { .. });
        let is_created = all.iter().any(creates);
        let deferred_subject = match steps.contains_key(subject) {
            true => subject.clone(),
            false => database.clone(),
        };
        let unread = |of: &Subject| DeferredSubject {
            subject: deferred_subject.clone(),
            reason: format!("the LF-Tags of {of} were not read"),
            is_final: false,
        };
        let mut state = TagState {
            on_database: assigned_tags(inputs.standby, &database)
                .ok_or_else(|| unread(&database))?,
            own: AssignedTags::new(),
            columns: BTreeSet::new(),
            exists: !is_created,
            is_table,
        };
        if let (Subject::Table(id), false) = (subject, is_created) {
            // A table whose LF-Tags were not read is not managed by Twinlake. It is treated as if
            // it had no LF-Tags of its own and inherited all.
            state.own = assigned_tags(inputs.standby, subject).unwrap_or_default();
            let observed = inputs.standby.tables.get(id).and_then(Observation::present);
            state.columns = columns(observed.map(|observed| &observed.object));
        }
        let tags_after_failures = tags_after_failures(&state, &all, &database);
        let mut tags_after_steps = vec![state.effective_tags()];
        for step in all {
            state.apply(step, &database);
            tags_after_steps.push(state.effective_tags());
        }
        let primary = primary_tags(builder, subject, &database);
        let outcome = builder.subject_outcomes.get(subject);
        let is_blocked = outcome.is_some_and(|outcome| outcome.state == SubjectState::Blocked);
        let is_excluded = matches!(subject, Subject::Table(id) if !inputs.policy.covers_table(id));
        let is_unmanaged = is_blocked || is_excluded;
        Ok(Self {
            is_known: primary.is_some() || is_unmanaged || is_absent_in_primary(builder, subject),
            target: match is_table {
                true => LfTagPolicyTarget::Table,
                false => LfTagPolicyTarget::Database,
            },
            tags_after_steps,
            tags_after_failures,
            primary: primary.unwrap_or_default(),
            deferred_subject,
        })
    }

    /// Whether a grant that the plan makes gives access after the plan that it does not give in the
    /// primary. Its LF-Tag expression equals the primary's by then.
    pub(super) fn is_opened_by_new(
        &self,
        builder: &PlanBuilder<'_>,
        grant: &PermissionGrant,
    ) -> bool {
        let policy = policy_of(grant).filter(|(target, _)| *target == self.target);
        let Some((_, policy)) = policy else {
            return false;
        };
        let expression = expression(builder.inputs.primary, policy);
        let is_open =
            |tags: &LfTags| expression.is_none_or(|expression| satisfies(expression, tags));
        let Some(after) = self.tags_after_steps.last() else {
            return false;
        };
        let mut open = after.iter().filter(|(_, tags)| is_open(tags));
        open.any(|(column, _)| !self.primary.get(column).is_some_and(is_open))
    }

    pub(super) fn opened_access(
        &self,
        builder: &PlanBuilder<'_>,
        grant: &PermissionGrant,
    ) -> OpenedAccess {
        let Some((target, policy)) = policy_of(grant) else {
            return OpenedAccess::Nothing;
        };
        if target != self.target {
            return OpenedAccess::Nothing;
        }
        let in_standby = expression(builder.inputs.standby, policy);
        let in_primary = expression(builder.inputs.primary, policy);
        // An expression that was not read counts as satisfied by everything.
        let opened = |effective_tags: &EffectiveTags| -> BTreeSet<Option<Name>> {
            let is_satisfied =
                |tags: &LfTags| in_standby.is_none_or(|in_standby| satisfies(in_standby, tags));
            let open = effective_tags.iter().filter(|(_, tags)| is_satisfied(tags));
            open.map(|(column, _)| column.clone()).collect()
        };
        let allowed = |column: &Option<Name>| {
            let tags = self.primary.get(column);
            let is_satisfied = tags.is_some_and(|tags| {
                in_primary.is_some_and(|in_primary| satisfies(in_primary, tags))
            });
            is_satisfied && !is_extra(builder, grant)
        };
        let Some(before) = self.tags_after_steps.first().map(opened) else {
            return OpenedAccess::Nothing;
        };
        let opens_extra = |effective_tags: &EffectiveTags| {
            let now_open = opened(effective_tags);
            now_open
                .iter()
                .any(|column| !before.contains(column) && !allowed(column))
        };
        if self.tags_after_steps.last().is_some_and(opens_extra) {
            return OpenedAccess::Permanently;
        }
        let mut during = self
            .tags_after_steps
            .iter()
            .chain(&self.tags_after_failures);
        match during.any(opens_extra) {
            true => OpenedAccess::Temporarily,
            false => OpenedAccess::Nothing,
        }
    }
}

/// The most changes of LF-Tags of which every selection is looked at.
const MAX_SELECTED_CHANGES: usize = 6;

/// The effective LF-Tags after some of the changes of LF-Tags that do not require each other, those
/// of one order: each of them may fail alone. Of very many, each is made, and left out, alone.
fn tags_after_failures(
    before: &TagState,
    steps: &[&Step],
    database: &Subject,
) -> Vec<EffectiveTags> {
    let mut by_order: BTreeMap<_, Vec<&Step>> = BTreeMap::new();
    for step in steps.iter().filter(|step| changes_lf_tags(step)) {
        by_order.entry(step.order()).or_default().push(step);
    }
    let mut all = Vec::new();
    for (order, changes) in by_order {
        let mut state = before.clone();
        let earlier = steps.iter().filter(|step| step.order() < order);
        earlier.for_each(|step| state.apply(step, database));
        for selection in selections(changes.len()) {
            let mut state = state.clone();
            let selected = changes.iter().enumerate();
            let selected = selected.filter(|(position, _)| selection.contains(position));
            selected.for_each(|(_, step)| state.apply(step, database));
            all.push(state.effective_tags());
        }
    }
    all
}

/// Selections of some of so many changes, by position.
fn selections(count: usize) -> Vec<BTreeSet<usize>> {
    let all = 0..count;
    if count > MAX_SELECTED_CHANGES {
        let alone = all.clone().map(|position| BTreeSet::from([position]));
        let without = all
            .clone()
            .map(|left_out| all.clone().filter(|one| *one != left_out).collect());
        return alone.chain(without).collect();
    }
    let is_selected = |selection: usize, position: &usize| (selection >> position) & 1 == 1;
    let proper = 1..(1_usize << count).saturating_sub(1);
    proper
        .map(|selection| {
            all.clone()
                .filter(|one| is_selected(selection, one))
                .collect()
        })
        .collect()
}

fn expression<'e>(snapshot: &'e Snapshot, policy: &'e LfTagPolicy) -> Option<&'e LfTagExpression> {
    match policy {
        LfTagPolicy::Expression(expression) => Some(expression),
        LfTagPolicy::NamedExpression(name) => named_expression(snapshot, name),
    }
}

/// Whether the listing of its database shows that the primary lacks a table.
fn is_absent_in_primary(builder: &PlanBuilder<'_>, subject: &Subject) -> bool {
    let Subject::Table(id) = subject else {
        return false;
    };
    let listed = builder.inputs.primary.table_names.get(&id.database);
    listed.is_some_and(|names| !names.contains(&id.table))
}

fn primary_tags(
    builder: &PlanBuilder<'_>,
    subject: &Subject,
    database: &Subject,
) -> Option<EffectiveTags> {
    let snapshot = builder.inputs.primary;
    let mut state = TagState {
        on_database: assigned_tags(snapshot, database)?,
        own: AssignedTags::new(),
        columns: BTreeSet::new(),
        exists: true,
        is_table: subject != database,
    };
    if let Subject::Table(id) = subject {
        let observed = snapshot.tables.get(id).and_then(Observation::present)?;
        state.own = assigned_tags(snapshot, subject)?;
        state.columns = columns(Some(&observed.object));
    }
    Some(state.effective_tags())
}

/// The assigned LF-Tags and columns of a database or table between two steps.
#[derive(Clone)]
struct TagState {
    on_database: AssignedTags,
    own: AssignedTags,
    columns: BTreeSet<Name>,
    exists: bool,
    is_table: bool,
}

impl TagState {
    fn apply(&mut self, step: &Step, database: &Subject) {
        if let Step::CreateTable { table, .. } | Step::UpdateTable { table, .. } = step {
            self.columns = columns(Some(table));
            self.exists = true;
        }
        let is_database_step = step.subject() == *database;
        let all = match is_database_step {
            true => &mut self.on_database,
            false => &mut self.own,
        };
        if let Step::PutAttachment { attachment, .. } = step
            && let Some((column_and_key, value)) = assignment_of(attachment)
        {
            all.insert(column_and_key, value);
        }
        if let Step::RemoveAttachment {
            key: AttachmentKey::LfTagAssignment { column, key },
            ..
        } = step
        {
            all.remove(&(column.clone(), key.clone()));
        }
    }

    fn effective_tags(&self) -> EffectiveTags {
        let mut effective_tags = EffectiveTags::new();
        if !self.exists {
            return effective_tags;
        }
        let of = |all: &AssignedTags, wanted: &Option<Name>| -> LfTags {
            let selected = all.iter().filter(|((column, _), _)| column == wanted);
            selected
                .map(|((_, key), value)| (key.clone(), value.clone()))
                .collect()
        };
        let mut tags = of(&self.on_database, &None);
        if self.is_table {
            tags.extend(of(&self.own, &None));
        }
        for column in &self.columns {
            let mut own = tags.clone();
            own.extend(of(&self.own, &Some(column.clone())));
            effective_tags.insert(Some(column.clone()), own);
        }
        effective_tags.insert(None, tags);
        effective_tags
    }
}
