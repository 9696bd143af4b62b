//! Computes the effective Lake Formation permissions of one principal on one database or table
//! from a snapshot of one Region, each with the grants that give it.
//!
//! IAM policies are not read. If `IAM_ALLOWED_PRINCIPALS` has a grant on the resource and the
//! principal is not opted in to Lake Formation permissions, IAM policies decide, and the grant to
//! `IAM_ALLOWED_PRINCIPALS` is reported as the source.

use crate::catalog::{Attachment, FilterColumns};
use crate::grant::{
    IAM_ALLOWED_PRINCIPALS, LfTagExpression, LfTagPolicy, LfTagPolicyTarget, PermissionGrant,
    Principal, Resource,
};
use crate::scope::{Facet, LfSubject, Subject};
use crate::snapshot::{LfTags, Observation, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One permission on the resource, or on one of its columns and some of its rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessRight {
    /// `SELECT`, `DESCRIBE`, ...; `ALL` is not expanded, as AWS lists it.
    pub permission: String,
    /// The column; `None` is the whole resource.
    pub column: Option<String>,
    /// The row filter; `None` is every row.
    pub row_filter: Option<String>,
    /// The principal has the grant option.
    pub grantable: bool,
}

impl fmt::Display for AccessRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.permission)?;
        if let Some(column) = &self.column {
            write!(f, " column {column}")?;
        }
        if let Some(row_filter) = &self.row_filter {
            write!(f, " where {row_filter}")?;
        }
        match self.grantable {
            true => f.write_str(", with grant option"),
            false => Ok(()),
        }
    }
}

/// The effective permissions of a principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EffectiveAccess {
    /// The permissions, each with the grants that give it.
    pub rights: BTreeMap<AccessRight, BTreeSet<String>>,
    /// Other facts that affect the access, as text.
    pub notes: Vec<String>,
}

/// Returns the effective permissions of a principal on a database or a table, by the snapshot of
/// one Region.
#[must_use]
pub fn effective_access(
    snapshot: &Snapshot,
    principal: &Principal,
    subject: &Subject,
) -> EffectiveAccess {
    let mut evaluation = Evaluation {
        snapshot,
        subject,
        columns: columns(snapshot, subject),
        access: EffectiveAccess::default(),
    };
    let is_opted_in = evaluation.add_notes(principal);
    let direct_holders = [principal.0.as_str(), IAM_ALLOWED_PRINCIPALS];
    let account_group = principal.0.split(':').nth(4).unwrap_or_default();
    let account_group = format!("{account_group}:IAMPrincipals");
    for grants in snapshot.grants.values().filter_map(Observation::present) {
        for (grant, grantable) in grants {
            let holder = grant.principal.0.as_str();
            let applies = direct_holders.contains(&holder) || holder == account_group;
            if !applies || (holder == IAM_ALLOWED_PRINCIPALS && is_opted_in) {
                continue;
            }
            evaluation.add_grant(grant, *grantable);
        }
    }
    evaluation.access
}

fn columns(snapshot: &Snapshot, subject: &Subject) -> BTreeSet<String> {
    let Subject::Table(id) = subject else {
        return BTreeSet::new();
    };
    let observed = snapshot.tables.get(id).and_then(Observation::present);
    let columns = observed
        .into_iter()
        .flat_map(|observed| observed.object.columns());
    columns.map(|column| column.name.to_lowercase()).collect()
}

struct Evaluation<'r> {
    snapshot: &'r Snapshot,
    subject: &'r Subject,
    columns: BTreeSet<String>,
    access: EffectiveAccess,
}

impl Evaluation<'_> {
    /// Adds notes on the facts beside grants. Returns whether the principal is opted in to Lake
    /// Formation permissions.
    fn add_notes(&mut self, principal: &Principal) -> bool {
        let settings = self.snapshot.settings.as_ref();
        let settings = settings.and_then(Observation::present);
        if settings.is_some_and(|settings| settings.administrators.contains(principal)) {
            let note =
                "the principal is a data lake administrator, and can grant itself any permission";
            self.access.notes.push(note.to_owned());
        }
        let mut subjects = vec![self.subject.clone()];
        subjects.extend(self.subject.database().cloned().map(Subject::Database));
        let is_opted_in = subjects.into_iter().any(|subject| {
            let attachments = self.snapshot.attachments.get(&(subject, Facet::OptIns));
            let attachments = attachments.and_then(Observation::present).into_iter().flatten();
            attachments.into_iter().any(
                |(_, observed)| matches!(&observed.part, Attachment::OptIn(opt_in) if opt_in.principal == *principal),
            )
        });
        if is_opted_in {
            let note =
                "the principal is opted in: Lake Formation grants decide, not IAM policies alone";
            self.access.notes.push(note.to_owned());
        }
        is_opted_in
    }

    fn add_grant(&mut self, grant: &PermissionGrant, grantable: bool) {
        match &grant.resource {
            Resource::Database(name) => {
                if *self.subject == Subject::Database(name.clone()) {
                    self.add_right(grant, grantable, None, None);
                }
            }
            Resource::AllTables(database) => {
                if matches!(self.subject, Subject::Table(id) if id.database == *database) {
                    self.add_whole_resource(grant, grantable);
                }
            }
            Resource::Table(id) => {
                if *self.subject == Subject::Table(id.clone()) {
                    self.add_whole_resource(grant, grantable);
                }
            }
            Resource::Column(id, column) => {
                if *self.subject == Subject::Table(id.clone()) {
                    self.add_columns(grant, grantable, None, &|name| name == column.as_str());
                }
            }
            Resource::ColumnsExcept(id, excluded) => {
                if *self.subject == Subject::Table(id.clone()) {
                    let is_included =
                        |column: &str| !excluded.iter().any(|name| name.as_str() == column);
                    self.add_columns(grant, grantable, None, &is_included);
                }
            }
            Resource::DataCellsFilter(id, name) => {
                if *self.subject == Subject::Table(id.clone()) {
                    self.add_through_filter(grant, grantable, name);
                }
            }
            Resource::LfTagPolicy { target, policy } => {
                self.add_by_lf_tags(grant, grantable, *target, policy);
            }
            Resource::Catalog
            | Resource::DataLocation(_)
            | Resource::LfTag { .. }
            | Resource::LfTagExpression(_) => {}
        }
    }

    fn add_right(
        &mut self,
        grant: &PermissionGrant,
        grantable: bool,
        column: Option<&str>,
        row_filter: Option<&str>,
    ) {
        let right = AccessRight {
            permission: grant.permission.to_string(),
            column: column.map(str::to_owned),
            row_filter: row_filter.map(str::to_owned),
            grantable,
        };
        let grants = self.access.rights.entry(right).or_default();
        grants.insert(grant.to_string());
    }

    fn add_whole_resource(&mut self, grant: &PermissionGrant, grantable: bool) {
        match grant.permission == crate::Permission::Select {
            true => self.add_columns(grant, grantable, None, &|_| true),
            false => self.add_right(grant, grantable, None, None),
        }
    }

    fn add_columns(
        &mut self,
        grant: &PermissionGrant,
        grantable: bool,
        row_filter: Option<&str>,
        is_included: &dyn Fn(&str) -> bool,
    ) {
        for column in self.columns.clone() {
            if is_included(&column) {
                self.add_right(grant, grantable, Some(&column), row_filter);
            }
        }
    }

    fn add_through_filter(&mut self, grant: &PermissionGrant, grantable: bool, name: &str) {
        let facet_key = (self.subject.clone(), Facet::DataCellsFilters);
        let filters = self
            .snapshot
            .attachments
            .get(&facet_key)
            .and_then(Observation::present);
        let found = filters.into_iter().flatten().find_map(|(_, observed)| {
            if let Attachment::DataCellsFilter(filter) = &observed.part
                && filter.name == name
            {
                return Some(filter.clone());
            }
            None
        });
        let Some(filter) = found else {
            let note = format!("{grant} has no effect: the data cells filter does not exist");
            self.access.notes.push(note);
            return;
        };
        let contains = |names: &BTreeSet<crate::Name>, column: &str| {
            names.iter().any(|name| name.as_str() == column)
        };
        let is_included = |column: &str| match &filter.columns {
            FilterColumns::Only(names) => contains(names, column),
            FilterColumns::AllBut(names) => !contains(names, column),
        };
        self.add_columns(grant, grantable, filter.rows.as_deref(), &is_included);
    }

    fn add_by_lf_tags(
        &mut self,
        grant: &PermissionGrant,
        grantable: bool,
        target: LfTagPolicyTarget,
        policy: &LfTagPolicy,
    ) {
        let Some(expression) = self.expression(policy) else {
            let note = format!("{grant} has no effect: the LF-Tag expression does not exist");
            self.access.notes.push(note);
            return;
        };
        let database = self.subject.database().cloned().map(Subject::Database);
        let mut inherited_tags = database
            .map(|database| self.tags(&database, None))
            .unwrap_or_default();
        let is_table = matches!(self.subject, Subject::Table(_));
        match (target, is_table) {
            (LfTagPolicyTarget::Database, false)
                if matches_expression(&expression, &inherited_tags) =>
            {
                self.add_right(grant, grantable, None, None);
            }
            (LfTagPolicyTarget::Table, true) => {
                inherited_tags.extend(self.tags(self.subject, None));
                if grant.permission == crate::Permission::Select {
                    let matching_columns: BTreeSet<String> = self
                        .columns
                        .iter()
                        .filter(|column| {
                            let mut tags = inherited_tags.clone();
                            tags.extend(self.tags(self.subject, Some(column)));
                            matches_expression(&expression, &tags)
                        })
                        .cloned()
                        .collect();
                    self.add_columns(grant, grantable, None, &|column| {
                        matching_columns.contains(column)
                    });
                } else if matches_expression(&expression, &inherited_tags) {
                    self.add_right(grant, grantable, None, None);
                }
            }
            (LfTagPolicyTarget::Database | LfTagPolicyTarget::Table, _) => {}
        }
    }

    fn expression(&self, policy: &LfTagPolicy) -> Option<LfTagExpression> {
        let name = match policy {
            LfTagPolicy::Expression(expression) => return Some(expression.clone()),
            LfTagPolicy::NamedExpression(name) => name,
        };
        let facet_key = (
            Subject::LakeFormation(LfSubject::LfTagExpressions),
            Facet::Items,
        );
        let all = self
            .snapshot
            .attachments
            .get(&facet_key)
            .and_then(Observation::present)?;
        all.values().find_map(|observed| match &observed.part {
            Attachment::NamedExpression(named) if named.name == *name => {
                Some(named.expression.clone())
            }
            Attachment::NamedExpression(_)
            | Attachment::Index(_)
            | Attachment::Statistics(_)
            | Attachment::GlueTag { .. }
            | Attachment::DataCellsFilter(_)
            | Attachment::LfTagAssignment { .. }
            | Attachment::OptIn(_)
            | Attachment::LfTagValue { .. }
            | Attachment::Registration(_) => None,
        })
    }

    fn tags(&self, subject: &Subject, column: Option<&str>) -> LfTags {
        let facet_key = (subject.clone(), Facet::LfTagAssignments);
        let attachments = self
            .snapshot
            .attachments
            .get(&facet_key)
            .and_then(Observation::present);
        let mut tags = LfTags::new();
        for observed in attachments.into_iter().flat_map(BTreeMap::values) {
            if let Attachment::LfTagAssignment {
                column: assigned_column,
                key,
                value,
            } = &observed.part
                && assigned_column.as_ref().map(crate::Name::as_str) == column
            {
                tags.insert(key.clone(), value.clone());
            }
        }
        tags
    }
}

fn matches_expression(expression: &LfTagExpression, tags: &LfTags) -> bool {
    expression.iter().all(|(key, values)| {
        let value = tags.get(key);
        value.is_some_and(|value| values.contains(value) || values.contains("*"))
    })
}
