//! What holds however the services answer, whatever else is in the catalogs, and whatever fails:
//! each property over random histories.

use proptest::prelude::*;
use serde_json::json;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::{
    AlertKind, AlertState, CallErrorKind, FunctionId, LfSubject, Name, Subject, TableId,
};
use twinlake_engine::RetryMessage;
use twinlake_sim::{AnswerStyle, ApiError, InjectedFault};
use twinlake_tests::bad_entry::{BadEntry, any_bad_entry};
use twinlake_tests::equality_oracle::{self, contents, is_about};
use twinlake_tests::foreign_objects;
use twinlake_tests::harness::{PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, policy};
use twinlake_tests::history::{
    HistoryAction, any_action, calls, perform, random_actions, set_up_primary, table_input,
};
use twinlake_tests::lf_tag_changes::take_lease_as_another_run;
use twinlake_tests::narrowing::{any_narrowing, any_trouble};
use twinlake_tests::plans::{
    USES_FIXED_SEED, harness_without_deletion_limit, long_proptest_config,
};
use twinlake_tests::reported_problems::{self, ReportedProblems};
use twinlake_tests::resolution_oracle::{
    SCANNED_KINDS, delete_unproven_items, exists, is_of, open_problems, parse_subject,
    remaining_problem,
};

/// Actions, and for each whether its events are lost.
fn with_losses(length_limit: usize) -> impl Strategy<Value = Vec<(HistoryAction, bool)>> {
    let is_lost = prop::sample::select(vec![false, false, true]);
    prop::collection::vec((any_action(), is_lost), 1..length_limit)
}

/// Performs actions in the primary, and delivers the events of each that is not lost.
fn run_actions(harness: &TestHarness, actions: &[(HistoryAction, bool)]) {
    for (action, is_lost) in actions {
        perform(harness, PRIMARY, action);
        let events = harness.take_events();
        if !is_lost {
            harness.deliver(&events);
            harness.deliver_retries();
        }
    }
}

/// The objects that an action deletes, or of which it deletes partitions or items.
fn deleted_objects(action: &HistoryAction) -> Vec<Subject> {
    let subject = |(call, request): (&str, serde_json::Value)| {
        let name = |key: &str| Name::new(request[key].as_str()?).ok();
        Some(match call {
            "DeleteDatabase" => Subject::Database(name("Name")?),
            "DeleteTable" => Subject::Table(TableId::new(name("DatabaseName")?, name("Name")?)),
            "BatchDeletePartition" => {
                Subject::Table(TableId::new(name("DatabaseName")?, name("TableName")?))
            }
            "DeleteUserDefinedFunction" => {
                let id = FunctionId::new(name("DatabaseName")?, name("FunctionName")?);
                Subject::Function(id)
            }
            "DeleteLFTagExpression" => Subject::LakeFormation(LfSubject::LfTagExpressions),
            "DeregisterResource" => Subject::LakeFormation(LfSubject::DataLocations),
            "UpdateLFTag" if request.get("TagValuesToDelete").is_some() => {
                Subject::LakeFormation(LfSubject::LfTags)
            }
            _ => return None,
        })
    };
    calls(action).into_iter().filter_map(subject).collect()
}

/// The objects and items of which an action deletes some and its events are lost.
fn unnamed_deletions(actions: &[(HistoryAction, bool)]) -> Vec<Subject> {
    let lost = actions.iter().filter(|(_, is_lost)| *is_lost);
    lost.flat_map(|(action, _)| deleted_objects(action))
        .collect()
}

/// Whether what remains in the standby belongs to one of these deletions.
fn is_due_to(key: &str, deletions: &[Subject]) -> bool {
    deletions.iter().any(|subject| match subject {
        Subject::LakeFormation(_) => is_of(key, subject),
        Subject::Database(_) | Subject::Table(_) | Subject::Function(_) | Subject::Catalog => {
            is_about(key, subject)
        }
    })
}

/// Checks that a standby ends as the expected one, except for deletions that no event named: these
/// may be held, and are then reported. What waits for a held deletion, an LF-Tag that the held object
/// has or a grant, is reported, too. Returns whether something is held.
fn assert_same_but_for_held_deletions(
    harness: &TestHarness,
    expected: &BTreeMap<String, String>,
    unnamed: &[Subject],
) -> Result<bool, TestCaseError> {
    let found = contents(&harness.sim.state(), STANDBY);
    let problems = reported_problems::of_ledger(harness);
    let is_reported = |key: &str| problems.keys().any(|subject| is_about(key, subject));
    let mut extra = found.keys().filter(|key| !expected.contains_key(*key));
    let is_held = extra.any(|key| is_due_to(key, unnamed));
    for (key, value) in &found {
        match expected.get(key) {
            Some(expected) => prop_assert_eq!(value, expected, "{}", key),
            None => {
                let waits = is_held && key.starts_with("lakeformation|tag|");
                let is_allowed = is_due_to(key, unnamed) || waits;
                prop_assert!(is_allowed, "{key} remains: {problems:#?}");
                prop_assert!(
                    is_reported(key),
                    "{key} is held without a report: {problems:#?}"
                );
            }
        }
    }
    for key in expected.keys().filter(|key| !found.contains_key(*key)) {
        let waits = is_held && key.starts_with("grant|") && is_reported(key);
        prop_assert!(waits, "{key} is missing: {problems:#?}");
    }
    Ok(is_held)
}

/// The standby ends in the same state whichever codes and texts the services answer with, and however
/// little their answers tell.
#[test]
fn texts_do_not_matter() {
    let held = Cell::new(0u32);
    proptest!(long_proptest_config(), |(before in random_actions(12), after in with_losses(12))| {
        let run = |style: AnswerStyle| {
            let harness = harness_without_deletion_limit();
            harness.sim.state().set_answer_style(style);
            set_up_primary(&harness, &before);
            harness.settle();
            let _ = harness.take_events();
            run_actions(&harness, &after);
            harness.settle();
            harness
        };
        let (observed, unusual) = (run(AnswerStyle::Observed), run(AnswerStyle::Unusual));
        let primaries = [&observed, &unusual].map(|one| contents(&one.sim.state(), PRIMARY));
        prop_assert_eq!(&primaries[0], &primaries[1]);
        let expected = contents(&observed.sim.state(), STANDBY);
        let unnamed = unnamed_deletions(&after);
        let is_held = assert_same_but_for_held_deletions(&unusual, &expected, &unnamed)?;
        held.set(held.get() + u32::from(is_held));
    });
    println!(
        "texts_do_not_matter: in {} cases a deletion is held",
        held.get()
    );
}

/// An entry that cannot be replicated changes nothing else, and exactly one subject reports it.
#[test]
fn one_bad_entry_is_one_finding() {
    let seen: Cell<u32> = Cell::default();
    proptest!(long_proptest_config(), |(
        before in random_actions(12),
        after in random_actions(12),
        entry in any_bad_entry(),
        position in 0..12usize,
        in_base in any::<bool>(),
        delivers in any::<bool>(),
    )| {
        let database = if in_base { "base" } else { "db0" };
        let table = TableId::new(Name::new(database).unwrap(), Name::new("keep").unwrap());
        let run = |entry: Option<BadEntry>| {
            let harness = harness_without_deletion_limit();
            BadEntry::prepare(&harness);
            set_up_primary(&harness, &before);
            harness.settle();
            let _ = harness.take_events();
            let position = position.min(after.len());
            for (index, action) in after.iter().enumerate() {
                if index == position {
                    place(&harness, entry, &table);
                }
                perform(&harness, PRIMARY, action);
            }
            if position == after.len() {
                place(&harness, entry, &table);
            }
            let events = harness.take_events();
            if delivers {
                harness.deliver(&events);
                harness.deliver_retries();
            }
            let report = harness.settle();
            let problems = reported_problems::of_resync(&harness, &report);
            (harness, problems)
        };
        let (without, problems_without) = run(None);
        let (with, problems) = run(Some(entry));
        let mut expected = contents(&without.sim.state(), STANDBY);
        let mut found = contents(&with.sim.state(), STANDBY);
        found.retain(|key, value| !BadEntry::is_own(key, value));
        let subject = entry.subject(&table);
        let mut added = reported_problems::added(&problems, &problems_without);
        let waiting: Vec<String> = expected
            .keys()
            .filter(|key| !found.contains_key(*key) && entry.carries(key, &table))
            .cloned()
            .collect();
        for key in &waiting {
            expected.remove(key);
            added.retain(|other, _| *other == subject || !is_about(key, other));
        }
        let difference = equality_oracle::first_difference(&found, &expected);
        prop_assert!(difference.is_none(), "{difference:?}: {problems:#?}");
        prop_assert!(added.keys().all(|other| *other == subject), "{entry:?}: {added:#?}");
        if BadEntry::is_in_primary(&with) {
            prop_assert!(added.contains_key(&subject), "{entry:?} is not reported: {problems:#?}");
            seen.set(seen.get() + 1);
        }
    });
    println!(
        "one_bad_entry_is_one_finding: {} entries were there at the end",
        seen.get()
    );
}

fn place(harness: &TestHarness, entry: Option<BadEntry>, table: &TableId) {
    BadEntry::place_neighbours(harness, table);
    if let Some(entry) = entry {
        entry.place(harness, table);
    }
}

/// What somebody else has in the standby stays as it is, and everything of the primary whose name it
/// does not take arrives.
#[test]
fn foreign_things_stop_nothing() {
    let seen: Cell<u32> = Cell::default();
    proptest!(long_proptest_config(), |(
        selection in any::<u64>(),
        after in with_losses(20),
    )| {
        let harness = harness_without_deletion_limit();
        set_up_primary(&harness, &[HistoryAction::DeleteDatabase(1)]);
        harness.settle();
        let _ = harness.take_events();
        let foreign = foreign_objects::create(&harness, selection);
        seen.set(seen.get() + u32::try_from(foreign.len()).unwrap());
        run_actions(&harness, &after);
        harness.settle();
        let standby = contents(&harness.sim.state(), STANDBY);
        for (key, value) in &foreign {
            prop_assert_eq!(standby.get(key), Some(value), "{} of somebody else", key);
        }
        let problems = reported_problems::of_ledger(&harness);
        let unnamed = unnamed_deletions(&after);
        let differences = equality_oracle::differences(&harness.sim.state(), &[]);
        for difference in differences {
            let reason = foreign_objects::explanation(&harness, &difference, &foreign, selection);
            let is_held = difference.starts_with("extra ") && is_due_to(&difference, &unnamed);
            prop_assert!(reason.is_some() || is_held, "{difference}: {problems:#?}");
            let is_foreign = reason == Some(foreign_objects::Explanation::Foreign);
            let is_reported = problems.keys().any(|subject| is_about(&difference, subject));
            prop_assert!(is_foreign || is_reported, "not reported: {difference}: {problems:#?}");
        }
    });
    println!("foreign_things_stop_nothing: {} foreign things", seen.get());
}

/// Whatever else fails, cannot be read or is held: what the primary took away is taken away in the
/// first run in which the calls for it succeed.
#[test]
fn narrowing_never_waits() {
    let (seen, failing_calls) = (Cell::new(0u32), Cell::new(0usize));
    proptest!(long_proptest_config(), |(
        before in random_actions(12),
        noise in random_actions(8),
        narrowing in any_narrowing(),
        trouble in prop::collection::vec(any_trouble(), 0..6),
        by_event in any::<bool>(),
        limit in prop::sample::select(vec!["", "deletion-limit = { fraction = 0.0, minimum = 1 }"]),
        foreign in prop::sample::select(vec![0, u64::MAX]),
        is_lease_taken in any::<bool>(),
    )| {
        let harness = TestHarness::new(policy(limit));
        set_up_primary(&harness, &before);
        narrowing.prepare(&harness);
        harness.settle();
        let _ = harness.take_events();
        let _ = foreign_objects::create(&harness, foreign);
        for action in &noise {
            perform(&harness, PRIMARY, action);
        }
        let removed = narrowing.make(&harness);
        if removed.is_empty() {
            return Ok(());
        }
        let failing = narrowing.fail_other_calls(&harness, &trouble);
        if is_lease_taken {
            take_lease_as_another_run(&harness);
        }
        match by_event {
            true => {
                harness.deliver(&harness.take_events());
            }
            false => {
                harness.resync();
            }
        }
        let open = removed.in_standby(&harness);
        let problems = reported_problems::of_ledger(&harness);
        prop_assert!(open.is_empty(), "{open:?} waits for {failing:#?}: {problems:#?}");
        seen.set(seen.get() + 1);
        failing_calls.set(failing_calls.get() + failing.len());
    });
    println!(
        "narrowing_never_waits: {} narrowings while {} calls fail",
        seen.get(),
        failing_calls.get()
    );
    assert!(
        !USES_FIXED_SEED || seen.get() > 20,
        "{} narrowings",
        seen.get()
    );
}

/// What goes wrong during a turn.
#[derive(Clone, Debug)]
enum TurnTrouble {
    /// Nothing.
    None,
    /// A call of a Region fails.
    FailingCall(&'static str, &'static str, CallErrorKind),
    /// Twinlake's role loses its access to the primary.
    LostAccess,
    /// Somebody else takes the name of a new table.
    TakenName,
}

/// Reads of facets that no other call reads: while one of them fails, nothing that it reported is
/// resolved.
const READS_WITHOUT_ALTERNATIVE: [(&str, &str); 4] = [
    (PRIMARY, "GetPartitions"),
    (PRIMARY, "GetPartitionIndexes"),
    (PRIMARY, "ListLakeFormationOptIns"),
    (STANDBY, "GetPartitionIndexes"),
];

fn any_turn_trouble() -> impl Strategy<Value = TurnTrouble> {
    let others = [
        (PRIMARY, "GetTable"),
        (PRIMARY, "GetTables"),
        (PRIMARY, "GetDatabase"),
        (PRIMARY, "ListPermissions"),
        (PRIMARY, "ListDataCellsFilter"),
        (PRIMARY, "GetUserDefinedFunctions"),
        (STANDBY, "ListPermissions"),
        (STANDBY, "CreateTable"),
        (STANDBY, "UpdateTable"),
        (STANDBY, "DeleteTable"),
        (STANDBY, "BatchCreatePartition"),
        (STANDBY, "GrantPermissions"),
        (STANDBY, "RevokePermissions"),
        (STANDBY, "CreateDataCellsFilter"),
        (STANDBY, "AddLFTagsToResource"),
        (STANDBY, "CreateUserDefinedFunction"),
    ];
    let calls: Vec<_> = READS_WITHOUT_ALTERNATIVE
        .into_iter()
        .chain(others)
        .collect();
    let kinds = [
        CallErrorKind::Denied,
        CallErrorKind::Invalid,
        CallErrorKind::Unavailable,
    ];
    let failing = (
        prop::sample::select(calls),
        prop::sample::select(kinds.to_vec()),
    );
    prop_oneof![
        2 => Just(TurnTrouble::None),
        5 => failing.prop_map(|((region, call), kind)| TurnTrouble::FailingCall(region, call, kind)),
        1 => Just(TurnTrouble::LostAccess),
        1 => Just(TurnTrouble::TakenName),
    ]
}

/// One turn: actions in the primary, what goes wrong from then on (`None`: as in the turn before),
/// whether their events are processed or a resync runs, and the seconds before it.
type Turn = (Vec<HistoryAction>, Option<TurnTrouble>, bool, i64);

fn any_turn() -> impl Strategy<Value = Turn> {
    (
        prop::collection::vec(any_action(), 0..5),
        prop::option::of(any_turn_trouble()),
        any::<bool>(),
        prop::sample::select(vec![1, 1, 400, 4000]),
    )
}

fn start_trouble(harness: &TestHarness, trouble: &TurnTrouble) {
    let sim = &harness.sim;
    match trouble {
        TurnTrouble::None => {}
        TurnTrouble::FailingCall(region, call, kind) => {
            harness.sim.state().inject_fault(InjectedFault {
                region: Some((*region).to_owned()),
                call: Some((*call).to_owned()),
                skip_calls: 0,
                times: usize::MAX,
                error: ApiError::new(*kind, "TestException", "set to fail"),
                takes_effect: false,
            });
        }
        TurnTrouble::LostAccess => sim.state().remove_read_access(PRIMARY, TWINLAKE_ROLE),
        TurnTrouble::TakenName => {
            let theirs = json!({"Name": "taken", "Description": "somebody else's"});
            let theirs = json!({"DatabaseName": "db0", "TableInput": theirs});
            let _ = harness.call(STANDBY, "CreateTable", &theirs);
            let ours = table_input("db0", "taken", &["id"]);
            let ours = json!({"DatabaseName": "db0", "TableInput": ours});
            let _ = harness.call(PRIMARY, "CreateTable", &ours);
        }
    }
}

fn end_trouble(harness: &TestHarness, trouble: &TurnTrouble) {
    let sim = &harness.sim;
    sim.state().clear_call_faults();
    match trouble {
        TurnTrouble::None | TurnTrouble::FailingCall(..) => {}
        TurnTrouble::LostAccess => sim.state().restore_read_access(PRIMARY, TWINLAKE_ROLE),
        TurnTrouble::TakenName => {
            let request = json!({"DatabaseName": "db0", "Name": "taken"});
            for region in [STANDBY, PRIMARY] {
                let _ = harness.call(region, "DeleteTable", &request);
            }
        }
    }
}

/// A problem that is reported as resolved is gone at that moment, and a problem that is gone is
/// resolved by the next scan.
#[test]
fn resolved_means_gone() {
    let seen: Cell<u32> = Cell::default();
    proptest!(long_proptest_config(), |(
        before in random_actions(10),
        turns in prop::collection::vec(any_turn(), 2..8),
        limit in prop::sample::select(vec![
            "deletion-limit = { fraction = 1.0, minimum = 10000 }",
            "deletion-limit = { fraction = 0.0, minimum = 1 }",
        ]),
    )| {
        // The oracle compares Glue tags.
        let keys = format!("glue-tags = \"copy\"\n{limit}");
        let mut harness = TestHarness::new(policy(&keys));
        set_up_primary(&harness, &before);
        harness.resync_and_publish();
        let _ = (harness.take_events(), harness.topic.take());
        let mut judge = Judge::default();
        let mut trouble = TurnTrouble::None;
        for (actions, next_trouble, is_resync, wait_secs) in &turns {
            if let Some(next) = next_trouble {
                end_trouble(&harness, &trouble);
                start_trouble(&harness, next);
                trouble = next.clone();
                judge.opened_by_trouble.clear();
            }
            for action in actions {
                perform(&harness, PRIMARY, action);
            }
            harness.sim.state().advance_secs(*wait_secs);
            match is_resync {
                true => drop(harness.resync_and_publish()),
                false => deliver_all(&harness, &mut judge.queued),
            }
            judge.judge(&harness, &trouble)?;
        }
        end_trouble(&harness, &trouble);
        harness.policy = harness_without_deletion_limit().policy;
        assert_resolved_by_next_scans(&harness)?;
        seen.set(seen.get() + judge.resolutions);
    });
    println!("resolved_means_gone: {} resolutions", seen.get());
    assert!(
        !USES_FIXED_SEED || seen.get() > 20,
        "{} resolutions",
        seen.get()
    );
}

/// Delivers all events and the queued messages in one batch.
fn deliver_all(harness: &TestHarness, queued: &mut Vec<RetryMessage>) {
    let mut bodies = harness.take_events();
    let queued = queued.drain(..);
    bodies.extend(queued.map(|message| message.body().into_bytes()));
    harness.deliver(&bodies);
}

/// Judges what was published after each turn.
#[derive(Default)]
struct Judge {
    /// The problems that were reported while the present trouble lasts.
    opened_by_trouble: BTreeSet<(AlertKind, String)>,
    /// The messages of the retry queue.
    queued: Vec<RetryMessage>,
    resolutions: u32,
}

impl Judge {
    fn judge(&mut self, harness: &TestHarness, trouble: &TurnTrouble) -> Result<(), TestCaseError> {
        self.queued.extend(harness.queue.take());
        let queued = &self.queued;
        let waits = |subject: &Subject| {
            let mut scopes = queued.iter().map(|message| &message.scope.read_requests);
            scopes.any(|requests| {
                let database = subject.database().cloned().map(Subject::Database);
                requests.contains_key(subject)
                    || requests.contains_key(&Subject::Catalog)
                    || database.is_some_and(|database| requests.contains_key(&database))
            })
        };
        for alert in harness.topic.take() {
            if !SCANNED_KINDS.contains(&alert.kind) {
                continue;
            }
            for text in &alert.affected {
                let problem = (alert.kind, text.clone());
                if alert.state != AlertState::Resolved {
                    self.opened_by_trouble.insert(problem);
                    continue;
                }
                self.resolutions += 1;
                let Some(subject) = parse_subject(text) else {
                    continue;
                };
                let lasts = self.opened_by_trouble.contains(&problem)
                    && lasts_while(alert.kind, trouble)
                    && [PRIMARY, STANDBY]
                        .iter()
                        .all(|region| exists(harness, region, &subject));
                prop_assert!(!lasts, "{problem:?} resolved in spite of {trouble:?}");
                if !waits(&subject) {
                    let remaining = remaining_problem(harness, alert.kind, text);
                    prop_assert_eq!(remaining, None, "{:?} resolved", problem);
                }
            }
        }
        Ok(())
    }
}

/// Whether a problem of a kind lasts as long as a trouble: what could not be read still cannot.
fn lasts_while(kind: AlertKind, trouble: &TurnTrouble) -> bool {
    let is_read = matches!(
        kind,
        AlertKind::ReadFailed | AlertKind::TwinlakeAccessDenied
    );
    match trouble {
        TurnTrouble::FailingCall(region, call, _) => {
            is_read && READS_WITHOUT_ALTERNATIVE.contains(&(*region, *call))
        }
        TurnTrouble::LostAccess => kind == AlertKind::TwinlakeAccessDenied,
        TurnTrouble::TakenName | TurnTrouble::None => false,
    }
}

/// Checks, after every cause of trouble has ended, that each scan resolves the problems that it does
/// not find, and that at last none is open.
fn assert_resolved_by_next_scans(harness: &TestHarness) -> Result<(), TestCaseError> {
    let mut report = harness.resync_and_publish();
    for _ in 0..4 {
        let problems = reported_problems::of_resync(harness, &report);
        for (kind, text) in open_problems(harness) {
            let is_found = parse_subject(&text).is_some_and(|one| problems.contains_key(&one));
            let is_just_corrected = kind == AlertKind::Drift;
            prop_assert!(
                is_found || is_just_corrected,
                "{kind} of {text} is open: {problems:#?}"
            );
        }
        if report.outcome.applied.is_empty() && report.outcome.waiting.is_none() {
            break;
        }
        report = harness.resync_and_publish();
    }
    delete_unproven_items(harness);
    let differences = equality_oracle::differences(&harness.sim.state(), &[]);
    prop_assert!(differences.is_empty(), "{differences:#?}");
    harness.resync_and_publish();
    prop_assert_eq!(open_problems(harness), BTreeSet::new());
    prop_assert_eq!(
        reported_problems::of_ledger(harness),
        ReportedProblems::new()
    );
    Ok(())
}
