//! The number of API calls with many grants: that of an event does not depend on the grants of
//! other tables, and a resync reads changed grants in the cheaper of two ways.

use serde_json::{Value, json};
use twinlake_engine::ports::PermissionResourceType;
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{PRIMARY, TestHarness, policy};
use twinlake_tests::history::table_input;

const TABLES: usize = 30;

fn grant(table: usize, role: usize) -> Value {
    json!({
        "Principal": {"DataLakePrincipalIdentifier": format!("arn:aws:iam::111122223333:role/R{role}")},
        "Resource": {"Table": {"DatabaseName": "d", "Name": format!("t{table}")}},
        "Permissions": ["SELECT"],
    })
}

/// Returns a harness in sync with a database of [`TABLES`] tables, and grants to a number of roles
/// on each table but the first.
fn harness_with_grants(roles: usize) -> TestHarness {
    harness_with_policy("column-statistics = \"none\"", roles)
}

fn harness_with_policy(keys: &str, roles: usize) -> TestHarness {
    let harness = TestHarness::new(policy(keys));
    let input = json!({"DatabaseInput": {"Name": "d", "CreateTableDefaultPermissions": []}});
    harness.call(PRIMARY, "CreateDatabase", &input).unwrap();
    for table in 0..TABLES {
        let input = table_input("d", &format!("t{table}"), &["id"]);
        let input = json!({"DatabaseName": "d", "TableInput": input});
        harness.call(PRIMARY, "CreateTable", &input).unwrap();
    }
    for (table, role) in (1..TABLES).flat_map(|t| (0..roles).map(move |r| (t, r))) {
        harness
            .call(PRIMARY, "GrantPermissions", &grant(table, role))
            .unwrap();
    }
    harness.resync();
    let _ = (harness.take_events(), harness.take_calls());
    harness
}

/// Returns the number of calls since the last count, and how many of them list grants.
fn take_call_counts(harness: &TestHarness) -> (usize, usize) {
    let all = harness.sim.state().take_calls();
    let pages = all.iter().filter(|call| call.name == "ListPermissions");
    (all.len(), pages.count())
}

fn assert_regions_equal(harness: &TestHarness) {
    let found = equality_oracle::differences(&harness.sim.state(), &[]);
    assert!(found.is_empty(), "{:?}", &found[..found.len().min(5)]);
}

/// Returns the call counts of the event of a grant, and of that of its revoke.
fn event_costs(harness: &TestHarness) -> Vec<(usize, usize)> {
    let mut costs = Vec::new();
    for change in ["GrantPermissions", "RevokePermissions"] {
        harness.call(PRIMARY, change, &grant(0, 7)).unwrap();
        let _ = take_call_counts(harness);
        let result = harness.deliver(&harness.take_events()).unwrap();
        assert_eq!((result.applied(), result.failed.len()), (1, 0));
        costs.push(take_call_counts(harness));
        assert_regions_equal(harness);
    }
    costs
}

#[test]
fn the_calls_of_an_event_do_not_depend_on_the_number_of_grants() {
    let few = event_costs(&harness_with_grants(0));
    assert_eq!(few, event_costs(&harness_with_grants(100)));
    assert!(few.iter().all(|(all, _)| *all <= 12), "{few:?}");
}

fn filter(table: usize) -> Value {
    json!({"DatabaseName": "d", "TableName": format!("t{table}"), "Name": "few",
           "ColumnNames": ["id"], "RowFilter": {"AllRowsWildcard": {}}})
}

#[test]
fn the_granted_filter_scan_lists_filters_only_of_tables_with_a_filter_grant() {
    let harness = harness_with_policy(
        "column-statistics = \"none\"\ndata-cells-filter-scan = \"granted\"",
        0,
    );
    let count_filter_listings = |harness: &TestHarness| {
        let calls = harness.sim.state().take_calls();
        let listed = calls
            .iter()
            .filter(|call| call.name == "ListDataCellsFilter");
        listed.count()
    };
    for table in [3, 4] {
        let request = json!({"TableData": filter(table)});
        harness
            .call(PRIMARY, "CreateDataCellsFilter", &request)
            .unwrap();
    }
    let granted = json!({
        "Principal": grant(0, 1)["Principal"], "Permissions": ["SELECT"],
        "Resource": {"DataCellsFilter": {"DatabaseName": "d", "TableName": "t3", "Name": "few"}},
    });
    harness.call(PRIMARY, "GrantPermissions", &granted).unwrap();
    let events = harness.take_events();
    let _ = count_filter_listings(&harness);
    harness.resync();
    harness.resync();
    // One table in both Regions: in the first resync before and after its steps, and in the second.
    assert_eq!(count_filter_listings(&harness), 6);
    let left = equality_oracle::differences(&harness.sim.state(), &[]);
    assert_eq!(
        left.len(),
        1,
        "the filter that is granted to nobody: {left:?}"
    );
    harness.deliver(&events).unwrap();
    assert_regions_equal(&harness);
}

/// Returns the pages of grants that a resync reads after no change, and after a change of the
/// grants on a number of tables.
fn resync_pages(harness: &TestHarness, changed: usize) -> (usize, usize) {
    harness.resync();
    let unchanged = take_call_counts(harness).1;
    for table in 0..changed {
        harness
            .call(PRIMARY, "GrantPermissions", &grant(table, 999))
            .unwrap();
    }
    let _ = take_call_counts(harness);
    harness.resync();
    assert_regions_equal(harness);
    (unchanged, take_call_counts(harness).1)
}

/// Pages of the listing by resource type, in one Region, for the types other than `TABLE`: there
/// are no such grants, so each type takes one page.
const OTHER_TYPE_PAGES: usize = PermissionResourceType::ALL.len() - 1;

#[test]
fn the_grants_on_few_changed_tables_are_listed_by_table() {
    // In each Region, 2,900 grants are three pages without a filter, and three of the type TABLE.
    let (unchanged, pages) = resync_pages(&harness_with_grants(100), 2);
    assert_eq!(unchanged, 2 * (3 + 3 + OTHER_TYPE_PAGES));
    // Two changed tables in two Regions. Those on no database or table are not listed again, since none is by LF-Tags.
    assert_eq!(pages - unchanged, 2 * 2);
}

#[test]
fn the_grants_on_many_changed_tables_are_read_in_one_listing() {
    let (unchanged, pages) = resync_pages(&harness_with_grants(1), TABLES);
    assert_eq!(unchanged, 2 * (1 + 1 + OTHER_TYPE_PAGES));
    // In each Region one listing without a filter, one of databases and one of tables.
    assert_eq!(pages - unchanged, 2 * 3);
}
