use super::*;
use crate::name::Name;

fn check(query: DrillQuery, expect: DrillExpectation) -> DrillCheck {
    let name = |text: &str| Name::new(text).unwrap();
    DrillCheck {
        role: "arn:aws:iam::111122223333:role/analyst".to_owned(),
        table: TableId::new(name("sales"), name("or\"ders")),
        query,
        expect,
    }
}

fn columns() -> DrillQuery {
    DrillQuery::Columns(vec!["id".to_owned(), "a\"b".to_owned()])
}

#[test]
fn statements_quote_every_name_and_only_read() {
    let sql = |query| check(query, DrillExpectation::Allowed).sql();
    assert_eq!(
        sql(columns()),
        r#"SELECT "id", "a""b" FROM "sales"."or""ders" LIMIT 1"#
    );
    assert_eq!(
        sql(DrillQuery::Rows),
        r#"SELECT count(*) FROM "sales"."or""ders""#
    );
    assert_eq!(sql(DrillQuery::RowsInBothRegions), sql(DrillQuery::Rows));
}

#[test]
fn only_a_refusal_proves_a_refusal() {
    use DrillOutcome::{Failed, Passed, Unknown};
    let reason = || "reason".to_owned();
    // The end, and what it comes to if the query should be answered and if it should be refused.
    let cases = [
        (QueryEnd::Answered(Some(3)), Passed, Failed),
        (QueryEnd::Answered(None), Passed, Failed),
        (QueryEnd::Refused(reason()), Failed, Passed),
        (QueryEnd::Failed(reason()), Failed, Unknown),
        (QueryEnd::NotStarted(reason()), Failed, Unknown),
        (QueryEnd::Cancelled(reason()), Unknown, Unknown),
        (QueryEnd::TimedOut, Unknown, Unknown),
        (QueryEnd::NotAssumed(reason()), Unknown, Unknown),
    ];
    for (end, allowed, denied) in cases {
        assert_eq!(judge(DrillExpectation::Allowed, &end).0, allowed, "{end:?}");
        assert_eq!(judge(DrillExpectation::Denied, &end).0, denied, "{end:?}");
    }
}

#[test]
fn counts_are_compared_if_both_regions_answer() {
    let counted = |rows| QueryEnd::Answered(Some(rows));
    let of = |here: &QueryEnd, there: &QueryEnd| judge_counts(here, there).0;
    assert_eq!(of(&counted(3), &counted(3)), DrillOutcome::Passed);
    assert_eq!(of(&counted(2), &counted(3)), DrillOutcome::Failed);
    assert_eq!(of(&counted(2), &QueryEnd::TimedOut), DrillOutcome::Unknown);
    let refused = QueryEnd::Refused("no".to_owned());
    assert_eq!(of(&refused, &counted(3)), DrillOutcome::Failed);
    assert_eq!(of(&QueryEnd::TimedOut, &counted(3)), DrillOutcome::Unknown);
}

fn result(expect: DrillExpectation, outcome: DrillOutcome) -> DrillResult {
    let check = check(columns(), expect);
    DrillResult {
        sql: check.sql(),
        check,
        outcome,
        detail: String::new(),
        at: "2026-11-30T04:00:00Z".to_owned(),
        milliseconds: 5,
    }
}

fn report(results: Vec<DrillResult>, previous: Option<String>) -> DrillReport {
    DrillReport {
        version: FORMAT,
        twinlake: "0.1.0".to_owned(),
        previous,
        primary: "us-east-1".to_owned(),
        standby: "ap-south-1".to_owned(),
        caller: "arn:aws:iam::111122223333:user/operator".to_owned(),
        started_at: "2026-11-30T04:00:00Z".to_owned(),
        ended_at: "2026-11-30T04:01:00Z".to_owned(),
        readiness: DrilledReadiness {
            counts: ReadinessCounts::default(),
            findings: Vec::new(),
        },
        takeover: ValidatedTakeover {
            epoch: 0,
            steps: Vec::new(),
            refusal: None,
            recovery_point_seconds: BTreeMap::new(),
            verified_at: None,
            not_in_sync: 0,
            tables_with_pending_objects: 0,
            unread: Vec::new(),
        },
        no_queries_reason: None,
        results,
        milliseconds: BTreeMap::new(),
        wait_seconds: 120,
        not_exercised: Vec::new(),
    }
}

/// Both kinds of queries, with these outcomes.
fn both(allowed: DrillOutcome, denied: DrillOutcome) -> DrillReport {
    let results = vec![
        result(DrillExpectation::Allowed, allowed),
        result(DrillExpectation::Denied, denied),
    ];
    report(results, None)
}

#[test]
fn a_drill_passes_if_both_kinds_of_queries_did_and_everything_could_be_read() {
    use DrillOutcome::{Failed, Passed, Unknown};
    let verdict = |allowed, denied| both(allowed, denied).verdict();
    assert_eq!(verdict(Passed, Passed), DrillVerdict::Passed);
    assert_eq!(verdict(Passed, Unknown), DrillVerdict::Incomplete);
    assert_eq!(verdict(Failed, Passed), DrillVerdict::Failed);
    let only = |expect| report(vec![result(expect, Passed)], None).verdict();
    assert_eq!(only(DrillExpectation::Allowed), DrillVerdict::Incomplete);
    assert_eq!(only(DrillExpectation::Denied), DrillVerdict::Incomplete);
    assert_eq!(report(Vec::new(), None).verdict(), DrillVerdict::Incomplete);

    let changed = |change: fn(&mut DrillReport)| {
        let mut report = both(Passed, Passed);
        change(&mut report);
        report.verdict()
    };
    let blocked = changed(|report| report.readiness.counts.blockers = 1);
    assert_eq!(blocked, DrillVerdict::Failed);
    let refused = changed(|report| report.takeover.refusal = Some("a gate".to_owned()));
    assert_eq!(refused, DrillVerdict::Failed);
    let unread = changed(|report| report.readiness.counts.unknown = 1);
    assert_eq!(unread, DrillVerdict::Incomplete);
    let unread = changed(|report| report.takeover.unread.push("canaries".to_owned()));
    assert_eq!(unread, DrillVerdict::Incomplete);
}

/// Three drills, each of which names the one before it.
fn history() -> Vec<(String, StoredDrill)> {
    let mut history: Vec<(String, StoredDrill)> = Vec::new();
    for n in 0..3 {
        let previous = check_history(&history).unwrap();
        let mut report = report(Vec::new(), previous);
        report.started_at = format!("2026-11-30T04:0{n}:00Z");
        history.push((format!("drill-{n}"), StoredDrill::new(&report).unwrap()));
    }
    history
}

#[test]
fn a_history_that_was_changed_is_not_accepted() {
    assert_eq!(check_history(&[]), Ok(None));
    let whole = history();
    assert_eq!(check_history(&whole), Ok(Some(whole[2].1.digest.clone())));

    let changed = |change: fn(&mut Vec<(String, StoredDrill)>)| {
        let mut history = history();
        change(&mut history);
        check_history(&history).unwrap_err()
    };
    let edited = changed(|all| all[1].1.report["standby"] = "eu-west-1".into());
    assert!(edited.starts_with("drill-1 was changed"), "{edited}");
    let better = changed(|all| all[1].1.verdict = DrillVerdict::Passed);
    assert!(better.starts_with("drill-1 was changed"), "{better}");
    let removed = changed(|all| drop(all.remove(1)));
    assert!(removed.starts_with("drill-2 does not follow"), "{removed}");
    let first = changed(|all| drop(all.remove(0)));
    assert!(first.starts_with("drill-1 does not follow"), "{first}");
    let swapped = changed(|all| all.swap(0, 1));
    assert!(swapped.contains("does not follow"), "{swapped}");
}

#[test]
fn a_stored_report_is_the_same_after_it_was_written_and_read() {
    let stored = StoredDrill::new(&both(DrillOutcome::Passed, DrillOutcome::Passed)).unwrap();
    let text = serde_json::to_string_pretty(&stored).unwrap();
    let read: StoredDrill = serde_json::from_str(&text).unwrap();
    assert_eq!(
        check_history(&[("x".to_owned(), read)]),
        Ok(Some(stored.digest))
    );
}
