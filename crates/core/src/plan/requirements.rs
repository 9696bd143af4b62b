//! The steps that must have succeeded before a step is applied.
//!
//! What failures leave applied is a set of steps that contains, with each step, what that step
//! requires. Every such set must be safe, not only every prefix of the plan: a step that opens
//! access requires each step that keeps principals without access out. A step that only takes access
//! away requires no step that may open some, so that narrowing never waits for it.

use super::columns::TableChange;
use super::lf_item_rights;
use crate::catalog::{Attachment, AttachmentKey, Table};
use crate::grant::{
    IAM_ALLOWED_PRINCIPALS, LfTagExpression, LfTagPolicy, Permission, PermissionGrant, Principal,
    Resource,
};
use crate::name::{Name, TableId};
use crate::scope::{Subject, subject_of_grant};
use crate::step::Step;
use std::collections::{BTreeMap, BTreeSet};

/// Returns how the written definition of a table changes the standby's table.
pub(super) type TableChanges<'a> = &'a dyn Fn(&TableId, &Table) -> TableChange;

/// What the requirements of a step depend on in the standby as it was read.
#[derive(Clone, Copy)]
pub(super) struct InStandby<'a> {
    pub(super) table_changes: TableChanges<'a>,
    /// Whether the standby's LF-Tag expression of this name has the LF-Tag of this key.
    pub(super) expression_uses: &'a dyn Fn(&str, &str) -> bool,
}

/// Which steps a step requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requirements {
    /// Those without which it fails or may give access that the primary does not.
    Necessary,
    /// Also the grants that would fail, or cover more, after it (`grants_before`). If such a grant
    /// is held, this step is planned without it.
    WithOrder,
}

/// Returns, for each step of an ordered plan, the positions of the steps that it requires. Each
/// position is lower than that of the step.
pub(super) fn requirements(
    steps: &[Step],
    standby: InStandby<'_>,
    kind: Requirements,
) -> Vec<Vec<usize>> {
    let mut index = StepIndex::new(standby, kind);
    let mut all = Vec::with_capacity(steps.len());
    for (position, step) in steps.iter().enumerate() {
        let mut required = index.required_by(step);
        // Steps of one order are applied together.
        let is_earlier = |earlier: &usize| {
            steps
                .get(*earlier)
                .is_some_and(|earlier| earlier.order() < step.order())
        };
        required.retain(is_earlier);
        all.push(required.into_iter().collect());
        index.add(position, step);
    }
    all
}

type Positions = BTreeSet<usize>;

/// The steps so far, by what they change.
struct StepIndex<'a> {
    standby: InStandby<'a>,
    kind: Requirements,
    /// Creations and updates of databases, tables and functions.
    objects: BTreeMap<Subject, Positions>,
    /// Changes and deletions of the database and its tables, and changes of their LF-Tag
    /// assignments.
    in_database: BTreeMap<Name, Positions>,
    /// Changes of opt-ins in a database, and changes and deletions of its functions.
    functions_and_opt_ins_in_database: BTreeMap<Name, Positions>,
    /// Deletions of tables in a database.
    deletions_in_database: BTreeMap<Name, Positions>,
    /// The changes of `in_database` in all databases.
    in_catalog: Positions,
    /// Grants by subject.
    grants: BTreeMap<Subject, Vec<(usize, PermissionGrant)>>,
    /// Updates that clear a database's default permissions for new tables.
    closed_defaults: BTreeMap<Name, Positions>,
    /// Writes of the data lake settings that only take access away.
    narrowed_settings: Positions,
    /// Revokes by the subject of their grant.
    revokes: BTreeMap<Subject, Vec<(usize, PermissionGrant)>>,
    /// Revokes of grants by LF-Tag policies.
    policy_revokes: Vec<(usize, PermissionGrant)>,
    /// Changes of LF-Tag assignments by subject.
    lf_tags: BTreeMap<Subject, Positions>,
    /// Changes of LF-Tag assignments in a database.
    lf_tags_in_database: BTreeMap<Name, Positions>,
    /// Changes of LF-Tag assignments by LF-Tag key.
    lf_tags_by_key: BTreeMap<String, Positions>,
    /// Writes of data cells filters by table and filter.
    filters: BTreeMap<(Subject, String), Positions>,
    /// Creations of opt-ins, with their subject and principal.
    opt_ins: Vec<(usize, Subject, Principal)>,
    /// Revokes of grants to `IAM_ALLOWED_PRINCIPALS`, with their subject.
    iam_revokes: Vec<(usize, Subject)>,
    /// Changes of LF-Tag values by key and value.
    lf_tag_values: BTreeMap<(String, String), Positions>,
    /// Writes of LF-Tag expressions by name.
    expressions: BTreeMap<String, Positions>,
    /// Registrations of data locations.
    registrations: Positions,
    /// What each step on a partition of the table requires.
    required_by_partitions: BTreeMap<TableId, Positions>,
    /// Changes of one attachment, which are applied one after the other.
    attachments: BTreeMap<(Subject, AttachmentKey), Positions>,
}

fn of<K: Ord>(map: &BTreeMap<K, Positions>, key: &K) -> Positions {
    map.get(key).cloned().unwrap_or_default()
}

impl<'a> StepIndex<'a> {
    fn new(standby: InStandby<'a>, kind: Requirements) -> Self {
        Self {
            standby,
            kind,
            functions_and_opt_ins_in_database: BTreeMap::new(),
            objects: BTreeMap::new(),
            in_database: BTreeMap::new(),
            deletions_in_database: BTreeMap::new(),
            in_catalog: Positions::new(),
            grants: BTreeMap::new(),
            closed_defaults: BTreeMap::new(),
            narrowed_settings: Positions::new(),
            revokes: BTreeMap::new(),
            policy_revokes: Vec::new(),
            lf_tags: BTreeMap::new(),
            lf_tags_in_database: BTreeMap::new(),
            lf_tags_by_key: BTreeMap::new(),
            filters: BTreeMap::new(),
            opt_ins: Vec::new(),
            iam_revokes: Vec::new(),
            lf_tag_values: BTreeMap::new(),
            expressions: BTreeMap::new(),
            registrations: Positions::new(),
            required_by_partitions: BTreeMap::new(),
            attachments: BTreeMap::new(),
        }
    }

    fn add(&mut self, position: usize, step: &Step) {
        let subject = step.subject();
        match step {
            Step::UpdateDatabase {
                clears_default_permissions: true,
                database,
                ..
            } => {
                self.closed_defaults
                    .entry(database.name.clone())
                    .or_default()
                    .insert(position);
                self.add_object(position, subject);
            }
            Step::CreateDatabase { .. }
            | Step::UpdateDatabase {
                clears_default_permissions: false,
                ..
            }
            | Step::CreateTable { .. }
            | Step::UpdateTable { .. } => self.add_object(position, subject),
            Step::CreateFunction { .. } | Step::UpdateFunction { .. } => {
                self.add_function_or_opt_in(position, &subject);
                self.objects.entry(subject).or_default().insert(position);
            }
            Step::PutAttachment { attachment, .. } => {
                if let Attachment::OptIn(opt_in) = attachment {
                    let principal = opt_in.principal.clone();
                    self.opt_ins.push((position, subject.clone(), principal));
                }
                self.add_attachment(position, subject, &attachment.key());
            }
            Step::RemoveAttachment { key, .. } => self.add_attachment(position, subject, key),
            Step::Revoke { grant, .. } => self.add_revoke(position, grant),
            Step::DeleteTable { id } => {
                let in_database = self.deletions_in_database.entry(id.database.clone());
                in_database.or_default().insert(position);
                self.add_in_catalog(position, &subject);
            }
            Step::DeleteFunction { .. } => self.add_function_or_opt_in(position, &subject),
            Step::DeleteDatabase { .. } => self.add_in_catalog(position, &subject),
            Step::PutSettings {
                only_narrows: true, ..
            } => {
                self.narrowed_settings.insert(position);
            }
            Step::PutSettings {
                only_narrows: false,
                ..
            } => {}
            Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::DeletePartition { .. } => {}
            Step::Grant { grant, .. } => {
                self.grants
                    .entry(subject)
                    .or_default()
                    .push((position, grant.clone()));
            }
        }
    }

    fn add_object(&mut self, position: usize, subject: Subject) {
        self.add_in_catalog(position, &subject);
        self.objects.entry(subject).or_default().insert(position);
    }

    /// Adds what no grant on a database or by LF-Tags covers.
    fn add_function_or_opt_in(&mut self, position: usize, subject: &Subject) {
        if let Some(database) = subject.database() {
            let in_database = self
                .functions_and_opt_ins_in_database
                .entry(database.clone());
            in_database.or_default().insert(position);
        }
    }

    fn add_in_catalog(&mut self, position: usize, subject: &Subject) {
        if let Some(database) = subject.database() {
            self.in_database
                .entry(database.clone())
                .or_default()
                .insert(position);
        }
        self.in_catalog.insert(position);
    }

    fn add_revoke(&mut self, position: usize, grant: &PermissionGrant) {
        if grant.principal.0 == IAM_ALLOWED_PRINCIPALS {
            self.iam_revokes.push((position, subject_of_grant(grant)));
        }
        if matches!(grant.resource, Resource::LfTagPolicy { .. }) {
            self.policy_revokes.push((position, grant.clone()));
        } else {
            let subject = subject_of_grant(grant);
            self.revokes
                .entry(subject)
                .or_default()
                .push((position, grant.clone()));
        }
    }

    fn add_attachment(&mut self, position: usize, subject: Subject, key: &AttachmentKey) {
        match key {
            AttachmentKey::LfTagAssignment { key, .. } => {
                self.add_in_catalog(position, &subject);
                if let Some(database) = subject.database() {
                    let in_database = self.lf_tags_in_database.entry(database.clone());
                    in_database.or_default().insert(position);
                }
                self.lf_tags_by_key
                    .entry(key.clone())
                    .or_default()
                    .insert(position);
                self.lf_tags
                    .entry(subject.clone())
                    .or_default()
                    .insert(position);
            }
            AttachmentKey::DataCellsFilter(name) => {
                let filter = (subject.clone(), name.clone());
                self.filters.entry(filter).or_default().insert(position);
            }
            AttachmentKey::OptIn(_) => {
                self.add_function_or_opt_in(position, &subject);
            }
            AttachmentKey::LfTagValue { key, value } => {
                self.lf_tag_values
                    .entry((key.clone(), value.clone()))
                    .or_default()
                    .insert(position);
            }
            AttachmentKey::NamedExpression(name) => {
                self.expressions
                    .entry(name.clone())
                    .or_default()
                    .insert(position);
            }
            AttachmentKey::Registration(_) => {
                self.registrations.insert(position);
            }
            AttachmentKey::Index(_) | AttachmentKey::Statistics(_) | AttachmentKey::GlueTag(_) => {}
        }
        let attachment = (subject, key.clone());
        self.attachments
            .entry(attachment)
            .or_default()
            .insert(position);
    }

    fn required_by(&mut self, step: &Step) -> Positions {
        let subject = step.subject();
        match step {
            // What only takes access away.
            Step::Revoke { .. }
            | Step::PutSettings {
                only_narrows: true, ..
            }
            | Step::UpdateDatabase {
                clears_default_permissions: true,
                ..
            }
            | Step::DeletePartition { .. }
            | Step::DeleteTable { .. }
            | Step::DeleteFunction { .. } => Positions::new(),
            Step::PutSettings {
                only_narrows: false,
                ..
            } => self.narrowed_settings.clone(),
            Step::CreateDatabase { .. } => {
                let mut required = self.narrowed_settings.clone();
                required.extend(self.revokes_on(&subject));
                required
            }
            Step::UpdateDatabase {
                clears_default_permissions: false,
                ..
            } => of(&self.objects, &subject),
            Step::CreateTable { id, .. } => {
                let mut required = self.object_and_database(&subject);
                required.extend(self.narrowed_settings.iter());
                required.extend(self.opening_a_table(id));
                required
            }
            Step::UpdateTable { id, table, .. } => {
                let mut required = of(&self.objects, &subject);
                if (self.standby.table_changes)(id, table).reveals {
                    required.extend(self.opening_a_table(id));
                }
                required
            }
            Step::CreatePartition { id, .. } | Step::UpdatePartition { id, .. } => {
                self.required_by_partition(id, &subject)
            }
            Step::CreateFunction { .. } | Step::UpdateFunction { .. } => {
                self.object_and_database(&subject)
            }
            Step::PutAttachment { attachment, .. } => self.required_by_put(&subject, attachment),
            Step::RemoveAttachment { key, .. } => self.required_by_removal(&subject, key),
            Step::Grant { grant, .. } => self.required_by_grant(&subject, grant),
            Step::DeleteDatabase { name } => {
                let mut required = of(&self.in_database, name);
                required.extend(of(&self.functions_and_opt_ins_in_database, name));
                required
            }
        }
    }

    /// The steps that create or update an object and its database.
    fn object_and_database(&self, subject: &Subject) -> Positions {
        let mut parents = of(&self.objects, subject);
        if let Some(database) = subject.database() {
            parents.extend(of(&self.objects, &Subject::Database(database.clone())));
        }
        parents
    }

    /// What a partition shows is new to everybody who has access to its table. The steps on
    /// partitions follow each other and are many.
    fn required_by_partition(&mut self, id: &TableId, subject: &Subject) -> Positions {
        if let Some(required) = self.required_by_partitions.get(id) {
            return required.clone();
        }
        let mut required = self.object_and_database(subject);
        required.extend(self.opening_a_table(id));
        self.required_by_partitions
            .insert(id.clone(), required.clone());
        required
    }

    fn revokes_on(&self, subject: &Subject) -> Positions {
        let revokes = self.revokes.get(subject).into_iter().flatten();
        revokes.map(|(position, _)| *position).collect()
    }

    fn revokes_that(
        &self,
        subject: &Subject,
        is_affected: &dyn Fn(&Resource) -> bool,
    ) -> Positions {
        let revokes = self.revokes.get(subject).into_iter().flatten();
        let affected = revokes.filter(|(_, grant)| is_affected(&grant.resource));
        affected.map(|(position, _)| *position).collect()
    }

    fn policy_revokes(&self) -> Positions {
        self.policy_revokes
            .iter()
            .map(|(position, _)| *position)
            .collect()
    }

    /// The steps that keep principals out of a table and its columns that the primary keeps out.
    fn opening_a_table(&self, id: &TableId) -> Positions {
        let database = Subject::Database(id.database.clone());
        let table = Subject::Table(id.clone());
        let mut required = self.revokes_on(&table);
        required.extend(self.revokes_on(&database));
        required.extend(self.policy_revokes());
        required.extend(of(&self.closed_defaults, &id.database));
        let of_table = self
            .filters
            .iter()
            .filter(|((owner, _), _)| *owner == table);
        required.extend(of_table.flat_map(|(_, positions)| positions));
        required
    }

    fn required_by_put(&self, subject: &Subject, part: &Attachment) -> Positions {
        let mut required = of(&self.attachments, &(subject.clone(), part.key()));
        match part {
            Attachment::Index(_) | Attachment::Statistics(_) | Attachment::GlueTag { .. } => {
                required.extend(self.object_and_database(subject));
            }
            // An opt-in takes access away.
            Attachment::OptIn(_) => required.extend(self.object_and_database(subject)),
            Attachment::DataCellsFilter(filter) => {
                required.extend(self.object_and_database(subject));
                required.extend(self.revokes_that(subject, &|resource| {
                    matches!(resource, Resource::DataCellsFilter(_, name) if *name == filter.name)
                }));
            }
            Attachment::LfTagAssignment { key, value, .. } => {
                required.extend(self.required_by_lf_tag(subject));
                required.extend(self.value(key, value));
            }
            Attachment::LfTagValue { key, value } => {
                required.extend(self.revokes_that(subject, &|resource| {
                    lf_item_rights::is_on_value(resource, key, value)
                }));
            }
            Attachment::Registration(_) => {}
            Attachment::NamedExpression(saved) => {
                required.extend(self.revokes_that(subject, &|resource| {
                    lf_item_rights::is_on_expression(resource, &saved.name)
                }));
                required.extend(self.values_of(&saved.expression));
                required.extend(self.revokes_naming(&saved.name));
            }
        }
        required
    }

    fn required_by_removal(&self, subject: &Subject, key: &AttachmentKey) -> Positions {
        let mut required = of(&self.attachments, &(subject.clone(), key.clone()));
        match key {
            AttachmentKey::Index(_)
            | AttachmentKey::Statistics(_)
            | AttachmentKey::GlueTag(_)
            | AttachmentKey::Registration(_) => {}
            AttachmentKey::DataCellsFilter(_) => required.extend(self.revokes_on(subject)),
            AttachmentKey::LfTagAssignment { .. } => {
                required.extend(self.required_by_lf_tag(subject));
            }
            // Without the opt-in, IAM policies decide where IAM_ALLOWED_PRINCIPALS has a grant.
            AttachmentKey::OptIn(opt_in) => {
                required.extend(self.revokes_on(subject));
                if let Some(database) = subject.database() {
                    required.extend(self.revokes_on(&Subject::Database(database.clone())));
                }
                let beside = self.iam_revokes.iter();
                let beside = beside.filter(|(_, on)| on.overlaps(subject));
                required.extend(beside.map(|(position, _)| *position));
                required.extend(self.opt_ins_on(subject, Some(&opt_in.principal)));
                if let Subject::Database(name) = subject {
                    required.extend(of(&self.deletions_in_database, name));
                }
            }
            AttachmentKey::LfTagValue { key, .. } => {
                required.extend(of(&self.lf_tags_by_key, key));
                required.extend(self.policy_revokes());
                let uses_value = |name: &&String| (self.standby.expression_uses)(name, key);
                let changed = self.expressions.keys().filter(uses_value);
                let changed = changed.filter_map(|name| self.expressions.get(name));
                required.extend(changed.flatten());
            }
            AttachmentKey::NamedExpression(name) => required.extend(self.revokes_naming(name)),
        }
        required
    }

    /// An LF-Tag changes what grants by LF-Tag policies cover, here and in what inherits it.
    fn required_by_lf_tag(&self, subject: &Subject) -> Positions {
        let mut required = self.object_and_database(subject);
        required.extend(self.policy_revokes());
        let (Subject::Table(_), Some(database)) = (subject, subject.database()) else {
            // What overrides the LF-Tag of the database is assigned before that changes.
            if let Some(database) = subject.database() {
                required.extend(of(&self.lf_tags_in_database, database));
            }
            return required;
        };
        required.extend(of(&self.lf_tags, subject));
        required.extend(of(&self.lf_tags, &Subject::Database(database.clone())));
        required
    }

    fn value(&self, key: &str, value: &str) -> Positions {
        of(&self.lf_tag_values, &(key.to_owned(), value.to_owned()))
    }

    fn values_of(&self, expression: &LfTagExpression) -> Positions {
        let pairs = expression.iter();
        let pairs = pairs.flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        pairs
            .flat_map(|(key, value)| self.value(key, value))
            .collect()
    }

    /// Every change of a value that a grant on an LF-Tag names: on all its values, each of them.
    fn granted_values(&self, resource: &Resource) -> Positions {
        let all = self.lf_tag_values.iter();
        let all = all.filter(|((key, value), _)| lf_item_rights::is_on_value(resource, key, value));
        all.flat_map(|(_, positions)| positions).copied().collect()
    }

    fn revokes_naming(&self, expression: &str) -> Positions {
        let names_it = |grant: &PermissionGrant| matches!(&grant.resource, Resource::LfTagPolicy { policy: LfTagPolicy::NamedExpression(name), .. } if name == expression);
        let revokes = self
            .policy_revokes
            .iter()
            .filter(|(_, grant)| names_it(grant));
        revokes.map(|(position, _)| *position).collect()
    }

    fn required_by_grant(&self, subject: &Subject, grant: &PermissionGrant) -> Positions {
        let mut required = self.object_and_database(subject);
        required.extend(self.revokes_on(subject));
        let is_for_all = grant.principal.0 == IAM_ALLOWED_PRINCIPALS;
        match self.kind {
            Requirements::Necessary => {}
            Requirements::WithOrder => required.extend(self.grants_before(subject, grant)),
        }
        match &grant.resource {
            Resource::LfTagPolicy { policy, .. } => {
                required.extend(match policy {
                    LfTagPolicy::Expression(expression) => self.values_of(expression),
                    LfTagPolicy::NamedExpression(name) => of(&self.expressions, name),
                });
                required.extend(self.in_catalog.iter());
                required.extend(self.policy_revokes());
                required.extend(
                    self.revokes
                        .values()
                        .flatten()
                        .map(|(position, _)| *position),
                );
            }
            Resource::AllTables(database) => required.extend(of(&self.in_database, database)),
            Resource::DataCellsFilter(_, name) => {
                required.extend(of(&self.filters, &(subject.clone(), name.clone())));
            }
            Resource::LfTag { .. } => required.extend(self.granted_values(&grant.resource)),
            Resource::LfTagExpression(name) => required.extend(of(&self.expressions, name)),
            Resource::DataLocation(_) => required.extend(self.registrations.iter()),
            Resource::Database(_)
            | Resource::Table(_)
            | Resource::Column(..)
            | Resource::ColumnsExcept(..)
            | Resource::Catalog => {}
        }
        if is_for_all {
            required.extend(self.opt_ins_on(subject, None));
        }
        required
    }

    /// The grants on columns and filters that come before a grant: beside SELECT on the whole table,
    /// Lake Formation rejects a grant on columns (LF-16), and beside a grant to
    /// `IAM_ALLOWED_PRINCIPALS` it covers every column (LF-14).
    fn grants_before(&self, subject: &Subject, grant: &PermissionGrant) -> Positions {
        let is_for_all = grant.principal.0 == IAM_ALLOWED_PRINCIPALS;
        let others = self.grants.get(subject).into_iter().flatten();
        let before = others.filter(|(_, other)| {
            other.grant_order() < grant.grant_order()
                && (is_for_all
                    || (other.principal == grant.principal
                        && grant.permission == Permission::Select))
        });
        before.map(|(position, _)| *position).collect()
    }

    /// The creations of opt-ins, of one principal or of all, that may decide on a subject.
    fn opt_ins_on(&self, subject: &Subject, principal: Option<&Principal>) -> Positions {
        let all = self.opt_ins.iter().filter(|(_, on, of)| {
            on.overlaps(subject) && principal.is_none_or(|principal| of == principal)
        });
        all.map(|(position, _, _)| *position).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Partition;
    use crate::scope::LfSubject;
    use crate::step::RevokeCause;

    fn id() -> TableId {
        TableId::new(Name::from_service("d"), Name::from_service("t"))
    }

    fn revoke(resource: Resource) -> Step {
        Step::Revoke {
            grant: PermissionGrant {
                principal: Principal("p".to_owned()),
                resource,
                permission: Permission::Select,
                condition: None,
            },
            grantable: false,
            cause: RevokeCause::NotInPrimary,
        }
    }

    fn put(lf_subject: LfSubject, attachment: Attachment) -> Step {
        Step::PutAttachment {
            subject: Subject::LakeFormation(lf_subject),
            attachment,
            replaces: false,
            before_object_changes: false,
        }
    }

    fn in_standby(table_changes: TableChanges<'_>) -> InStandby<'_> {
        InStandby {
            table_changes,
            expression_uses: &|_, _| false,
        }
    }

    fn required_by_last(steps: &[Step], reveals: bool) -> Vec<usize> {
        let change = TableChange {
            adds: false,
            drops: true,
            reveals,
        };
        let all = requirements(steps, in_standby(&|_, _| change), Requirements::WithOrder);
        all.last().cloned().unwrap_or_default()
    }

    fn update() -> Step {
        Step::UpdateTable {
            id: id(),
            table: Table::named(id().table),
            version: None,
            changes: Vec::new(),
        }
    }

    #[test]
    fn other_data_of_a_table_requires_its_revokes_and_a_drop_does_not() {
        let of_table = revoke(Resource::Column(id(), Name::from_service("c")));
        let of_database = revoke(Resource::AllTables(id().database));
        let steps = [of_table, of_database, update()];
        assert_eq!(required_by_last(&steps, true), [0, 1]);
        assert!(required_by_last(&steps, false).is_empty());
    }

    #[test]
    fn each_partition_requires_the_revokes_of_its_table_alone() {
        let other = TableId::new(Name::from_service("e"), Name::from_service("t"));
        let partition = |id: &TableId, value: &str| Step::CreatePartition {
            id: id.clone(),
            partition: Partition::named(vec![value.to_owned()]),
        };
        let steps = [
            revoke(Resource::Table(id())),
            revoke(Resource::Table(other.clone())),
            partition(&id(), "1"),
            partition(&other, "1"),
            partition(&id(), "2"),
        ];
        let all = requirements(
            &steps,
            in_standby(&|_, _| TableChange::CREATION),
            Requirements::WithOrder,
        );
        assert_eq!(all[2..], [vec![0], vec![1], vec![0]]);
    }

    #[test]
    fn a_value_or_an_expression_requires_the_revokes_of_rights_on_it() {
        let on_tag = |key: &str, value: &str| {
            let (key, value) = (key.to_owned(), value.to_owned());
            revoke(Resource::LfTag { key, value })
        };
        let (key, value) = ("k".to_owned(), "v".to_owned());
        let steps = [
            on_tag("k", "*"),
            on_tag("k", "v"),
            on_tag("k", "w"),
            on_tag("other", "*"),
            put(LfSubject::LfTags, Attachment::LfTagValue { key, value }),
        ];
        assert_eq!(required_by_last(&steps, true), [0, 1]);
        let saved = crate::catalog::NamedLfTagExpression {
            name: "e".to_owned(),
            description: None,
            expression: BTreeMap::new(),
        };
        let steps = [
            revoke(Resource::LfTagExpression("e".to_owned())),
            revoke(Resource::LfTagExpression("f".to_owned())),
            put(
                LfSubject::LfTagExpressions,
                Attachment::NamedExpression(saved),
            ),
        ];
        assert_eq!(required_by_last(&steps, true), [0]);
    }
}
