//! Compares the two Regions as raw JSON. Maps locations by text replacement, without Twinlake's
//! translation.

use crate::harness::{ADMIN_ROLE, PRIMARY, STANDBY, TWINLAKE_ROLE};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::Name;
use twinlake_core::catalog::FilterColumns;
use twinlake_sim::SimState;

/// Returns a line of text for each difference: none if the Regions are equal.
///
/// Objects in the databases `skip` of the standby are not compared.
#[must_use]
pub fn differences(state: &SimState, skip: &[&str]) -> Vec<String> {
    let primary = flatten(state, PRIMARY, true);
    let mut standby = flatten(state, STANDBY, false);
    let is_skipped = |key: &str| {
        let mut parts = key.split(['|', '.']);
        parts
            .nth(1)
            .is_some_and(|database| skip.contains(&database))
    };
    standby.retain(|key, _| !is_skipped(key));
    let mut found = Vec::new();
    for (key, primary_value) in &primary {
        match standby.get(key) {
            None => found.push(format!("missing {key}")),
            Some(standby_value) if standby_value != primary_value => {
                found.push(format!(
                    "differs {key}: {standby_value} instead of {primary_value}"
                ));
            }
            Some(_) => {}
        }
    }
    for key in standby.keys() {
        if !primary.contains_key(key) {
            found.push(format!("extra {key}"));
        }
    }
    found
}

fn flatten(state: &SimState, region: &str, map_locations: bool) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut put = |key: String, json: Value| {
        let text = json.to_string();
        let mapped = |text: String| match map_locations {
            true => text
                .replace("\"s3://lake-us/", "\"s3://lake-in/replica/")
                .replace("arn:aws:s3:::lake-us/", "arn:aws:s3:::lake-in/replica/"),
            false => text,
        };
        all.insert(mapped(key), mapped(text));
    };
    for (name, observed) in state.raw_databases(region) {
        let mut json = serde_json::to_value(&observed.object).expect("an object is JSON");
        // Twinlake does not copy default table permissions: they stay empty in the standby.
        if let Some(fields) = json.as_object_mut() {
            fields.remove("CreateTableDefaultPermissions");
        }
        put(format!("database|{name}"), json);
    }
    for (id, observed) in state.raw_tables(region) {
        let json = serde_json::to_value(&observed.object).expect("an object is JSON");
        put(format!("table|{id}"), json);
    }
    for (id, partitions) in state.raw_partitions(region) {
        for (values, partition) in partitions {
            let json = serde_json::to_value(&partition).expect("an object is JSON");
            put(format!("partition|{id}|{values:?}"), json);
        }
    }
    for (id, observed) in state.raw_functions(region) {
        let json = serde_json::to_value(&observed.object).expect("an object is JSON");
        put(format!("function|{id}"), json);
    }
    for (key, attachment) in state.raw_attachments(region) {
        let id = key.split(' ').nth(1).unwrap_or_default().to_owned();
        let json = serde_json::to_value(&attachment).expect("an attachment is JSON");
        put(format!("attachment|{id}|{key}"), json);
    }
    // A filter that names a column that its table lacks allows nothing, and cannot be created.
    let columns = state.table_columns(PRIMARY);
    let filters_with_missing_column =
        state
            .raw_data_cells_filters(PRIMARY)
            .into_iter()
            .filter(|((id, _), filter)| {
                let (FilterColumns::Only(names) | FilterColumns::AllBut(names)) = &filter.columns;
                let columns = columns.get(id);
                let has =
                    |name: &Name| columns.is_some_and(|columns| columns.contains(name.as_str()));
                !names.iter().all(has)
            });
    let filters_with_missing_column: BTreeSet<String> = filters_with_missing_column
        .map(|((id, name), _)| format!("filter|{id}|{name}"))
        .collect();
    for (key, json) in state.raw_lakeformation(region) {
        if filters_with_missing_column.contains(&key) {
            continue;
        }
        put(format!("lakeformation|{key}"), json);
    }
    // A grant on a column that its table lacks allows nothing.
    let columns = state.table_columns(PRIMARY);
    for (grant, permissions) in state.raw_grants(region) {
        let has_missing_column = grant.granted_resource().names_missing_column(&columns);
        if grant.principal != TWINLAKE_ROLE && grant.principal != ADMIN_ROLE && !has_missing_column
        {
            put(
                format!("grant|{:?}|{}", grant.resource, grant.principal),
                serde_json::to_value(&permissions).expect("permissions are JSON"),
            );
        }
    }
    all
}
