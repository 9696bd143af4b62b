//! Scopes that name some subjects and some of their facets only, as what waits is sent again: the plan asks
//! for whatever else it rests on, so nothing stays unread, and the audit accepts it.

use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;
use twinlake_core::scope::{ReadRequest, WHOLE_TABLE};
use twinlake_core::{Facet, LfSubject, Name, Scope, Subject, TableId};
use twinlake_engine::reconcile::ReconcileOutcome;
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};
use twinlake_tests::history::{
    DATABASES, DivergingHistories, access_hazards, guarded_changes, order_sensitive_histories,
    random_actions,
};
use twinlake_tests::plans::{excess_access, harness_with_drift, proptest_config_with_cases};
use twinlake_tests::requests::{call, create_database, create_table, table_resource, tags};

/// The next bit of a sequence that a number decides.
fn next_bit(state: &mut u64) -> bool {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 63 == 1
}

/// The scope of some of the subjects with some of their facets, which a number decides.
fn part_of(subjects: &BTreeSet<Subject>, mut seed: u64) -> Scope {
    let mut scope = Scope::default();
    for subject in subjects {
        if next_bit(&mut seed) {
            continue;
        }
        let mut facets = match subject {
            Subject::LakeFormation(lf_subject) => lf_subject.facets().to_vec(),
            Subject::Database(_) | Subject::Table(_) => WHOLE_TABLE.to_vec(),
            Subject::Catalog | Subject::Function(_) => Vec::new(),
        };
        if subject.database().is_some() {
            facets.retain(|_| next_bit(&mut seed));
        }
        facets.push(Facet::Definition);
        scope.add(subject.clone(), ReadRequest::for_facets(&facets));
    }
    scope
}

/// All subjects of some databases with tables, and those of Lake Formation.
fn subjects_of(databases: &[String], tables: &[&str]) -> BTreeSet<Subject> {
    let mut subjects: BTreeSet<Subject> = LfSubject::EVERY
        .into_iter()
        .map(Subject::LakeFormation)
        .collect();
    for database in databases {
        let name = Name::new(database).unwrap();
        subjects.insert(Subject::Database(name.clone()));
        for table in tables {
            let id = TableId::new(name.clone(), Name::new(table).unwrap());
            subjects.insert(Subject::Table(id));
        }
    }
    subjects
}

/// What an outcome says that was rejected, or not read.
fn complaints(outcome: &ReconcileOutcome) -> Vec<String> {
    let rejections = outcome.rejections.iter().map(ToString::to_string);
    let findings = outcome
        .findings
        .iter()
        .map(|finding| finding.detail.clone());
    let unread = findings.filter(|detail| detail.contains("not read"));
    rejections.chain(unread).collect()
}

fn histories() -> impl Strategy<Value = DivergingHistories> {
    prop_oneof![
        4 => (random_actions(20), random_actions(12), random_actions(12)),
        2 => order_sensitive_histories(),
        4 => guarded_changes(),
        4 => access_hazards(),
    ]
}

proptest! {
    #![proptest_config(proptest_config_with_cases(256))]

    /// Nor does the standby then allow anything that neither the primary nor the standby before allowed.
    #[test]
    fn a_partial_scope_leaves_nothing_unread_and_its_plans_pass(
        (before, in_primary, in_standby) in histories(),
        seeds in prop::collection::vec(any::<u64>(), 1..4),
    ) {
        let harness = harness_with_drift(&before, &in_primary, &in_standby);
        let numbered = (0..DATABASES).map(|n| format!("db{n}"));
        let databases: Vec<String> = std::iter::once("base".to_owned()).chain(numbered).collect();
        let subjects = subjects_of(&databases, &["t0", "t1", "t2"]);
        let mut excess = excess_access(&harness);
        for seed in seeds {
            let scope = part_of(&subjects, seed);
            let outcome = harness.reconcile(&scope).unwrap();
            prop_assert_eq!(complaints(&outcome), Vec::<String>::new(), "{:?}", scope);
            let after = excess_access(&harness);
            prop_assert!(after.is_subset(&excess), "{:?}", after.difference(&excess));
            excess = after;
        }
    }
}

/// A table with an LF-Tag of its own, in a database with another, and a grant by a named expression that
/// the first one satisfies. The standby has lost the grant.
fn harness_with_lost_grant() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    for (key, values) in [("class", ["public", "secret"]), ("team", ["a", "b"])] {
        let tag = json!({"TagKey": key, "TagValues": values});
        call(&harness, PRIMARY, "CreateLFTag", tag);
    }
    create_database(&harness, "sales");
    create_table(&harness, PRIMARY, "sales", "orders");
    let assign = |resource, pairs: &[(&str, &str)]| {
        let request = json!({"Resource": resource, "LFTags": tags(pairs)});
        call(&harness, PRIMARY, "AddLFTagsToResource", request);
    };
    assign(json!({"Database": {"Name": "sales"}}), &[("team", "a")]);
    assign(table_resource("orders"), &[("class", "public")]);
    let expression = json!({"Name": "safe", "Expression": tags(&[("class", "public")])});
    call(&harness, PRIMARY, "CreateLFTagExpression", expression);
    call(&harness, PRIMARY, "GrantPermissions", grant_by_expression());
    harness.settle();
    call(
        &harness,
        STANDBY,
        "RevokePermissions",
        grant_by_expression(),
    );
    let _ = harness.take_events();
    harness
}

fn grant_by_expression() -> serde_json::Value {
    let policy = json!({"ResourceType": "TABLE", "ExpressionName": "safe"});
    let analyst = "arn:aws:iam::111122223333:role/Analyst";
    json!({"Principal": {"DataLakePrincipalIdentifier": analyst},
           "Resource": {"LFTagPolicy": policy}, "Permissions": ["SELECT"]})
}

/// The LF-Tags of the database are in no scope that was sent again with the table: the audit takes them
/// from the search by LF-Tags.
#[test]
fn a_lost_grant_by_a_named_expression_is_granted_again_from_every_scope() {
    let permissions = Subject::LakeFormation(LfSubject::Permissions);
    let subjects = subjects_of(&["sales".to_owned()], &["orders"]);
    let mut granted = 0;
    for seed in 0..200 {
        let harness = harness_with_lost_grant();
        let scope = part_of(&subjects, seed);
        let outcome = harness.reconcile(&scope).unwrap();
        assert_eq!(complaints(&outcome), Vec::<String>::new(), "{scope}");
        assert_eq!(excess_access(&harness), BTreeSet::new());
        let is_granted = !outcome.applied.is_empty();
        assert_eq!(
            is_granted,
            scope.read_requests.contains_key(&permissions),
            "{scope}"
        );
        granted += usize::from(is_granted);
    }
    assert!(granted > 50);
}
