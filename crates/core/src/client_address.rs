//! The address of the lake for clients: which Region is the primary, and what a client needs there. Each Region
//! keeps it in an SSM parameter of its own, as JSON. A client reads the parameters of both Regions as far as it can,
//! and uses the one with the highest epoch.

use crate::Policy;
use crate::failover::{Announcement, EpochRecord, FailoverJournal, FailoverStage, FreezeMode};
use crate::query::QueryKind;
use crate::timestamp::Timestamp;
use crate::topology::Epoch;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The name of the SSM parameter.
pub const ADDRESS_PARAMETER: &str = "/twinlake/address";

/// The longest value of a parameter of the standard tier, in bytes (SSM API reference, "PutParameter").
pub const MAX_ADDRESS_BYTES: usize = 4096;

/// The `detail-type` of the event that tells of a takeover. It is not forwarded to the other Region.
pub const TAKEOVER_DETAIL_TYPE: &str = "Takeover Completed";

/// The format of the value.
const FORMAT: u32 = 1;

/// What `[takeover]` of the operation document says: what clients are told, and what a switchover freezes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakeoverConfig {
    /// The Athena workgroup of the clients. It has the same name in both Regions.
    pub workgroup: Option<String>,
    /// Where Athena puts the results of queries, by Region.
    pub results: BTreeMap<String, String>,
    /// Links, for example to dashboards: by their name and by Region.
    pub links: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether an event tells of a takeover.
    pub event: bool,
    /// What a switchover does about principals that may write.
    pub freeze: FreezeMode,
    /// Which of the sleeping crawlers and triggers a takeover wakes.
    pub wake: BTreeSet<QueryKind>,
}

impl TakeoverConfig {
    /// The Regions that the document names.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        let links = self.links.values().flat_map(BTreeMap::keys);
        self.results.keys().chain(links).map(String::as_str)
    }
}

/// The address as the parameter holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAddress {
    /// The format of the value.
    pub version: u32,
    /// The number of the epoch. Of two addresses, the one with the higher number counts.
    pub epoch: u64,
    /// The Region of the primary.
    pub primary: String,
    /// The Athena workgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workgroup: Option<String>,
    /// The S3 location for the results of queries in the Region of the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<String>,
    /// The links of the Region of the primary, by their name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
}

impl ClientAddress {
    /// The address of the primary of an epoch.
    #[must_use]
    pub fn new(takeover: &TakeoverConfig, epoch: Epoch, policy: &Policy) -> Self {
        Self::in_region(takeover, epoch.number(), &policy.primary(epoch).region)
    }

    /// The address while this Region is the primary.
    #[must_use]
    pub fn in_region(takeover: &TakeoverConfig, epoch: u64, region: &str) -> Self {
        let links = takeover.links.iter().filter_map(|(name, by_region)| {
            let link = by_region.get(region)?;
            Some((name.clone(), link.clone()))
        });
        Self {
            version: FORMAT,
            epoch,
            primary: region.to_owned(),
            workgroup: takeover.workgroup.clone(),
            results: takeover.results.get(region).cloned(),
            links: links.collect(),
        }
    }

    /// The value of the parameter.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A struct of strings and numbers can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What is done about a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressDecision {
    /// It holds the address.
    Keep,
    /// It is written.
    Write,
    /// It is left as it is, for this reason.
    Refuse(String),
}

/// Decides about a parameter by its value, `None` if it does not exist. A parameter is never set back to a lower
/// epoch: a function that began before a takeover may end after it.
#[must_use]
pub fn decide(stored: Option<&str>, wanted: &ClientAddress) -> AddressDecision {
    let Some(stored) = stored else {
        return AddressDecision::Write;
    };
    match serde_json::from_str::<ClientAddress>(stored) {
        Ok(stored) if stored == *wanted => AddressDecision::Keep,
        Ok(stored) if stored.epoch > wanted.epoch => AddressDecision::Refuse(format!(
            "the parameter {ADDRESS_PARAMETER} holds epoch {}, and the ledger epoch {}: if the ledger was made anew, \
             delete the parameter",
            stored.epoch, wanted.epoch
        )),
        Ok(_) => AddressDecision::Write,
        Err(_) => AddressDecision::Refuse(format!(
            "the parameter {ADDRESS_PARAMETER} holds something else than an address of Twinlake: rename or delete it"
        )),
    }
}

impl EpochRecord {
    /// The journal of the takeover by which this epoch was written.
    fn takeover(&self) -> Option<&FailoverJournal> {
        let journal = self.failover.as_ref();
        journal.filter(|journal| journal.to == self.epoch && !journal.is_before_epoch())
    }

    /// Whether clients may be sent to the primary of the epoch: it has waited for writers, and its databases are
    /// open as they were in the former primary.
    #[must_use]
    pub fn is_open_to_clients(&self) -> bool {
        self.takeover().is_none_or(|journal| match journal.stage {
            FailoverStage::Started
            | FailoverStage::GrantsFrozen
            | FailoverStage::Verified
            | FailoverStage::EpochWritten
            | FailoverStage::WritersStopped => false,
            FailoverStage::DefaultsRestored | FailoverStage::Completed | FailoverStage::Undone => {
                true
            }
        })
    }

    /// The record after clients were told: `None` if that changes nothing. Only the first time counts.
    #[must_use]
    pub fn with_announcement(&self, told: &Announcement) -> Option<Self> {
        let before = self.takeover()?.announced.clone().unwrap_or_default();
        let after = Announcement {
            address_at: before.address_at.or(told.address_at),
            event_at: before.event_at.or(told.event_at),
        };
        if after == before {
            return None;
        }
        let mut record = self.clone();
        record.failover.as_mut()?.announced = Some(after);
        Some(record)
    }

    /// The event that is still to be sent about the takeover: its detail, as JSON.
    #[must_use]
    pub fn event_to_send(&self, address: &ClientAddress) -> Option<String> {
        let journal = self.takeover()?;
        let announced = journal.announced.as_ref();
        if announced.is_some_and(|announced| announced.event_at.is_some()) {
            return None;
        }
        let point = &journal.recovery_point;
        let times = |times: &BTreeMap<_, Timestamp>| -> BTreeMap<String, String> {
            let text = times.iter();
            text.map(|(channel, at): (&crate::heartbeat::Channel, _)| {
                (channel.to_string(), at.to_string())
            })
            .collect()
        };
        let detail = serde_json::json!({
            "operation": journal.operation.as_str(),
            "epoch": address.epoch,
            "primary": address.primary,
            "address": address,
            "recovery_point": {
                "arrived_until": times(&point.heartbeats),
                "verified_at": point.verified_at.map(|at| at.to_string()),
                "not_in_sync": point.not_in_sync.values().sum::<usize>(),
                "tables_with_pending_objects": point.pending_tables,
            },
        });
        Some(detail.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::{FailoverDecision, FailoverRequest, RecoveryPoint, after_step};
    use crate::topology::SiteId;

    fn takeover() -> TakeoverConfig {
        let by_region = |text: &str| -> BTreeMap<String, String> {
            let regions = ["us-east-1", "ap-south-1"];
            regions
                .map(|region| (region.to_owned(), text.replace('*', region)))
                .into()
        };
        TakeoverConfig {
            workgroup: Some("analysts".to_owned()),
            results: by_region("s3://results-*/"),
            links: [("sales".to_owned(), by_region("https://bi.*.example/sales"))].into(),
            event: true,
            freeze: FreezeMode::None,
            wake: BTreeSet::new(),
        }
    }

    fn address(epoch: u64) -> ClientAddress {
        ClientAddress::in_region(&takeover(), epoch, "ap-south-1")
    }

    #[test]
    fn the_address_is_that_of_the_region() {
        let json = address(1).to_json();
        assert_eq!(
            json,
            r#"{"version":1,"epoch":1,"primary":"ap-south-1","workgroup":"analysts","results":"s3://results-ap-south-1/","links":{"sales":"https://bi.ap-south-1.example/sales"}}"#
        );
        let elsewhere = ClientAddress::in_region(&takeover(), 1, "eu-west-1");
        assert_eq!((elsewhere.results, elsewhere.links.len()), (None, 0));
    }

    #[test]
    fn a_parameter_is_not_set_back_and_nothing_foreign_is_replaced() {
        let stored = |epoch| address(epoch).to_json();
        assert_eq!(decide(None, &address(1)), AddressDecision::Write);
        assert_eq!(decide(Some(&stored(1)), &address(1)), AddressDecision::Keep);
        assert_eq!(
            decide(Some(&stored(0)), &address(1)),
            AddressDecision::Write
        );
        let changed = ClientAddress {
            workgroup: None,
            ..address(1)
        };
        assert_eq!(decide(Some(&stored(1)), &changed), AddressDecision::Write);
        for other in [stored(2).as_str(), "https://example", "{}", ""] {
            let decision = decide(Some(other), &address(1));
            assert!(matches!(decision, AddressDecision::Refuse(_)), "{other}");
        }
    }

    /// The records of a failover after each of its steps.
    fn records() -> Vec<EpochRecord> {
        let request = FailoverRequest {
            accepts_loss: true,
            forced: crate::failover::ForceableGate::EVERY.into(),
            ..FailoverRequest::default()
        };
        let point = RecoveryPoint::default();
        let decision =
            crate::failover::decide(&EpochRecord::default(), SiteId::B, &request, &point);
        let Ok(FailoverDecision::Start(mut record)) = decision else {
            unreachable!("all gates are open: {decision:?}");
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
                Timestamp::from_millis(9000),
                Default::default(),
            );
            records.push(record.clone());
        }
        records
    }

    #[test]
    fn clients_are_sent_there_once_the_databases_are_open() {
        let open: Vec<bool> = records()
            .iter()
            .map(EpochRecord::is_open_to_clients)
            .collect();
        // Until the epoch is written, the former primary is the primary, and clients stay there.
        assert_eq!(open, [true, false, false, true]);
        assert!(EpochRecord::default().is_open_to_clients());
    }

    #[test]
    fn an_event_is_sent_once_for_a_takeover_and_not_without_one() {
        let completed = records().pop().unwrap();
        let detail = completed.event_to_send(&address(1)).unwrap();
        assert!(detail.contains(r#""operation":"failover""#), "{detail}");
        assert!(EpochRecord::default().event_to_send(&address(0)).is_none());
        let told = Announcement {
            address_at: Some(Timestamp::from_millis(1)),
            event_at: Some(Timestamp::from_millis(2)),
        };
        let record = completed.with_announcement(&told).unwrap();
        assert!(record.event_to_send(&address(1)).is_none());
        let later = Announcement {
            address_at: Some(Timestamp::from_millis(5)),
            event_at: None,
        };
        assert_eq!(record.with_announcement(&later), None);
        assert_eq!(EpochRecord::default().with_announcement(&told), None);
    }
}
