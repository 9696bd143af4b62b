use super::*;
use crate::InMemoryLedger;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use twinlake_core::failover::{
    FailoverDecision, FailoverJournal, FailoverRequest, ForceableGate, RecoveryPoint,
    SwitchStepResult, after_step,
};
use twinlake_core::topology::{Epoch, SiteId};
use twinlake_core::{CallErrorKind, Policy};

const POLICY: &str = r#"
[[region]]
id = "a"
region = "us-east-1"
account = "111122223333"
[[region]]
id = "b"
region = "ap-south-1"
account = "111122223333"
"#;

/// A Region's parameter and bus.
#[derive(Default)]
struct Region {
    value: RefCell<Option<String>>,
    writes: Cell<usize>,
    events: RefCell<Vec<String>>,
    is_denied: Cell<bool>,
}

impl Region {
    fn answer(&self, call: &str) -> Result<(), CallError> {
        match self.is_denied.get() {
            true => Err(CallError::new(CallErrorKind::Denied, call, "x", "denied")),
            false => Ok(()),
        }
    }

    fn says(&self) -> (u64, String) {
        let value = self.value.borrow().clone().unwrap();
        let address: ClientAddress = serde_json::from_str(&value).unwrap();
        (address.epoch, address.primary)
    }
}

impl AddressParameter for Region {
    async fn read(&self, _: &str) -> Result<Option<String>, CallError> {
        self.answer("GetParameter")?;
        Ok(self.value.borrow().clone())
    }

    async fn write(&self, name: &str, value: &str) -> Result<(), CallError> {
        assert_eq!(name, "/twinlake/address");
        self.writes.set(self.writes.get() + 1);
        *self.value.borrow_mut() = Some(value.to_owned());
        Ok(())
    }
}

impl EventBus for Region {
    async fn send(&self, kind: &str, detail: &str) -> Result<(), CallError> {
        assert_eq!(kind, "Takeover Completed");
        self.events.borrow_mut().push(detail.to_owned());
        Ok(())
    }
}

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(5000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// The records of a failover to site `b`, after each of its steps.
fn failover_records() -> Vec<EpochRecord> {
    let request = FailoverRequest {
        accepts_loss: true,
        forced: ForceableGate::EVERY.into(),
        ..FailoverRequest::default()
    };
    let start = twinlake_core::failover::decide(
        &EpochRecord::default(),
        SiteId::B,
        &request,
        &RecoveryPoint::default(),
    );
    let Ok(FailoverDecision::Start(mut record)) = start else {
        panic!("{start:?}");
    };
    let mut records = vec![record.clone()];
    while let Some(step) = record
        .failover
        .as_ref()
        .and_then(FailoverJournal::next_step)
    {
        record = after_step(
            &record,
            step,
            Timestamp::from_millis(1),
            SwitchStepResult::default(),
        );
        records.push(record.clone());
    }
    records
}

fn store(ledger: &InMemoryLedger, record: &EpochRecord) {
    let version = ready(ledger.epoch_record()).unwrap().map(|(_, at)| at);
    assert!(ready(ledger.put_epoch_record(record, version)).unwrap());
}

/// The ledgers, parameters and buses of both Regions.
#[derive(Default)]
struct Pair {
    ledgers: [InMemoryLedger; 2],
    regions: [Region; 2],
    is_silent: bool,
}

impl Pair {
    /// The monitor of a Region runs, which sees this epoch.
    fn announce(&self, at: usize, epoch: Epoch) -> Result<AnnounceResult, AnnounceError> {
        self.announce_with(at, epoch, true)
    }

    /// The same. The ledger of the primary may not answer.
    fn announce_with(
        &self,
        at: usize,
        epoch: Epoch,
        primary_answers: bool,
    ) -> Result<AnnounceResult, AnnounceError> {
        let site = SiteId::ALL[at];
        let is_primary = epoch.primary() == site;
        let authority = RegionAuthority {
            policy: Policy::parse(POLICY).unwrap(),
            epoch,
            local: site,
            role: match is_primary {
                true => RegionRole::Primary,
                false => RegionRole::Fenced,
            },
        };
        let takeover = TakeoverConfig {
            results: BTreeMap::from([("ap-south-1".to_owned(), "s3://results/".to_owned())]),
            event: !self.is_silent,
            ..TakeoverConfig::default()
        };
        let announcer = Announcer {
            authority: &authority,
            local: &self.ledgers[at],
            peer: &self.ledgers[1 - at],
            parameter: &self.regions[at],
            bus: &self.regions[at],
            clock: &FixedClock,
            takeover: &takeover,
        };
        let unread = || CallError::new(CallErrorKind::Unavailable, "GetItem", "x", "no answer");
        match primary_answers {
            true => ready(announcer.announce()),
            false => ready(announcer.announce_by(Err(unread()))),
        }
    }

    fn announced(&self) -> Option<Announcement> {
        let stored = ready(self.ledgers[1].epoch_record()).unwrap();
        stored?.0.failover?.announced
    }
}

#[test]
fn both_regions_say_the_primary_before_any_takeover() {
    let pair = Pair::default();
    for at in [0, 1] {
        pair.announce(at, Epoch::INITIAL).unwrap();
        assert_eq!(pair.regions[at].says(), (0, "us-east-1".to_owned()));
        assert!(pair.regions[at].events.borrow().is_empty());
        assert!(ready(pair.ledgers[at].epoch_record()).unwrap().is_none());
    }
}

#[test]
fn clients_are_told_once_the_databases_are_open_and_the_other_region_follows_when_it_returns() {
    let pair = Pair::default();
    for at in [0, 1] {
        pair.announce(at, Epoch::INITIAL).unwrap();
    }
    let records = failover_records();
    let last = records.len() - 1;
    for (n, record) in records.iter().enumerate() {
        store(&pair.ledgers[1], record);
        for at in [1, 0] {
            pair.announce(at, record.epoch).unwrap();
            let expected = match n == last {
                true => (1, "ap-south-1".to_owned()),
                false => (0, "us-east-1".to_owned()),
            };
            assert_eq!(pair.regions[at].says(), expected, "stage {n}");
        }
    }
    let epoch = records[last].epoch;
    pair.announce(1, epoch).unwrap();
    assert_eq!(pair.regions[1].writes.get(), 2, "one for each epoch");
    assert_eq!(pair.regions[1].events.borrow().len(), 1);
    assert!(pair.regions[1].events.borrow()[0].contains(r#""results":"s3://results/""#));
    assert!(pair.regions[0].events.borrow().is_empty());
    let told = pair.announced().unwrap();
    assert_eq!(told.address_at, Some(Timestamp::from_millis(5000)));
    assert_eq!(told.event_at, Some(Timestamp::from_millis(5000)));
}

#[test]
fn a_parameter_that_cannot_be_written_keeps_no_event_back() {
    let pair = Pair::default();
    let record = failover_records().pop().unwrap();
    store(&pair.ledgers[1], &record);
    pair.regions[1].is_denied.set(true);
    let refused = pair.announce(1, record.epoch).unwrap_err();
    assert!(matches!(refused, AnnounceError::Call(_)), "{refused}");
    let told = pair.announced().unwrap();
    assert_eq!((told.address_at, told.event_at.is_some()), (None, true));

    pair.regions[1].is_denied.set(false);
    pair.announce(1, record.epoch).unwrap();
    assert_eq!(
        pair.announced().unwrap().address_at,
        Some(Timestamp::from_millis(5000))
    );
    assert_eq!(pair.regions[1].events.borrow().len(), 1);
}

#[test]
fn what_somebody_else_keeps_there_is_left() {
    let pair = Pair::default();
    *pair.regions[0].value.borrow_mut() = Some("theirs".to_owned());
    let refused = pair.announce(0, Epoch::INITIAL).unwrap_err().to_string();
    assert!(refused.contains("something else"), "{refused}");
    assert_eq!(pair.regions[0].writes.get(), 0);
}

#[test]
fn no_event_is_sent_if_the_document_says_so() {
    let pair = Pair {
        is_silent: true,
        ..Pair::default()
    };
    let record = failover_records().pop().unwrap();
    store(&pair.ledgers[1], &record);
    pair.announce(1, record.epoch).unwrap();
    assert!(pair.regions[1].events.borrow().is_empty());
    assert_eq!(pair.announced().unwrap().event_at, None);
}

#[test]
fn an_unread_ledger_of_the_primary_proves_nothing_about_the_address() {
    let pair = Pair::default();
    let records = failover_records();
    let (first, last) = (&records[0], records.last().unwrap());
    store(&pair.ledgers[1], first);
    let result = pair.announce(0, last.epoch).unwrap();
    assert_eq!(result, AnnounceResult::NotDue, "the databases are not open");
    let result = pair.announce_with(0, last.epoch, false).unwrap();
    assert_eq!((result, result.is_told()), (AnnounceResult::Unknown, false));
    let failed = pair.announce_with(1, last.epoch, false);
    assert!(failed.is_err(), "the ledger of its own Region");
    store(&pair.ledgers[1], last);
    let result = pair.announce(0, last.epoch).unwrap();
    assert_eq!((result, result.is_told()), (AnnounceResult::Written, true));
}
