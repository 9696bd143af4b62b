//! Computes the effective access of principals from the simulator's raw state.

use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{DataCellsFilter, FilterColumns};
use twinlake_core::grant::{
    IAM_ALLOWED_PRINCIPALS, LfTagPolicy, LfTagPolicyTarget, ListedResource,
};
use twinlake_core::{Name, Subject, TableId};
use twinlake_sim::{SimState, StoredGrant};

/// One access right: principal, object, permission, and whether it is the grant option. A column is
/// `database.table.column`, and a part of its rows `database.table.column@expression`.
pub type EffectiveRight = (String, String, String, bool);

const TABLE_RIGHTS: [&str; 6] = ["ALTER", "DELETE", "DESCRIBE", "DROP", "INSERT", "SELECT"];
const DATABASE_RIGHTS: [&str; 5] = ["ALTER", "CREATE_TABLE", "DESCRIBE", "DROP", "ALL"];

type TableColumns = BTreeMap<String, BTreeSet<String>>;

struct RightsBuilder<'w> {
    state: &'w SimState,
    region: &'w str,
    tables: TableColumns,
    filters: BTreeMap<(String, String), DataCellsFilter>,
    rights: BTreeSet<EffectiveRight>,
}

/// Returns the rights of all principals but `ignored_principals` in a Region.
///
/// - ALL stands for every permission on its object, and a grant on all tables for every existing
///   table.
/// - A grant with excluded columns stands for every other existing column, and a data cells filter
///   for its columns and rows.
/// - A grant by LF-Tags stands for every object that has the LF-Tags or inherits them.
/// - Where `IAM_ALLOWED_PRINCIPALS` has ALL on an object, each principal of `opted_in` without an
///   opt-in on that object has the access that IAM allows.
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
        for (id, columns) in &self.tables.clone() {
            if let Some(columns) = resource.covered_columns(id, columns) {
                self.add_table_rights(grant, id, &columns, permission, with_grant_option);
            }
        }
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

    /// Adds the access that IAM allows to the principals without an opt-in on the objects of a
    /// grant to `IAM_ALLOWED_PRINCIPALS`.
    fn add_iam_rights(&mut self, grant: &StoredGrant, opted_in: &BTreeSet<String>) {
        let resource = grant.granted_resource();
        let opt_ins = self.state.raw_opt_ins(self.region);
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
                let has_opt_in = opt_ins.iter().any(|opt_in| {
                    let opted_object = match &opt_in.resource {
                        ListedResource::Database(name) => name.to_string(),
                        ListedResource::Table(id) => id.to_string(),
                        _ => String::new(),
                    };
                    opted_object == object && opt_in.principal.0 == *principal
                });
                if !has_opt_in {
                    self.rights.insert((
                        principal.clone(),
                        object.clone(),
                        "IAM".to_owned(),
                        false,
                    ));
                }
            }
        }
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
    let regions = [primary, standby].into_iter();
    let opted_in: BTreeSet<String> = regions
        .flat_map(|region| state.raw_opt_ins(region))
        .map(|opt_in| opt_in.principal.0)
        .collect();
    let primary_access = effective_access(state, primary, ignored_principals, &opted_in);
    let standby_access = effective_access(state, standby, ignored_principals, &opted_in);
    let is_allowed = |right: &&EffectiveRight| {
        let (principal, object, permission, with_grant_option) = right;
        let every_row = object.split('@').next().unwrap_or_default().to_owned();
        primary_access.contains(*right)
            || primary_access.contains(&(
                principal.clone(),
                every_row,
                permission.clone(),
                *with_grant_option,
            ))
    };
    standby_access
        .iter()
        .filter(|right| !is_allowed(right))
        .cloned()
        .collect()
}
