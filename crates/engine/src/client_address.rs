//! Tells clients of the primary: writes the address to the parameter of the Region that this runs in, and sends
//! an event about a takeover. The monitor does it each minute in both Regions, so a command that takes over neither
//! waits for it nor needs rights for it, and the parameter of a lost Region follows when the Region returns.

use crate::ports::{AddressParameter, Clock, EventBus, Ledger};
use crate::region_authority::RegionAuthority;
use twinlake_core::client_address::{
    ADDRESS_PARAMETER, AddressDecision, ClientAddress, TAKEOVER_DETAIL_TYPE, TakeoverConfig, decide,
};
use twinlake_core::failover::{Announcement, EpochRecord};
use twinlake_core::topology::RegionRole;
use twinlake_core::{Alert, AlertKind, CallError, Timestamp};

/// The subject of an alert about the address.
pub const ADDRESS_SUBJECT: &str = "the address for clients";

/// The Region that tells its clients.
pub struct Announcer<'a, L, A, B, C> {
    /// Its role, the policy and the latest epoch.
    pub authority: &'a RegionAuthority,
    /// Its ledger.
    pub local: &'a L,
    /// The ledger of the other Region.
    pub peer: &'a L,
    /// The parameter in this Region.
    pub parameter: &'a A,
    /// The default event bus of this Region.
    pub bus: &'a B,
    /// The clock.
    pub clock: &'a C,
    /// What the operation document says.
    pub takeover: &'a TakeoverConfig,
}

/// What a run did about the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnounceResult {
    /// The parameter holds the address.
    Written,
    /// A takeover has not opened the databases yet: clients stay where they are.
    NotDue,
    /// The ledger of the primary could not be read: whether the parameter is right is not known.
    Unknown,
}

impl AnnounceResult {
    /// Whether it proves that clients are told, so that the alert about the address is resolved.
    #[must_use]
    pub const fn is_told(self) -> bool {
        match self {
            Self::Written => true,
            Self::NotDue | Self::Unknown => false,
        }
    }
}

/// Why clients of a Region are not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// The parameter is left as it is.
    #[error("{0}")]
    Refused(String),
    /// A call failed.
    #[error("{0}")]
    Call(#[from] CallError),
}

impl<L: Ledger, A: AddressParameter, B: EventBus, C: Clock> Announcer<'_, L, A, B, C> {
    /// Writes the address if the parameter does not hold it, sends the event if it was not sent, and notes both in the
    /// journal. Writes nothing while a takeover has not opened the databases yet, or if the ledger of the primary cannot
    /// be read: in a Region that is not the primary, only that ledger tells how far a takeover is.
    ///
    /// # Errors
    /// The parameter is left as it is, or a call failed. The event is sent all the same.
    pub async fn announce(&self) -> Result<AnnounceResult, AnnounceError> {
        let read = match self.is_primary() {
            true => self.local.epoch_record().await,
            false => self.peer.epoch_record().await,
        };
        self.announce_by(read).await
    }

    fn is_primary(&self) -> bool {
        self.authority.role == RegionRole::Primary
    }

    /// Announces by what was read of the ledger of the primary.
    async fn announce_by(
        &self,
        read: Result<Option<(EpochRecord, u64)>, CallError>,
    ) -> Result<AnnounceResult, AnnounceError> {
        let epoch = self.authority.epoch;
        let is_primary = self.is_primary();
        let record = match read {
            Ok(record) => record,
            Err(error) if is_primary => return Err(error.into()),
            Err(_) => return Ok(AnnounceResult::Unknown),
        };
        let (record, version) = record.unzip();
        let record = record.unwrap_or_default();
        if record.epoch != epoch || !record.is_open_to_clients() {
            return Ok(AnnounceResult::NotDue);
        }
        let address = ClientAddress::new(self.takeover, epoch, &self.authority.policy);
        let written = self.write(&address).await;
        if !is_primary {
            return written.map(|()| AnnounceResult::Written);
        }
        let mut told = Announcement {
            address_at: written.is_ok().then(|| self.clock.now()),
            event_at: None,
        };
        let sent = self.send_event(&record, &address).await;
        told.event_at = sent.clone().ok().flatten();
        if let Some(next) = record.with_announcement(&told) {
            // If somebody else wrote the record meanwhile, the next run notes it, and may send the event again.
            self.local.put_epoch_record(&next, version).await?;
        }
        written?;
        sent?;
        Ok(AnnounceResult::Written)
    }

    async fn write(&self, address: &ClientAddress) -> Result<(), AnnounceError> {
        let stored = self.parameter.read(ADDRESS_PARAMETER).await?;
        match decide(stored.as_deref(), address) {
            AddressDecision::Keep => Ok(()),
            AddressDecision::Write => {
                let json = address.to_json();
                Ok(self.parameter.write(ADDRESS_PARAMETER, &json).await?)
            }
            AddressDecision::Refuse(reason) => Err(AnnounceError::Refused(reason)),
        }
    }

    /// Sends the event if it is to be sent. Returns when it was.
    async fn send_event(
        &self,
        record: &EpochRecord,
        address: &ClientAddress,
    ) -> Result<Option<Timestamp>, CallError> {
        let detail = record.event_to_send(address);
        let Some(detail) = detail.filter(|_| self.takeover.event) else {
            return Ok(None);
        };
        self.bus.send(TAKEOVER_DETAIL_TYPE, &detail).await?;
        Ok(Some(self.clock.now()))
    }
}

/// The alert that clients of a Region are not told.
#[must_use]
pub fn not_announced(error: &str, region: &str, now: Timestamp) -> Alert {
    let sentences = [
        format!(
            "Clients in {region} are not told which Region is the primary: {error}. The parameter is {ADDRESS_PARAMETER}."
        ),
        "Replication and takeovers do not depend on it; clients that read the address may use the wrong Region."
            .to_owned(),
        "Correct the cause. The monitor tries again each minute.".to_owned(),
    ];
    Alert::new(
        AlertKind::ReadFailed,
        region,
        ADDRESS_SUBJECT,
        sentences,
        now,
    )
}

#[cfg(test)]
mod tests;
