//! External schemas of Redshift over two simulated warehouses: a cluster and a workgroup of Serverless.

use std::collections::BTreeSet;
use twinlake_core::CallErrorKind;
use twinlake_core::audit::AuditRule;
use twinlake_core::ledger::SubjectState;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{ObjectKey, QueryStep};
use twinlake_sim::{SimExternalSchema, SimQueryTools, StatementFate, UnendedStatus};
use twinlake_tests::harness::{PRIMARY, STANDBY};
use twinlake_tests::query_lab::{Lab, findings, policy_with};
use twinlake_tests::schema_lab::{
    ROLE, change, found, key, lab, lab_with, put, role, schema, writes,
};

/// A lab in which a schema was replicated.
pub(crate) fn replicated() -> Lab {
    let lab = lab();
    put(&lab.primary, "spectrum", schema("sales", PRIMARY));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    let _ = writes(&lab.standby);
    lab
}

fn create_text(name: &str) -> String {
    format!(
        "CREATE EXTERNAL SCHEMA \"{name}\" FROM DATA CATALOG DATABASE 'sales' REGION '{STANDBY}' IAM_ROLE '{}'",
        role(STANDBY)
    )
}

#[test]
fn a_schema_is_made_with_owner_and_grants_and_an_unchanged_resync_writes_nothing() {
    let lab = lab();
    put(&lab.primary, "spectrum", schema("sales", PRIMARY));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(
        writes(&lab.standby),
        [
            create_text("spectrum"),
            "ALTER SCHEMA \"spectrum\" OWNER TO \"etl\"".to_owned(),
            "GRANT USAGE ON SCHEMA \"spectrum\" TO GROUP \"analysts\"".to_owned(),
            "GRANT USAGE ON SCHEMA \"spectrum\" TO \"anna\" WITH GRANT OPTION".to_owned(),
        ]
    );
    let made = found(&lab.standby, "spectrum").unwrap();
    let wanted = schema("sales", STANDBY);
    assert_eq!(made.grants, wanted.grants);
    assert_eq!(lab.state_of(&key("spectrum")), SubjectState::InSync);
    let notes = findings(&outcome, FindingKind::Note).join("\n");
    assert!(
        notes.contains("awsdatacatalog") && notes.contains("needs nothing"),
        "{notes}"
    );

    let outcome = lab.resync();
    assert!(
        outcome.is_done() && outcome.applied.is_empty(),
        "{outcome:#?}"
    );
    assert_eq!(writes(&lab.standby), [""; 0]);
    assert_eq!(
        writes(&lab.primary),
        [""; 0],
        "nothing is written in the primary"
    );
    assert_eq!(lab.problems(), [""; 0]);
}

#[test]
fn every_page_of_a_listing_is_read() {
    let lab = lab();
    for at in 0..7 {
        put(&lab.primary, &format!("s{at}"), schema("sales", PRIMARY));
    }
    assert!(lab.resync().is_done());
    let count = change(&lab.standby, |warehouse| warehouse.schemas.len());
    assert_eq!(count, 7);
}

#[test]
fn what_cannot_be_carried_is_a_finding_each_and_holds_nothing_back() {
    let lab = lab();
    let with = |name: &str, change: &dyn Fn(&mut SimExternalSchema)| {
        let mut one = schema("sales", PRIMARY);
        change(&mut one);
        put(&lab.primary, name, one);
    };
    with("hive", &|one| one.kind = 2);
    with("postgres", &|one| one.kind = 3);
    with("stream", &|one| one.kind = 9);
    with("foreign", &|one| {
        one.options = serde_json::json!({"IAM_ROLE": ROLE, "REGION": "eu-west-1"}).to_string();
    });
    with("standbys", &|one| {
        one.options = serde_json::json!({"IAM_ROLE": ROLE, "REGION": STANDBY}).to_string();
    });
    with("options", &|one| {
        one.options = serde_json::json!({"IAM_ROLE": ROLE, "CATALOG_ID": "9"}).to_string();
    });
    with("quoted", &|one| one.owner = "e\"tl".to_owned());
    with("good", &|_| {});
    let outcome = lab.resync();
    let told = findings(&outcome, FindingKind::Unsupported);
    for (name, reason) in [
        ("hive", "Hive metastore"),
        ("postgres", "PostgreSQL"),
        ("stream", "kind 9"),
        ("foreign", "eu-west-1"),
        ("standbys", STANDBY),
        ("options", "CATALOG_ID"),
        ("quoted", "quotation marks"),
    ] {
        let of_it: Vec<&String> = told
            .iter()
            .filter(|one| one.contains(&format!("external schema {name} of warehouse")))
            .collect();
        assert_eq!(of_it.len(), 1, "{name}: {told:#?}");
        assert!(of_it[0].contains(reason), "{}", of_it[0]);
    }
    assert_eq!(told.len(), 7, "{told:#?}");
    let names = change(&lab.standby, |warehouse| {
        warehouse.schemas.keys().cloned().collect::<Vec<_>>()
    });
    assert_eq!(names, ["good"]);

    // A row that cannot be read is one finding, too.
    with("bad", &|one| one.options = "{".to_owned());
    let outcome = lab.resync();
    let unread = findings(&outcome, FindingKind::Unreadable);
    assert_eq!(unread.len(), 1, "{unread:?}");
    assert!(unread[0].contains("external schema bad"), "{unread:?}");
    assert_eq!(lab.state_of(&key("good")), SubjectState::InSync);
}

#[test]
fn somebody_elses_schema_in_the_standby_is_left_alone() {
    let lab = lab();
    put(&lab.primary, "spectrum", schema("sales", PRIMARY));
    let foreign = schema("hr", STANDBY);
    put(&lab.standby, "spectrum", foreign.clone());
    put(&lab.standby, "unrelated", foreign.clone());
    let outcome = lab.resync();
    assert_eq!(
        findings(&outcome, FindingKind::Unmanaged).len(),
        1,
        "{outcome:#?}"
    );
    assert_eq!(writes(&lab.standby), [""; 0]);
    assert_eq!(found(&lab.standby, "spectrum"), Some(foreign.clone()));
    assert_eq!(found(&lab.standby, "unrelated"), Some(foreign));

    // One that is made equal is adopted without a write.
    put(&lab.standby, "spectrum", schema("sales", STANDBY));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(writes(&lab.standby), [""; 0]);

    // Once it was dropped and made again by somebody, it is no longer Twinlake's.
    let another = SimExternalSchema {
        id: 8,
        ..schema("hr", STANDBY)
    };
    put(&lab.standby, "spectrum", another.clone());
    change(&lab.primary, |warehouse| {
        warehouse.schemas.remove("spectrum")
    });
    let _ = lab.resync();
    assert_eq!(writes(&lab.standby), [""; 0]);
    assert_eq!(found(&lab.standby, "spectrum"), Some(another));
}

#[test]
fn drift_of_a_paired_schema_is_corrected_and_what_it_shows_is_not_replaced() {
    let lab = replicated();
    change(&lab.standby, |warehouse| {
        let schema = warehouse.schemas.get_mut("spectrum").unwrap();
        let excess = (
            "USAGE".to_owned(),
            "user".to_owned(),
            "ben".to_owned(),
            false,
        );
        schema.grants.insert(excess);
        schema.options = serde_json::json!({"IAM_ROLE": ROLE, "REGION": STANDBY}).to_string();
    });
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(
        writes(&lab.standby),
        [
            "REVOKE USAGE ON SCHEMA \"spectrum\" FROM \"ben\"".to_owned(),
            format!(
                "ALTER EXTERNAL SCHEMA \"spectrum\" IAM_ROLE '{}'",
                role(STANDBY)
            ),
        ]
    );
    // No statement changes the database: a person drops the schema.
    change(&lab.primary, |warehouse| {
        warehouse.schemas.get_mut("spectrum").unwrap().database = "orders".to_owned();
    });
    let outcome = lab.resync();
    assert_eq!(writes(&lab.standby), [""; 0]);
    let told = findings(&outcome, FindingKind::Unmanaged).join("\n");
    assert!(told.contains("Database differs"), "{told}");
}

#[test]
fn a_schema_that_the_primary_dropped_is_dropped_and_its_database_is_not() {
    let lab = replicated();
    put(&lab.primary, "other", schema("sales", PRIMARY));
    assert!(lab.resync().is_done());
    let _ = writes(&lab.standby);
    put(&lab.standby, "unrelated", schema("sales", STANDBY));
    change(&lab.primary, |warehouse| {
        warehouse.schemas.remove("spectrum")
    });
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(writes(&lab.standby), ["DROP SCHEMA \"spectrum\" RESTRICT"]);
    assert!(found(&lab.standby, "unrelated").is_some());
}

#[test]
fn lost_rights_and_failing_statements_are_no_absence() {
    let set_superuser = |region: &SimQueryTools, user: &str, is: bool| {
        change(region, |warehouse| {
            warehouse.users.insert(user.to_owned(), is)
        });
    };
    for user in ["admin", "twinlake"] {
        let lab = replicated();
        let region = match user {
            "admin" => &lab.primary,
            _ => &lab.standby,
        };
        set_superuser(region, user, false);
        let outcome = lab.resync();
        let denied = findings(&outcome, FindingKind::Denied).join("\n");
        assert!(denied.contains("no superuser"), "{outcome:#?}");
        assert_eq!(writes(&lab.standby), [""; 0], "{user}");
        assert!(found(&lab.standby, "spectrum").is_some());
        set_superuser(region, user, true);
        assert!(lab.resync().is_done());
    }
    // Whatever the listing of the primary ends with.
    let failed = StatementFate::Failed {
        text: "schema \"spectrum\" does not exist".to_owned(),
        took_effect: false,
    };
    for fate in [
        failed,
        StatementFate::Stuck {
            status: UnendedStatus::Submitted,
            takes_effect: false,
        },
        StatementFate::Aborted { took_effect: false },
    ] {
        let lab = replicated();
        change(&lab.primary, |warehouse| warehouse.schemas.clear());
        lab.primary
            .with_redshift(|redshift| redshift.decide("svv_external_schemas", fate.clone()));
        let outcome = lab.resync();
        assert!(!outcome.is_done(), "{fate:?}: {outcome:#?}");
        assert_eq!(writes(&lab.standby), [""; 0], "{fate:?}");
    }
    // A warehouse that does not exist has no schemas to speak of either.
    let lab = replicated();
    lab.primary
        .fail("ExecuteStatement", CallErrorKind::NotFound, 9);
    let outcome = lab.resync();
    assert!(!outcome.is_done());
    assert_eq!(writes(&lab.standby), [""; 0]);
}

#[test]
fn what_a_statement_came_to_is_what_is_there_afterwards() {
    let fates = |took_effect: bool| {
        let mut fates = vec![
            StatementFate::Stuck {
                status: UnendedStatus::Submitted,
                takes_effect: took_effect,
            },
            StatementFate::Stuck {
                status: UnendedStatus::Picked,
                takes_effect: took_effect,
            },
            StatementFate::Stuck {
                status: UnendedStatus::Started,
                takes_effect: took_effect,
            },
            StatementFate::Aborted { took_effect },
            StatementFate::Failed {
                text: "relation already exists, permission denied, done".to_owned(),
                took_effect,
            },
        ];
        if !took_effect {
            fates.push(StatementFate::Ineffective);
        }
        fates
    };
    for part in ["CREATE EXTERNAL", "OWNER TO", "GROUP", "GRANT OPTION"] {
        for took_effect in [true, false] {
            for fate in fates(took_effect) {
                let lab = lab();
                put(&lab.primary, "spectrum", schema("sales", PRIMARY));
                lab.standby
                    .with_redshift(|redshift| redshift.decide(part, fate.clone()));
                let outcome = lab.resync();
                let case = format!("{part}: {fate:?}: {outcome:#?}");
                assert_eq!(outcome.is_done(), took_effect, "{case}");
                let sent = writes(&lab.standby);
                let texts: BTreeSet<&String> = sent.iter().collect();
                assert_eq!(texts.len(), sent.len(), "no text twice: {sent:?}: {case}");
                if !took_effect {
                    assert_eq!(outcome.failed.len(), 1, "{case}");
                    // What does not rest on it was done all the same.
                    assert_eq!(
                        sent.len(),
                        if part == "CREATE EXTERNAL" { 1 } else { 4 },
                        "{case}"
                    );
                }
                let outcome = lab.resync();
                assert!(outcome.is_done(), "{case}\n{outcome:#?}");
                let again = writes(&lab.standby);
                match (took_effect, part) {
                    (true, _) => assert_eq!(again, [""; 0], "{case}"),
                    (false, "CREATE EXTERNAL") => assert_eq!(again.len(), 4, "{case}"),
                    (false, _) => assert!(again.len() == 1 && again[0].contains(part), "{case}"),
                }
                let made = found(&lab.standby, "spectrum").unwrap();
                assert_eq!(made.grants, schema("sales", STANDBY).grants);
                assert_eq!(made.owner, "etl");
            }
        }
    }
}

#[test]
fn a_grantee_that_the_standby_lacks_is_one_failed_step_and_the_others_get_theirs() {
    let lab = lab();
    put(&lab.primary, "spectrum", schema("sales", PRIMARY));
    change(&lab.standby, |warehouse| warehouse.users.remove("anna"));
    let outcome = lab.resync();
    let [(QueryStep::Create { .. }, error)] = outcome.failed.as_slice() else {
        panic!("{outcome:#?}");
    };
    assert!(error.message.contains("\"anna\""), "{error}");
    let made = found(&lab.standby, "spectrum").unwrap();
    assert_eq!(made.grants.len(), 1);
    assert_eq!(lab.state_of(&key("spectrum")), SubjectState::OutOfSync);
    change(&lab.standby, |warehouse| {
        warehouse.users.insert("anna".to_owned(), false)
    });
    assert!(lab.resync().is_done());
}

#[test]
fn a_canary_query_that_fails_is_a_finding_of_its_schema() {
    let lab = replicated();
    put(&lab.primary, "other", schema("orders", PRIMARY));
    assert!(lab.resync().is_done());
    let _ = writes(&lab.standby);
    change(&lab.standby, |warehouse| {
        warehouse.unreadable_databases.insert("orders".to_owned())
    });
    let outcome = lab.resync();
    let told = findings(&outcome, FindingKind::Unreadable);
    assert_eq!(told.len(), 1, "{outcome:#?}");
    assert!(told[0].contains("external schema other") && told[0].contains("Failed to list"));
    assert_eq!(writes(&lab.standby), [""; 0]);
    assert_eq!(lab.state_of(&key("spectrum")), SubjectState::InSync);
    assert_eq!(lab.state_of(&key("other")), SubjectState::OutOfSync);
}

#[test]
fn without_warehouses_in_the_policy_none_is_asked() {
    let lab = Lab::new(policy_with("", ""));
    lab.primary
        .fail("ExecuteStatement", CallErrorKind::Denied, 9);
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    let notes = findings(&outcome, FindingKind::Note).join("\n");
    assert!(!notes.contains("awsdatacatalog"), "{notes}");
}

#[test]
fn deletions_over_the_limit_are_held_and_the_rest_is_applied() {
    let lab = lab_with("deletion-limit = { fraction = 0.1, minimum = 2 }\n", "");
    for at in 0..6 {
        put(&lab.primary, &format!("s{at}"), schema("sales", PRIMARY));
    }
    assert!(lab.resync().is_done());
    let _ = writes(&lab.standby);
    change(&lab.primary, |warehouse| {
        warehouse
            .schemas
            .retain(|name, _| ["s3", "s4", "s5"].contains(&name.as_str()));
        let grants = &mut warehouse.schemas.get_mut("s5").unwrap().grants;
        grants.clear();
    });
    put(&lab.primary, "new", schema("sales", PRIMARY));
    let outcome = lab.resync();
    let held: BTreeSet<ObjectKey> = outcome
        .rejections
        .iter()
        .map(|one| one.object.clone())
        .collect();
    assert_eq!(held, ["s0", "s1", "s2"].map(key).into(), "{outcome:#?}");
    assert!(
        outcome
            .rejections
            .iter()
            .all(|one| one.rule == AuditRule::DeletionLimit)
    );
    let sent = writes(&lab.standby);
    assert!(
        sent.iter().all(|text| !text.starts_with("DROP")) && sent.len() == 6,
        "{sent:?}"
    );
    for key in &held {
        assert_eq!(lab.state_of(key), SubjectState::OnHold, "{key}");
    }
    assert!(!outcome.is_done());
    let lab = Lab {
        approved: held,
        ..lab
    };
    assert!(lab.resync().is_done());
    assert_eq!(writes(&lab.standby).len(), 3);
}

#[test]
fn a_dropped_schema_stays_if_the_policy_retains_what_is_deleted() {
    let lab = lab_with("deletions = \"retain\"\n", "");
    for name in ["spectrum", "witness"] {
        put(&lab.primary, name, schema("sales", PRIMARY));
    }
    assert!(lab.resync().is_done());
    let _ = writes(&lab.standby);
    change(&lab.primary, |warehouse| {
        warehouse.schemas.remove("spectrum")
    });
    let outcome = lab.resync();
    let told = findings(&outcome, FindingKind::OnHold);
    assert!(
        told.len() == 1 && told[0].contains("retain"),
        "{outcome:#?}"
    );
    assert_eq!(writes(&lab.standby), [""; 0]);
}

/// A creation that takes effect after its run is known by its intent, whatever the primary has by then.
#[test]
fn a_creation_that_takes_effect_late_is_taken_over_and_not_repeated() {
    for is_changed in [false, true] {
        let lab = lab();
        for name in ["spectrum", "witness"] {
            put(&lab.primary, name, schema("sales", PRIMARY));
        }
        lab.standby
            .with_redshift(|redshift| redshift.decide("CREATE EXTERNAL", StatementFate::Late));
        let outcome = lab.resync();
        let [(QueryStep::Create { .. }, error)] = outcome.failed.as_slice() else {
            panic!("{outcome:#?}");
        };
        assert!(
            error
                .message
                .contains("did not end in time; cancelling it failed"),
            "{error}"
        );
        assert_eq!(found(&lab.standby, "spectrum"), None);
        lab.standby
            .with_redshift(twinlake_sim::SimRedshift::finish_late);
        if is_changed {
            change(&lab.primary, |warehouse| {
                warehouse.schemas.get_mut("spectrum").unwrap().owner = "ben".to_owned();
            });
        }
        let _ = writes(&lab.standby);
        let outcome = lab.resync();
        assert!(outcome.is_done(), "{outcome:#?}");
        let sent = writes(&lab.standby);
        assert!(
            sent.len() == 3 && sent.iter().all(|text| !text.starts_with("CREATE")),
            "{sent:?}"
        );
        assert_eq!(lab.state_of(&key("spectrum")), SubjectState::InSync);
        // It counts as Twinlake's.
        change(&lab.primary, |warehouse| {
            warehouse.schemas.remove("spectrum")
        });
        assert!(lab.resync().is_done());
        assert_eq!(found(&lab.standby, "spectrum"), None);
    }
}
