//! Checks the access that grants by LF-Tag policies give. Compares the resources that they cover
//! before and after a step, whatever the kind of the step.

use super::table_content::column_of;
use super::{Check, PlanReplay, present, reject};
use crate::audit::AuditRule;
use crate::catalog::{Attachment, AttachmentKey};
use crate::grant::{LfTagExpression, LfTagPolicy, LfTagPolicyTarget, PermissionGrant, Resource};
use crate::name::{Name, TableId, dotted};
use crate::scope::{Facet, LfSubject, Subject};
use crate::snapshot::{LfTaggedResource, Observation, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// The values of the LF-Tags of a subject, by column (`None` is the subject itself) and key.
pub(super) type AssignedLfTags = BTreeMap<(Option<String>, String), String>;

/// Pairs of a grant and a database, table or column that it gives access to.
type OpenedResources<'a> = BTreeSet<(&'a PermissionGrant, String)>;

/// Returns the LF-Tag assignments of a Region, for the subjects where they were read. Those of a database of
/// which only tables were read come from the searches by LF-Tags, which tell them with each table.
pub(super) fn assigned_lf_tags(snapshot: &Snapshot) -> BTreeMap<Subject, AssignedLfTags> {
    let mut all: BTreeMap<Subject, AssignedLfTags> = BTreeMap::new();
    for ((subject, facet), attachments) in &snapshot.attachments {
        let (Facet::LfTagAssignments, Some(attachments)) = (facet, present(Some(attachments)))
        else {
            continue;
        };
        let own_tags = all.entry(subject.clone()).or_default();
        for observed in attachments.values() {
            if let Attachment::LfTagAssignment { column, key, value } = &observed.attachment {
                let column = column.as_ref().map(|column| column.as_str().to_owned());
                own_tags.insert((column, key.clone()), value.clone());
            }
        }
    }
    let read: BTreeSet<Subject> = all.keys().cloned().collect();
    let searches = snapshot.lf_tagged_resources.values();
    let found = searches.filter_map(|found| present(Some(found)));
    for resource in found.flatten() {
        let database = Subject::Database(Name::from_service(&resource.database));
        if !read.contains(&database) {
            let tags = resource.on_database.iter();
            let tags = tags.map(|(key, value)| ((None, key.clone()), value.clone()));
            all.entry(database).or_default().extend(tags);
        }
    }
    all
}

fn lf_tags_of(all: Option<&AssignedLfTags>, column: Option<&str>) -> BTreeMap<String, String> {
    let all = all.into_iter().flatten();
    all.filter(|((of, _), _)| of.as_deref() == column)
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect()
}

fn is_satisfied(expression: &LfTagExpression, tags: &BTreeMap<String, String>) -> bool {
    for (key, values) in expression {
        let Some(value) = tags.get(key) else {
            return false;
        };
        if !values.contains(value) && !values.contains("*") {
            return false;
        }
    }
    true
}

fn expression<'e>(snapshot: &'e Snapshot, policy: &'e LfTagPolicy) -> Option<&'e LfTagExpression> {
    let name = match policy {
        LfTagPolicy::Expression(expression) => return Some(expression),
        LfTagPolicy::NamedExpression(name) => name,
    };
    let facet_key = (
        Subject::LakeFormation(LfSubject::LfTagExpressions),
        Facet::Items,
    );
    let listed = present(snapshot.attachments.get(&facet_key));
    let listed = listed.and_then(|all| all.get(&AttachmentKey::NamedExpression(name.clone())));
    if let Some(Attachment::NamedExpression(saved)) = listed.map(|observed| &observed.attachment) {
        return Some(&saved.expression);
    }
    present(snapshot.lf_tag_policy_grants.as_ref())?
        .expressions
        .get(name)
}

/// A table or a database with the LF-Tags that it inherits and has.
struct LfTagContext<'a> {
    snapshot: &'a Snapshot,
    database: Option<&'a AssignedLfTags>,
    table: Option<&'a AssignedLfTags>,
    columns: Option<&'a BTreeSet<String>>,
}

impl LfTagContext<'_> {
    /// Returns the resources of the subject that the grants give access to.
    fn opened_resources<'g>(
        &self,
        subject: &Subject,
        grants: &[&'g PermissionGrant],
    ) -> OpenedResources<'g> {
        let mut opened = OpenedResources::new();
        let of_database = lf_tags_of(self.database, None);
        let mut resources = Vec::new();
        let (name, target) = match subject {
            Subject::Table(id) => (id.to_string(), LfTagPolicyTarget::Table),
            Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Database(_)
            | Subject::Function(_) => (subject.to_string(), LfTagPolicyTarget::Database),
        };
        let mut of_table = of_database;
        of_table.extend(lf_tags_of(self.table, None));
        for column in self.columns.into_iter().flatten() {
            let mut tags = of_table.clone();
            tags.extend(lf_tags_of(self.table, Some(column_of(column))));
            resources.push((format!("{name}.{column}"), tags));
        }
        resources.push((name, of_table));
        for grant in grants {
            let Resource::LfTagPolicy { target: of, policy } = &grant.resource else {
                continue;
            };
            let policy = expression(self.snapshot, policy);
            let is_satisfied_by = |tags: &BTreeMap<String, String>| {
                policy.is_none_or(|policy| is_satisfied(policy, tags)) && *of == target
            };
            let matching = resources.iter().filter(|(_, tags)| is_satisfied_by(tags));
            opened.extend(matching.map(|(resource, _)| (*grant, resource.clone())));
        }
        opened
    }
}

impl PlanReplay<'_> {
    /// Returns the resources of a subject in the standby that grants give access to at this point.
    fn open_now<'g>(
        &self,
        subject: &Subject,
        grants: &[&'g PermissionGrant],
    ) -> OpenedResources<'g> {
        self.open_now_by(self.inputs.standby, subject, grants)
    }

    fn open_now_by<'g>(
        &self,
        expressions: &Snapshot,
        subject: &Subject,
        grants: &[&'g PermissionGrant],
    ) -> OpenedResources<'g> {
        let columns = match subject {
            Subject::Table(id) => self.columns.get(id),
            Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Database(_)
            | Subject::Function(_) => None,
        };
        self.open_with(expressions, &self.current_lf_tags, columns, subject, grants)
    }

    /// Returns the same for the standby before the plan.
    fn open_before<'g>(
        &self,
        subject: &Subject,
        grants: &[&'g PermissionGrant],
    ) -> OpenedResources<'g> {
        let in_standby = self.inputs.standby;
        let columns = match subject {
            Subject::Table(id) => present(in_standby.tables.get(id)),
            Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Database(_)
            | Subject::Function(_) => None,
        };
        let columns = columns.map(|table| super::column_paths(&table.object));
        self.open_with(
            in_standby,
            &self.initial_lf_tags,
            columns.as_ref(),
            subject,
            grants,
        )
    }

    fn open_with<'g>(
        &self,
        expressions: &Snapshot,
        assigned_lf_tags: &BTreeMap<Subject, AssignedLfTags>,
        columns: Option<&BTreeSet<String>>,
        subject: &Subject,
        grants: &[&'g PermissionGrant],
    ) -> OpenedResources<'g> {
        if matches!(subject, Subject::Table(_)) && columns.is_none() {
            return OpenedResources::new();
        }
        let database_subject = subject.database().cloned().map(Subject::Database);
        let context = LfTagContext {
            snapshot: expressions,
            database: database_subject
                .as_ref()
                .and_then(|database_subject| assigned_lf_tags.get(database_subject)),
            table: columns.and_then(|_| assigned_lf_tags.get(subject)),
            columns,
        };
        context.opened_resources(subject, grants)
    }

    /// Returns the same for the primary.
    fn open_in_primary<'g>(
        &self,
        subject: &Subject,
        grants: &[&'g PermissionGrant],
    ) -> OpenedResources<'g> {
        let all = &self.primary_lf_tags;
        let database_subject = subject.database().cloned().map(Subject::Database);
        let database = database_subject
            .as_ref()
            .and_then(|database_subject| all.get(database_subject));
        let mut columns = None;
        if let Subject::Table(id) = subject {
            let table = present(self.inputs.primary.tables.get(id));
            let (Some(table), true) = (table, all.contains_key(subject)) else {
                return OpenedResources::new();
            };
            columns = Some(super::column_paths(&table.object));
        }
        if database.is_none() {
            return OpenedResources::new();
        }
        let context = LfTagContext {
            snapshot: self.inputs.primary,
            database,
            table: columns.as_ref().and_then(|_| all.get(subject)),
            columns: columns.as_ref(),
        };
        let granted: Vec<&PermissionGrant> = grants
            .iter()
            .copied()
            .filter(|grant| {
                let grantable = self.current_grants.get(*grant).copied();
                self.primary_allows(grant, grantable.unwrap_or_default())
            })
            .collect();
        context.opened_resources(subject, &granted)
    }

    /// Applies a step to the replayed state. Requires that grants by LF-Tag policies then give no
    /// access that they gave neither before the step nor in the primary.
    pub(super) fn require_no_extra_access(
        &mut self,
        subject: &Subject,
        apply_change: impl FnOnce(&mut Self),
    ) -> Check {
        let grants: Vec<PermissionGrant> = self.current_grants.keys().cloned().collect();
        let is_by_policy = |grant: &&PermissionGrant| {
            matches!(grant.resource, Resource::LfTagPolicy { .. }) && !self.is_ignored(grant)
        };
        let grants: Vec<&PermissionGrant> = grants.iter().filter(is_by_policy).collect();
        let known = present(self.inputs.standby.lf_tag_policy_grants.as_ref()).is_some()
            || present(
                self.inputs
                    .standby
                    .grants
                    .get(&Subject::LakeFormation(LfSubject::Permissions)),
            )
            .is_some();
        if !known {
            apply_change(self);
            let detail =
                format!("the grants by LF-Tag policies were not read, and {subject} changes");
            return reject(AuditRule::WiderAccess, detail);
        }
        let mut resources = vec![subject.clone()];
        if let Subject::Database(name) = subject {
            let listed = self.inputs.standby.table_names.get(name);
            if listed.is_none() && !self.created.contains(subject) && !grants.is_empty() {
                apply_change(self);
                let detail =
                    format!("the tables of {subject} were not listed, which inherit its LF-Tags");
                return reject(AuditRule::WiderAccess, detail);
            }
            let tables = listed.into_iter().flatten();
            resources.extend(tables.map(|t| Subject::Table(TableId::new(name.clone(), t.clone()))));
            let known = self.columns.keys().filter(|id| id.database == *name);
            resources.extend(known.cloned().map(Subject::Table));
            resources.sort();
            resources.dedup();
        }
        let before: Vec<OpenedResources<'_>> = resources
            .iter()
            .map(|one| self.open_now(one, &grants))
            .collect();
        apply_change(self);
        for (resource, before) in resources.iter().zip(before) {
            let after = self.open_now(resource, &grants);
            let mut opened = after.difference(&before).peekable();
            if opened.peek().is_none() {
                continue;
            }
            let allowed = self.open_in_primary(resource, &grants);
            if let Some((grant, what)) = opened.find(|one| !allowed.contains(*one)) {
                return reject(
                    AuditRule::WiderAccess,
                    format!("{grant} would give access to {what}"),
                );
            }
        }
        Ok(())
    }

    /// Whether a grant by an LF-Tag policy gives access to a table at this point, or may.
    pub(super) fn may_open_table(&self, id: &TableId, grant: &PermissionGrant) -> bool {
        let table = Subject::Table(id.clone());
        let database = Subject::Database(id.database.clone());
        let is_read = |subject| self.current_lf_tags.contains_key(subject);
        let is_known = is_read(&table) && is_read(&database) && self.columns.contains_key(id);
        !is_known || !self.open_now(&table, &[grant]).is_empty()
    }

    /// Assigns (`Some`) or removes (`None`) an LF-Tag.
    pub(super) fn change_lf_tag(
        &mut self,
        subject: &Subject,
        column: Option<&Name>,
        key: &str,
        value: Option<&str>,
    ) -> Check {
        let column_and_key = (column.map(|name| name.as_str().to_owned()), key.to_owned());
        self.require_no_extra_access(subject, |replay| {
            let own_tags = replay.current_lf_tags.entry(subject.clone()).or_default();
            match value {
                Some(value) => own_tags.insert(column_and_key, value.to_owned()),
                None => own_tags.remove(&column_and_key),
            };
        })
    }

    /// Requires that a grant by an LF-Tag policy gives no access that it does not give in the
    /// primary, or that this plan only suspended it.
    pub(super) fn require_policy_grant_allowed(&self, grant: &PermissionGrant) -> Check {
        let Resource::LfTagPolicy { target, policy } = &grant.resource else {
            return Ok(());
        };
        self.require_policy_resources_allowed(grant)?;
        let is_suspended = self.to_regrant.contains(grant);
        let changes_expression =
            matches!(policy, LfTagPolicy::NamedExpression(name) if self.has_put_expression(name));
        if is_suspended && !changes_expression {
            return Ok(());
        }
        let search = (*target, policy.clone());
        let in_primary = present(self.inputs.primary.lf_tagged_resources.get(&search));
        let in_standby = present(self.inputs.standby.lf_tagged_resources.get(&search));
        let known = expression(self.inputs.primary, policy);
        let (Some(in_primary), Some(in_standby), Some(known)) = (in_primary, in_standby, known)
        else {
            return reject(
                AuditRule::WiderAccess,
                format!("the resources that {grant} applies to were not read"),
            );
        };
        if let LfTagPolicy::NamedExpression(name) = policy {
            let in_standby = expression(self.inputs.standby, policy);
            if in_standby != Some(known) && !self.has_put_expression(name) {
                let detail =
                    format!("{grant}: the standby's LF-Tag expression differs from the primary's");
                return reject(AuditRule::WiderAccess, detail);
            }
        }
        let counterparts: BTreeMap<_, _> =
            in_primary.iter().map(|one| (name_of(one), one)).collect();
        for found in in_standby {
            let counterpart = counterparts.get(&name_of(found)).copied();
            let before = expression(self.inputs.standby, policy).filter(|_| is_suspended);
            self.require_search_result_allowed(grant, (known, before), found, counterpart)?;
        }
        Ok(())
    }

    /// Requires that a grant gives no access to a resource of the standby that it neither gives to its
    /// counterpart in the primary nor gave before, by the LF-Tag expression of that time.
    fn require_search_result_allowed(
        &self,
        grant: &PermissionGrant,
        (expression, before): (&LfTagExpression, Option<&LfTagExpression>),
        found: &LfTaggedResource,
        counterpart: Option<&LfTaggedResource>,
    ) -> Check {
        let Some(table) = &found.table else {
            let was_open = before.is_some_and(|before| is_satisfied(before, &found.on_database));
            return match counterpart.is_some() || was_open {
                true => Ok(()),
                false => reject(
                    AuditRule::WiderAccess,
                    format!("{grant} would give access to {}", found.database),
                ),
            };
        };
        let database = Name::from_service(&found.database);
        let id = TableId::new(database, Name::from_service(table));
        if self.deleted.contains(&Subject::Table(id.clone())) {
            return Ok(());
        }
        let in_primary = match self.inputs.primary.tables.get(&id) {
            Some(Observation::Present(table)) => Some(super::column_paths(&table.object)),
            Some(Observation::Absent(_)) => Some(BTreeSet::new()),
            Some(Observation::Unknown(_)) | None => None,
        };
        let (Some(columns), Some(in_primary)) = (self.columns.get(&id), in_primary) else {
            let detail = format!("{grant}: the columns of {id} were not read");
            return reject(AuditRule::WiderAccess, detail);
        };
        let allowed = counterpart.map(|one| matching_resources(one, expression, &in_primary));
        let mut allowed = allowed.unwrap_or_default();
        if let Some(before) = before {
            allowed.extend(matching_resources(found, before, columns));
        }
        let open = matching_resources(found, expression, columns);
        match open.difference(&allowed).next() {
            None => Ok(()),
            Some(resource) => reject(
                AuditRule::WiderAccess,
                format!("{grant} would give access to {resource}"),
            ),
        }
    }
}

impl PlanReplay<'_> {
    /// Whether an earlier step has written an LF-Tag expression.
    fn has_put_expression(&self, name: &str) -> bool {
        self.put_expressions.contains(name)
    }

    /// Returns the subjects whose LF-Tags were read in either Region, and the tables of the standby
    /// that inherit from a database whose LF-Tags this plan changed.
    fn tagged_subjects(&self) -> BTreeSet<Subject> {
        let current = self.current_lf_tags.iter();
        let changed: BTreeSet<&Name> = current
            .filter(|(subject, tags)| self.initial_lf_tags.get(*subject) != Some(*tags))
            .filter_map(|(subject, _)| match subject {
                Subject::Database(name) => Some(name),
                Subject::Catalog
                | Subject::LakeFormation(_)
                | Subject::Table(_)
                | Subject::Function(_) => None,
            })
            .collect();
        let inheriting = self.columns.keys();
        let inheriting = inheriting.filter(|id| changed.contains(&id.database));
        let read = self
            .primary_lf_tags
            .keys()
            .chain(self.current_lf_tags.keys());
        read.cloned()
            .chain(inheriting.cloned().map(Subject::Table))
            .collect()
    }

    /// Requires of each resource that was read and that the grant opens: the grant opens it in the
    /// primary too, or opened it before the plan, which only suspends it. A column that the primary
    /// dropped is not open there.
    fn require_policy_resources_allowed(&self, grant: &PermissionGrant) -> Check {
        let grants = [grant];
        // At this point, an expression that the plan puts equals the primary's.
        let mut expressions = self.inputs.standby;
        if let Resource::LfTagPolicy {
            policy: LfTagPolicy::NamedExpression(name),
            ..
        } = &grant.resource
            && self.has_put_expression(name)
        {
            expressions = self.inputs.primary;
        }
        for subject in &self.tagged_subjects() {
            let open_now = self.open_now_by(expressions, subject, &grants);
            if open_now.is_empty() {
                continue;
            }
            let allowed = self.open_in_primary(subject, &grants);
            let open_before = match self.to_regrant.contains(grant) {
                true => self.open_before(subject, &grants),
                false => OpenedResources::new(),
            };
            if let Some((_, what)) = open_now
                .iter()
                .find(|one| !allowed.contains(*one) && !open_before.contains(*one))
            {
                return reject(
                    AuditRule::WiderAccess,
                    format!("{grant} would give access to {what}"),
                );
            }
        }
        Ok(())
    }
}

fn name_of(found: &LfTaggedResource) -> (&str, Option<&str>) {
    (&found.database, found.table.as_deref())
}

/// Returns the table of a search result and those of its columns whose LF-Tags satisfy an expression.
/// A column without LF-Tags of its own inherits those of the table.
fn matching_resources(
    tagged: &LfTaggedResource,
    expression: &LfTagExpression,
    columns: &BTreeSet<String>,
) -> BTreeSet<String> {
    let table = tagged.table.as_deref().unwrap_or_default();
    let name = dotted([tagged.database.as_str(), table]);
    let inherited = tagged.on_database.iter().chain(&tagged.on_table);
    let inherited: BTreeMap<String, String> = inherited
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut resources = BTreeSet::new();
    for column in columns {
        let mut tags = inherited.clone();
        let own_tags = tagged
            .on_columns
            .iter()
            .filter(|(named, _)| named.to_lowercase() == column_of(column));
        tags.extend(own_tags.flat_map(|(_, own_tags)| own_tags.clone()));
        if is_satisfied(expression, &tags) {
            resources.insert(format!("{name}.{column}"));
        }
    }
    if is_satisfied(expression, &inherited) {
        resources.insert(name);
    }
    resources
}
