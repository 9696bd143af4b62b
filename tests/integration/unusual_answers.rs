//! Answers of the services that nothing documented excludes: a part of a listing that is refused, a response without
//! its body, an item that somebody made a moment ago. None of them is taken for "there is nothing".

use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::audit::AuditRule;
use twinlake_core::catalog::{Attachment, AttachmentKey, NamedLfTagExpression, Registration};
use twinlake_core::scope::ReadRequest;
use twinlake_core::{
    CallError, CallErrorKind, Facet, LfSubject, Permission, PermissionGrant, Principal, Resource,
    Scope, Step, Subject,
};
use twinlake_engine::WriteRegion as _;
use twinlake_engine::observe::Prefetched;
use twinlake_engine::ports::{EntryResults, PermissionResourceType, SettingsChange};
use twinlake_engine::resync::ResyncReport;
use twinlake_sim::{ApiError, InjectedFault, Quirk, UnusualAnswer, run_until_killed};
use twinlake_tests::harness::{ADMIN_ROLE, PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, policy};
use twinlake_tests::plans::{audit_plan, preview_everything};
use twinlake_tests::reported_problems;
use twinlake_tests::requests::{
    all_tables_resource, call, create_database, create_table, permission_request, table_resource,
};

const IAM_GROUP: &str = "IAM_ALLOWED_PRINCIPALS";

fn role(name: &str) -> Principal {
    Principal(format!("arn:aws:iam::111122223333:role/{name}"))
}

/// Regions with the table `sales.orders`.
fn harness_with_table(keys: &str) -> TestHarness {
    let harness = TestHarness::new(policy(keys));
    create_database(&harness, "sales");
    create_table(&harness, PRIMARY, "sales", "orders");
    harness.settle();
    let _ = harness.take_events();
    harness
}

fn answer(harness: &TestHarness, region: &str, answer: UnusualAnswer, on: bool) {
    harness.sim.state().set_unusual_answer(region, answer, on);
}

/// The principals of the grants of the standby on LF-Tags.
fn grantees_on_lf_tags(harness: &TestHarness) -> BTreeSet<String> {
    let grants = harness.sim.state().raw_grants(STANDBY);
    let on_tags = grants
        .into_iter()
        .filter(|(grant, _)| format!("{:?}", grant.resource).starts_with("LfTag("));
    on_tags.map(|(grant, _)| grant.principal).collect()
}

fn has_finding(report: &ResyncReport, text: &str) -> bool {
    let findings = &report.outcome.findings;
    findings.iter().any(|finding| finding.detail.contains(text))
}

#[test]
fn a_refused_listing_by_type_proves_no_revoke() {
    let harness = harness_with_table("");
    let tag = json!({"TagKey": "class", "TagValues": ["public"]});
    call(&harness, PRIMARY, "CreateLFTag", tag);
    let on_tag = json!({"LFTag": {"TagKey": "class", "TagValues": ["public"]}});
    let grant = |name: &str| {
        json!({"Principal": {"DataLakePrincipalIdentifier": role(name).0}, "Resource": on_tag,
               "Permissions": ["DESCRIBE"]})
    };
    for name in ["Kept", "Named", "Unnamed"] {
        call(&harness, PRIMARY, "GrantPermissions", grant(name));
    }
    harness.settle();
    let all = [role("Kept").0, role("Named").0, role("Unnamed").0];
    assert_eq!(grantees_on_lf_tags(&harness), BTreeSet::from(all.clone()));
    // Only the listing by type shows grants on LF-Tags, and the primary refuses it.
    harness
        .sim
        .state()
        .set_quirk(Quirk::UnfilteredListOmitsLfTagGrants, true);
    let refused = UnusualAnswer::RefusesGrantsOfType(PermissionResourceType::LfTag);
    answer(&harness, PRIMARY, refused, true);
    let _ = harness.take_events();
    call(&harness, PRIMARY, "RevokePermissions", grant("Unnamed"));
    let _ = harness.take_events();
    let report = harness.settle();
    assert_eq!(grantees_on_lf_tags(&harness), BTreeSet::from(all));
    assert!(
        has_finding(
            &report,
            "refuses to list the grants on resources of type LF_TAG"
        ),
        "{:#?}",
        report.outcome.findings
    );
    // Once the listing is back, the revoke is proven.
    answer(&harness, PRIMARY, refused, false);
    harness.settle();
    let kept = BTreeSet::from([role("Kept").0, role("Named").0]);
    assert_eq!(grantees_on_lf_tags(&harness), kept);
}

#[test]
fn settings_are_not_written_from_a_read_that_lacks_administrators() {
    let harness = harness_with_table("");
    let own = [TWINLAKE_ROLE, ADMIN_ROLE].map(|name| Principal(name.to_owned()));
    let change = SettingsChange {
        added_admins: BTreeSet::from([role("New")]),
        kept_admins: BTreeSet::from(own),
        ..SettingsChange::default()
    };
    let put = || {
        let standby = harness.sim.region(STANDBY, TWINLAKE_ROLE);
        let put = standby.put_settings(&change);
        run_until_killed(&harness.sim, put).unwrap()
    };
    let settings = || {
        let answer = harness.call(STANDBY, "GetDataLakeSettings", &json!({}));
        answer.unwrap().to_string()
    };
    for unusual in [
        UnusualAnswer::OmitsSettings,
        UnusualAnswer::EmptyAdministrators,
    ] {
        answer(&harness, STANDBY, unusual, true);
        let error: CallError = put().unwrap_err();
        assert!(error.kind.is_transient(), "{error}");
        answer(&harness, STANDBY, unusual, false);
        assert!(settings().contains(ADMIN_ROLE) && !settings().contains("New"));
    }
    put().unwrap();
    assert!(settings().contains(ADMIN_ROLE) && settings().contains("New"));
}

#[test]
fn a_plan_of_the_settings_names_the_administrators_that_stay() {
    let harness = harness_with_table("data-lake-settings = \"merge\"");
    let admins = [
        TWINLAKE_ROLE.to_owned(),
        ADMIN_ROLE.to_owned(),
        role("New").0,
    ];
    let admins: Vec<Value> = admins
        .iter()
        .map(|one| json!({"DataLakePrincipalIdentifier": one}))
        .collect();
    let settings = json!({"DataLakeSettings": {"DataLakeAdmins": admins}});
    call(&harness, PRIMARY, "PutDataLakeSettings", settings);
    let (plan, _) = preview_everything(&harness);
    let kept = plan.steps.iter().find_map(|step| match step {
        Step::PutSettings { kept_admins, .. } => Some(kept_admins.clone()),
        _ => None,
    });
    let own = [TWINLAKE_ROLE, ADMIN_ROLE].map(|name| Principal(name.to_owned()));
    assert_eq!(kept, Some(BTreeSet::from(own)), "{:#?}", plan.steps);
}

#[test]
fn an_lf_tag_keeps_the_values_that_a_response_does_not_list() {
    let harness = harness_with_table("");
    let tag = json!({"TagKey": "class", "TagValues": ["public", "secret"]});
    call(&harness, PRIMARY, "CreateLFTag", tag);
    harness.settle();
    answer(&harness, STANDBY, UnusualAnswer::OmitsLfTagValues, true);
    let key = AttachmentKey::LfTagValue {
        key: "class".to_owned(),
        value: "secret".to_owned(),
    };
    let subject = Subject::LakeFormation(LfSubject::LfTags);
    let remove = || {
        let keys = [&key];
        let standby = harness.sim.region(STANDBY, TWINLAKE_ROLE);
        let removed = standby.remove_attachments(&subject, &keys);
        run_until_killed(&harness.sim, removed).unwrap().unwrap()
    };
    assert!(remove()[0].is_err());
    let values = |harness: &TestHarness| {
        let all = harness.sim.state().raw_lakeformation(STANDBY);
        all.into_keys()
            .filter(|key| key.starts_with("tag|"))
            .count()
    };
    assert_eq!(values(&harness), 2);
    answer(&harness, STANDBY, UnusualAnswer::OmitsLfTagValues, false);
    assert_eq!(remove(), [Ok(())]);
    assert_eq!(values(&harness), 1);
}

#[test]
fn refused_glue_tags_of_a_table_are_not_removed() {
    let harness = harness_with_table("glue-tags = \"copy\"");
    let arn = format!("arn:aws:glue:{PRIMARY}:111122223333:table/sales/orders");
    let tagged = json!({"ResourceArn": arn, "TagsToAdd": {"class": "secret"}});
    call(&harness, PRIMARY, "TagResource", tagged);
    harness.settle();
    let tags = |harness: &TestHarness| {
        let all = harness.sim.state().raw_attachments(STANDBY);
        let tags = all
            .values()
            .filter(|one| matches!(one, Attachment::GlueTag { .. }));
        tags.count()
    };
    assert_eq!(tags(&harness), 1);
    answer(&harness, PRIMARY, UnusualAnswer::RefusesTagsOfTables, true);
    harness.settle();
    assert_eq!(tags(&harness), 1);
    let problems = reported_problems::of_ledger(&harness);
    assert!(
        problems
            .keys()
            .any(|subject| subject.to_string().contains("sales.orders")),
        "{problems:#?}"
    );
    // Where no Region supports them, there are none.
    answer(&harness, STANDBY, UnusualAnswer::RefusesTagsOfTables, true);
    harness.settle();
    answer(&harness, PRIMARY, UnusualAnswer::RefusesTagsOfTables, false);
    answer(&harness, STANDBY, UnusualAnswer::RefusesTagsOfTables, false);
    let untagged = json!({"ResourceArn": arn, "TagsToRemove": ["class"]});
    call(&harness, PRIMARY, "UntagResource", untagged);
    harness.settle();
    assert_eq!(tags(&harness), 0);
}

#[test]
fn an_event_proves_the_deletion_of_the_items_that_it_names_and_of_no_others() {
    let harness = harness_with_table("");
    for (key, values) in [("class", ["public", "secret"]), ("team", ["a", "b"])] {
        let tag = json!({"TagKey": key, "TagValues": values});
        call(&harness, PRIMARY, "CreateLFTag", tag);
    }
    harness.settle();
    let _ = harness.take_events();
    let values = |harness: &TestHarness| -> Vec<String> {
        let all = harness.sim.state().raw_lakeformation(STANDBY);
        all.into_keys()
            .filter(|key| key.starts_with("tag|"))
            .collect()
    };
    assert_eq!(values(&harness).len(), 4);
    // The event of one deletion is lost. The primary lists no LF-Tag at all.
    call(&harness, PRIMARY, "DeleteLFTag", json!({"TagKey": "class"}));
    let _ = harness.take_events();
    call(&harness, PRIMARY, "DeleteLFTag", json!({"TagKey": "team"}));
    harness.deliver(&harness.take_events());
    harness.deliver_retries();
    assert_eq!(values(&harness), ["tag|class=public", "tag|class=secret"]);
    harness.settle();
    assert_eq!(values(&harness).len(), 2);
    let problems = reported_problems::of_ledger(&harness);
    assert!(
        problems
            .keys()
            .any(|subject| subject.to_string() == "LF-Tags"),
        "{problems:#?}"
    );
    // The audit judges the same by itself.
    let remove = |value: &str| Step::RemoveAttachment {
        subject: Subject::LakeFormation(LfSubject::LfTags),
        key: AttachmentKey::LfTagValue {
            key: "class".to_owned(),
            value: value.to_owned(),
        },
    };
    assert_eq!(
        rejected_by(&harness, vec![remove("public")]),
        Some(AuditRule::Unproven)
    );
}

#[test]
fn the_deletion_limit_counts_the_items_of_lake_formation() {
    let harness = TestHarness::new(policy("deletion-limit = { fraction = 0.0, minimum = 2 }"));
    let values = ["a", "b", "c", "d"];
    for key in ["class", "team"] {
        let tag = json!({"TagKey": key, "TagValues": values});
        call(&harness, PRIMARY, "CreateLFTag", tag);
    }
    harness.settle();
    let _ = harness.take_events();
    call(&harness, PRIMARY, "DeleteLFTag", json!({"TagKey": "class"}));
    harness.deliver(&harness.take_events());
    harness.settle();
    let all = harness.sim.state().raw_lakeformation(STANDBY);
    let left = all
        .keys()
        .filter(|key| key.starts_with("tag|class="))
        .count();
    assert_eq!(left, 4, "{all:#?}");
}

/// Returns the first rule by which the audit rejects the steps.
fn rejected_by(harness: &TestHarness, steps: Vec<Step>) -> Option<AuditRule> {
    let (mut plan, _) = preview_everything(harness);
    plan.requires = (0..steps.len())
        .map(|position| (0..position).collect())
        .collect();
    plan.steps = steps;
    let rejections = audit_plan(harness, plan).err()?;
    rejections.first().map(|rejection| rejection.rule)
}

fn iam_grant() -> Value {
    json!({"Principal": {"DataLakePrincipalIdentifier": IAM_GROUP},
           "Resource": table_resource("orders"), "Permissions": ["ALL"]})
}

fn opt_in(principal: &str, resource: &Value) -> Value {
    json!({"Principal": {"DataLakePrincipalIdentifier": principal}, "Resource": resource})
}

/// Whether the standby has the grant to `IAM_ALLOWED_PRINCIPALS` on the table.
fn is_open(harness: &TestHarness) -> bool {
    let grants = harness.sim.state().raw_grants(STANDBY);
    grants.iter().any(|(grant, _)| grant.principal == IAM_GROUP)
}

fn iam_grant_step() -> Step {
    Step::Grant {
        grant: PermissionGrant {
            principal: Principal(IAM_GROUP.to_owned()),
            resource: Resource::Table(twinlake_core::TableId::new(
                twinlake_core::Name::new("sales").unwrap(),
                twinlake_core::Name::new("orders").unwrap(),
            )),
            permission: Permission::All,
            condition: None,
        },
        grantable: false,
    }
}

#[test]
fn a_grant_to_all_iam_principals_waits_for_an_opt_in_that_cannot_be_mapped() {
    for resource in [table_resource("orders"), all_tables_resource()] {
        let harness = harness_with_table("");
        // The principal was deleted, or is of a kind that Twinlake does not know.
        let limited = opt_in("AROAUNKNOWNEXAMPLE", &resource);
        call(
            &harness,
            PRIMARY,
            "CreateLakeFormationOptIn",
            limited.clone(),
        );
        call(&harness, PRIMARY, "GrantPermissions", iam_grant());
        harness.settle();
        assert!(!is_open(&harness));
        let problems = reported_problems::of_ledger(&harness);
        assert!(!problems.is_empty());
        assert_eq!(
            rejected_by(&harness, vec![iam_grant_step()]),
            Some(AuditRule::WiderAccess)
        );
        call(&harness, PRIMARY, "DeleteLakeFormationOptIn", limited);
        harness.settle();
        assert!(is_open(&harness));
    }
}

#[test]
fn an_opt_in_on_another_table_holds_no_grant() {
    let harness = harness_with_table("");
    create_table(&harness, PRIMARY, "sales", "items");
    harness.settle();
    let limited = opt_in("AROAUNKNOWNEXAMPLE", &table_resource("items"));
    call(&harness, PRIMARY, "CreateLakeFormationOptIn", limited);
    call(&harness, PRIMARY, "GrantPermissions", iam_grant());
    harness.settle();
    assert!(is_open(&harness));
}

#[test]
fn an_opt_in_of_an_ignored_principal_limits_access_too() {
    let ignored = role("Ignored").0;
    let harness = harness_with_table(&format!("ignored-principals = [\"{ignored}\"]"));
    let limited = opt_in(&ignored, &table_resource("orders"));
    call(
        &harness,
        PRIMARY,
        "CreateLakeFormationOptIn",
        limited.clone(),
    );
    call(&harness, PRIMARY, "GrantPermissions", iam_grant());
    harness.settle();
    assert!(!is_open(&harness));
    assert!(harness.sim.state().raw_opt_ins(STANDBY).is_empty());
    assert_eq!(
        rejected_by(&harness, vec![iam_grant_step()]),
        Some(AuditRule::WiderAccess)
    );
    // A person makes the opt-in of a principal that Twinlake ignores.
    call(&harness, STANDBY, "CreateLakeFormationOptIn", limited);
    harness.settle();
    assert!(is_open(&harness));
}

fn registration(hybrid_access: bool) -> Attachment {
    Attachment::Registration(Registration {
        arn: "arn:aws:s3:::lake/raw".to_owned(),
        role: Some(role("Registration").0),
        with_federation: false,
        hybrid_access,
        privileged_access: false,
        owner: None,
    })
}

fn expression(value: &str) -> Attachment {
    let values = BTreeSet::from([value.to_owned()]);
    Attachment::NamedExpression(NamedLfTagExpression {
        name: "only".to_owned(),
        description: None,
        expression: [("class".to_owned(), values)].into(),
    })
}

fn put(harness: &TestHarness, attachment: &Attachment, may_replace: bool) -> Result<(), CallError> {
    let lf_subject = match attachment {
        Attachment::Registration(_) => LfSubject::DataLocations,
        _ => LfSubject::LfTagExpressions,
    };
    let subject = Subject::LakeFormation(lf_subject);
    let attachments = [attachment];
    let standby = harness.sim.region(STANDBY, TWINLAKE_ROLE);
    let put = standby.put_attachments(&subject, &attachments, may_replace);
    let results: EntryResults = run_until_killed(&harness.sim, put).unwrap().unwrap();
    results.into_iter().collect()
}

#[test]
fn what_somebody_made_since_it_was_read_is_not_replaced() {
    let harness = harness_with_table("");
    let tag = json!({"TagKey": "class", "TagValues": ["a", "b"]});
    call(&harness, STANDBY, "CreateLFTag", tag);
    for (of_somebody, wanted) in [
        (registration(true), registration(false)),
        (expression("a"), expression("b")),
    ] {
        put(&harness, &of_somebody, false).unwrap();
        let before = harness.sim.state().raw_lakeformation(STANDBY);
        let error = put(&harness, &wanted, false).unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Contended, "{error}");
        assert_eq!(harness.sim.state().raw_lakeformation(STANDBY), before);
        // What equals it is adopted.
        assert_eq!(put(&harness, &of_somebody, false), Ok(()));
        // What the plan found there is replaced.
        put(&harness, &wanted, true).unwrap();
        assert_ne!(harness.sim.state().raw_lakeformation(STANDBY), before);
    }
}

/// The whole run, interrupted before each of its calls by somebody who makes the item.
#[test]
fn an_item_that_appears_during_a_run_is_left_as_it_is_and_reported() {
    let mut conflicts = 0;
    for call_index in 0.. {
        let harness = harness_with_table("");
        let tag = json!({"TagKey": "class", "TagValues": ["a", "b"]});
        call(&harness, PRIMARY, "CreateLFTag", tag);
        harness.settle();
        let saved = |value: &str| json!({"Name": "only", "Expression": [{"TagKey": "class", "TagValues": [value]}]});
        call(&harness, PRIMARY, "CreateLFTagExpression", saved("a"));
        let mut scope = Scope::default();
        let subject = Subject::LakeFormation(LfSubject::LfTagExpressions);
        scope.add(subject, ReadRequest::for_facets(&[Facet::Items]));
        let (context, prefetched) = (harness.context(), Prefetched::default());
        let run = twinlake_engine::reconcile(&context, &scope, &prefetched);
        let (_, meanwhile) = twinlake_sim::run_interrupted(&harness.sim, run, call_index, || {
            harness
                .call(STANDBY, "CreateLFTagExpression", &saved("b"))
                .is_ok()
        });
        let Some(was_made) = meanwhile else {
            break;
        };
        let found = harness.sim.state().raw_lf_tag_expression(STANDBY, "only");
        let value = found.unwrap()["class"].first().unwrap().clone();
        if was_made {
            conflicts += 1;
            assert_eq!(value, "b", "before call {call_index}");
        }
    }
    assert!(conflicts > 0);
}

/// For a while the standby answers that it has no LF-Tags, while the primary deletes one that Twinlake made there.
#[test]
fn what_twinlake_made_stays_managed_where_the_standby_answers_not_to_support_it() {
    let harness = TestHarness::new(policy(""));
    for key in ["class", "team"] {
        let tag = json!({"TagKey": key, "TagValues": ["a"]});
        harness.call(PRIMARY, "CreateLFTag", &tag).unwrap();
    }
    harness.resync();
    let class = json!({"TagKey": "class"});
    harness.call(PRIMARY, "DeleteLFTag", &class).unwrap();
    let error = ApiError::new(
        CallErrorKind::Unsupported,
        "UnsupportedException",
        "it is injected",
    );
    let mut fault = InjectedFault::once(STANDBY, "ListLFTags", error);
    fault.times = usize::MAX;
    harness.sim.state().inject_fault(fault);
    let report = harness.resync().unwrap();
    assert!(
        !report.outcome.findings.is_empty(),
        "it is told: {report:?}"
    );
    harness.sim.state().clear_call_faults();
    harness.resync();
    let left = harness
        .call(STANDBY, "ListLFTags", &json!({}))
        .unwrap()
        .to_string();
    assert!(left.contains("team") && !left.contains("class"), "{left}");
}

/// The primary adds a value to an LF-Tag and grants by it and another one. The search in the standby is refused, since the
/// value is missing there, where somebody's own table has the other one.
#[test]
fn a_search_for_a_value_that_the_standby_lacks_hides_no_table_that_has_another_one() {
    let harness = TestHarness::new(policy(""));
    let tag = json!({"TagKey": "class", "TagValues": ["open"]});
    harness.call(PRIMARY, "CreateLFTag", &tag).unwrap();
    create_database(&harness, "sales");
    create_table(&harness, PRIMARY, "sales", "orders");
    harness.resync();
    create_table(&harness, STANDBY, "sales", "theirs");
    let assignment = json!({
        "Resource": table_resource("theirs"), "LFTags": [{"TagKey": "class", "TagValues": ["open"]}],
    });
    call(&harness, STANDBY, "AddLFTagsToResource", assignment);
    let _ = harness.take_events();
    let more = json!({"TagKey": "class", "TagValuesToAdd": ["public"]});
    call(&harness, PRIMARY, "UpdateLFTag", more);
    let policy = json!({"LFTagPolicy": {
        "ResourceType": "TABLE",
        "Expression": [{"TagKey": "class", "TagValues": ["open", "public"]}],
    }});
    call(
        &harness,
        PRIMARY,
        "GrantPermissions",
        permission_request("Analyst", &policy),
    );
    let result = harness.deliver(&harness.take_events()).unwrap();
    let grants = harness.sim.state().raw_grants(STANDBY);
    let granted = grants
        .iter()
        .any(|grant| format!("{grant:?}").contains("Analyst"));
    assert!(!granted, "it would open somebody's own table: {result:?}");
}
