//! The return of a former primary: what the report lists, what its digest covers, that nothing is written before
//! it is accepted, and that the Region then becomes equal to the primary.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::divergence::{FormerChangeKind, KeyDivergence};
use twinlake_core::failover::{EpochRecord, FailoverRequest};
use twinlake_core::topology::{Epoch, RegionRole};
use twinlake_core::{CallErrorKind, OwnRoles, Principal, Timestamp};
use twinlake_engine::divergence::{
    AcceptError, Divergence, DivergenceContext, RegionPorts, accept, compare,
};
use twinlake_engine::failover::{FENCE_WAIT, NewPrimary, run};
use twinlake_engine::region_authority::region_authority;
use twinlake_engine::resync::{ResyncDepth, resync};
use twinlake_engine::{Context, InMemoryLedger, Ledger as _};
use twinlake_sim::{ApiError, InjectedFault, Sim, SimEnvironment, SimRegion, run_until_killed};
use twinlake_tests::access_oracle::excess_access;
use twinlake_tests::equality_oracle::differences;
use twinlake_tests::harness::{
    ADMIN_ROLE, PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, TestQueue, policy,
};
use twinlake_tests::history::{calls, random_actions, set_up_primary, table_input};
use twinlake_tests::takeover::withheld::{databases_opened, unnamed_steps, withhold};
use twinlake_tests::takeover::{SimTimer, TestObjects, object_version, ready};

/// Two Regions after a failover: the ledger of the harness is that of the primary.
struct Returned {
    harness: TestHarness,
    /// The ledger of the former primary.
    former_ledger: InMemoryLedger,
    former: SimRegion,
    primary: SimRegion,
    objects: (TestObjects, TestObjects),
    reader: Principal,
    own_roles: OwnRoles,
}

impl Returned {
    fn after_failover(harness: TestHarness) -> Self {
        let region = harness.sim.region(STANDBY, TWINLAKE_ROLE);
        let timer = SimTimer(harness.sim.clone());
        harness.ledger.set_epoch(harness.epoch());
        ready(harness.ledger.put_policy(harness.policy.text())).unwrap();
        let new_primary = NewPrimary {
            site: harness.policy.sites.find(STANDBY).unwrap(),
            region: &region,
            ledger: &harness.ledger,
            timer: &timer,
            policy: &harness.policy,
            max_concurrent_calls: 2,
            fence_wait: FENCE_WAIT,
            progress: &(),
            handover: &(),
            caller: None,
            stop_at: None,
        };
        let request = FailoverRequest {
            accepts_loss: true,
            ..FailoverRequest::default()
        };
        run_until_killed(&harness.sim, run(&new_primary, &request))
            .unwrap()
            .unwrap();
        let former_ledger = InMemoryLedger::default();
        former_ledger.set_epoch(harness.epoch());
        let _ = harness.sim.state().take_calls();
        Self {
            former: harness.sim.region(PRIMARY, TWINLAKE_ROLE),
            primary: harness.sim.region(STANDBY, TWINLAKE_ROLE),
            former_ledger,
            objects: Default::default(),
            reader: Principal(TWINLAKE_ROLE.to_owned()),
            own_roles: OwnRoles::new([TWINLAKE_ROLE.to_owned()]),
            harness,
        }
    }

    fn record(&self) -> EpochRecord {
        self.harness.ledger.contents().epoch_record.unwrap().0
    }

    fn regions(&self) -> DivergenceContext<'_, SimRegion, InMemoryLedger, TestObjects, Sim> {
        DivergenceContext {
            primary: RegionPorts {
                region: &self.primary,
                ledger: &self.harness.ledger,
                objects: &self.objects.0,
            },
            former: RegionPorts {
                region: &self.former,
                ledger: &self.former_ledger,
                objects: &self.objects.1,
            },
            clock: &self.harness.sim,
            policy: &self.harness.policy,
            epoch: self.epoch(),
            reader_role: &self.reader,
            own_roles: &self.own_roles,
            max_concurrent_calls: 4,
            progress: &(),
        }
    }

    fn epoch(&self) -> Epoch {
        self.harness.ledger.contents().epoch
    }

    fn compare(&self) -> Divergence {
        let regions = self.regions();
        let record = self.record();
        let compared = compare(&regions, &record);
        run_until_killed(&self.harness.sim, compared)
            .unwrap()
            .unwrap()
    }

    fn accept(&self, divergence: &Divergence, digest: &str) -> Result<(), AcceptError> {
        let regions = self.regions();
        ready(accept(&regions, divergence, digest))
    }

    fn role_of_former(&self) -> RegionRole {
        let policy = self.former_ledger.put_policy(self.harness.policy.text());
        ready(policy).unwrap();
        let authority = region_authority(PRIMARY, &self.former_ledger, &self.harness.ledger);
        ready(authority).unwrap().role
    }

    /// Runs resyncs of the former primary, which follows now, until one changes nothing.
    fn settle(&self) {
        for _ in 0..8 {
            let context: Context<'_, SimEnvironment> = Context {
                primary: &self.primary,
                standby: &self.former,
                ledger: &self.former_ledger,
                clock: &self.harness.sim,
                policy: &self.harness.policy,
                epoch: self.epoch(),
                reader_role: &self.reader,
                own_roles: &self.own_roles,
                max_concurrent_calls: 4,
                approved_deletions: &ApprovedDeletions::All,
                may_write_settings: true,
                stop_at: None,
                scan_window: None,
                lf_tag_lease: None,
                progress: &(),
            };
            let run = resync(&context, ResyncDepth::Full, None, None::<&TestQueue>, &());
            let report = run_until_killed(&self.harness.sim, run).unwrap().unwrap();
            if report.outcome.applied.is_empty() && report.outcome.waiting.is_none() {
                return;
            }
        }
    }

    fn call(&self, region: &str, name: &str, request: &Value) {
        self.harness.call(region, name, request).unwrap();
    }

    fn create_table(&self, region: &str, name: &str, columns: &[&str]) {
        let text = table_input("sales", name, columns).to_string();
        let text = match region == STANDBY {
            true => text.replace("s3://lake-us/", "s3://lake-in/replica/"),
            false => text,
        };
        let table: Value = serde_json::from_str(&text).unwrap();
        let request = json!({"DatabaseName": "sales", "TableInput": table});
        self.call(region, "CreateTable", &request);
    }

    fn kinds(&self) -> BTreeMap<String, FormerChangeKind> {
        let changes = self.compare().report.changes.into_iter();
        changes.map(|change| (change.text, change.kind)).collect()
    }
}

/// Two Regions in which Twinlake's role sees every column, as the function own-access makes it in the primary,
/// whichever that is.
fn empty_regions() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    let role = Some(TWINLAKE_ROLE);
    harness.sim.state().set_reader_role(STANDBY, role);
    harness
}

fn grant(principal: &str, table: &str, permission: &str) -> Value {
    json!({
        "Principal": {"DataLakePrincipalIdentifier": format!("arn:aws:iam::111122223333:role/{principal}")},
        "Resource": {"Table": {"DatabaseName": "sales", "Name": table}},
        "Permissions": [permission],
    })
}

/// A lake of a database with three tables and a grant, after a failover.
fn returned() -> Returned {
    let harness = empty_regions();
    let database = json!({"DatabaseInput": {"Name": "sales", "CreateTableDefaultPermissions": []}});
    harness.call(PRIMARY, "CreateDatabase", &database).unwrap();
    for name in ["orders", "items", "prices"] {
        let table = table_input("sales", name, &["id"]);
        let request = json!({"DatabaseName": "sales", "TableInput": table});
        harness.call(PRIMARY, "CreateTable", &request).unwrap();
    }
    let request = grant("Analyst", "orders", "SELECT");
    harness.call(PRIMARY, "GrantPermissions", &request).unwrap();
    harness.settle();
    Returned::after_failover(harness)
}

fn update_table(returned: &Returned, region: &str, name: &str, columns: &[&str]) {
    let text = table_input("sales", name, columns).to_string();
    let text = match region == STANDBY {
        true => text.replace("s3://lake-us/", "s3://lake-in/replica/"),
        false => text,
    };
    let table: Value = serde_json::from_str(&text).unwrap();
    let request = json!({"DatabaseName": "sales", "TableInput": table});
    returned.call(region, "UpdateTable", &request);
}

/// What both Regions do while they are apart.
fn diverge(returned: &Returned) {
    returned.harness.sim.state().advance_secs(60);
    returned.create_table(PRIMARY, "late", &["id"]);
    update_table(returned, PRIMARY, "orders", &["id", "there"]);
    update_table(returned, PRIMARY, "items", &["id", "there"]);
    update_table(returned, STANDBY, "items", &["id", "here"]);
    returned.call(
        PRIMARY,
        "GrantPermissions",
        &grant("Writer", "items", "ALTER"),
    );
    let gone = json!({"DatabaseName": "sales", "Name": "prices"});
    returned.call(PRIMARY, "DeleteTable", &gone);
    returned.create_table(STANDBY, "new", &["id"]);
}

#[test]
fn a_region_in_which_nothing_was_done_has_an_empty_report() {
    let returned = returned();
    assert_eq!(returned.kinds(), BTreeMap::new());
    assert!(returned.compare().report.is_empty());
}

#[test]
fn the_report_lists_what_only_the_former_primary_has_and_who_changed_the_rest() {
    let returned = returned();
    diverge(&returned);
    let kinds = returned.kinds();
    let kind = |part: &str| {
        let found: Vec<_> = kinds
            .iter()
            .filter(|(text, _)| text.contains(part))
            .collect();
        assert_eq!(found.len(), 1, "{part}: {kinds:?}");
        *found[0].1
    };
    assert_eq!(kind("late"), FormerChangeKind::OnlyThere);
    assert_eq!(kind("orders"), FormerChangeKind::ChangedThere);
    assert_eq!(kind("Writer"), FormerChangeKind::OnlyThere);
    assert_eq!(kind("prices"), FormerChangeKind::DeletedThere);
    assert_eq!(kinds.len(), 5, "{kinds:?}");
    assert!(
        kinds
            .values()
            .any(|kind| *kind == FormerChangeKind::ChangedInBoth)
    );
    let report = returned.compare().report;
    let late = report
        .changes
        .iter()
        .find(|change| change.text.contains("late"));
    let whole = serde_json::to_string(&late.unwrap().step).unwrap();
    assert!(whole.contains("s3://lake-in/replica/sales/late"), "{whole}");
}

#[test]
fn the_digest_is_of_what_is_given_up_and_of_nothing_else() {
    let returned = returned();
    diverge(&returned);
    let digest = returned.compare().report.digest();
    // The primary is written to all the time.
    update_table(&returned, STANDBY, "new", &["id", "more"]);
    update_table(&returned, STANDBY, "items", &["id", "here", "more"]);
    returned.create_table(STANDBY, "newer", &["id"]);
    returned.call(
        STANDBY,
        "GrantPermissions",
        &grant("Other", "new", "SELECT"),
    );
    returned.harness.sim.state().advance_secs(60);
    assert_eq!(returned.compare().report.digest(), digest);
    // Anything that is done in the former primary is another report.
    update_table(&returned, PRIMARY, "late", &["id", "more"]);
    assert_ne!(returned.compare().report.digest(), digest);
}

#[test]
fn nothing_is_written_before_the_report_is_accepted_and_another_one_is_refused() {
    let returned = returned();
    diverge(&returned);
    let _ = returned.harness.sim.state().take_calls();
    let before = (
        returned.harness.ledger.contents(),
        returned.former_ledger.contents(),
    );
    let divergence = returned.compare();
    let refused = returned.accept(&divergence, "another digest");
    assert!(
        matches!(refused, Err(AcceptError::Changed { .. })),
        "{refused:?}"
    );
    let old = divergence.report.digest();
    returned.create_table(PRIMARY, "later", &["id"]);
    let changed = returned.compare();
    let refused = returned.accept(&changed, &old);
    assert!(
        matches!(refused, Err(AcceptError::Changed { .. })),
        "{refused:?}"
    );
    let after = (
        returned.harness.ledger.contents(),
        returned.former_ledger.contents(),
    );
    assert_eq!(after, before);
    let calls = returned.harness.sim.state().take_calls();
    let writes = calls.iter().filter(|call| {
        let reads = ["Get", "List", "Search", "Batch"];
        !reads.iter().any(|read| call.name.starts_with(read)) && call.name != "CreateTable"
    });
    let writes: Vec<_> = writes.map(|call| &call.name).collect();
    assert!(writes.is_empty(), "{writes:?}");
    assert_eq!(returned.role_of_former(), RegionRole::Fenced);
}

#[test]
fn an_accepted_region_with_an_empty_ledger_becomes_equal_to_the_primary() {
    let returned = returned();
    diverge(&returned);
    let divergence = returned.compare();
    returned
        .accept(&divergence, &divergence.report.digest())
        .unwrap();
    assert_eq!(returned.role_of_former(), RegionRole::Standby);
    assert_eq!(returned.former_ledger.contents().epoch, returned.epoch());
    let accepted = returned.record().accepted.unwrap();
    assert_eq!(accepted.digest, divergence.report.digest());
    assert!(accepted.completed_at.is_some());
    returned.settle();
    let state = returned.harness.sim.state();
    assert_eq!(differences(&state, &[]), Vec::<String>::new());
    drop(state);
    // Once it is the standby, there is nothing to accept.
    let refused = returned.accept(&divergence, &divergence.report.digest());
    assert!(
        matches!(refused, Err(AcceptError::NotFenced { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_is_made_there_after_the_report_is_left_alone() {
    let returned = returned();
    let divergence = returned.compare();
    returned.create_table(PRIMARY, "afterwards", &["id"]);
    returned
        .accept(&divergence, &divergence.report.digest())
        .unwrap();
    returned.settle();
    let name = json!({"DatabaseName": "sales", "Name": "afterwards"});
    returned.call(PRIMARY, "GetTable", &name);
}

#[test]
fn accepting_goes_on_where_it_was_and_removes_rows_of_an_earlier_time() {
    let returned = returned();
    diverge(&returned);
    let divergence = returned.compare();
    let digest = divergence.report.digest();
    returned.accept(&divergence, &digest).unwrap();
    let rows = |ledger: &InMemoryLedger| {
        let mut rows = ledger.contents().rows;
        rows.values_mut().for_each(|row| row.version = None);
        rows
    };
    let expected = rows(&returned.former_ledger);
    // It died after some of the rows were written, and the ledger has rows of an earlier time as the standby.
    for kept in 0..=expected.len() {
        let other = self::returned();
        diverge(&other);
        let divergence = other.compare();
        assert_eq!(divergence.report.digest(), digest);
        let mut written: Vec<_> = divergence.rows.values().take(kept).cloned().collect();
        let mut stale = twinlake_core::LedgerRow::new(
            twinlake_core::Subject::Database(twinlake_core::Name::new("stale").unwrap()),
            twinlake_core::SubjectState::InSync,
            Timestamp::from_millis(0),
        );
        stale.managed_keys.clear();
        written.push(stale);
        ready(other.former_ledger.put_rows(&written)).unwrap();
        other.accept(&divergence, &digest).unwrap();
        assert_eq!(rows(&other.former_ledger), expected, "{kept}");
        assert_eq!(other.role_of_former(), RegionRole::Standby);
    }
}

#[test]
fn a_report_with_a_failed_read_is_not_accepted() {
    let returned = returned();
    returned.harness.sim.state().inject_fault(InjectedFault {
        region: Some(PRIMARY.to_owned()),
        call: Some("GetTables".to_owned()),
        skip_calls: 0,
        times: usize::MAX,
        error: ApiError::new(CallErrorKind::Denied, "AccessDeniedException", "denied"),
        takes_effect: false,
    });
    let divergence = returned.compare();
    let refused = returned.accept(&divergence, &divergence.report.digest());
    assert!(
        matches!(refused, Err(AcceptError::Unread { .. })),
        "{refused:?}"
    );
    assert_eq!(returned.role_of_former(), RegionRole::Fenced);
}

#[test]
fn objects_of_the_former_primary_are_listed_by_table_and_a_denied_listing_is_said() {
    let mut returned = returned();
    let switched_at = returned.record().switched_at.unwrap();
    let after = switched_at.plus_secs(60);
    let both = ("sales/orders/late.parquet", "late");
    let there = [
        ("sales/orders/there.parquet", "there"),
        both,
        ("sales/items/both.parquet", "of the former"),
        ("elsewhere", "outside"),
    ];
    let here = [
        both,
        ("sales/items/both.parquet", "of the primary"),
        ("mine", "mine"),
    ];
    let listed = |all: &[(&str, &str)]| {
        let all = all.iter();
        all.map(|(key, id)| ((*key).to_owned(), object_version(id, after)))
            .collect()
    };
    returned.objects.0.versions = listed(&here);
    returned.objects.0.replicas = ["late".to_owned()].into();
    returned.objects.1.versions = listed(&there);
    let report = returned.compare().report;
    let keys: Vec<(&str, String, KeyDivergence)> = report.locations[0]
        .keys
        .iter()
        .map(|key| {
            let table = key.table.as_ref().map(ToString::to_string);
            (key.key.as_str(), table.unwrap_or_default(), key.divergence)
        })
        .collect();
    let (orders, items) = ("sales.orders".to_owned(), "sales.items".to_owned());
    let expected = [
        ("elsewhere", String::new(), KeyDivergence::OnlyInFormer),
        (
            "sales/items/both.parquet",
            items,
            KeyDivergence::WrittenInBoth,
        ),
        (
            "sales/orders/late.parquet",
            orders.clone(),
            KeyDivergence::ArrivedLate,
        ),
        (
            "sales/orders/there.parquet",
            orders,
            KeyDivergence::OnlyInFormer,
        ),
    ];
    assert_eq!(keys, expected);
    returned.objects.1.is_denied = true;
    let denied = returned.compare().report;
    assert!(!denied.is_empty());
    assert_ne!(denied.digest(), report.digest());
    let reasons: Vec<&String> = denied.locations[0].unread.values().collect();
    assert!(
        reasons[0].contains("ListObjectVersions: denied"),
        "{reasons:?}"
    );
}

proptest! {
    #![proptest_config(Config {
        cases: 24,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_129),
        ..Config::default()
    })]

    /// Whatever both Regions do while they are apart: nothing is applied before the acceptance, and afterwards
    /// the former primary has no access that the primary lacks, at any time.
    #[test]
    fn an_accepted_region_follows_the_primary_whatever_both_have_done(
        (before, there, here) in (random_actions(12), random_actions(12), random_actions(12)),
        withheld in 0_u8..16,
    ) {
        let harness = empty_regions();
        set_up_primary(&harness, &before);
        harness.settle();
        let returned = Returned::after_failover(harness);
        prop_assert_eq!(databases_opened(&returned.harness), BTreeSet::new());
        returned.harness.sim.state().advance_secs(60);
        for (region, actions) in [(PRIMARY, &there), (STANDBY, &here)] {
            for (name, request) in actions.iter().flat_map(calls) {
                let text = request.to_string();
                let text = match region == STANDBY {
                    true => text
                        .replace("s3://lake-us/", "s3://lake-in/replica/")
                        .replace("arn:aws:s3:::lake-us/", "arn:aws:s3:::lake-in/replica/"),
                    false => text,
                };
                let request: Value = serde_json::from_str(&text).unwrap();
                let _ = returned.harness.call(region, name, &request);
            }
        }
        withhold(&returned.harness, withheld);
        let divergence = returned.compare();
        prop_assert_eq!(&returned.compare().report.digest(), &divergence.report.digest());
        prop_assert_eq!(returned.role_of_former(), RegionRole::Fenced);
        let accepted = returned.accept(&divergence, &divergence.report.digest());
        if !divergence.report.unread.is_empty() {
            let is_refused = matches!(accepted, Err(AcceptError::Unread { .. }));
            prop_assert!(is_refused);
            prop_assert_eq!(returned.role_of_former(), RegionRole::Fenced);
            return Ok(());
        }
        prop_assert!(accepted.is_ok(), "{accepted:?}");
        let unnamed = unnamed_steps(&divergence.report);
        prop_assert!(unnamed.is_empty(), "{unnamed:?}");
        prop_assert_eq!(returned.role_of_former(), RegionRole::Standby);
        returned.settle();
        let state = returned.harness.sim.state();
        let excess = excess_access(&state, STANDBY, PRIMARY, &[TWINLAKE_ROLE, ADMIN_ROLE]);
        prop_assert!(excess.is_empty(), "{excess:?}");
    }
}
