//! Compares the two Regions as raw JSON. Maps locations by text replacement, without Twinlake's
//! translation.

use crate::harness::{ADMIN_ROLE, PRIMARY, STANDBY, TWINLAKE_ROLE};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::FilterColumns;
use twinlake_core::{Name, Subject};
use twinlake_sim::{SimState, StoredGrant};

/// Returns a line of text for each difference: none if the Regions are equal.
///
/// Objects in the databases `skip` of the standby are not compared.
#[must_use]
pub fn differences(state: &SimState, skip: &[&str]) -> Vec<String> {
    let mut primary = mapped_contents(state);
    let mut standby = contents(state, STANDBY);
    let missing = keys_with_missing_column(state, PRIMARY);
    primary.retain(|key, _| !missing.contains(key));
    let missing = keys_with_missing_column(state, STANDBY);
    standby.retain(|key, _| !missing.contains(key));
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

/// Whether a difference, or a key of [`contents`], may be about a subject: by the names in it. A database
/// stands for everything in it, and any Lake Formation subject for all grants and Lake Formation metadata. A
/// table and a function of one name are not told apart.
#[must_use]
pub fn is_about(difference: &str, subject: &Subject) -> bool {
    let words: BTreeSet<&str> = difference
        .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
        .collect();
    let named = |name: &Name| words.contains(name.as_str());
    match subject {
        Subject::Database(name) => named(name),
        Subject::Table(id) => named(&id.database) && named(&id.table),
        Subject::Function(id) => named(&id.database) && named(&id.function),
        Subject::LakeFormation(_) => {
            let of_objects = [
                "database|",
                "table|",
                "partition|",
                "function|",
                "attachment|",
            ];
            !of_objects.iter().any(|kind| difference.contains(kind))
        }
        Subject::Catalog => true,
    }
}

/// Returns everything that a Region holds, by a unique key, but the grants of Twinlake and of the
/// administrator.
#[must_use]
pub fn contents(state: &SimState, region: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut put = |key: String, json: Value| {
        all.insert(key, json.to_string());
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
    for (key, json) in state.raw_lakeformation(region) {
        put(format!("lakeformation|{key}"), json);
    }
    for (grant, permissions) in state.raw_grants(region) {
        if grant.principal != TWINLAKE_ROLE && grant.principal != ADMIN_ROLE {
            let json = serde_json::to_value(&permissions).expect("permissions are JSON");
            put(grant_key(&grant), json);
        }
    }
    all
}

/// Returns the contents of the primary with the locations of the standby.
#[must_use]
pub fn mapped_contents(state: &SimState) -> BTreeMap<String, String> {
    let all = contents(state, PRIMARY).into_iter();
    all.map(|(key, json)| (in_standby(&key), in_standby(&json)))
        .collect()
}

/// Replaces the locations of the primary by those of the standby.
fn in_standby(text: &str) -> String {
    text.replace("\"s3://lake-us/", "\"s3://lake-in/replica/")
        .replace("arn:aws:s3:::lake-us/", "arn:aws:s3:::lake-in/replica/")
}

fn grant_key(grant: &StoredGrant) -> String {
    format!("grant|{:?}|{}", grant.resource, grant.principal)
}

/// The keys of what allows nothing, and cannot be created: the primary's data cells filters that name a
/// column which its table lacks, and the grants of `region` on such a filter or column.
fn keys_with_missing_column(state: &SimState, region: &str) -> BTreeSet<String> {
    let columns = state.table_columns(PRIMARY);
    let filters = state.raw_data_cells_filters(PRIMARY).into_iter();
    let filters: BTreeSet<(String, String)> = filters
        .filter(|((id, _), filter)| {
            let (FilterColumns::Only(names) | FilterColumns::AllBut(names)) = &filter.columns;
            let columns = columns.get(id);
            let has = |name: &Name| columns.is_some_and(|columns| columns.contains(name.as_str()));
            !names.iter().all(has)
        })
        .map(|(key, _)| key)
        .collect();
    let grants = state.raw_grants(region).into_iter();
    let grants = grants.filter(|(grant, _)| {
        let resource = grant.granted_resource();
        let filter = resource.data_cells_filter();
        let filter = filter.map(|(id, name)| (id.to_string(), name.to_owned()));
        let is_on_filter = filter.is_some_and(|filter| filters.contains(&filter));
        is_on_filter || resource.names_missing_column(&columns)
    });
    let grants = grants.map(|(grant, _)| grant_key(&grant));
    let filters = filters.iter();
    let filters = filters.map(|(id, name)| format!("lakeformation|filter|{id}|{name}"));
    filters.chain(grants).collect()
}

/// Describes the first key whose values differ in two contents.
#[must_use]
pub fn first_difference(
    found: &BTreeMap<String, String>,
    expected: &BTreeMap<String, String>,
) -> Option<String> {
    let keys: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let mut differing = keys
        .into_iter()
        .filter(|key| found.get(*key) != expected.get(*key));
    let key = differing.next()?;
    let (found, expected) = (found.get(key), expected.get(key));
    Some(format!("{key}: {found:?} instead of {expected:?}"))
}
