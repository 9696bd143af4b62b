//! External schemas of Redshift: what takes access away comes first and waits for nothing, nobody gets access before it had
//! effect, and nothing is dropped or changed that is not Twinlake's.

use crate::external_schemas::replicated;
use twinlake_core::AlertKind;
use twinlake_core::CallErrorKind;
use twinlake_core::Timestamp;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{ObjectKey, QueryKind, QueryStep};
use twinlake_engine::query::{query_alerts, query_checked};
use twinlake_sim::{SimExternalSchema, StatementFate, UnendedStatus};
use twinlake_tests::harness::{PRIMARY, STANDBY};
use twinlake_tests::query_lab::{Lab, findings, policy_with, workgroup};
use twinlake_tests::schema_lab::{ROLE, change, found, key, lab, put, schema, writes};

type Grant = (String, String, String, bool);

fn usage(grantee_type: &str, grantee: &str) -> Grant {
    let [privilege, of, name] = ["USAGE", grantee_type, grantee].map(str::to_owned);
    (privilege, of, name, false)
}

/// Changes the schema of the primary.
fn in_primary(lab: &Lab, with: impl FnOnce(&mut SimExternalSchema)) {
    change(&lab.primary, |warehouse| {
        with(warehouse.schemas.get_mut("spectrum").unwrap());
    });
}

fn in_standby(lab: &Lab, with: impl FnOnce(&mut SimExternalSchema)) {
    change(&lab.standby, |warehouse| {
        with(warehouse.schemas.get_mut("spectrum").unwrap());
    });
}

fn options_with(role: &str) -> String {
    serde_json::json!({ "IAM_ROLE": role }).to_string()
}

/// A schema that everybody may use in both Regions.
fn open_to_public() -> Lab {
    let lab = replicated();
    in_primary(&lab, |one| {
        one.grants.insert(usage("public", ""));
    });
    assert!(lab.resync().is_done());
    let _ = writes(&lab.standby);
    lab
}

const FROM_PUBLIC: &str = "REVOKE USAGE ON SCHEMA \"spectrum\" FROM PUBLIC";

#[test]
fn nobody_gets_anything_as_long_as_a_revoke_has_no_effect() {
    let without_effect = [
        StatementFate::Failed {
            text: "ERROR: done".to_owned(),
            took_effect: false,
        },
        StatementFate::Aborted { took_effect: false },
        StatementFate::Stuck {
            status: UnendedStatus::Started,
            takes_effect: false,
        },
        // Somebody else has given it, and this revoke takes only what the owner gave.
        StatementFate::Ineffective,
    ];
    for fate in without_effect {
        let lab = open_to_public();
        in_primary(&lab, |one| {
            one.grants.remove(&usage("public", ""));
            one.grants.insert(usage("user", "ben"));
            one.options = options_with(ROLE);
            one.owner = "ben".to_owned();
        });
        let before = found(&lab.standby, "spectrum").unwrap();
        for _ in 0..2 {
            lab.standby
                .with_redshift(|redshift| redshift.decide("FROM PUBLIC", fate.clone()));
            let outcome = lab.resync();
            let [(QueryStep::Narrow { .. }, _)] = outcome.failed.as_slice() else {
                panic!("{fate:?}: {outcome:#?}");
            };
            let sent = writes(&lab.standby);
            assert!(sent.contains(&FROM_PUBLIC.to_owned()), "{fate:?}: {sent:?}");
            let opens = |text: &&String| text.contains("GRANT") || text.contains("IAM_ROLE");
            assert_eq!(sent.iter().find(opens), None, "{fate:?}");
            let now = found(&lab.standby, "spectrum").unwrap();
            assert_eq!(
                (&now.options, &now.grants),
                (&before.options, &before.grants)
            );
            assert_ne!(now.owner, "ben", "{fate:?}");
            let alerts = query_alerts(&outcome, STANDBY, Timestamp::default());
            let kinds: Vec<AlertKind> = alerts.iter().map(|alert| alert.kind).collect();
            assert!(kinds.contains(&AlertKind::ExcessAccess), "{kinds:?}");
        }
        let outcome = lab.resync();
        assert!(outcome.is_done(), "{fate:?}: {outcome:#?}");
        let now = found(&lab.standby, "spectrum").unwrap();
        assert_eq!(now.owner, "ben");
        assert!(now.grants.contains(&usage("user", "anna")) || now.grants.len() == 2);
        assert!(now.options.contains(ROLE) && !now.grants.contains(&usage("public", "")));
    }
}

#[test]
fn nobody_gets_access_by_a_role_that_is_not_the_right_one() {
    let lab = replicated();
    in_primary(&lab, |one| {
        one.options = options_with(ROLE);
        one.owner = "ben".to_owned();
        one.grants.insert(usage("public", ""));
    });
    let failed = StatementFate::Failed {
        text: "no".to_owned(),
        took_effect: false,
    };
    lab.standby
        .with_redshift(|redshift| redshift.decide("IAM_ROLE", failed));
    let outcome = lab.resync();
    assert_eq!(outcome.failed.len(), 1, "{outcome:#?}");
    assert_eq!(
        writes(&lab.standby),
        [
            "ALTER SCHEMA \"spectrum\" OWNER TO \"twinlake\"".to_owned(),
            format!("ALTER EXTERNAL SCHEMA \"spectrum\" IAM_ROLE '{ROLE}'"),
        ]
    );
    assert!(lab.resync().is_done());
    assert_eq!(found(&lab.standby, "spectrum").unwrap().owner, "ben");
}

#[test]
fn an_owner_that_the_standby_lacks_leaves_the_former_one_without_access() {
    let lab = replicated();
    change(&lab.primary, |warehouse| {
        warehouse.users.insert("zoe".to_owned(), false)
    });
    in_primary(&lab, |one| one.owner = "zoe".to_owned());
    let outcome = lab.resync();
    assert_eq!(outcome.failed.len(), 1, "{outcome:#?}");
    assert_eq!(found(&lab.standby, "spectrum").unwrap().owner, "twinlake");
}

#[test]
fn whatever_is_odd_about_a_schema_its_revokes_go() {
    type Change = fn(&mut SimExternalSchema);
    let unchanged: Change = |_| {};
    let in_either: [(&str, Change, Change); 9] = [
        (
            "another database",
            |one| one.database = "hr".to_owned(),
            unchanged,
        ),
        ("another kind", |one| one.kind = 2, unchanged),
        (
            "an unknown option",
            |one| {
                one.options = serde_json::json!({"IAM_ROLE": ROLE, "CATALOG_ID": "9"}).to_string()
            },
            unchanged,
        ),
        (
            "unreadable options",
            |one| one.options = "{".to_owned(),
            unchanged,
        ),
        (
            "a role of no known form",
            |one| one.options = options_with("x"),
            unchanged,
        ),
        (
            "the reading user as owner",
            |one| one.owner = "admin".to_owned(),
            unchanged,
        ),
        (
            "an owner that cannot be named",
            |one| one.owner = "e\"tl".to_owned(),
            unchanged,
        ),
        (
            "an unknown kind of grantee",
            |one| {
                one.grants.insert(usage("GROUP", "others"));
            },
            unchanged,
        ),
        ("an owner without a name", unchanged, |one| {
            one.owner.clear()
        }),
    ];
    for (case, primary, standby) in in_either {
        let lab = open_to_public();
        in_primary(&lab, |one| {
            one.grants.remove(&usage("public", ""));
            primary(one);
        });
        in_standby(&lab, standby);
        let outcome = lab.resync();
        let sent = writes(&lab.standby);
        assert_eq!(
            sent.first().map(String::as_str),
            Some(FROM_PUBLIC),
            "{case}: {outcome:#?}"
        );
        let now = found(&lab.standby, "spectrum").unwrap();
        assert!(!now.grants.contains(&usage("public", "")), "{case}");
        assert!(
            !sent.iter().any(|text| text.contains("GRANT")),
            "{case}: {sent:?}"
        );
    }
}

#[test]
fn a_grantee_that_cannot_be_named_holds_nothing_back_and_is_told() {
    let lab = open_to_public();
    in_primary(&lab, |one| {
        one.grants.remove(&usage("public", ""));
        one.grants.insert(usage("user", "José"));
        one.grants.insert(usage("user", "ben"));
    });
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    let told = findings(&outcome, FindingKind::Note).join("\n");
    assert!(
        told.contains("USAGE to user José is not replicated"),
        "{told}"
    );
    assert_eq!(
        writes(&lab.standby),
        [FROM_PUBLIC, "GRANT USAGE ON SCHEMA \"spectrum\" TO \"ben\""]
    );
    // One that only the standby has cannot be taken away, and somebody has to know.
    in_standby(&lab, |one| {
        one.grants.insert(usage("user", "Jürgen"));
    });
    let outcome = lab.resync();
    let told = findings(&outcome, FindingKind::Unmanaged).join("\n");
    assert!(
        told.contains("USAGE to user Jürgen") && told.contains("revoke it"),
        "{told}"
    );
    assert_eq!(writes(&lab.standby), [""; 0]);
}

#[test]
fn an_unknown_kind_of_grantee_is_granted_to_nobody() {
    let lab = replicated();
    change(&lab.standby, |warehouse| {
        warehouse.users.insert("analysts".to_owned(), false)
    });
    in_primary(&lab, |one| {
        one.grants.remove(&usage("group", "analysts"));
        one.grants.insert(usage("GROUP", "analysts"));
    });
    let outcome = lab.resync();
    let unread = findings(&outcome, FindingKind::Unreadable).join("\n");
    assert!(unread.contains("unknown kind GROUP"), "{outcome:#?}");
    // It may be the group that the standby knows.
    assert_eq!(writes(&lab.standby), [""; 0]);
}

#[test]
fn a_schema_of_the_same_name_that_somebody_made_is_never_twinlakes() {
    let lab = lab();
    put(&lab.primary, "other", schema("sales", PRIMARY));
    assert!(lab.resync().is_done());
    put(&lab.primary, "spectrum", schema("sales", PRIMARY));
    change(&lab.standby, |warehouse| warehouse.users.remove("anna"));
    assert_eq!(lab.resync().failed.len(), 1);
    let _ = writes(&lab.standby);
    // The run ended early; somebody repairs it by hand.
    let another = SimExternalSchema {
        id: 99,
        owner: "ben".to_owned(),
        ..schema("sales", STANDBY)
    };
    put(&lab.standby, "spectrum", another.clone());
    let outcome = lab.resync();
    assert_eq!(
        findings(&outcome, FindingKind::Unmanaged).len(),
        1,
        "{outcome:#?}"
    );
    change(&lab.primary, |warehouse| {
        warehouse.schemas.remove("spectrum")
    });
    let _ = lab.resync();
    assert_eq!(writes(&lab.standby), [""; 0]);
    assert_eq!(found(&lab.standby, "spectrum"), Some(another));
}

#[test]
fn a_workgroup_of_the_same_name_that_somebody_made_is_never_twinlakes() {
    let lab = Lab::new(policy_with("", ""));
    let mut disabled = workgroup("etl", "s3://results-primary/etl/");
    let state = ("State".to_owned(), "DISABLED".into());
    disabled.fields.extend([state]);
    lab.primary.put(disabled);
    for call in ["UpdateWorkGroup", "DeleteWorkGroup"] {
        lab.standby.fail(call, CallErrorKind::Denied, 1);
    }
    assert_eq!(lab.resync().failed.len(), 1);
    let etl = ObjectKey::new(QueryKind::WorkGroup, "etl");
    lab.standby.remove(&etl);
    lab.standby
        .put(workgroup("etl", "s3://results-standby/theirs/"));
    let _ = lab.standby.take_writes();
    let outcome = lab.resync();
    assert_eq!(
        findings(&outcome, FindingKind::Unmanaged).len(),
        1,
        "{outcome:#?}"
    );
    assert_eq!(lab.standby.take_writes(), [""; 0]);
}

#[test]
fn an_empty_or_another_database_is_no_proof_that_a_schema_was_dropped() {
    let lab = replicated();
    change(&lab.primary, |warehouse| warehouse.schemas.clear());
    let is_unproven = |told: &[String]| {
        told.iter()
            .any(|one| one.contains("spectrum") && one.contains("does not prove"))
    };
    let outcome = lab.resync();
    let told = findings(&outcome, FindingKind::Unreadable);
    assert!(is_unproven(&told), "{outcome:#?}");
    assert_eq!(writes(&lab.standby), [""; 0]);
    // It has schemas of its own: they are made, and never show that another one was dropped.
    for name in ["x", "y"] {
        put(&lab.primary, name, schema("sales", PRIMARY));
    }
    for _ in 0..3 {
        let outcome = lab.resync();
        assert!(
            is_unproven(&findings(&outcome, FindingKind::Unreadable)),
            "{outcome:#?}"
        );
    }
    assert!(
        !writes(&lab.standby)
            .iter()
            .any(|text| text.contains("DROP"))
    );
    // A person drops it, and nothing is left to say.
    change(&lab.standby, |warehouse| {
        warehouse.schemas.remove("spectrum")
    });
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
}

#[test]
fn what_somebody_made_between_the_plan_and_the_drop_is_not_dropped() {
    let lab = replicated();
    for name in ["a", "kept"] {
        put(&lab.primary, name, schema("sales", PRIMARY));
    }
    assert!(lab.resync().is_done());
    change(&lab.primary, |warehouse| {
        warehouse.schemas.retain(|name, _| name == "kept");
    });
    let another = SimExternalSchema {
        id: 99,
        ..schema("hr", STANDBY)
    };
    let replacement = another.clone();
    lab.standby.with_redshift(|redshift| {
        redshift.replace_after("DROP SCHEMA \"a\"", "spectrum", replacement);
    });
    let _ = writes(&lab.standby);
    let outcome = lab.resync();
    assert_eq!(outcome.failed.len(), 1, "{outcome:#?}");
    assert_eq!(outcome.failed[0].1.kind, CallErrorKind::Contended);
    assert_eq!(writes(&lab.standby), ["DROP SCHEMA \"a\" RESTRICT"]);
    assert_eq!(found(&lab.standby, "spectrum"), Some(another));
    assert!(query_checked(&outcome, Timestamp::default()) != Default::default());
}

#[test]
fn a_name_with_capitals_is_in_no_statement() {
    let lab = replicated();
    put(&lab.primary, "Sales", schema("sales", PRIMARY));
    put(&lab.standby, "sales", schema("hr", STANDBY));
    let outcome = lab.resync();
    let told = findings(&outcome, FindingKind::Unsupported).join("\n");
    assert!(told.contains("capital letters"), "{outcome:#?}");
    // One that an earlier version has replicated: neither a revoke nor a drop may reach the other one.
    let mut row = lab.row_of(&key("spectrum"));
    for of_site in [&mut row.keys.a, &mut row.keys.b] {
        *of_site = Some(key("Sales"));
    }
    store(&lab, &row);
    put(
        &lab.standby,
        "Sales",
        SimExternalSchema {
            id: found(&lab.standby, "spectrum").unwrap().id,
            ..schema("sales", STANDBY)
        },
    );
    change(&lab.primary, |warehouse| {
        warehouse.schemas.get_mut("Sales").unwrap().grants.clear();
    });
    let outcome = lab.resync();
    let told = findings(&outcome, FindingKind::Unmanaged).join("\n");
    assert!(told.contains("gives more"), "{outcome:#?}");
    change(&lab.primary, |warehouse| warehouse.schemas.remove("Sales"));
    let outcome = lab.resync();
    let told = findings(&outcome, FindingKind::OnHold).join("\n");
    assert!(told.contains("drop it yourself"), "{outcome:#?}");
    assert_eq!(writes(&lab.standby), [""; 0]);
}

/// Puts a row into the ledger, as another run does.
fn store(lab: &Lab, row: &twinlake_core::query::QueryRow) {
    use futures_util::FutureExt as _;
    use twinlake_engine::ports::DocumentStore as _;
    let site = twinlake_tests::harness::leader();
    let id = twinlake_core::query::QueryRow::stored_id(site, row.key_in(site).unwrap());
    let text = serde_json::to_string(row).unwrap();
    let stored = lab
        .ledger
        .put_document("query_rows", &id, Some(&text), None);
    assert!(stored.now_or_never().unwrap().unwrap());
}

#[test]
fn a_workgroup_that_the_primary_disabled_is_disabled_whatever_is_held() {
    let lab = Lab::replicated();
    let mut disabled = workgroup("etl", "s3://nowhere/");
    let state = ("State".to_owned(), "DISABLED".into());
    disabled.fields.extend([state]);
    lab.primary.put(disabled);
    let outcome = lab.resync();
    assert!(
        !findings(&outcome, FindingKind::OnHold).is_empty(),
        "{outcome:#?}"
    );
    assert_eq!(lab.in_standby("etl").text("State"), Some("DISABLED"));
}
