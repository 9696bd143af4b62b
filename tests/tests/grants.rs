//! Many grants: an event costs the same however many there are elsewhere, and what a
//! resync looks at again it asks for in the cheaper of two ways.

use serde_json::{Value, json};
use twinlake_tests::history::table_input;
use twinlake_tests::lab::{Lab, PRIMARY, policy};
use twinlake_tests::twin;

const TABLES: usize = 30;

fn grant(table: usize, role: usize) -> Value {
    json!({
        "Principal": {"DataLakePrincipalIdentifier": format!("arn:aws:iam::111122223333:role/R{role}")},
        "Resource": {"Table": {"DatabaseName": "d", "Name": format!("t{table}")}},
        "Permissions": ["SELECT"],
    })
}

/// A database of so many tables, with so many grants on each but the first, in step.
fn lab_with(roles: usize) -> Lab {
    lab_under("statistics = \"none\"", roles)
}

fn lab_under(keys: &str, roles: usize) -> Lab {
    let lab = Lab::new(policy(keys));
    let input = json!({"DatabaseInput": {"Name": "d", "CreateTableDefaultPermissions": []}});
    lab.call(PRIMARY, "CreateDatabase", &input).unwrap();
    for table in 0..TABLES {
        let input = table_input("d", &format!("t{table}"), &["id"]);
        let input = json!({"DatabaseName": "d", "TableInput": input});
        lab.call(PRIMARY, "CreateTable", &input).unwrap();
    }
    for (table, role) in (1..TABLES).flat_map(|t| (0..roles).map(move |r| (t, r))) {
        lab.call(PRIMARY, "GrantPermissions", &grant(table, role))
            .unwrap();
    }
    lab.resync();
    let _ = (lab.take_events(), lab.take_calls());
    lab
}

/// The calls made since they were last counted: all, and the pages of grants.
fn calls(lab: &Lab) -> (usize, usize) {
    let all = lab.sim.world().take_calls();
    let pages = all.iter().filter(|call| call.name == "ListPermissions");
    (all.len(), pages.count())
}

fn equal(lab: &Lab) {
    let found = twin::differences(&lab.sim.world(), &[]);
    assert!(found.is_empty(), "{:?}", &found[..found.len().min(5)]);
}

/// What the events of a grant and of its revoke cost.
fn event_costs(lab: &Lab) -> Vec<(usize, usize)> {
    let mut costs = Vec::new();
    for change in ["GrantPermissions", "RevokePermissions"] {
        lab.call(PRIMARY, change, &grant(0, 7)).unwrap();
        let _ = calls(lab);
        let answer = lab.deliver(&lab.take_events()).unwrap();
        assert_eq!((answer.applied(), answer.failed.len()), (1, 0));
        costs.push(calls(lab));
        equal(lab);
    }
    costs
}

#[test]
fn an_event_costs_the_same_however_many_grants_there_are() {
    let few = event_costs(&lab_with(0));
    assert_eq!(few, event_costs(&lab_with(100)));
    assert!(few.iter().all(|(all, _)| *all <= 12), "{few:?}");
}

fn filter(table: usize) -> Value {
    json!({"DatabaseName": "d", "TableName": format!("t{table}"), "Name": "few",
           "ColumnNames": ["id"], "RowFilter": {"AllRowsWildcard": {}}})
}

#[test]
fn filters_may_be_looked_for_only_where_they_are_granted() {
    let lab = lab_under("statistics = \"none\"\nfilters = \"granted\"", 0);
    let made = |lab: &Lab| {
        let calls = lab.sim.world().take_calls();
        let listed = calls
            .iter()
            .filter(|call| call.name == "ListDataCellsFilter");
        listed.count()
    };
    for table in [3, 4] {
        let request = json!({"TableData": filter(table)});
        lab.call(PRIMARY, "CreateDataCellsFilter", &request)
            .unwrap();
    }
    let granted = json!({
        "Principal": grant(0, 1)["Principal"], "Permissions": ["SELECT"],
        "Resource": {"DataCellsFilter": {"DatabaseName": "d", "TableName": "t3", "Name": "few"}},
    });
    lab.call(PRIMARY, "GrantPermissions", &granted).unwrap();
    let events = lab.take_events();
    let _ = made(&lab);
    lab.resync();
    lab.resync();
    // Both sides of one table, before and after it was copied, and once more.
    assert_eq!(made(&lab), 6);
    let left = twin::differences(&lab.sim.world(), &[]);
    assert_eq!(left.len(), 1, "the one that nobody may use: {left:?}");
    lab.deliver(&events).unwrap();
    equal(&lab);
}

/// The pages of grants that a resync reads where nothing, and where so many tables, changed.
fn resync_pages(lab: &Lab, changed: usize) -> (usize, usize) {
    lab.resync();
    let quiet = calls(lab).1;
    for table in 0..changed {
        lab.call(PRIMARY, "GrantPermissions", &grant(table, 999))
            .unwrap();
    }
    let _ = calls(lab);
    lab.resync();
    equal(lab);
    (quiet, calls(lab).1)
}

/// The seven types of grants that are on no database or table, on both sides, are looked
/// at again after any change.
const OF_LAKE: usize = 14;

#[test]
fn few_changed_tables_are_asked_for_one_by_one() {
    // 2,900 grants take three pages of each of two readings on each side.
    let (quiet, pages) = resync_pages(&lab_with(100), 2);
    assert_eq!(quiet, 2 * (3 + 3 + 8));
    assert_eq!(pages - quiet, 2 * 2 + OF_LAKE);
}

#[test]
fn many_changed_tables_are_looked_at_in_one_listing() {
    let (quiet, pages) = resync_pages(&lab_with(1), TABLES);
    assert_eq!(quiet, 2 * (1 + 1 + 8));
    assert_eq!(pages - quiet, quiet + OF_LAKE);
}
