//! Who may do what: effective access, computed from the simulator's raw store.

use std::collections::BTreeSet;
use twinlake_sim::World;

/// One thing that a principal may do: principal, place, permission, and whether it
/// may be granted on. A column is `database.table.column`.
pub type Right = (String, String, String, bool);

const TABLE_RIGHTS: [&str; 6] = ["ALTER", "DELETE", "DESCRIBE", "DROP", "INSERT", "SELECT"];
const DATABASE_RIGHTS: [&str; 5] = ["ALTER", "CREATE_TABLE", "DESCRIBE", "DROP", "ALL"];

/// Everything that anybody but `ignored` may do in a Region. ALL stands for every
/// permission on its object, a wildcard for every table that is there, and a grant
/// with exclusions for every column that is there and not excluded.
#[must_use]
pub fn effective(world: &World, region: &str, ignored: &[&str]) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let tables = world.table_columns(region);
    for (grant, permissions) in world.raw_grants(region) {
        if ignored.contains(&grant.principal.as_str()) {
            continue;
        }
        for (permission, option) in permissions {
            let mut add = |place: String, permission: &str| {
                let words = (grant.principal.clone(), place, permission.to_owned());
                for may_grant in [false, option] {
                    rights.insert((words.0.clone(), words.1.clone(), words.2.clone(), may_grant));
                }
            };
            let holds = grant.describe();
            for (id, columns) in &tables {
                let Some(covers) = holds.covers(id, columns) else {
                    continue;
                };
                let all = permission == "ALL";
                for right in TABLE_RIGHTS {
                    if right != permission && !all {
                        continue;
                    }
                    if right == "SELECT" {
                        for column in &covers {
                            add(format!("{id}.{column}"), right);
                        }
                    } else {
                        add(id.clone(), right);
                    }
                }
            }
            if let Some(database) = holds.database() {
                for right in DATABASE_RIGHTS {
                    if right == permission || permission == "ALL" {
                        add(database.to_owned(), right);
                    }
                }
            }
        }
    }
    rights
}

/// What the secondary allows and the primary does not.
#[must_use]
pub fn wider(world: &World, primary: &str, secondary: &str, ignored: &[&str]) -> BTreeSet<Right> {
    let allowed = effective(world, primary, ignored);
    let there = effective(world, secondary, ignored);
    there.difference(&allowed).cloned().collect()
}
