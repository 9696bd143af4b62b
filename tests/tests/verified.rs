//! What `verified_at` promises: every subject that is not listed equalled the primary as of
//! then.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::collections::BTreeSet;
use twinlake_core::{FaultKind, Name, State, Subject};
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

/// Whether the status says of a difference that it is, or may be, there: a subject is listed
/// that the difference names, whether it is of an object, a grant on it, a filter, a tag or a
/// part of it. A listed database speaks for what is in it.
fn is_told(difference: &str, listed: &BTreeSet<Subject>) -> bool {
    let words: BTreeSet<&str> = difference
        .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
        .collect();
    let named = |name: &Name| words.contains(name.as_str());
    listed.iter().any(|subject| match subject {
        Subject::Database(name) => named(name),
        Subject::Table(id) => named(&id.database) && named(&id.table),
        Subject::Function(id) => named(&id.database) && named(&id.function),
        // What Lake Formation keeps beside the catalog: a kind of it is one subject.
        Subject::Lake(_) => !["database|", "table|", "partition|", "function|", "part|"]
            .iter()
            .any(|kind| difference.contains(kind)),
        Subject::Catalog => true,
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

/// Whether the last resync verified anything, and whether something was left that is listed.
fn play(
    (before, lost, kill, then, chaos, percent, refused): History,
) -> Result<(bool, bool), TestCaseError> {
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
        return Ok((false, false));
    };
    prop_assert_eq!(lab.ledger.book().verified_at, Some(at));
    let listed = listed(&lab);
    let (told, untold): (Vec<String>, Vec<String>) = twin::differences(&lab.sim.world(), &[])
        .into_iter()
        .partition(|difference| is_told(difference, &listed));
    prop_assert!(untold.is_empty(), "{untold:#?}\nlisted: {listed:?}");
    Ok((true, !told.is_empty()))
}

#[test]
fn verified_at_is_true_of_every_subject_that_is_not_listed() {
    let (verified, left) = (Cell::new(0u32), Cell::new(0u32));
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
        let (is_verified, is_left) = play(history)?;
        verified.set(verified.get() + u32::from(is_verified));
        left.set(left.get() + u32::from(is_left));
        Ok(())
    });
    if let Err(failure) = done {
        panic!("{failure}");
    }
    let (verified, left) = (verified.get(), left.get());
    println!(
        "{verified} of {all} resyncs verified something, the others could not read all; \
         {left} of them left a difference, which was listed"
    );
    assert!(
        verified > all / 5 && left > all / 50,
        "{verified} and {left} of {all}"
    );
}
