//! Single cases in which what keeps a principal out and what lets it in are written apart: on
//! different objects, or by different events. Whichever write fails, nothing may be open that the
//! primary keeps closed. `never_widens_where_steps_fail` has the random ones.

use twinlake_core::CallErrorKind;
use twinlake_tests::failing_runs::{FailureCase, Trigger, run_failure_case};
use twinlake_tests::faults::{Fault, FaultRules};
use twinlake_tests::history::LakeFormationActionKind::{AssignLfTag, OptIn, OptOut};
use twinlake_tests::history::diverging::{
    ANALYST, BY_LF_TAGS, IAM_GROUP, ON_ALL_TABLES, ON_TABLE, change, grant,
};
use twinlake_tests::history::{DivergingHistories, HistoryAction};

/// The variants of an opt-in of the analyst: on the database, on a table, on all tables.
const ON_THE_DATABASE: u8 = 0;
const ON_THE_TABLE: u8 = 1;
const ON_EVERY_TABLE: u8 = 2;

fn case(histories: DivergingHistories) -> FailureCase {
    FailureCase {
        histories,
        lost: Vec::new(),
        trigger: Trigger::Everything,
        rules: FaultRules::none(),
        grants_remain: false,
    }
}

/// Every write fails for good whose name begins with the text.
fn failing(write: &str) -> FaultRules {
    failing_with(CallErrorKind::Denied, write)
}

fn failing_with(kind: CallErrorKind, write: &str) -> FaultRules {
    let fault = Fault {
        kind,
        attempts: None,
        takes_effect: false,
        fails_whole_call: false,
    };
    FaultRules::by_name_prefix(vec![(write.to_owned(), fault)])
}

fn assert_widens_nothing(case: &FailureCase) {
    let run = run_failure_case(case);
    assert!(
        run.widenings.is_empty(),
        "{:#?} in {:#?}",
        run.widenings,
        run.log
    );
}

fn iam_grant(database: u8, table: u8, shape: u8) -> HistoryAction {
    HistoryAction::Grant(grant(IAM_GROUP, (database, table), shape, 0))
}

#[test]
fn a_grant_by_lf_tags_opens_no_column_that_the_primary_dropped() {
    let lf_tag = 1;
    let mut case = case((
        vec![change(AssignLfTag, (0, 0), 4 * lf_tag)],
        vec![
            HistoryAction::UpdateTable(0, 0, 1),
            HistoryAction::Grant(grant(ANALYST, (0, 0), BY_LF_TAGS, lf_tag)),
        ],
        Vec::new(),
    ));
    case.trigger = Trigger::Events(100);
    case.lost = vec![true, false];
    assert_widens_nothing(&case);
}

#[test]
fn a_grant_by_lf_tags_opens_no_table_of_somebody_else() {
    let lf_tag = 1;
    assert_widens_nothing(&case((
        vec![change(AssignLfTag, (0, 0), 4 * lf_tag)],
        vec![HistoryAction::Grant(grant(
            ANALYST,
            (0, 0),
            BY_LF_TAGS,
            lf_tag,
        ))],
        vec![HistoryAction::CreateForeignTable(0, 0, 15)],
    )));
}

#[test]
fn a_new_table_below_an_iam_grant_on_all_tables_is_closed_to_opted_in_principals() {
    assert_widens_nothing(&case((
        vec![iam_grant(0, 0, ON_ALL_TABLES)],
        vec![
            HistoryAction::CreateTable(0, 2, 15),
            change(OptIn, (0, 2), ON_THE_TABLE),
        ],
        Vec::new(),
    )));
}

#[test]
fn a_new_database_beside_open_defaults_is_closed_to_opted_in_principals() {
    assert_widens_nothing(&case((
        Vec::new(),
        vec![
            HistoryAction::CreateOpenDatabase(2),
            change(OptIn, (2, 0), ON_THE_DATABASE),
        ],
        vec![HistoryAction::OpenRegionDefaults],
    )));
}

/// An opt-in moves from one resource to another.
fn moved_opt_in(from: u8, to: u8) -> FailureCase {
    case((
        vec![iam_grant(0, 0, ON_TABLE), change(OptIn, (0, 0), from)],
        vec![change(OptIn, (0, 0), to), change(OptOut, (0, 0), from)],
        Vec::new(),
    ))
}

/// The opt-in that replaces another is refused, or its event is lost.
fn assert_replaced_safely(from: u8, to: u8) {
    let mut moved = moved_opt_in(from, to);
    let created = match to {
        ON_THE_TABLE => "put table db0.t0: OptIn",
        _ => "put database db0: OptIn",
    };
    moved.rules = failing(created);
    assert_widens_nothing(&moved);
    let mut moved = moved_opt_in(from, to);
    moved.trigger = Trigger::Events(100);
    moved.lost = vec![true, false];
    assert_widens_nothing(&moved);
}

#[test]
fn an_opt_in_on_all_tables_stays_until_the_one_on_the_table_exists() {
    assert_replaced_safely(ON_EVERY_TABLE, ON_THE_TABLE);
}

#[test]
fn an_opt_in_on_a_table_stays_until_the_one_on_all_tables_exists() {
    assert_replaced_safely(ON_THE_TABLE, ON_EVERY_TABLE);
}

/// In the reading in which an opt-in on a database covers its tables.
#[test]
fn an_opt_in_on_a_database_stays_until_the_one_on_the_table_exists() {
    assert_replaced_safely(ON_THE_DATABASE, ON_THE_TABLE);
}

#[test]
fn an_opt_in_on_a_table_stays_until_the_one_on_the_database_exists() {
    assert_replaced_safely(ON_THE_TABLE, ON_THE_DATABASE);
}

fn revoked_beside_an_opt_in(from: u8) -> FailureCase {
    case((
        vec![iam_grant(0, 0, ON_TABLE), change(OptIn, (0, 0), from)],
        vec![
            HistoryAction::Revoke(grant(IAM_GROUP, (0, 0), ON_TABLE, 0)),
            change(OptOut, (0, 0), from),
        ],
        Vec::new(),
    ))
}

#[test]
fn an_opt_in_stays_until_the_iam_grant_on_a_table_is_revoked() {
    for from in [ON_THE_DATABASE, ON_THE_TABLE, ON_EVERY_TABLE] {
        let mut revoked = revoked_beside_an_opt_in(from);
        revoked.rules = failing("revoke ALL");
        assert_widens_nothing(&revoked);
    }
}

#[test]
fn an_opt_in_stays_until_the_revoke_of_another_event_is_done() {
    for from in [ON_THE_DATABASE, ON_THE_TABLE, ON_EVERY_TABLE] {
        for lost in [vec![], vec![true]] {
            let mut revoked = revoked_beside_an_opt_in(from);
            revoked.trigger = Trigger::Events(100);
            revoked.lost = lost;
            assert_widens_nothing(&revoked);
        }
    }
}

/// A lost right is answered like a missing object.
#[test]
fn a_deletion_that_is_answered_by_not_found_proves_no_absence() {
    for broad in [
        grant(ANALYST, (0, 0), ON_ALL_TABLES, 0),
        grant(ANALYST, (0, 0), BY_LF_TAGS, 1),
    ] {
        let mut deleted = case((
            vec![change(AssignLfTag, (0, 0), 4)],
            vec![
                HistoryAction::DeleteTable(0, 1),
                HistoryAction::Grant(broad),
            ],
            Vec::new(),
        ));
        deleted.rules = failing_with(CallErrorKind::NotFound, "delete table");
        assert_widens_nothing(&deleted);
    }
}

#[test]
fn a_column_below_an_lf_tag_waits_for_the_revoke_of_the_grant_by_it() {
    let lf_tag = 1;
    let by_tags = grant(ANALYST, (0, 0), BY_LF_TAGS, lf_tag);
    for place in [0, 2] {
        let mut added = case((
            vec![
                change(AssignLfTag, (0, 0), 4 * lf_tag + place),
                HistoryAction::Grant(by_tags.clone()),
                HistoryAction::UpdateTable(0, 0, 1),
            ],
            vec![
                HistoryAction::Revoke(by_tags.clone()),
                HistoryAction::UpdateTable(0, 0, 15),
            ],
            Vec::new(),
        ));
        added.trigger = Trigger::Events(100);
        added.lost = vec![true];
        assert_widens_nothing(&added);
        added.lost = Vec::new();
        added.rules = failing("revoke SELECT");
        assert_widens_nothing(&added);
    }
}

#[test]
fn a_table_below_an_lf_tag_waits_for_the_revoke_of_the_grant_by_it() {
    let lf_tag = 1;
    let by_tags = grant(ANALYST, (0, 0), BY_LF_TAGS, lf_tag);
    let mut created = case((
        vec![
            change(AssignLfTag, (0, 0), 4 * lf_tag),
            HistoryAction::Grant(by_tags.clone()),
        ],
        vec![
            HistoryAction::Revoke(by_tags),
            HistoryAction::CreateTable(0, 2, 15),
        ],
        Vec::new(),
    ));
    created.trigger = Trigger::Events(100);
    created.lost = vec![true];
    assert_widens_nothing(&created);
}

/// The table of somebody else inherits the LF-Tag that the database gets.
#[test]
fn an_lf_tag_on_a_database_opens_no_table_of_somebody_else() {
    let lf_tag = 1;
    let tag = change(AssignLfTag, (0, 0), 4 * lf_tag);
    let by_tags = HistoryAction::Grant(grant(ANALYST, (0, 0), BY_LF_TAGS, lf_tag));
    let foreign = vec![HistoryAction::CreateForeignTable(0, 0, 15)];
    for trigger in [Trigger::Everything, Trigger::Events(100), Trigger::Resync] {
        for (before, primary) in [
            (vec![by_tags.clone()], vec![tag.clone()]),
            (Vec::new(), vec![by_tags.clone(), tag.clone()]),
        ] {
            let mut tagged = case((before, primary, foreign.clone()));
            tagged.trigger = trigger;
            assert_widens_nothing(&tagged);
        }
    }
}

#[test]
fn a_grant_on_all_tables_opens_no_column_that_the_primary_dropped() {
    let mut case = case((
        Vec::new(),
        vec![
            HistoryAction::UpdateTable(0, 0, 1),
            HistoryAction::Grant(grant(ANALYST, (0, 0), ON_ALL_TABLES, 0)),
        ],
        Vec::new(),
    ));
    case.trigger = Trigger::Events(100);
    case.lost = vec![true];
    assert_widens_nothing(&case);
}

/// The update that drops the column waits for a revoke on the table.
#[test]
fn a_grant_by_lf_tags_opens_no_column_whose_removal_waits() {
    let lf_tag = 1;
    let iam = grant(IAM_GROUP, (0, 0), ON_TABLE, 0);
    let mut waits = case((
        vec![
            HistoryAction::UpdateTable(0, 0, 4),
            HistoryAction::Grant(iam.clone()),
            change(AssignLfTag, (0, 0), 4 * lf_tag + 2),
        ],
        vec![
            HistoryAction::Revoke(iam),
            HistoryAction::Grant(grant(ANALYST, (0, 0), BY_LF_TAGS, lf_tag)),
            HistoryAction::UpdateTable(0, 0, 1),
        ],
        Vec::new(),
    ));
    waits.trigger = Trigger::Resync;
    waits.rules = failing("revoke ALL");
    assert_widens_nothing(&waits);
}
