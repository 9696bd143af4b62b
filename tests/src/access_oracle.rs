//! Computes the effective access of principals from the simulator's raw state.

use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{DataCellsFilter, FilterColumns, OptIn};
use twinlake_core::grant::{
    IAM_ALLOWED_PRINCIPALS, LfTagPolicy, LfTagPolicyTarget, ListedResource,
};
use twinlake_core::{Name, Subject, TableId};
use twinlake_sim::{SimState, StoredGrant};

/// One access right: principal, object, permission, and whether it is the grant option. A column is
/// `database.table.column`, and a part of its rows `database.table.column@expression`.
///
/// The permission is one of Lake Formation's, or what IAM allows: [`IAM_ACCESS`] and
/// [`IAM_ACCESS_BESIDE_DATABASE_OPT_INS`].
pub type EffectiveRight = (String, String, String, bool);

/// What IAM allows a principal without an opt-in, if an opt-in on a database is for the database
/// alone.
pub const IAM_ACCESS: &str = "IAM";
/// What IAM allows a principal without an opt-in, if an opt-in on a database is for its tables too.
/// AWS documents neither reading. Rights of both are computed, so that a step must be safe in both.
pub const IAM_ACCESS_BESIDE_DATABASE_OPT_INS: &str =
    "IAM (an opt-in on a database covers its tables)";

const TABLE_RIGHTS: [&str; 6] = ["ALTER", "DELETE", "DESCRIBE", "DROP", "INSERT", "SELECT"];
const DATABASE_RIGHTS: [&str; 5] = ["ALTER", "CREATE_TABLE", "DESCRIBE", "DROP", "ALL"];

type TableColumns = BTreeMap<String, BTreeSet<String>>;

struct RightsBuilder<'w> {
    state: &'w SimState,
    region: &'w str,
    tables: TableColumns,
    filters: BTreeMap<(String, String), DataCellsFilter>,
    opt_ins: BTreeSet<OptIn>,
    rights: BTreeSet<EffectiveRight>,
}

/// Returns the rights of all principals but `ignored_principals` in a Region.
///
/// - ALL stands for every permission on its object, and a grant on all tables for every existing
///   table.
/// - A grant with excluded columns stands for every other existing column, and a data cells filter
///   for its columns and rows.
/// - A grant by LF-Tags stands for every object that has the LF-Tags or inherits them.
/// - Where `IAM_ALLOWED_PRINCIPALS` has ALL on an object, each of `opted_in` that no opt-in covers
///   there has the access that IAM allows. An opt-in covers its object; one on all tables of a
///   database covers each of its tables.
#[must_use]
pub fn effective_access(
    state: &SimState,
    region: &str,
    ignored_principals: &[&str],
    opted_in: &BTreeSet<String>,
) -> BTreeSet<EffectiveRight> {
    let mut rights = RightsBuilder {
        state,
        region,
        tables: state.table_columns(region),
        filters: state.raw_data_cells_filters(region),
        opt_ins: state.raw_opt_ins(region),
        rights: BTreeSet::new(),
    };
    for (grant, permissions) in state.raw_grants(region) {
        if ignored_principals.contains(&grant.principal.as_str()) {
            continue;
        }
        for (permission, with_grant_option) in permissions {
            rights.add_grant(&grant, &permission, with_grant_option);
            if grant.principal == IAM_ALLOWED_PRINCIPALS && permission == "ALL" {
                rights.add_iam_rights(&grant, opted_in);
            }
        }
    }
    rights.rights
}

impl RightsBuilder<'_> {
    fn add_right(
        &mut self,
        grant: &StoredGrant,
        object: &str,
        permission: &str,
        with_grant_option: bool,
    ) {
        for may_grant in [false, with_grant_option] {
            let right = (
                grant.principal.clone(),
                object.to_owned(),
                permission.to_owned(),
                may_grant,
            );
            self.rights.insert(right);
        }
    }

    fn add_grant(&mut self, grant: &StoredGrant, permission: &str, with_grant_option: bool) {
        let resource = grant.granted_resource();
        let tables = std::mem::take(&mut self.tables);
        for (id, columns) in &tables {
            if let Some(columns) = resource.covered_columns(id, columns) {
                self.add_table_rights(grant, id, &columns, permission, with_grant_option);
            }
        }
        self.tables = tables;
        if let Some(database) = resource.database() {
            self.add_database_rights(grant, database, permission, with_grant_option);
        }
        if let Some((id, name)) = resource.data_cells_filter() {
            self.add_filter_rights(grant, id, name, with_grant_option);
        }
        if let Some((target, policy)) = resource.lf_tag_policy() {
            self.add_lf_tag_rights(grant, target, policy, (permission, with_grant_option));
        }
        if let Some(object) = resource.lakeformation_resource() {
            let mapped = object.replace("arn:aws:s3:::lake-us/", "arn:aws:s3:::lake-in/replica/");
            self.add_right(grant, &mapped, permission, with_grant_option);
        }
    }

    fn add_table_rights(
        &mut self,
        grant: &StoredGrant,
        id: &str,
        columns: &BTreeSet<String>,
        permission: &str,
        with_grant_option: bool,
    ) {
        for right in TABLE_RIGHTS {
            if right != permission && permission != "ALL" {
                continue;
            }
            if right == "SELECT" {
                for column in columns {
                    self.add_right(grant, &format!("{id}.{column}"), right, with_grant_option);
                }
            } else {
                self.add_right(grant, id, right, with_grant_option);
            }
        }
    }

    fn add_database_rights(
        &mut self,
        grant: &StoredGrant,
        name: &str,
        permission: &str,
        with_grant_option: bool,
    ) {
        for right in DATABASE_RIGHTS {
            if right == permission || permission == "ALL" {
                self.add_right(grant, name, right, with_grant_option);
            }
        }
    }

    fn add_filter_rights(
        &mut self,
        grant: &StoredGrant,
        id: &TableId,
        name: &str,
        with_grant_option: bool,
    ) {
        let key = (id.to_string(), name.to_owned());
        let (Some(filter), Some(columns)) = (
            self.filters.get(&key).cloned(),
            self.tables.get(&key.0).cloned(),
        ) else {
            return;
        };
        for column in columns {
            let named = |names: &BTreeSet<Name>| names.iter().any(|name| name.as_str() == column);
            let is_allowed = match &filter.columns {
                FilterColumns::Only(names) => named(names),
                FilterColumns::AllBut(names) => !named(names),
            };
            if is_allowed {
                let rows = filter.rows.as_ref().map(|rows| format!("@{rows}"));
                let object = format!("{id}.{column}{}", rows.unwrap_or_default());
                self.add_right(grant, &object, "SELECT", with_grant_option);
            }
        }
    }

    fn add_lf_tag_rights(
        &mut self,
        grant: &StoredGrant,
        target: LfTagPolicyTarget,
        policy: &LfTagPolicy,
        (permission, with_grant_option): (&str, bool),
    ) {
        let expression = match policy {
            LfTagPolicy::Expression(expression) => expression.clone(),
            LfTagPolicy::NamedExpression(name) => {
                match self.state.raw_lf_tag_expression(self.region, name) {
                    Some(expression) => expression,
                    None => return,
                }
            }
        };
        let matches_expression = |tags: &BTreeMap<String, String>| {
            expression
                .iter()
                .all(|(key, values)| tags.get(key).is_some_and(|value| values.contains(value)))
        };
        if target == LfTagPolicyTarget::Database {
            for name in self.state.raw_databases(self.region).into_keys() {
                let subject = Subject::Database(name.clone());
                if matches_expression(&self.state.raw_lf_tags(self.region, &subject, None)) {
                    self.add_database_rights(grant, name.as_str(), permission, with_grant_option);
                }
            }
            return;
        }
        for id in self.state.raw_tables(self.region).into_keys() {
            let database = Subject::Database(id.database.clone());
            let subject = Subject::Table(id.clone());
            let mut inherited = self.state.raw_lf_tags(self.region, &database, None);
            inherited.extend(self.state.raw_lf_tags(self.region, &subject, None));
            let columns = self
                .tables
                .get(&id.to_string())
                .cloned()
                .unwrap_or_default();
            let matching = columns.into_iter().filter(|column| {
                let mut tags = inherited.clone();
                tags.extend(self.state.raw_lf_tags(self.region, &subject, Some(column)));
                matches_expression(&tags)
            });
            let matching: BTreeSet<String> = matching.collect();
            let id = id.to_string();
            if permission == "SELECT" || permission == "ALL" {
                self.add_table_rights(grant, &id, &matching, "SELECT", with_grant_option);
            }
            if permission != "SELECT" && matches_expression(&inherited) {
                self.add_table_rights(grant, &id, &BTreeSet::new(), permission, with_grant_option);
            }
        }
    }

    /// Adds the access that IAM allows to the principals that no opt-in covers, on the objects of a
    /// grant to `IAM_ALLOWED_PRINCIPALS`.
    fn add_iam_rights(&mut self, grant: &StoredGrant, opted_in: &BTreeSet<String>) {
        let resource = grant.granted_resource();
        let mut objects: Vec<String> = resource.database().map(str::to_owned).into_iter().collect();
        for (id, columns) in &self.tables {
            if resource
                .covered_columns(id, columns)
                .is_some_and(|columns| !columns.is_empty())
            {
                objects.push(id.clone());
            }
        }
        for object in objects {
            for principal in opted_in {
                for (permission, covers_tables) in [
                    (IAM_ACCESS, false),
                    (IAM_ACCESS_BESIDE_DATABASE_OPT_INS, true),
                ] {
                    let mut opt_ins = self.opt_ins.iter();
                    let is_covered = opt_ins.any(|opt_in| {
                        opt_in.principal.0 == *principal
                            && covers(&opt_in.resource, &object, covers_tables)
                    });
                    if !is_covered {
                        self.rights.insert((
                            principal.clone(),
                            object.clone(),
                            permission.to_owned(),
                            false,
                        ));
                    }
                }
            }
        }
    }
}

/// Whether an opt-in on a resource covers a database or a table. `covers_tables` says whether an
/// opt-in on a database covers its tables.
///
/// Opt-ins on columns, filters and LF-Tags cover nothing here: the access that IAM allows is
/// computed for whole tables, which such an opt-in need not cover.
fn covers(resource: &ListedResource, object: &str, covers_tables: bool) -> bool {
    let is_in = |database: &Name| object.starts_with(&format!("{database}."));
    match resource {
        ListedResource::Database(name) => name.as_str() == object || (covers_tables && is_in(name)),
        ListedResource::TableWildcard(name) => is_in(name),
        ListedResource::Table(id) => id.to_string() == object,
        _ => false,
    }
}

/// Compares the access in a standby with that in a primary that does not change.
#[derive(Debug)]
pub struct AccessComparison {
    standby: String,
    ignored_principals: Vec<String>,
    opted_in: BTreeSet<String>,
    primary_access: BTreeSet<EffectiveRight>,
}

impl AccessComparison {
    /// Computes the access in the primary. The access that IAM allows is compared for the
    /// principals that have an opt-in in either Region now.
    #[must_use]
    pub fn new(
        state: &SimState,
        primary: &str,
        standby: &str,
        ignored_principals: &[&str],
    ) -> Self {
        let regions = [primary, standby].into_iter();
        let opted_in: BTreeSet<String> = regions
            .flat_map(|region| state.raw_opt_ins(region))
            .map(|opt_in| opt_in.principal.0)
            .collect();
        Self {
            standby: standby.to_owned(),
            ignored_principals: ignored_principals.iter().map(|p| (*p).to_owned()).collect(),
            primary_access: effective_access(state, primary, ignored_principals, &opted_in),
            opted_in,
        }
    }

    /// Returns the rights that the standby allows now and the primary does not. A right to all rows
    /// of a column includes the right to some of them.
    #[must_use]
    pub fn excess(&self, state: &SimState) -> BTreeSet<EffectiveRight> {
        let ignored: Vec<&str> = self.ignored_principals.iter().map(String::as_str).collect();
        let mut access = effective_access(state, &self.standby, &ignored, &self.opted_in);
        access.retain(|right| !self.is_allowed(right));
        access
    }

    fn is_allowed(&self, right: &EffectiveRight) -> bool {
        let (principal, object, permission, with_grant_option) = right;
        self.primary_access.contains(right)
            || object.split_once('@').is_some_and(|(every_row, _)| {
                self.primary_access.contains(&(
                    principal.clone(),
                    every_row.to_owned(),
                    permission.clone(),
                    *with_grant_option,
                ))
            })
    }
}

/// Returns the rights that the standby allows and the primary does not. A right to all rows of a
/// column includes the right to some of them.
#[must_use]
pub fn excess_access(
    state: &SimState,
    primary: &str,
    standby: &str,
    ignored_principals: &[&str],
) -> BTreeSet<EffectiveRight> {
    AccessComparison::new(state, primary, standby, ignored_principals).excess(state)
}
