use super::*;
use crate::catalog::Change;
use crate::grant::{Permission, PermissionGrant, Principal, Resource};
use crate::ledger::Pairing;
use crate::plan::SubjectOutcome;
use crate::step::RevokeCause;
use crate::topology::{BySite, Epoch};
use crate::{Name, TableId};
use serde_json::{Value, json};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn table(text: &str) -> TableId {
    TableId::new(name("sales"), name(text))
}

fn next() -> NextCommands {
    NextCommands::new("--region ap-south-1", None, "ap-south-1")
}

fn plan(steps: Vec<Step>, findings: &[(FindingKind, &str, &str)]) -> Plan {
    let finding = |(kind, id, detail): &(FindingKind, &str, &str)| Finding {
        kind: *kind,
        subject: Subject::Table(table(id)),
        detail: (*detail).to_owned(),
    };
    Plan {
        epoch: Epoch::INITIAL,
        policy_digest: String::new(),
        requires: vec![Vec::new(); steps.len()],
        steps,
        findings: findings.iter().map(finding).collect(),
        subject_outcomes: BTreeMap::new(),
        needs_full_grant_read: 0,
        needs: BTreeMap::new(),
        waiting_subjects: BTreeSet::new(),
        new_pairings: 0,
        missing_rights: None,
    }
}

fn partition(value: usize) -> Step {
    Step::DeletePartition {
        id: table("orders"),
        values: vec![value.to_string()],
    }
}

fn update(id: &str, field: &str) -> Step {
    Step::UpdateTable {
        id: table(id),
        table: serde_json::from_value(json!({ "Name": id })).unwrap(),
        version: None,
        changes: vec![Change {
            field: field.to_owned(),
            current: None,
            desired: Some(json!("1")),
        }],
    }
}

fn revoke() -> Step {
    Step::Revoke {
        grant: PermissionGrant {
            principal: Principal("arn:aws:iam::111122223333:role/a".to_owned()),
            resource: Resource::Table(table("orders")),
            permission: Permission::Select,
            condition: None,
        },
        grantable: false,
        cause: RevokeCause::NotInPrimary,
    }
}

fn text_of(plan: &Plan) -> String {
    PlanSummary::new(plan, &[], &next()).text()
}

#[test]
fn every_deletion_and_revoke_stands_before_the_verdict_however_many_there_are() {
    let mut steps = vec![revoke()];
    steps.extend((0..3000).map(partition));
    let text = text_of(&plan(steps, &[]));
    let lines: Vec<&str> = text.lines().collect();
    let heading = "Deletions and revokes (3001):";
    let start = lines.iter().position(|line| *line == heading).unwrap();
    let removals = &lines[start + 1..lines.len() - 1];
    assert_eq!(removals.len(), 3001);
    assert!(removals[0].starts_with("  - revoke SELECT on table sales.orders"));
    assert_eq!(
        removals[3000],
        "  - delete partition [\"2999\"] of sales.orders"
    );
    assert_eq!(
        *lines.last().unwrap(),
        "Plan: 0 to create, 0 to change, 3000 to delete, 0 to grant, 1 to revoke."
    );
}

#[test]
fn steps_are_counted_by_kind_and_action() {
    let steps = vec![
        revoke(),
        update("orders", "Description"),
        Step::CreateTable {
            id: table("items"),
            table: serde_json::from_value(json!({"Name": "items"})).unwrap(),
        },
        partition(1),
    ];
    let text = text_of(&plan(steps, &[]));
    let expected = "\
Changes by kind         create  change  delete   grant  revoke
  tables                     1       1       -       -       -
  partitions                 -       -       1       -       -
  grants                     -       -       -       -       1
";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn bookkeeping_is_counted_apart_from_changes() {
    let steps = vec![
        update("orders", "Parameters.numRows"),
        update("items", "Description"),
    ];
    let summarized = plan(steps, &[]);
    let summary = PlanSummary::new(&summarized, &[], &next());
    assert_eq!(summary.total.changed, 1);
    assert_eq!(summary.bookkeeping.changes[&ObjectKind::Tables], 1);
    let text = summary.text();
    assert!(
        text.contains("Bookkeeping only: 1 table differs only in"),
        "{text}"
    );
    assert!(
        text.ends_with("0 to revoke, and 1 bookkeeping change.\n"),
        "{text}"
    );
    let only = text_of(&plan(vec![update("orders", "Parameters.numRows")], &[]));
    assert!(
        only.ends_with("\nPlan: 1 bookkeeping change.\n") && !only.contains("Changes by kind"),
        "{only}"
    );
}

#[test]
fn findings_have_a_line_each_and_those_with_one_reason_share_one() {
    let mut findings = vec![
        (FindingKind::Unmanaged, "a", "the standby has another one"),
        (FindingKind::Note, "b", "not in S3"),
    ];
    let ids: Vec<String> = (0..4).map(|i| format!("t{i}")).collect();
    findings.extend(
        ids.iter()
            .map(|id| (FindingKind::Unreadable, id.as_str(), "no answer")),
    );
    let text = text_of(&plan(Vec::new(), &findings));
    let expected = "  ! table sales.t0, table sales.t1, table sales.t2 and 1 more: no answer\n";
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains("  ! table sales.a: the standby has another one\n"),
        "{text}"
    );
    // What needs attention stands nearer to the end, and each kind says what to do next.
    let at = |part: &str| text.find(part).unwrap();
    assert!(at("note (1). Next: none") < at("unmanaged (1). Next: delete the standby's object"));
    assert!(
        text.ends_with("Nothing to do. 5 findings need attention: see above.\n"),
        "{text}"
    );
}

#[test]
fn missing_rights_are_said_once_and_not_for_each_table() {
    let ids: Vec<String> = (0..3000).map(|i| format!("t{i}")).collect();
    let hidden = ids
        .iter()
        .map(|id| (FindingKind::HiddenColumns, id.as_str(), "hidden"));
    let findings: Vec<_> = hidden.collect();
    let mut without_bootstrap = plan(Vec::new(), &findings);
    without_bootstrap.missing_rights = Some(MissingRights {
        role: Principal("arn:aws:iam::111122223333:role/me".to_owned()),
        not_administrator_in: vec!["us-east-1".to_owned()],
        tables_with_hidden_columns: 3000,
    });
    let text = text_of(&without_bootstrap);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.starts_with("Missing rights: arn:aws:iam::111122223333:role/me is no data lake administrator in us-east-1"));
    // Programs get all of them.
    let summary = PlanSummary::new(&without_bootstrap, &[], &next());
    assert_eq!(summary.verdict, Verdict::Attention);
    assert_eq!(summary.findings[0].reasons[0].subjects.len(), 3000);
}

#[test]
fn rejections_say_what_to_do_and_stand_before_the_deletions() {
    let rejection: Rejection =
        serde_json::from_value(json!({"rule": "deletion-limit", "detail": "3 tables of 10"}))
            .unwrap();
    let changes = plan(vec![partition(1)], &[]);
    let summary = PlanSummary::new(&changes, &[rejection], &next());
    let text = summary.text();
    let at = |part: &str| text.find(part).unwrap();
    let command = "`twinlake approve-deletions --region ap-south-1`";
    assert!(
        at(command) < at("  REJECTED it deletes more than the deletion limit allows: 3 tables")
    );
    assert!(at("REJECTED") < at("Deletions and revokes (1):"));
    assert_eq!(summary.verdict, Verdict::Attention);
}

#[test]
fn an_empty_plan_says_what_is_equal() {
    let mut equal = plan(Vec::new(), &[]);
    let outcome = |pairing: Option<Pairing>| SubjectOutcome {
        state: SubjectState::InSync,
        reason: None,
        problem_facets: BTreeSet::new(),
        problems: 0,
        pairing,
        table_default: None,
        partitions: None,
        managed_keys: None,
        gone: false,
    };
    let paired = Pairing {
        created: BySite::from_roles(Epoch::INITIAL, None, None),
        digest: BySite::from_roles(Epoch::INITIAL, None, None),
        link: false,
    };
    let outcomes = [
        (
            Subject::Database(name("sales")),
            outcome(Some(paired.clone())),
        ),
        (Subject::Table(table("orders")), outcome(Some(paired))),
        (Subject::Table(table("unpaired")), outcome(None)),
    ];
    equal.subject_outcomes = outcomes.into();
    equal.new_pairings = 1;
    assert_eq!(
        text_of(&equal),
        "Bookkeeping only: 1 existing object becomes paired in the ledger.\n\
         Equal in both Regions: 1 database, 1 table.\nNothing to do.\n"
    );
}

#[test]
fn the_json_has_stable_names() {
    let mut steps = vec![revoke(), partition(1)];
    steps.push(update("orders", "Parameters.numRows"));
    let changes = plan(steps, &[(FindingKind::OnHold, "a", "held")]);
    let summary = PlanSummary::new(&changes, &[], &next());
    let json: Value = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["verdict"], "attention");
    assert_eq!(json["changes"]["partitions"]["delete"], 1);
    assert_eq!(json["total"]["revoke"], 1);
    assert_eq!(
        json["bookkeeping"],
        json!({"changes": {"tables": 1}, "new_pairings": 0})
    );
    assert_eq!(json["findings"][0]["kind"], "on-hold");
    assert_eq!(json["missing_rights"], Value::Null);
    assert_eq!(
        json["deletions_and_revokes"][1],
        json!({"kind": "partitions", "action": "delete", "subject": "table sales.orders",
               "step": "delete partition [\"1\"] of sales.orders"})
    );
}
