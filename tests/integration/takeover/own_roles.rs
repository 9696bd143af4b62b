//! The grants of Twinlake's roles in a comparison that is not told which roles they are.

use serde_json::json;
use twinlake_tests::harness::{ADMIN_ROLE, PRIMARY, STANDBY, TWINLAKE_ROLE};
use twinlake_tests::takeover::pair::Pair;

/// A role of a deployed function, which the comparison is not told.
const FUNCTION_ROLE: &str = "arn:aws:iam::111122223333:role/twinlake/resync";

/// The texts of what is given up after a failover in which the former primary alone grants to the role of a function;
/// and the number of steps about the role that would make the former primary equal.
fn given_up(admins: &[&str]) -> (Vec<String>, usize) {
    let pair = Pair::in_sync();
    let all = admins.iter();
    let all: Vec<_> = all
        .map(|arn| json!({"DataLakePrincipalIdentifier": arn}))
        .collect();
    for region in [PRIMARY, STANDBY] {
        let settings = json!({"DataLakeSettings": {
            "DataLakeAdmins": all,
            "CreateDatabaseDefaultPermissions": [],
            "CreateTableDefaultPermissions": [],
        }});
        pair.harness
            .call(region, "PutDataLakeSettings", &settings)
            .unwrap();
    }
    let grant = json!({
        "Principal": {"DataLakePrincipalIdentifier": FUNCTION_ROLE},
        "Resource": {"Table": {"DatabaseName": "sales", "Name": "orders"}},
        "Permissions": ["SELECT"],
    });
    pair.harness
        .call(PRIMARY, "GrantPermissions", &grant)
        .unwrap();
    pair.fail_over();
    let report = pair.compare().report;
    let texts = report.changes.iter().map(|change| change.text.clone());
    let steps = report.plan.steps.iter();
    let steps = steps.filter(|step| format!("{step:?}").contains(FUNCTION_ROLE));
    (texts.collect(), steps.count())
}

#[test]
fn grants_of_administrators_of_both_regions_are_in_no_comparison() {
    let admins = [TWINLAKE_ROLE, ADMIN_ROLE, FUNCTION_ROLE];
    assert_eq!(given_up(&admins), (Vec::new(), 0));
    let (changes, steps) = given_up(&admins[..2]);
    let [change] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert!(change.contains(FUNCTION_ROLE), "{change}");
    assert_eq!(steps, 1);
}
