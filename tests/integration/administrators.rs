//! The audit's rules for data lake administrators and for writes of the settings: it rejects a plan
//! that a faulty planner might make.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::audit::AuditRule;
use twinlake_core::{
    CallErrorKind, Name, Permission, PermissionGrant, Plan, Principal, Resource, Step, TableId,
};
use twinlake_engine::own_access::{
    AccessChanges, AccessRequirements, ReaderGrant, ReaderTarget, apply_changes, required_changes,
    revert_changes,
};
use twinlake_sim::{ApiError, InjectedFault, run_until_killed};
use twinlake_tests::harness::{ADMIN_ROLE, PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, policy};
use twinlake_tests::plans::{audit_plan, preview_everything};

const MERGE: &str = "data-lake-settings = \"merge\"\n";

fn role(name: &str) -> String {
    format!("arn:aws:iam::111122223333:role/{name}")
}

fn principals(names: &[&str]) -> BTreeSet<Principal> {
    names.iter().map(|name| Principal(role(name))).collect()
}

/// Writes the settings of a Region: its administrators, beside those of the harness, and its
/// read-only administrators.
fn put_settings(
    harness: &TestHarness,
    region: &str,
    [admins, read_only]: [&[&str]; 2],
    more: Value,
) {
    let all = |names: Vec<String>| -> Vec<Value> {
        let names = names.into_iter();
        names
            .map(|name| json!({"DataLakePrincipalIdentifier": name}))
            .collect()
    };
    let own = [TWINLAKE_ROLE.to_owned(), ADMIN_ROLE.to_owned()];
    let admins = own.into_iter().chain(admins.iter().map(|name| role(name)));
    let read_only = read_only.iter().map(|name| role(name));
    let mut settings = json!({
        "DataLakeAdmins": all(admins.collect()),
        "ReadOnlyAdmins": all(read_only.collect()),
        "CreateDatabaseDefaultPermissions": [],
        "CreateTableDefaultPermissions": [],
        "Parameters": {"SET_CONTEXT": "TRUE"},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        settings[key] = value.clone();
    }
    let request = json!({"DataLakeSettings": settings});
    harness
        .call(region, "PutDataLakeSettings", &request)
        .unwrap();
}

/// Returns a harness with a table `base.t`, which is in both Regions.
fn harness_with_table(keys: &str) -> TestHarness {
    let harness = TestHarness::new(policy(keys));
    for region in [PRIMARY, STANDBY] {
        put_settings(&harness, region, [&[], &[]], json!({}));
    }
    let database = json!({"DatabaseInput": {"Name": "base", "CreateTableDefaultPermissions": []}});
    harness.call(PRIMARY, "CreateDatabase", &database).unwrap();
    put_table(&harness, "CreateTable", &["id"]);
    grant(&harness, PRIMARY, "SELECT", "Reader");
    harness.resync();
    harness
}

fn put_table(harness: &TestHarness, call: &str, columns: &[&str]) {
    let columns: Vec<Value> = columns
        .iter()
        .map(|name| json!({"Name": name, "Type": "string"}))
        .collect();
    let table = json!({"DatabaseName": "base", "TableInput": {"Name": "t", "StorageDescriptor":
        {"Columns": columns, "Location": "s3://lake-us/base/t/"}}});
    harness.call(PRIMARY, call, &table).unwrap();
}

fn grant(harness: &TestHarness, region: &str, permission: &str, name: &str) {
    let request = json!({"Principal": {"DataLakePrincipalIdentifier": role(name)},
        "Resource": {"Table": {"DatabaseName": "base", "Name": "t"}}, "Permissions": [permission]});
    harness.call(region, "GrantPermissions", &request).unwrap();
}

fn on_table(permission: Permission, name: &str) -> PermissionGrant {
    PermissionGrant {
        principal: Principal(role(name)),
        resource: Resource::Table(TableId::new(
            Name::new("base").unwrap(),
            Name::new("t").unwrap(),
        )),
        permission,
        condition: None,
    }
}

/// Returns a plan without changes of the settings, for the steps of a test.
fn plan_of(harness: &TestHarness, steps: Vec<Step>) -> Plan {
    let (mut plan, rejections) = preview_everything(harness);
    assert!(rejections.is_empty(), "{rejections:#?}");
    plan.requires = (0..steps.len())
        .map(|position| (0..position).collect())
        .collect();
    plan.steps = steps;
    plan
}

/// Returns the first rule by which the audit rejects the steps.
fn rejected_by(harness: &TestHarness, steps: Vec<Step>) -> Option<AuditRule> {
    let rejections = audit_plan(harness, plan_of(harness, steps)).err()?;
    rejections.first().map(|rejection| rejection.rule)
}

fn put(added: [&[&str]; 2], removed: [&[&str]; 2], only_narrows: bool) -> Step {
    Step::PutSettings {
        added_admins: principals(added[0]),
        added_read_only_admins: principals(added[1]),
        removed_admins: principals(removed[0]),
        removed_read_only_admins: principals(removed[1]),
        other_settings: None,
        kept_admins: BTreeSet::new(),
        kept_read_only_admins: BTreeSet::new(),
        only_narrows,
    }
}

#[test]
fn the_audit_rejects_new_columns_beside_a_grant_of_an_administrator_of_the_primary() {
    for standing in [[&["X"][..], &[]], [&[], &["X"]]] {
        let harness = harness_with_table("");
        put_settings(&harness, PRIMARY, standing, json!({}));
        grant(&harness, STANDBY, "SELECT", "X");
        put_table(&harness, "UpdateTable", &["id", "salary"]);
        let (plan, _) = preview_everything(&harness);
        let is_update = |step: &Step| matches!(step, Step::UpdateTable { .. });
        let only_update: Vec<Step> = plan
            .steps
            .iter()
            .filter(|s| is_update(s))
            .cloned()
            .collect();
        assert_eq!(only_update.len(), 1);
        assert_eq!(
            rejected_by(&harness, only_update),
            Some(AuditRule::WiderAccess)
        );
        assert_eq!(rejected_by(&harness, plan.steps), None);
    }
}

#[test]
fn the_audit_lets_nothing_be_revoked_that_an_administrator_of_the_standby_has_without_grant() {
    let harness = harness_with_table("");
    put_settings(&harness, STANDBY, [&["Full"], &["Reader"]], json!({}));
    for name in ["Full", "Reader"] {
        grant(&harness, STANDBY, "DESCRIBE", name);
        let revoke = Step::Revoke {
            grant: on_table(Permission::Describe, name),
            grantable: false,
            cause: twinlake_core::step::RevokeCause::NotInPrimary,
        };
        assert_eq!(
            rejected_by(&harness, vec![revoke]),
            Some(AuditRule::NotManaged)
        );
    }
}

#[test]
fn the_audit_rejects_grants_that_the_primary_may_list_only_for_an_administrator() {
    let harness = harness_with_table("");
    for (name, standing) in [
        ("Full", [&["Full"][..], &[]]),
        ("ReadOnly", [&[], &["ReadOnly"]]),
    ] {
        put_settings(&harness, PRIMARY, standing, json!({}));
        grant(&harness, PRIMARY, "DESCRIBE", name);
        grant(&harness, PRIMARY, "INSERT", name);
        let granted = |permission| Step::Grant {
            grant: on_table(permission, name),
            grantable: false,
        };
        let describe = vec![granted(Permission::Describe)];
        assert_eq!(
            rejected_by(&harness, describe),
            Some(AuditRule::WiderAccess)
        );
        assert_eq!(
            rejected_by(&harness, vec![granted(Permission::Insert)]),
            None
        );
    }
}

#[test]
fn the_audit_separates_administrators_from_read_only_ones() {
    let harness = harness_with_table(MERGE);
    put_settings(&harness, PRIMARY, [&["Full"], &["ReadOnly"]], json!({}));
    harness.resync();
    put_settings(&harness, PRIMARY, [&["ReadOnly"], &["Full"]], json!({}));
    let (none, full, read_only): (&[&str], &[&str], &[&str]) = (&[], &["Full"], &["ReadOnly"]);
    let narrowing = put([none, none], [full, read_only], true);
    assert_eq!(rejected_by(&harness, vec![narrowing]), None);
    let swapped = put([none, none], [read_only, none], true);
    assert_eq!(
        rejected_by(&harness, vec![swapped]),
        Some(AuditRule::NotManaged)
    );
    let swapped = put([none, none], [none, full], true);
    assert_eq!(
        rejected_by(&harness, vec![swapped]),
        Some(AuditRule::NotManaged)
    );
    let added = put([read_only, full], [none, none], false);
    assert_eq!(rejected_by(&harness, vec![added]), None);
    let added = put([full, none], [none, none], false);
    assert_eq!(
        rejected_by(&harness, vec![added]),
        Some(AuditRule::WiderAccess)
    );
    let opening = put([read_only, none], [none, none], true);
    assert_eq!(
        rejected_by(&harness, vec![opening]),
        Some(AuditRule::WiderAccess)
    );
}

#[test]
fn an_administrator_that_the_plan_removes_is_judged_by_its_grants() {
    let harness = harness_with_table(MERGE);
    put_settings(&harness, PRIMARY, [&["X"], &[]], json!({}));
    harness.resync();
    grant(&harness, STANDBY, "SELECT", "X");
    put_settings(&harness, PRIMARY, [&[], &[]], json!({}));
    put_table(&harness, "UpdateTable", &["id", "salary"]);
    let (plan, _) = preview_everything(&harness);
    let without_revoke = plan
        .steps
        .iter()
        .filter(|step| !matches!(step, Step::Revoke { .. }));
    let without_revoke: Vec<Step> = without_revoke.cloned().collect();
    assert_eq!(without_revoke.len(), 2, "{without_revoke:#?}");
    assert_eq!(
        rejected_by(&harness, without_revoke),
        Some(AuditRule::WiderAccess)
    );
    assert_eq!(rejected_by(&harness, plan.steps.clone()), None);
    assert_eq!(plan.steps.len(), 3);
}

#[test]
fn the_counterpart_of_another_principal_is_not_added_as_administrator() {
    let pair = format!(
        "{MERGE}[[principal]]\na = \"{}\"\nb = \"{}\"\n",
        role("A"),
        role("B")
    );
    let pair = match policy("").sites.find(PRIMARY).unwrap() {
        twinlake_core::topology::SiteId::A => pair,
        twinlake_core::topology::SiteId::B => pair
            .replace("\nb = ", "\nc = ")
            .replace("\na = ", "\nb = ")
            .replace("\nc = ", "\na = "),
    };
    let harness = harness_with_table(&pair);
    put_settings(&harness, PRIMARY, [&["B"], &[]], json!({}));
    let (plan, _) = preview_everything(&harness);
    assert!(plan.steps.is_empty(), "{:#?}", plan.steps);
    let added = put([&["B"], &[]], [&[], &[]], false);
    assert_eq!(
        rejected_by(&harness, vec![added]),
        Some(AuditRule::WiderAccess)
    );
    put_settings(&harness, PRIMARY, [&["A"], &[]], json!({}));
    let mut added = put([&["B"], &[]], [&[], &[]], false);
    if let Step::PutSettings { kept_admins, .. } = &mut added {
        *kept_admins =
            BTreeSet::from([ADMIN_ROLE, TWINLAKE_ROLE].map(|name| Principal(name.to_owned())));
    }
    assert_eq!(preview_everything(&harness).0.steps, [added]);
}

#[test]
fn an_administrator_that_could_not_be_added_belongs_to_whoever_adds_it() {
    let harness = harness_with_table(MERGE);
    put_settings(&harness, PRIMARY, [&["New"], &[]], json!({}));
    let denied = ApiError::new(CallErrorKind::Denied, "AccessDeniedException", "denied");
    let fault = InjectedFault::once(STANDBY, "PutDataLakeSettings", denied);
    let times = usize::MAX;
    let fault = InjectedFault { times, ..fault };
    harness.sim.state().inject_fault(fault);
    harness.resync();
    harness.sim.state().clear_call_faults();
    put_settings(&harness, STANDBY, [&["New"], &[]], json!({}));
    put_settings(&harness, PRIMARY, [&[], &[]], json!({}));
    harness.settle();
    let request = json!({});
    let settings = harness.call(STANDBY, "GetDataLakeSettings", &request);
    let settings = settings.unwrap().to_string();
    assert!(settings.contains(&role("New")), "{settings}");
}

#[test]
fn settings_that_allow_more_are_no_narrowing() {
    let harness = harness_with_table(MERGE);
    let opened = json!({"AllowFullTableExternalDataAccess": true, "TrustedResourceOwners": ["444455556666"]});
    put_settings(&harness, PRIMARY, [&[], &[]], opened.clone());
    let (plan, _) = preview_everything(&harness);
    let [
        Step::PutSettings {
            other_settings: Some(wanted),
            only_narrows: false,
            ..
        },
    ] = plan.steps.as_slice()
    else {
        panic!("{:#?}", plan.steps);
    };
    assert!(!plan.steps[0].only_narrows());
    let with_settings =
        |settings: &twinlake_core::catalog::DataLakeSettings, narrows| Step::PutSettings {
            added_admins: BTreeSet::new(),
            added_read_only_admins: BTreeSet::new(),
            removed_admins: BTreeSet::new(),
            removed_read_only_admins: BTreeSet::new(),
            other_settings: Some(settings.clone()),
            kept_admins: BTreeSet::new(),
            kept_read_only_admins: BTreeSet::new(),
            only_narrows: narrows,
        };
    let disguised = with_settings(wanted, true);
    assert_eq!(
        rejected_by(&harness, vec![disguised]),
        Some(AuditRule::WiderAccess)
    );
    let mut wider = wanted.clone();
    wider.session_tag_values.insert("x".to_owned());
    assert_eq!(
        rejected_by(&harness, vec![with_settings(&wider, false)]),
        Some(AuditRule::WiderAccess)
    );

    // What both allow stays, and what only the standby allows goes first.
    harness.resync();
    put_settings(
        &harness,
        STANDBY,
        [&[], &[]],
        json!({"AllowFullTableExternalDataAccess": true}),
    );
    let closed = json!({"TrustedResourceOwners": ["444455556666"]});
    put_settings(&harness, PRIMARY, [&[], &[]], closed);
    let (plan, rejections) = preview_everything(&harness);
    let closes: Vec<bool> = plan.steps.iter().map(Step::only_narrows).collect();
    assert_eq!((closes, rejections), (vec![true, false], Vec::new()));
    assert_eq!(plan.requires, vec![vec![], vec![0]]);
    harness.resync();
    assert!(preview_everything(&harness).0.steps.is_empty());
}

#[test]
fn roles_leave_the_administrators_even_if_a_grant_cannot_be_revoked() {
    let harness = harness_with_table("");
    let changes = AccessChanges {
        administrators: BTreeSet::from([Principal(role("Twinlake"))]),
        cleared_table_defaults: true,
        grants: vec![ReaderGrant {
            principal: Principal(role("Twinlake")),
            database: Name::new("sales").unwrap(),
            target: ReaderTarget::AllTables,
            permissions: BTreeSet::from(["SELECT".to_owned()]),
        }],
        ..AccessChanges::default()
    };
    put_settings(&harness, STANDBY, [&["Twinlake"], &[]], json!({}));
    let denied = ApiError::new(CallErrorKind::Denied, "AccessDeniedException", "denied");
    let fault = InjectedFault::once(STANDBY, "BatchRevokePermissions", denied);
    harness.sim.state().inject_fault(fault);
    let region = harness.sim.region(STANDBY, TWINLAKE_ROLE);
    let reverted = run_until_killed(&harness.sim, revert_changes(&region, &changes)).unwrap();
    assert_eq!(reverted.unwrap_err().call, "BatchRevokePermissions");
    let settings = harness.call(STANDBY, "GetDataLakeSettings", &json!({}));
    let settings = settings.unwrap();
    assert!(
        !settings.to_string().contains(&role("Twinlake")),
        "{settings}"
    );
    let defaults = settings["DataLakeSettings"]["CreateTableDefaultPermissions"].to_string();
    assert!(defaults.contains("IAM_ALLOWED_PRINCIPALS"), "{defaults}");
}

#[test]
fn reader_roles_are_granted_describe_on_each_database_and_all_tables_of_it() {
    let harness = harness_with_table("");
    let reader = Principal(role("Reader"));
    let region = harness.sim.region(PRIMARY, TWINLAKE_ROLE);
    let requirements = AccessRequirements {
        readers: BTreeSet::from([reader]),
        ..AccessRequirements::default()
    };
    let required = || {
        let changes = required_changes(&region, &requirements);
        run_until_killed(&harness.sim, changes).unwrap().unwrap()
    };
    let changes = required();
    let granted = |target| {
        let grants = changes.grants.iter().filter(|grant| grant.target == target);
        grants
            .flat_map(|grant| grant.permissions.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(granted(ReaderTarget::Database), ["DESCRIBE"]);
    assert_eq!(granted(ReaderTarget::AllTables), ["DESCRIBE", "SELECT"]);
    let applied = apply_changes(&region, &changes, &());
    run_until_killed(&harness.sim, applied).unwrap().unwrap();
    assert_eq!(required(), AccessChanges::default());
    // A record of an earlier version names no target.
    let record = serde_json::to_value(&changes.grants).unwrap().to_string();
    let earlier = record
        .replace("\"target\":\"all-tables\",", "")
        .replace(",\"target\":\"all-tables\"", "");
    assert!(!earlier.contains("all-tables"), "{earlier}");
    let read: Vec<ReaderGrant> = serde_json::from_str(&earlier).unwrap();
    assert_eq!(read, changes.grants);
}
