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
                |(_, observed)| matches!(&observed.attachment, Attachment::OptIn(opt_in) if opt_in.principal == *principal),
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
                    let columns = FilterColumns::Only(BTreeSet::from([column.clone()]));
                    self.add_columns(grant, grantable, None, &|name| shown_parts(&columns, name));
                }
            }
            Resource::ColumnsExcept(id, excluded) => {
                if *self.subject == Subject::Table(id.clone()) {
                    let columns = FilterColumns::AllBut(excluded.clone());
                    self.add_columns(grant, grantable, None, &|name| shown_parts(&columns, name));
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
            true => self.add_columns(grant, grantable, None, &|name| vec![name.to_owned()]),
            false => self.add_right(grant, grantable, None, None),
        }
    }

    /// Adds a right to each part of each column that `shown_parts` returns.
    fn add_columns(
        &mut self,
        grant: &PermissionGrant,
        grantable: bool,
        row_filter: Option<&str>,
        shown_parts: &dyn Fn(&str) -> Vec<String>,
    ) {
        for column in self.columns.clone() {
            for part in shown_parts(&column) {
                self.add_right(grant, grantable, Some(&part), row_filter);
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
            if let Attachment::DataCellsFilter(filter) = &observed.attachment
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
        let rows = filter.rows.as_deref();
        self.add_columns(grant, grantable, rows, &|name| {
            shown_parts(&filter.columns, name)
        });
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
                        let matching = matching_columns.get(column);
                        matching.into_iter().cloned().collect()
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
        all.values()
            .find_map(|observed| match &observed.attachment {
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
            } = &observed.attachment
                && assigned_column.as_ref().map(crate::Name::as_str) == column
            {
                tags.insert(key.clone(), value.clone());
            }
        }
        tags
    }
}

/// Returns the parts of a column, which is in lower case, that a set of columns shows: the column,
/// the fields of it that are named, or the column without the fields that are excluded. Equal
/// parts have equal texts in both Regions.
fn shown_parts(columns: &FilterColumns, column: &str) -> Vec<String> {
    let (FilterColumns::Only(names) | FilterColumns::AllBut(names)) = columns;
    let is_named = names.iter().any(|name| name.as_str() == column);
    let nested = names.iter().filter(|name| name.is_nested_in(column));
    let nested: Vec<&str> = nested.map(crate::Name::as_str).collect();
    match (columns, is_named) {
        (FilterColumns::Only(_), true) => vec![column.to_owned()],
        (FilterColumns::Only(_), false) => nested.into_iter().map(str::to_owned).collect(),
        (FilterColumns::AllBut(_), true) => Vec::new(),
        (FilterColumns::AllBut(_), false) if nested.is_empty() => vec![column.to_owned()],
        (FilterColumns::AllBut(_), false) => {
            vec![format!("{column} without {}", nested.join(", "))]
        }
    }
}

fn matches_expression(expression: &LfTagExpression, tags: &LfTags) -> bool {
    expression.iter().all(|(key, values)| {
        let value = tags.get(key);
        value.is_some_and(|value| values.contains(value) || values.contains("*"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Name;

    #[test]
    fn parts_of_a_column_are_named_without_case() {
        let names = |texts: &[&str]| -> BTreeSet<Name> {
            texts.iter().map(|text| Name::from_service(text)).collect()
        };
        let only = FilterColumns::Only(names(&["userId", "\"Address\".\"zip\""]));
        assert_eq!(shown_parts(&only, "userid"), ["userid"]);
        assert_eq!(shown_parts(&only, "address"), ["\"address\".\"zip\""]);
        assert!(shown_parts(&only, "note").is_empty());
        let all_but = FilterColumns::AllBut(names(&["userId", "\"Address\".\"zip\""]));
        assert!(shown_parts(&all_but, "userid").is_empty());
        let without = ["address without \"address\".\"zip\""];
        assert_eq!(shown_parts(&all_but, "address"), without);
        assert_eq!(shown_parts(&all_but, "note"), ["note"]);
    }
}
