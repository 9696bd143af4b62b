//! Commands whose caller dies before any call to a ledger, halfway through rows, or after its last call: run again,
//! they come to the same end, and undone before the epoch, nothing but the journal has changed.

use serde_json::json;
use twinlake_core::failover::{FailoverJournal, FailoverRequest, FailoverStage};
use twinlake_core::topology::RegionRole;
use twinlake_engine::divergence::{AcceptError, finish_interrupted};
use twinlake_engine::failover::FailoverError;
use twinlake_engine::in_memory_ledger::LedgerFile;
use twinlake_engine::{InMemoryLedger, Ledger as _};
use twinlake_tests::equality_oracle::differences;
use twinlake_tests::takeover::mortal_ledger::{DeathPoint, MortalLedger};
use twinlake_tests::takeover::pair::{Pair, PairEnd, PairRegion};
use twinlake_tests::takeover::ready;

/// What the calls that write begin with. A caller that dies before a read leaves what it leaves before the next write.
const WRITES: [&str; 7] = [
    "add_", "begin_", "delete_", "end_", "forget_", "put_", "update_",
];

/// Each location where a caller of these calls can die, as far as it makes a difference.
pub(super) fn deaths(calls: &[&str]) -> Vec<(usize, DeathPoint)> {
    let mut deaths: Vec<(usize, DeathPoint)> = Vec::new();
    let writes = calls.iter().enumerate();
    let writes = writes.filter(|(_, call)| WRITES.iter().any(|verb| call.starts_with(verb)));
    for (index, call) in writes {
        deaths.push((index, DeathPoint::Before));
        if call.ends_with("_rows") {
            deaths.push((index, DeathPoint::Halfway));
        }
    }
    deaths.extend(
        calls
            .len()
            .checked_sub(1)
            .map(|last| (last, DeathPoint::After)),
    );
    deaths
}

/// A planned switch, there or back.
#[derive(Clone, Copy, Debug)]
enum Direction {
    There,
    Back,
}

impl Direction {
    /// A pair before the switch, with a table that has not been replicated.
    fn pair(self) -> Pair {
        let pair = Pair::in_sync();
        if let Self::Back = self {
            pair.switch().unwrap();
            pair.settle(&pair.india, &pair.us, pair.record(&pair.india).epoch);
            pair.harness.sim.state().advance_secs(600);
            pair.beat(&pair.us);
        }
        pair.create_table(self.regions(&pair).1, "last");
        pair.life.begin();
        pair
    }

    /// The next primary, and the former one.
    fn regions(self, pair: &Pair) -> (&PairRegion, &PairRegion) {
        match self {
            Self::There => (&pair.india, &pair.us),
            Self::Back => (&pair.us, &pair.india),
        }
    }

    fn switch(self, pair: &Pair) -> Option<Result<Option<FailoverJournal>, FailoverError>> {
        let (next, former) = self.regions(pair);
        pair.switch_with((next, former), &pair.request(former), &())
    }

    /// Waits until nobody can still be creating what a dead run has intended to create.
    fn wait(self, pair: &Pair) {
        pair.harness.sim.state().advance_secs(1000);
        pair.beat(self.regions(pair).0);
    }

    /// Runs the command until it switches. It may say that something has not arrived.
    fn resume(self, pair: &Pair) {
        for _ in 0..3 {
            match self.switch(pair).unwrap() {
                Ok(_) => return,
                Err(FailoverError::NotVerified(_)) => self.wait(pair),
                Err(error) => panic!("{self:?}: {error}"),
            }
        }
        panic!("{self:?}: it does not switch");
    }

    fn end(self, pair: &Pair) -> (PairEnd, bool) {
        let (next, former) = self.regions(pair);
        let accepted = pair.record(next).accepted.unwrap();
        (pair.end(next, former), accepted.completed_at.is_some())
    }
}

#[test]
fn a_planned_switch_either_way_comes_to_the_same_end() {
    for direction in [Direction::There, Direction::Back] {
        let whole = direction.pair();
        direction.switch(&whole).unwrap().unwrap();
        let calls = whole.life.begin();
        assert!(calls.contains(&"put_rows"), "{calls:?}");
        let expected = direction.end(&whole);
        assert!(expected.1, "the acceptance is noted as completed");
        for (index, point) in deaths(&calls) {
            let pair = direction.pair();
            pair.life.begin_until(index, point);
            let died = direction.switch(&pair);
            assert!(
                died.is_none(),
                "{direction:?} {index} {point:?}: it was not reached"
            );
            pair.life.begin();
            let (next, former) = direction.regions(&pair);
            let roles = (pair.role(former, next), pair.role(next, former));
            let allowed = [
                (RegionRole::Primary, RegionRole::Standby),
                (RegionRole::Fenced, RegionRole::Primary),
                (RegionRole::Standby, RegionRole::Primary),
            ];
            assert!(
                allowed.contains(&roles),
                "{direction:?} {index} {point:?}: {roles:?}"
            );
            direction.resume(&pair);
            assert_eq!(
                direction.end(&pair),
                expected,
                "{direction:?} {index} {point:?}"
            );
        }
    }
}

/// What a planned switch must not have touched when it is undone, beside the journal. The resync that it begins with
/// has changed rows and the catalog of the standby, as any resync.
fn untouched(
    pair: &Pair,
    (next, former): (&PairRegion, &PairRegion),
) -> (LedgerFile, [serde_json::Value; 2]) {
    let contents = former.ledger.contents();
    assert_eq!(pair.role(former, next), RegionRole::Primary);
    assert_eq!(pair.role(next, former), RegionRole::Standby);
    (contents, [pair.defaults(former), pair.defaults(next)])
}

#[test]
fn undone_before_the_epoch_nothing_but_the_journal_has_changed() {
    for direction in [Direction::There, Direction::Back] {
        let whole = direction.pair();
        direction.switch(&whole).unwrap().unwrap();
        let calls = whole.life.begin();
        let expected = direction.end(&whole).0;
        let mut undone = 0;
        for (index, point) in deaths(&calls) {
            let pair = direction.pair();
            let (next, former) = direction.regions(&pair);
            let before = untouched(&pair, (next, former));
            let record = pair.record(next);
            pair.life.begin_until(index, point);
            assert!(direction.switch(&pair).is_none());
            pair.life.begin();
            let held = pair.record(next);
            let journal = held
                .failover
                .as_ref()
                .filter(|journal| journal.from == record.epoch);
            let is_open = journal.is_some_and(FailoverJournal::is_before_epoch);
            let undo = pair.run(pair.undo((next, former))).unwrap();
            let at = format!("{direction:?} {index} {point:?}");
            if !is_open {
                // Nothing was begun, or it is too late.
                assert!(
                    matches!(undo, Err(FailoverError::NotUndone(_))),
                    "{at}: {undo:?}"
                );
                assert_eq!(pair.record(next), held, "{at}");
                continue;
            }
            undo.unwrap();
            undone += 1;
            let mut after = pair.record(next);
            let journal = std::mem::replace(&mut after.failover, record.failover.clone());
            assert_eq!(journal.unwrap().stage, FailoverStage::Undone, "{at}");
            assert_eq!(after, record, "{at}");
            assert_eq!(untouched(&pair, (next, former)), before, "{at}");
            // It can begin anew.
            if undone % 3 == 0 {
                direction.wait(&pair);
                pair.settle(former, next, record.epoch);
                direction.switch(&pair).unwrap().unwrap();
                assert_eq!(direction.end(&pair).0, expected, "{at}");
            }
        }
        assert!(undone > 3, "{direction:?}: {undone}");
    }
}

#[test]
fn a_failover_comes_to_the_same_end() {
    let request = FailoverRequest {
        accepts_loss: true,
        ..FailoverRequest::default()
    };
    let whole = Pair::in_sync();
    whole.fail_over();
    let calls = whole.life.begin();
    let expected = whole.end(&whole.india, &whole.us);
    for (index, point) in deaths(&calls) {
        let pair = Pair::in_sync();
        pair.life.begin_until(index, point);
        let died = pair.fail_over_with(&pair.india, &request);
        assert!(died.is_none(), "{index} {point:?}: it was not reached");
        pair.life.begin();
        pair.fail_over();
        assert_eq!(
            pair.end(&pair.india, &pair.us),
            expected,
            "{index} {point:?}"
        );
    }
}

/// Two Regions that have diverged after a failover. The former primary may have lost its ledger.
fn diverged(has_ledger: bool) -> Pair {
    let mut pair = Pair::in_sync();
    pair.fail_over();
    if !has_ledger {
        pair.us.ledger = MortalLedger::of(&pair.life);
    }
    let operation = pair
        .india
        .ledger
        .put_operation_document("digest = \"daily\"\n");
    ready(operation).unwrap();
    pair.create_table(&pair.us, "late");
    pair.create_table(&pair.india, "new");
    let gone = json!({"DatabaseName": "sales", "Name": "items"});
    pair.harness
        .call(pair.us.name, "DeleteTable", &gone)
        .unwrap();
    pair.life.begin();
    pair
}

/// What the operator's command does who accepts the report with this digest.
fn accept_by_digest(pair: &Pair, digest: &str) -> Option<()> {
    let held = pair.us.ledger.contents().epoch;
    let at = (pair.india.name, held);
    let ledger = &pair.india.ledger;
    let finished = finish_interrupted(ledger, &pair.harness.sim, at, Some(digest));
    if pair.run(finished)?.unwrap() {
        return Some(());
    }
    let record = pair.record(&pair.india);
    let regions = pair.regions(&pair.india, &pair.us, record.epoch);
    let divergence = pair.run(twinlake_engine::divergence::compare(&regions, &record))?;
    let divergence = divergence.unwrap();
    assert_eq!(divergence.report.digest(), digest);
    pair.accept(&divergence)?.unwrap();
    Some(())
}

/// What an acceptance leaves behind in the ledger of the former primary, without its times.
fn accepted_end(pair: &Pair) -> (PairEnd, LedgerFile) {
    let accepted = pair.record(&pair.india).accepted.unwrap();
    assert!(accepted.completed_at.is_some());
    assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Standby);
    let contents = pair.us.ledger.contents();
    let kept = LedgerFile {
        policy: contents.policy,
        operation: contents.operation,
        paired_counts: contents.paired_counts,
        ..LedgerFile::default()
    };
    (pair.end(&pair.india, &pair.us), kept)
}

#[test]
fn an_acceptance_comes_to_the_same_end_with_and_without_the_former_ledger() {
    for has_ledger in [true, false] {
        let whole = diverged(has_ledger);
        let digest = whole.compare().report.digest();
        whole.life.begin();
        accept_by_digest(&whole, &digest).unwrap();
        let calls = whole.life.begin();
        assert!(calls.contains(&"put_rows"), "{calls:?}");
        let expected = accepted_end(&whole);
        for (index, point) in deaths(&calls) {
            let pair = diverged(has_ledger);
            pair.life.begin_until(index, point);
            let died = accept_by_digest(&pair, &digest);
            assert!(
                died.is_none(),
                "{has_ledger} {index} {point:?}: it was not reached"
            );
            pair.life.begin();
            let held = pair.us.ledger.contents().epoch;
            let is_fenced = held.is_before(pair.record(&pair.india).epoch);
            let has_rows = accepted_rows(&pair.us.ledger) == accepted_rows(&whole.us.ledger);
            assert!(
                is_fenced || has_rows,
                "{has_ledger} {index} {point:?}: rows come before the epoch"
            );
            accept_by_digest(&pair, &digest).unwrap();
            assert_eq!(
                accepted_end(&pair),
                expected,
                "{has_ledger} {index} {point:?}"
            );
        }
        whole.settle(&whole.india, &whole.us, whole.record(&whole.india).epoch);
        let found = differences(&whole.harness.sim.state(), &[]);
        let found: Vec<_> = found
            .iter()
            .filter(|one| !one.contains("database|sales"))
            .collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn a_failed_acceptance_says_that_the_region_stays_fenced_only_if_its_epoch_was_not_sent() {
    // The epoch's record is written in the primary, in the former primary, and in the primary again.
    for successful in 0..3 {
        let pair = diverged(true);
        let divergence = pair.compare();
        pair.life.begin();
        pair.life.fail_after("put_epoch_record", successful);
        let error = pair.accept(&divergence).unwrap().unwrap_err();
        let stays_fenced = match error {
            AcceptError::Call(_) => true,
            AcceptError::Unconfirmed(_) => false,
            AcceptError::Changed { .. }
            | AcceptError::Unread { .. }
            | AcceptError::FailoverUnderWay
            | AcceptError::NotFenced { .. } => panic!("{successful}: {error}"),
        };
        assert_eq!(stays_fenced, successful == 0, "{successful}: {error}");
        let held = pair.us.ledger.contents().epoch;
        let is_fenced = held.is_before(pair.record(&pair.india).epoch);
        assert_eq!(
            is_fenced,
            successful < 2,
            "{successful}: the last call alone comes after it"
        );
    }
}

/// The pairings of a ledger.
fn accepted_rows(ledger: &InMemoryLedger) -> Vec<String> {
    let rows = ledger.contents().rows.into_values();
    rows.map(|row| format!("{} {:?}", row.subject, row.pairing))
        .collect()
}
