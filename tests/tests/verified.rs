//! What `verified_at` promises: every subject that is not listed equalled the primary as of
//! then.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::collections::BTreeSet;
use twinlake_core::{FaultKind, FunctionId, Name, State, Subject, TableId};
use twinlake_sim::{ApiError, Chaos, Kill, Trouble};
use twinlake_tests::history::{Act, acts, perform, settle};
use twinlake_tests::lab::{Lab, PRIMARY, ROLE, SECONDARY};
use twinlake_tests::plans::{config, unbraked};
use twinlake_tests::twin;

/// Subjects that are listed as anything but current.
fn listed(lab: &Lab) -> BTreeSet<Subject> {
    let rows = lab.ledger.book().rows;
    let ill = rows.values().filter(|row| row.state != State::Current);
    ill.map(|row| row.subject.clone()).collect()
}

/// The subject that a difference is about, if it is of the catalog: told as `KIND|NAME...`
/// after a word.
fn subject(difference: &str) -> Option<Subject> {
    let (_, key) = difference.split_once(' ')?;
    let mut words = key.split(['|', ':']);
    let kind = words.next()?;
    let name = words.next()?.trim();
    let split = || {
        let (database, inner) = name.split_once('.')?;
        Some((Name::new(database).ok()?, Name::new(inner).ok()?))
    };
    match kind {
        "database" => Name::new(name).ok().map(Subject::Database),
        "table" | "partition" => split().map(|(d, t)| Subject::Table(TableId::new(d, t))),
        "function" => split().map(|(d, f)| Subject::Function(FunctionId::new(d, f))),
        _ => None,
    }
}

/// Whether the status says of a difference that it is, or may be, there.
fn is_told(difference: &str, listed: &BTreeSet<Subject>) -> bool {
    // What is not of the catalog has no row that it can be traced to here: it is told if
    // anything is.
    subject(difference).map_or(!listed.is_empty(), |subject| {
        let database = subject.database().cloned().map(Subject::Database);
        listed.contains(&subject) || database.is_some_and(|home| listed.contains(&home))
    })
}

/// Writes that may be refused, or none.
const REFUSED: [Option<&str>; 7] = [
    None,
    Some("CreateTable"),
    Some("UpdateTable"),
    Some("DeleteTable"),
    Some("CreateDatabase"),
    Some("BatchCreatePartition"),
    Some("BatchGrantPermissions"),
];

/// One history: what is there, what events were lost, when a first resync is killed, what
/// is done then, the weather of the second one, and the calls that it is refused for good.
type History = (
    Vec<Act>,
    Vec<Act>,
    usize,
    Vec<Act>,
    u64,
    u64,
    Option<&'static str>,
);

/// Whether the last resync verified anything.
fn play(
    (before, lost, kill, then, chaos, percent, refused): History,
) -> Result<bool, TestCaseError> {
    let lab = unbraked();
    settle(&lab, &before);
    let _ = lab.resync();
    for act in &lost {
        perform(&lab, PRIMARY, act);
    }
    let _ = lab.take_events();
    lab.sim.world().order_kill(Kill {
        at: kill,
        after_effect: kill % 2 == 0,
    });
    let _ = lab.resync();
    lab.sim.world().calm();
    // What the first one was told to look at changes under its feet.
    for act in &then {
        perform(&lab, PRIMARY, act);
    }
    let _ = lab.take_events();
    lab.sim
        .world()
        .order_chaos(Chaos::new(chaos, percent), ROLE);
    if let Some(call) = refused {
        lab.sim.world().order(Trouble {
            region: Some(SECONDARY.to_owned()),
            call: Some(call.to_owned()),
            after: 0,
            times: usize::MAX,
            error: ApiError::new(FaultKind::Invalid, "InvalidInputException", "no"),
            with_effect: false,
        });
    }
    let report = lab.resync();
    lab.sim.world().calm();
    let Some(at) = report.and_then(|report| report.verified_at) else {
        return Ok(false);
    };
    prop_assert_eq!(lab.ledger.book().verified_at, Some(at));
    let listed = listed(&lab);
    let untold: Vec<String> = twin::differences(&lab.sim.world(), &[])
        .into_iter()
        .filter(|difference| !is_told(difference, &listed))
        .collect();
    prop_assert!(untold.is_empty(), "{untold:#?}\nlisted: {listed:?}");
    Ok(true)
}

#[test]
fn verified_at_is_true_of_every_subject_that_is_not_listed() {
    let verified = Cell::new(0u32);
    let cases = config();
    let all = cases.cases;
    let history = (
        acts(15),
        acts(15),
        0..60usize,
        acts(8),
        any::<u64>(),
        prop::sample::select(vec![0u64, 1, 2, 5, 10]),
        prop::sample::select(REFUSED.to_vec()),
    );
    let done = TestRunner::new(cases).run(&history, |history| {
        verified.set(verified.get() + u32::from(play(history)?));
        Ok(())
    });
    if let Err(failure) = done {
        panic!("{failure}");
    }
    let verified = verified.get();
    println!("{verified} of {all} resyncs verified something, the others could not read all");
    assert!(verified > all / 8, "{verified} of {all}");
}
