//! Whether the two Regions are equal, judged over raw JSON with a mapping of its
//! own: text by text, without a line of the product's translation.

use crate::lab::{ADMIN, PRIMARY, ROLE, SECONDARY};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::Name;
use twinlake_core::catalog::FilterColumns;
use twinlake_sim::World;

/// Every difference, as text; empty if the Regions are equal.
///
/// `skip` names databases of the secondary that are nobody's counterpart.
#[must_use]
pub fn differences(world: &World, skip: &[&str]) -> Vec<String> {
    let primary = flatten(world, PRIMARY, true);
    let mut secondary = flatten(world, SECONDARY, false);
    let foreign = |key: &str| {
        let mut words = key.split(['|', '.']);
        words
            .nth(1)
            .is_some_and(|database| skip.contains(&database))
    };
    secondary.retain(|key, _| !foreign(key));
    let mut found = Vec::new();
    for (key, wanted) in &primary {
        match secondary.get(key) {
            None => found.push(format!("missing {key}")),
            Some(there) if there != wanted => {
                found.push(format!("differs {key}: {there} instead of {wanted}"));
            }
            Some(_) => {}
        }
    }
    for key in secondary.keys() {
        if !primary.contains_key(key) {
            found.push(format!("extra {key}"));
        }
    }
    found
}

fn flatten(world: &World, region: &str, maps: bool) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut put = |key: String, json: Value| {
        let text = json.to_string();
        let mapped = |text: String| match maps {
            true => text
                .replace("\"s3://lake-us/", "\"s3://lake-in/replica/")
                .replace("arn:aws:s3:::lake-us/", "arn:aws:s3:::lake-in/replica/"),
            false => text,
        };
        all.insert(mapped(key), mapped(text));
    };
    for (name, seen) in world.raw_databases(region) {
        let mut json = serde_json::to_value(&seen.object).expect("an object is JSON");
        // The secondary's stays closed, whatever the primary's is.
        if let Some(fields) = json.as_object_mut() {
            fields.remove("CreateTableDefaultPermissions");
        }
        put(format!("database|{name}"), json);
    }
    for (id, seen) in world.raw_tables(region) {
        let json = serde_json::to_value(&seen.object).expect("an object is JSON");
        put(format!("table|{id}"), json);
    }
    for (id, partitions) in world.raw_partitions(region) {
        for (values, partition) in partitions {
            let json = serde_json::to_value(&partition).expect("an object is JSON");
            put(format!("partition|{id}|{values:?}"), json);
        }
    }
    for (id, seen) in world.raw_functions(region) {
        let json = serde_json::to_value(&seen.object).expect("an object is JSON");
        put(format!("function|{id}"), json);
    }
    for (key, part) in world.raw_parts(region) {
        let id = key.split(' ').nth(1).unwrap_or_default().to_owned();
        let json = serde_json::to_value(&part).expect("a part is JSON");
        put(format!("part|{id}|{key}"), json);
    }
    // Nor does a filter that names such a column, and the service would not make it.
    let columns = world.table_columns(PRIMARY);
    let dangling = world
        .raw_filters(PRIMARY)
        .into_iter()
        .filter(|((id, _), filter)| {
            let (FilterColumns::Only(names) | FilterColumns::AllBut(names)) = &filter.columns;
            let known = columns.get(id);
            let has = |name: &Name| known.is_some_and(|known| known.contains(name.as_str()));
            !names.iter().all(has)
        });
    let dangling: BTreeSet<String> = dangling
        .map(|((id, name), _)| format!("filter|{id}|{name}"))
        .collect();
    for (key, json) in world.raw_lake(region) {
        if dangling.contains(&key) {
            continue;
        }
        put(format!("lake|{key}"), json);
    }
    // A grant on a column that the primary's table lacks gives nothing.
    let columns = world.table_columns(PRIMARY);
    for (grant, permissions) in world.raw_grants(region) {
        let dangles = grant.describe().dangles(&columns);
        if grant.principal != ROLE && grant.principal != ADMIN && !dangles {
            put(
                format!("grant|{:?}|{}", grant.resource, grant.principal),
                serde_json::to_value(&permissions).expect("permissions are JSON"),
            );
        }
    }
    all
}
