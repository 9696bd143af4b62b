//! Who may do what: effective access, computed from the simulator's raw store.

use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{CellsFilter, FilterColumns};
use twinlake_core::grant::{EntryResource, IAM_ALLOWED_PRINCIPALS, TagRule, TagTarget};
use twinlake_core::{Name, Subject, TableId};
use twinlake_sim::{StoredGrant, World};

/// One thing that a principal may do: principal, place, permission, and whether it
/// may be granted on. A column is `database.table.column`, and a part of its rows
/// `database.table.column@expression`.
pub type Right = (String, String, String, bool);

const TABLE_RIGHTS: [&str; 6] = ["ALTER", "DELETE", "DESCRIBE", "DROP", "INSERT", "SELECT"];
const DATABASE_RIGHTS: [&str; 5] = ["ALTER", "CREATE_TABLE", "DESCRIBE", "DROP", "ALL"];

type Tables = BTreeMap<String, BTreeSet<String>>;

struct Rights<'w> {
    world: &'w World,
    region: &'w str,
    tables: Tables,
    filters: BTreeMap<(String, String), CellsFilter>,
    found: BTreeSet<Right>,
}

/// Everything that anybody but `ignored` may do in a Region. ALL stands for every
/// permission on its object, a wildcard for every table that is there, a grant with
/// exclusions for every column that is there and not excluded, a filter for its columns
/// and rows, an LF-Tag policy for whatever carries its tags or inherits them; and where
/// the group that stands for IAM holds an object, whoever of `people` is not opted in
/// may do what IAM allows.
#[must_use]
pub fn effective(
    world: &World,
    region: &str,
    ignored: &[&str],
    people: &BTreeSet<String>,
) -> BTreeSet<Right> {
    let mut rights = Rights {
        world,
        region,
        tables: world.table_columns(region),
        filters: world.raw_filters(region),
        found: BTreeSet::new(),
    };
    for (grant, permissions) in world.raw_grants(region) {
        if ignored.contains(&grant.principal.as_str()) {
            continue;
        }
        for (permission, option) in permissions {
            rights.add(&grant, &permission, option);
            if grant.principal == IAM_ALLOWED_PRINCIPALS && permission == "ALL" {
                rights.open_to_iam(&grant, people);
            }
        }
    }
    rights.found
}

impl Rights<'_> {
    fn put(&mut self, grant: &StoredGrant, place: &str, permission: &str, option: bool) {
        for may_grant in [false, option] {
            let right = (
                grant.principal.clone(),
                place.to_owned(),
                permission.to_owned(),
                may_grant,
            );
            self.found.insert(right);
        }
    }

    fn add(&mut self, grant: &StoredGrant, permission: &str, option: bool) {
        let holds = grant.describe();
        for (id, columns) in &self.tables.clone() {
            if let Some(covers) = holds.covers(id, columns) {
                self.on_table(grant, id, &covers, permission, option);
            }
        }
        if let Some(database) = holds.database() {
            self.on_database(grant, database, permission, option);
        }
        if let Some((id, name)) = holds.filter() {
            self.through_filter(grant, id, name, option);
        }
        if let Some((target, rule)) = holds.tag_policy() {
            self.by_tags(grant, target, rule, (permission, option));
        }
        if let Some(place) = holds.lake() {
            let mapped = place.replace("arn:aws:s3:::lake-us/", "arn:aws:s3:::lake-in/replica/");
            self.put(grant, &mapped, permission, option);
        }
    }

    fn on_table(
        &mut self,
        grant: &StoredGrant,
        id: &str,
        covers: &BTreeSet<String>,
        permission: &str,
        option: bool,
    ) {
        for right in TABLE_RIGHTS {
            if right != permission && permission != "ALL" {
                continue;
            }
            if right == "SELECT" {
                for column in covers {
                    self.put(grant, &format!("{id}.{column}"), right, option);
                }
            } else {
                self.put(grant, id, right, option);
            }
        }
    }

    fn on_database(&mut self, grant: &StoredGrant, name: &str, permission: &str, option: bool) {
        for right in DATABASE_RIGHTS {
            if right == permission || permission == "ALL" {
                self.put(grant, name, right, option);
            }
        }
    }

    fn through_filter(&mut self, grant: &StoredGrant, id: &TableId, name: &str, option: bool) {
        let key = (id.to_string(), name.to_owned());
        let (Some(filter), Some(columns)) = (
            self.filters.get(&key).cloned(),
            self.tables.get(&key.0).cloned(),
        ) else {
            return;
        };
        for column in columns {
            let named = |names: &BTreeSet<Name>| names.iter().any(|name| name.as_str() == column);
            let shown = match &filter.columns {
                FilterColumns::Only(names) => named(names),
                FilterColumns::AllBut(names) => !named(names),
            };
            if shown {
                let rows = filter.rows.as_ref().map(|rows| format!("@{rows}"));
                let place = format!("{id}.{column}{}", rows.unwrap_or_default());
                self.put(grant, &place, "SELECT", option);
            }
        }
    }

    fn by_tags(
        &mut self,
        grant: &StoredGrant,
        target: TagTarget,
        rule: &TagRule,
        (permission, option): (&str, bool),
    ) {
        let expression = match rule {
            TagRule::Inline(expression) => expression.clone(),
            TagRule::Saved(name) => match self.world.raw_expression(self.region, name) {
                Some(expression) => expression,
                None => return,
            },
        };
        let fits = |tags: &BTreeMap<String, String>| {
            expression
                .iter()
                .all(|(key, values)| tags.get(key).is_some_and(|value| values.contains(value)))
        };
        if target == TagTarget::Database {
            for name in self.world.raw_databases(self.region).into_keys() {
                let subject = Subject::Database(name.clone());
                if fits(&self.world.raw_tags(self.region, &subject, None)) {
                    self.on_database(grant, name.as_str(), permission, option);
                }
            }
            return;
        }
        for id in self.world.raw_tables(self.region).into_keys() {
            let home = Subject::Database(id.database.clone());
            let subject = Subject::Table(id.clone());
            let mut around = self.world.raw_tags(self.region, &home, None);
            around.extend(self.world.raw_tags(self.region, &subject, None));
            let columns = self
                .tables
                .get(&id.to_string())
                .cloned()
                .unwrap_or_default();
            let shown = columns.into_iter().filter(|column| {
                let mut tags = around.clone();
                tags.extend(self.world.raw_tags(self.region, &subject, Some(column)));
                fits(&tags)
            });
            let shown: BTreeSet<String> = shown.collect();
            let id = id.to_string();
            if permission == "SELECT" || permission == "ALL" {
                self.on_table(grant, &id, &shown, "SELECT", option);
            }
            if permission != "SELECT" && fits(&around) {
                self.on_table(grant, &id, &BTreeSet::new(), permission, option);
            }
        }
    }

    /// Whom no opt-in keeps to his grants may do what IAM allows.
    fn open_to_iam(&mut self, grant: &StoredGrant, people: &BTreeSet<String>) {
        let holds = grant.describe();
        let opted = self.world.raw_opt_ins(self.region);
        let mut places: Vec<String> = holds.database().map(str::to_owned).into_iter().collect();
        for (id, columns) in &self.tables {
            if holds
                .covers(id, columns)
                .is_some_and(|covers| !covers.is_empty())
            {
                places.push(id.clone());
            }
        }
        for place in places {
            for who in people {
                let is_opted = opted.iter().any(|one| {
                    let on = match &one.resource {
                        EntryResource::Database(name) => name.to_string(),
                        EntryResource::Table(id) => id.to_string(),
                        _ => String::new(),
                    };
                    on == place && one.principal.0 == *who
                });
                if !is_opted {
                    self.found
                        .insert((who.clone(), place.clone(), "IAM".to_owned(), false));
                }
            }
        }
    }
}

/// What the secondary allows and the primary does not. Whoever may see all rows of a
/// column may see some of them.
#[must_use]
pub fn wider(world: &World, primary: &str, secondary: &str, ignored: &[&str]) -> BTreeSet<Right> {
    let opted = [primary, secondary].into_iter();
    let people: BTreeSet<String> = opted
        .flat_map(|region| world.raw_opt_ins(region))
        .map(|one| one.principal.0)
        .collect();
    let allowed = effective(world, primary, ignored, &people);
    let there = effective(world, secondary, ignored, &people);
    let is_allowed = |right: &&Right| {
        let (who, place, what, option) = right;
        let every_row = place.split('@').next().unwrap_or_default().to_owned();
        allowed.contains(*right)
            || allowed.contains(&(who.clone(), every_row, what.clone(), *option))
    };
    there
        .iter()
        .filter(|right| !is_allowed(right))
        .cloned()
        .collect()
}
