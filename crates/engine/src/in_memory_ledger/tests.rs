use super::InMemoryLedger;
use crate::alerts::from_unrecognized_event;
use crate::ports::{DocumentStore as _, Ledger as _, StatsStore as _};
use futures_util::FutureExt as _;
use twinlake_core::alert::IncidentUpdate;
use twinlake_core::ledger::PendingObjects;
use twinlake_core::{Incident, LedgerRow, Name, Subject, SubjectState, TableId, Timestamp};

fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing here waits")
}

/// The items of which one session may delete what another one has read.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Document,
    Incident,
    PendingObjects,
    Row,
}

fn table() -> TableId {
    let name = |text| Name::new(text).unwrap();
    TableId::new(name("sales"), name("orders"))
}

fn incident() -> Incident {
    let now = Timestamp::from_millis(0);
    let alert = from_unrecognized_event("x", "us-east-1", now);
    let (IncidentUpdate::Send(incident, _) | IncidentUpdate::Store(incident)) =
        Incident::record(None, &alert, now);
    incident
}

/// Writes an item made at `now`, or deletes it. Returns whether that was done.
fn write(
    ledger: &InMemoryLedger,
    kind: Kind,
    (is_kept, now): (bool, Timestamp),
    version: Option<u64>,
) -> bool {
    match kind {
        Kind::Document => {
            let document = is_kept.then_some("{}");
            ready(ledger.put_document("query", "x", document, version)).unwrap()
        }
        Kind::Incident => {
            let incident = is_kept.then(incident);
            ready(ledger.put_incident("x", incident.as_ref(), version)).unwrap()
        }
        Kind::PendingObjects => {
            let pending = is_kept.then(PendingObjects::default);
            ready(ledger.put_pending_objects(&table(), pending.as_ref(), version)).unwrap()
        }
        Kind::Row => {
            let row = LedgerRow {
                version,
                ..LedgerRow::new(Subject::Table(table()), SubjectState::InSync, now)
            };
            let refused = match is_kept {
                true => ready(ledger.put_rows(&[row])),
                false => ready(ledger.delete_rows(&[row])),
            };
            refused.unwrap().is_empty()
        }
    }
}

fn version(ledger: &InMemoryLedger, kind: Kind) -> Option<u64> {
    let contents = ledger.contents();
    match kind {
        Kind::Document => {
            let documents = contents.documents.get("query");
            documents.and_then(|documents| Some(documents.get("x")?.1))
        }
        Kind::Incident => contents.incidents.get("x").map(|(_, version)| *version),
        Kind::PendingObjects => {
            let pending = contents.pending_objects.get(&table());
            pending.map(|(_, version)| *version)
        }
        Kind::Row => {
            let row = contents.rows.get(&Subject::Table(table()));
            row.and_then(|row| row.version)
        }
    }
}

/// One session reads an item, another one deletes it and makes it again, and the first one writes.
#[test]
fn what_rests_on_a_deleted_item_is_not_written_to_the_one_made_after_it() {
    let kinds = [
        Kind::Document,
        Kind::Incident,
        Kind::PendingObjects,
        Kind::Row,
    ];
    for kind in kinds {
        let ledger = InMemoryLedger::default();
        let (first, second) = (Timestamp::from_millis(100), Timestamp::from_millis(200));
        assert!(write(&ledger, kind, (true, first), None));
        for changes in 0..5 {
            let read = version(&ledger, kind);
            assert!(write(&ledger, kind, (false, first), read));
            assert!(write(&ledger, kind, (true, second), None), "{kind:?}");
            let made_again = version(&ledger, kind);
            for is_kept in [true, false] {
                let late = write(&ledger, kind, (is_kept, first), read);
                assert!(!late, "{kind:?}, {changes}");
            }
            assert_eq!(version(&ledger, kind), made_again);
            assert!(write(&ledger, kind, (false, second), made_again));
            assert!(write(&ledger, kind, (true, first), None));
            for _ in 0..=changes {
                let read = version(&ledger, kind);
                assert!(write(&ledger, kind, (true, first), read));
            }
        }
    }
}
