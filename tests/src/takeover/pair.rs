//! Two Regions with a ledger each, which change roles.

use super::mortal_ledger::{CallerLife, MortalLedger};
use super::{SimTimer, TestObjects, ready};
use crate::harness::{PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, TestQueue, policy};
use crate::history::table_input;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeSet;
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::failover::{
    EpochRecord, FailoverJournal, FailoverRequest, FailoverStage, FreezeMode, SwitchoverReadings,
};
use twinlake_core::heartbeat::{Channel, Heartbeat};
use twinlake_core::topology::{Epoch, RegionRole};
use twinlake_core::{CallError, OwnRoles, Policy, Principal, Timestamp};
use twinlake_engine::divergence::{
    AcceptError, Divergence, DivergenceContext, RegionPorts, accept, compare,
};
use twinlake_engine::failover::{
    BothRegions, FENCE_WAIT, FailoverError, FailoverProgress, FreezeTerms, FrozenRegion,
    GrantsPermit, Handover, NewPrimary, UnfrozenGrants, run, undo_switchover,
};
use twinlake_engine::region_authority::region_authority;
use twinlake_engine::resync::{ResyncDepth, resync};
use twinlake_engine::{
    Clock as _, Context, Environment, InMemoryLedger, Ledger as _, StatsStore as _,
};
use twinlake_sim::{Sim, SimRegion};

/// One of the two Regions of a pair.
#[derive(Debug)]
pub struct PairRegion {
    /// Its name.
    pub name: &'static str,
    /// Its catalog.
    pub region: SimRegion,
    /// Its ledger.
    pub ledger: MortalLedger,
    /// The objects of its buckets.
    pub objects: TestObjects,
}

/// Two Regions in sync, each with its ledger.
#[derive(Debug)]
pub struct Pair {
    /// The simulated Regions, with the policy.
    pub harness: TestHarness,
    /// The life of whoever runs a command.
    pub life: CallerLife,
    /// The primary at first.
    pub us: PairRegion,
    /// The standby at first.
    pub india: PairRegion,
    /// The role that reads.
    pub reader: Principal,
    /// The roles of Twinlake.
    pub own_roles: OwnRoles,
    /// When the runs of a takeover are ended; `None` if nobody ends them.
    pub stop_at: Cell<Option<Timestamp>>,
}

/// The environment of a resync between the two.
#[derive(Debug)]
pub struct PairEnvironment;

impl Environment for PairEnvironment {
    type Primary = SimRegion;
    type Standby = SimRegion;
    type Ledger = MortalLedger;
    type Clock = Sim;
}

/// Both Regions of a pair.
type PairHandover<'a> =
    BothRegions<'a, PairEnvironment, SimRegion, SimRegion, MortalLedger, TestObjects, TestQueue>;

/// Both Regions, and what somebody does in the middle of a freeze.
struct ActingHandover<'a, H> {
    inner: &'a H,
    at: usize,
    act: &'a dyn Fn(),
}

/// A permit to go on with a freeze, and what somebody does before it is asked for again.
struct ActingPermit<'a, P> {
    inner: &'a P,
    left: Cell<usize>,
    act: &'a dyn Fn(),
}

impl<P: GrantsPermit> GrantsPermit for ActingPermit<'_, P> {
    async fn renew(&self) -> Result<(), CallError> {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        if left == 1 {
            (self.act)();
        }
        self.inner.renew().await
    }
}

impl<H: Handover> Handover for ActingHandover<'_, H> {
    async fn freeze<P: GrantsPermit>(
        &self,
        record: &EpochRecord,
        permit: &P,
    ) -> Result<Result<usize, String>, CallError> {
        let permit = ActingPermit {
            inner: permit,
            left: Cell::new(self.at),
            act: self.act,
        };
        self.inner.freeze(record, &permit).await
    }

    async fn verify(&self, record: &EpochRecord) -> Result<Option<String>, CallError> {
        self.inner.verify(record).await
    }

    async fn hand_over(&self, record: &EpochRecord) -> Result<Option<String>, CallError> {
        self.inner.hand_over(record).await
    }
}

/// What a switch comes to; `None` if its caller died.
pub type SwitchEnd = Option<Result<Option<FailoverJournal>, FailoverError>>;

/// What an operation leaves behind, without its times: both epochs, the stage, the defaults of the database in both
/// Regions, and the pairings of both ledgers.
pub type PairEnd = (Epoch, Epoch, FailoverStage, [Value; 2], Vec<String>);

/// The default permissions for new tables that the database has in the primary.
#[must_use]
pub fn open_defaults() -> Value {
    json!([{
        "Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"},
        "Permissions": ["ALL"],
    }])
}

impl Pair {
    /// A lake of a database with two tables.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn in_sync() -> Self {
        Self::in_sync_under(policy(""))
    }

    /// The same lake, under a policy of the harness.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn in_sync_under(policy: Policy) -> Self {
        let harness = TestHarness::new(policy);
        let database = json!({"DatabaseInput": {"Name": "sales", "CreateTableDefaultPermissions": open_defaults()}});
        harness.call(PRIMARY, "CreateDatabase", &database).unwrap();
        for name in ["orders", "items"] {
            let table = table_input("sales", name, &["id"]);
            let request = json!({"DatabaseName": "sales", "TableInput": table});
            harness.call(PRIMARY, "CreateTable", &request).unwrap();
        }
        // The function own-access lets Twinlake's roles see every column of the primary, whichever that is.
        let roles = Some(TWINLAKE_ROLE);
        harness.sim.state().set_reader_role(STANDBY, roles);
        let life = CallerLife::default();
        let region = |name: &'static str| PairRegion {
            name,
            region: harness.sim.region(name, TWINLAKE_ROLE),
            ledger: MortalLedger::of(&life),
            objects: TestObjects::default(),
        };
        let (us, india) = (region(PRIMARY), region(STANDBY));
        for ledger in [&us.ledger, &india.ledger] {
            ledger.set_epoch(harness.epoch());
            ready(ledger.put_policy(harness.policy.text())).unwrap();
        }
        let pair = Self {
            us,
            india,
            reader: Principal(TWINLAKE_ROLE.to_owned()),
            own_roles: OwnRoles::new([TWINLAKE_ROLE.to_owned()]),
            stop_at: Cell::default(),
            life,
            harness,
        };
        pair.settle(&pair.us, &pair.india, pair.harness.epoch());
        pair.beat(&pair.india);
        let _ = (pair.harness.sim.state().take_calls(), pair.life.begin());
        pair
    }

    /// Runs what a command does, or returns `None` if its caller dies.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.life.run(&self.harness.sim, future)
    }

    /// Records a heartbeat of each channel.
    ///
    /// # Panics
    /// Never: a ledger in memory does not fail.
    pub fn beat(&self, standby: &PairRegion) {
        let sent = self.harness.sim.now();
        for channel in Channel::OF_EVENTS {
            let heartbeat = Heartbeat { sent, done: sent };
            // Whoever sends it is no caller of the test.
            let ledger: &InMemoryLedger = &standby.ledger;
            ready(ledger.record_heartbeat(channel, heartbeat)).unwrap();
        }
    }

    /// The reconciliation of a standby.
    #[must_use]
    pub fn context<'a>(
        &'a self,
        primary: &'a PairRegion,
        standby: &'a PairRegion,
        epoch: Epoch,
        approved_deletions: &'a ApprovedDeletions,
    ) -> Context<'a, PairEnvironment> {
        Context {
            primary: &primary.region,
            standby: &standby.region,
            ledger: &standby.ledger,
            clock: &self.harness.sim,
            policy: &self.harness.policy,
            epoch,
            reader_role: &self.reader,
            own_roles: &self.own_roles,
            max_concurrent_calls: 4,
            approved_deletions,
            may_write_settings: true,
            stop_at: None,
            scan_window: None,
            lf_tag_lease: None,
            progress: &(),
        }
    }

    /// Runs resyncs until one changes nothing.
    ///
    /// # Panics
    /// They do not come to an end.
    pub fn settle(&self, primary: &PairRegion, standby: &PairRegion, epoch: Epoch) {
        for _ in 0..8 {
            let context = self.context(primary, standby, epoch, &ApprovedDeletions::All);
            let run = resync(&context, ResyncDepth::Full, None, None::<&TestQueue>, &());
            let report = self.run(run).unwrap().unwrap();
            if report.outcome.applied.is_empty() {
                return;
            }
        }
        panic!("it does not settle");
    }

    /// Both Regions, with `next` as the primary.
    #[must_use]
    pub fn regions<'a>(
        &'a self,
        next: &'a PairRegion,
        former: &'a PairRegion,
        epoch: Epoch,
    ) -> DivergenceContext<'a, SimRegion, MortalLedger, TestObjects, Sim> {
        let of = |region: &'a PairRegion| RegionPorts {
            region: &region.region,
            ledger: &region.ledger,
            objects: &region.objects,
        };
        DivergenceContext {
            primary: of(next),
            former: of(former),
            clock: &self.harness.sim,
            policy: &self.harness.policy,
            epoch,
            reader_role: &self.reader,
            own_roles: &self.own_roles,
            max_concurrent_calls: 4,
            progress: &(),
        }
    }

    /// The role of a Region, as its functions find it.
    ///
    /// # Panics
    /// The caller is dead.
    #[must_use]
    pub fn role(&self, region: &PairRegion, peer: &PairRegion) -> RegionRole {
        let (local, peer) = (&*region.ledger, &*peer.ledger);
        let authority = region_authority(region.name, local, peer);
        ready(authority).unwrap().role
    }

    /// Makes `next` the primary, with the other Region.
    ///
    /// # Panics
    /// The policy does not name it.
    pub fn switch_with(
        &self,
        regions: (&PairRegion, &PairRegion),
        request: &FailoverRequest,
        progress: &dyn FailoverProgress,
    ) -> SwitchEnd {
        self.run(self.switch_steps(regions, request, progress))
    }

    /// The steps of [`Self::switch_with`].
    ///
    /// # Errors
    /// It was refused, or a call failed.
    ///
    /// # Panics
    /// The policy does not name the Region.
    pub async fn switch_steps(
        &self,
        (next, former): (&PairRegion, &PairRegion),
        request: &FailoverRequest,
        progress: &dyn FailoverProgress,
    ) -> Result<Option<FailoverJournal>, FailoverError> {
        let none = ApprovedDeletions::None;
        let handover = self.handover((next, former), &none);
        self.survive(next, request, progress, &handover).await
    }

    fn handover<'a>(
        &'a self,
        (next, former): (&'a PairRegion, &'a PairRegion),
        none: &'a ApprovedDeletions,
    ) -> PairHandover<'a> {
        let site = self.harness.policy.sites.find(next.name).unwrap();
        let held = next.ledger.contents().epoch;
        let is_written = held.primary() == site;
        let to = if is_written { held } else { held.switched() };
        BothRegions {
            context: (!is_written).then(|| self.context(former, next, held, none)),
            regions: self.regions(next, former, to),
            former_writes: &former.region,
            queue: None,
        }
    }

    /// Makes `next` the primary, with the other Region; `act` runs before the freeze asks for the `at`th time whether it
    /// may go on, counted from 1.
    pub fn switch_beside(
        &self,
        (next, former): (&PairRegion, &PairRegion),
        request: &FailoverRequest,
        at: usize,
        act: &dyn Fn(),
    ) -> SwitchEnd {
        let handover = self.handover((next, former), &ApprovedDeletions::None);
        let handover = ActingHandover {
            inner: &handover,
            at,
            act,
        };
        self.run(self.survive(next, request, &(), &handover))
    }

    /// Makes `next` the primary without a call to the other Region.
    pub fn fail_over_with(&self, next: &PairRegion, request: &FailoverRequest) -> SwitchEnd {
        self.run(self.survive(next, request, &(), &()))
    }

    /// The same, and somebody is told about the progress.
    pub fn fail_over_watched(
        &self,
        next: &PairRegion,
        request: &FailoverRequest,
        progress: &dyn FailoverProgress,
    ) -> SwitchEnd {
        self.run(self.survive(next, request, progress, &()))
    }

    async fn survive<H: Handover>(
        &self,
        next: &PairRegion,
        request: &FailoverRequest,
        progress: &dyn FailoverProgress,
        handover: &H,
    ) -> Result<Option<FailoverJournal>, FailoverError> {
        let timer = SimTimer(self.harness.sim.clone());
        let new_primary = NewPrimary {
            site: self.harness.policy.sites.find(next.name).unwrap(),
            region: &next.region,
            ledger: &next.ledger,
            timer: &timer,
            policy: &self.harness.policy,
            max_concurrent_calls: 2,
            fence_wait: FENCE_WAIT,
            progress,
            handover,
            caller: Some(&self.reader),
            stop_at: self.stop_at.get(),
        };
        run(&new_primary, request).await
    }

    /// Undoes a planned switch, and grants again what it has revoked in the former primary.
    ///
    /// # Errors
    /// It was refused, or a call failed.
    ///
    /// # Panics
    /// The policy does not name the Region.
    pub async fn undo(
        &self,
        (next, former): (&PairRegion, &PairRegion),
    ) -> Result<UnfrozenGrants, FailoverError> {
        let frozen = FrozenRegion {
            region: &former.region,
            next_ledger: &next.ledger,
            former_ledger: &former.ledger,
            terms: FreezeTerms {
                policy: &self.harness.policy,
                epoch: self.record(next).epoch,
                own_roles: &self.own_roles,
            },
            caller: Some(&self.reader),
        };
        let site = self.harness.policy.sites.find(next.name).unwrap();
        undo_switchover(site, &self.harness.sim, &frozen).await
    }

    /// What a switchover from this Region is asked with.
    #[must_use]
    pub fn request(&self, former: &PairRegion) -> FailoverRequest {
        FailoverRequest {
            switchover: Some(SwitchoverReadings {
                peer_epoch: Some(former.ledger.contents().epoch),
                writers_stopped: true,
                lag_limits: Channel::EVERY.map(|channel| (channel, 900)).into(),
                unproven_replication: BTreeSet::new(),
                freeze: FreezeMode::None,
                region: STANDBY.to_owned(),
            }),
            ..FailoverRequest::default()
        }
    }

    /// A planned switch to the Region that is the standby at first.
    ///
    /// # Errors
    /// It was refused, or a call failed.
    ///
    /// # Panics
    /// The caller dies.
    pub fn switch(&self) -> Result<Option<FailoverJournal>, FailoverError> {
        let request = self.request(&self.us);
        let switched = self.switch_with((&self.india, &self.us), &request, &());
        switched.expect("nothing kills it")
    }

    /// A failover to the Region that is the standby at first.
    ///
    /// # Panics
    /// It does not end.
    pub fn fail_over(&self) {
        let request = FailoverRequest {
            accepts_loss: true,
            ..FailoverRequest::default()
        };
        let end = self.fail_over_with(&self.india, &request);
        end.expect("nothing kills it").unwrap();
    }

    /// The record of the epoch of a Region.
    #[must_use]
    pub fn record(&self, region: &PairRegion) -> EpochRecord {
        let contents = region.ledger.contents();
        let record = contents.epoch_record.map(|(record, _)| record);
        EpochRecord {
            epoch: contents.epoch,
            ..record.unwrap_or_default()
        }
    }

    /// Compares the Regions after a failover.
    ///
    /// # Panics
    /// A call failed.
    #[must_use]
    pub fn compare(&self) -> Divergence {
        let record = self.record(&self.india);
        let regions = self.regions(&self.india, &self.us, record.epoch);
        self.run(compare(&regions, &record)).unwrap().unwrap()
    }

    /// Accepts what a comparison after a failover found; `None` if the caller dies.
    pub fn accept(&self, divergence: &Divergence) -> Option<Result<(), AcceptError>> {
        let regions = self.regions(&self.india, &self.us, divergence.report.epoch);
        let digest = divergence.report.digest();
        self.run(accept(&regions, divergence, &digest))
    }

    /// The default permissions for new tables of the database of a Region.
    ///
    /// # Panics
    /// It is not there.
    #[must_use]
    pub fn defaults(&self, region: &PairRegion) -> Value {
        let name = json!({"Name": "sales"});
        let found = self.harness.call(region.name, "GetDatabase", &name);
        found.unwrap()["Database"]["CreateTableDefaultPermissions"].clone()
    }

    /// What an operation of a Region leaves behind.
    ///
    /// # Panics
    /// There was no switch.
    #[must_use]
    pub fn end(&self, primary: &PairRegion, former: &PairRegion) -> PairEnd {
        let journal = self.record(primary).failover.unwrap();
        assert_eq!(journal.not_handed_over, None);
        let rows = former.ledger.contents().rows;
        let rows = rows.values();
        let rows = rows.map(|row| {
            let pairing = row.pairing.as_ref();
            let created = pairing.map(|pairing| pairing.created.iter());
            let exists = created.map(|sites| sites.map(|(site, at)| (site, at.is_some())));
            let exists: Option<Vec<_>> = exists.map(Iterator::collect);
            format!("{} {exists:?}", row.subject)
        });
        (
            primary.ledger.contents().epoch,
            former.ledger.contents().epoch,
            journal.stage,
            [self.defaults(primary), self.defaults(former)],
            rows.collect(),
        )
    }

    /// Creates a table in a Region.
    ///
    /// # Panics
    /// It cannot be created.
    pub fn create_table(&self, region: &PairRegion, name: &str) {
        let text = table_input("sales", name, &["id"]).to_string();
        let text = match region.name == STANDBY {
            true => text.replace("s3://lake-us/", "s3://lake-in/replica/"),
            false => text,
        };
        let table: Value = serde_json::from_str(&text).unwrap();
        let request = json!({"DatabaseName": "sales", "TableInput": table});
        self.harness
            .call(region.name, "CreateTable", &request)
            .unwrap();
    }
}
