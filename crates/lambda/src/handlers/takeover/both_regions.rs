//! A switchover by the function: both Regions are healthy. It reads both, writes this one until the epoch is written, and
//! writes the ledger of the other one; with a freeze, it also revokes grants there.

use super::answer::TakeoverAnswer;
use super::{NewPrimaryRegion, ended};
use crate::runtime::LocalRegion;
use std::collections::BTreeMap;
use std::sync::Arc;
use twinlake_aws::{
    AwsRegion, Clients, DynamoLedger, S3ObjectVersions, SqsRetryQueue, SystemClock,
};
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::failover::{SwitchoverReadings, TakeoverInvocation};
use twinlake_core::heartbeat::Channel;
use twinlake_core::render::{counted, one_or_many};
use twinlake_core::topology::{Epoch, RegionRole, SiteId};
use twinlake_core::{CallError, OwnRoles, Principal};
use twinlake_engine::divergence::{DivergenceContext, RegionPorts};
use twinlake_engine::failover::{
    BothRegions, FreezeTerms, FrozenRegion, undo_switchover, unproven_replication,
};
use twinlake_engine::operation_document::OperationConfig;
use twinlake_engine::region_authority::{NotReady, region_authority};
use twinlake_engine::write_fence::{WriteFence, WriterRole};
use twinlake_engine::{Context, Environment, GuardedRegion, Ledger as _, LimitedRegion};

/// The environment of the last resync.
struct SwitchoverEnvironment;

impl Environment for SwitchoverEnvironment {
    type Primary = LocalRegion;
    type Standby = LocalRegion;
    type Ledger = DynamoLedger;
    type Clock = SystemClock;
}

/// A Region that is written under a lease, or only read.
type FencedRegion = GuardedRegion<AwsRegion, DynamoLedger, SystemClock>;

/// The other Region, and this one as the switchover reads and resyncs it.
pub(super) struct SwitchedRegions<'a> {
    new_primary: &'a NewPrimaryRegion<'a>,
    next: LocalRegion,
    former: LocalRegion,
    /// The former primary, to revoke grants there and to grant them again.
    former_writes: FencedRegion,
    former_ledger: DynamoLedger,
    next_objects: S3ObjectVersions,
    former_objects: S3ObjectVersions,
    /// The epoch that both Regions held before the switch, or hold after it.
    held: Epoch,
    reader: Principal,
    own_roles: OwnRoles,
}

impl<'a> SwitchedRegions<'a> {
    /// Connects to both Regions.
    ///
    /// # Errors
    /// A Region is fenced, the policies differ, or a ledger cannot be read.
    pub(super) async fn open(new_primary: &'a NewPrimaryRegion<'a>) -> Result<Self, NotReady> {
        let config = new_primary.config;
        let (region, other) = (&config.region, &config.peer_region);
        let other_clients = Clients::connect(other).await;
        let former_ledger = DynamoLedger::new(&other_clients, &config.peer_ledger_table);
        let authority = region_authority(region, &new_primary.ledger, &former_ledger).await?;
        let held = authority.epoch;
        let site = new_primary.site;
        let is_written = held.primary() == site;
        // Until the epoch is written, this Region is resynced as the standby that it is.
        let standby = WriterRole {
            site,
            epoch: held,
            role: authority.role,
        };
        let ledgers = (&new_primary.ledger, &former_ledger);
        let fence = (!is_written).then_some((standby, ledgers));
        let next = fenced(region, &config.account, fence).await;
        let primary = WriterRole {
            site: site.other(),
            epoch: held,
            role: RegionRole::Primary,
        };
        let fence = (primary, (&former_ledger, &new_primary.ledger));
        let parallel = config.max_concurrent_calls;
        Ok(Self {
            next: LimitedRegion::new(next, parallel),
            former: LimitedRegion::new(fenced(other, &config.account, None).await, parallel),
            former_writes: fenced(other, &config.account, Some(fence)).await,
            former_ledger,
            next_objects: S3ObjectVersions::new(&Clients::connect(region).await),
            former_objects: S3ObjectVersions::new(&other_clients),
            held,
            reader: Principal(config.function_role_arn.clone()),
            own_roles: OwnRoles::new(config.role_arns.clone())
                .with_writers(config.writer_role_arns.clone()),
            new_primary,
        })
    }

    fn site(&self) -> SiteId {
        self.new_primary.site
    }

    /// Makes this Region the primary, and the other one the standby.
    pub(super) async fn switch(
        &self,
        invocation: &TakeoverInvocation,
    ) -> Result<TakeoverAnswer, CallError> {
        let own = self.new_primary.ledger.epoch().await?;
        if own != self.held {
            return Ok(TakeoverAnswer::Failed(format!(
                "this Region holds epoch {own}, and the other one {}: it is fenced; run `twinlake divergence --region \
                 {}` first",
                self.held, self.new_primary.config.peer_region
            )));
        }
        let is_written = self.held.primary() == self.site();
        let none = ApprovedDeletions::None;
        let handover: BothRegions<
            '_,
            SwitchoverEnvironment,
            LocalRegion,
            FencedRegion,
            DynamoLedger,
            S3ObjectVersions,
            SqsRetryQueue,
        > = BothRegions {
            context: (!is_written).then(|| self.context(&none)),
            regions: self.divergence(match is_written {
                true => self.held,
                false => self.held.switched(),
            }),
            former_writes: &self.former_writes,
            queue: None,
        };
        let readings = self.readings(invocation.input.writers_stopped).await?;
        let switched = self
            .new_primary
            .switch(invocation, Some(readings), &handover);
        switched.await
    }

    /// Undoes what has begun, and grants again what was revoked.
    pub(super) async fn undo(&self) -> Result<TakeoverAnswer, CallError> {
        let caller = self.new_primary.caller_if_frozen().await?;
        let no_roles = OwnRoles::new(Vec::new());
        let frozen = FrozenRegion {
            region: &self.former_writes,
            next_ledger: &self.new_primary.ledger,
            former_ledger: &self.former_ledger,
            terms: FreezeTerms {
                policy: &self.new_primary.policy,
                epoch: self.new_primary.ledger.epoch().await?,
                own_roles: &no_roles,
            },
            caller: caller.as_ref(),
        };
        let undone = match undo_switchover(self.site(), &SystemClock, &frozen).await {
            Ok(undone) => undone,
            Err(error) => return ended(error),
        };
        let mut attention = Vec::new();
        for (grant, reason) in &undone.refused {
            attention.push(format!(
                "not granted again, since its table or database is gone: {grant}: {reason}"
            ));
        }
        if !undone.left.is_none() {
            let count = undone.left.count;
            attention.push(format!(
                "{} could not be granted again, and {} recorded; undo it once more",
                counted(count, "grant"),
                one_or_many(count, "stays", "stay")
            ));
        }
        Ok(TakeoverAnswer::Undone { attention })
    }

    /// What the gates look at, beside how far this Region is behind.
    async fn readings(&self, writers_stopped: bool) -> Result<SwitchoverReadings, CallError> {
        let new_primary = self.new_primary;
        let (operation, _) = OperationConfig::load(&new_primary.ledger).await?;
        let limits = Channel::EVERY.map(|channel| (channel, operation.lag_alert.of(channel)));
        let (site, ledger, policy) = (self.site(), &new_primary.ledger, &new_primary.policy);
        Ok(SwitchoverReadings {
            region: new_primary.config.region.clone(),
            peer_epoch: self.former_ledger.epoch().await.ok(),
            writers_stopped,
            lag_limits: BTreeMap::from(limits),
            unproven_replication: unproven_replication(site, ledger, policy).await,
            freeze: operation
                .takeover
                .map(|takeover| takeover.freeze)
                .unwrap_or_default(),
        })
    }

    /// The last resync of this Region.
    fn context<'c>(
        &'c self,
        approved_deletions: &'c ApprovedDeletions,
    ) -> Context<'c, SwitchoverEnvironment> {
        Context {
            primary: &self.former,
            standby: &self.next,
            ledger: &self.new_primary.ledger,
            clock: &SystemClock,
            policy: &self.new_primary.policy,
            epoch: self.held,
            reader_role: &self.reader,
            own_roles: &self.own_roles,
            max_concurrent_calls: self.new_primary.config.max_concurrent_calls,
            approved_deletions,
            // The function own-access writes them.
            may_write_settings: false,
            stop_at: None,
            scan_window: None,
            lf_tag_lease: None,
            progress: &(),
        }
    }

    /// Both Regions after the switch.
    fn divergence(
        &self,
        epoch: Epoch,
    ) -> DivergenceContext<'_, LocalRegion, DynamoLedger, S3ObjectVersions, SystemClock> {
        DivergenceContext {
            primary: RegionPorts {
                region: &self.next,
                ledger: &self.new_primary.ledger,
                objects: &self.next_objects,
            },
            former: RegionPorts {
                region: &self.former,
                ledger: &self.former_ledger,
                objects: &self.former_objects,
            },
            clock: &SystemClock,
            policy: &self.new_primary.policy,
            epoch,
            reader_role: &self.reader,
            own_roles: &self.own_roles,
            max_concurrent_calls: self.new_primary.config.max_concurrent_calls,
            progress: &(),
        }
    }
}

/// A Region with clients of its own, written in a role by its ledger and the other one; without them, it is only read.
async fn fenced(
    region: &str,
    account: &str,
    writer: Option<(WriterRole, (&DynamoLedger, &DynamoLedger))>,
) -> FencedRegion {
    let clients = Clients::connect(region).await;
    let fence = writer.map(|(writer, (own, other))| {
        let fence = WriteFence::new(own.clone(), Some(other.clone()), SystemClock);
        fence.allow(writer, None);
        clients.limits().require_lease(fence.lease().clone());
        Arc::new(fence)
    });
    GuardedRegion::new(AwsRegion::new(&clients, account), fence)
}
