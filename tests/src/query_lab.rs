//! Two simulated Athenas, a ledger and a policy, for the tests of the query tools.

use crate::harness::{PRIMARY, STANDBY, epoch_led_by, leader};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;
use twinlake_core::ledger::SubjectState;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{
    Fields, ObjectKey, QueryKind, QueryObject, QueryRow, QueryRows, QueryStep,
};
use twinlake_core::{Policy, Timestamp};
use twinlake_engine::query::{
    QueryResyncRecord, QueryStatus, QueryToolsContext, QueryToolsOutcome, new_run,
    read_query_ledger, reconcile_query,
};
use twinlake_engine::{Clock, InMemoryLedger};
use twinlake_sim::SimQueryTools;

/// A clock that a test moves on.
#[derive(Debug, Default)]
pub struct TestClock(pub Cell<i64>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_000_000 + self.0.get())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.get()).unwrap())
    }
}

/// Two simulated Athenas with a ledger and a policy.
pub struct Lab {
    pub primary: SimQueryTools,
    pub standby: SimQueryTools,
    pub ledger: InMemoryLedger,
    pub clock: TestClock,
    pub policy: Policy,
    pub approved: BTreeSet<ObjectKey>,
    /// The steps that a person has confirmed; `None` for runs that nobody watches.
    pub confirmed: Option<Vec<QueryStep>>,
}

/// The policy of the tests; `more` is added to the keys before the tables.
pub fn policy_with(more: &str, query: &str) -> Policy {
    let (a, b) = match leader() {
        twinlake_core::topology::SiteId::A => (PRIMARY, STANDBY),
        twinlake_core::topology::SiteId::B => (STANDBY, PRIMARY),
    };
    let pair = |name: &str, primary: &str, standby: &str| {
        let (a, b) = match leader() {
            twinlake_core::topology::SiteId::A => (primary, standby),
            twinlake_core::topology::SiteId::B => (standby, primary),
        };
        format!("[[{name}]]\na = \"{a}\"\nb = \"{b}\"\n")
    };
    let text = [
        more.to_owned(),
        format!("[[region]]\nid = \"a\"\nregion = \"{a}\"\naccount = \"111122223333\"\n"),
        format!("[[region]]\nid = \"b\"\nregion = \"{b}\"\naccount = \"111122223333\"\n"),
        pair("location", "s3://lake-primary/", "s3://lake-standby/"),
        format!("[query]\n{query}"),
        pair(
            "query.result-location",
            "s3://results-primary/",
            "s3://results-standby/",
        ),
        pair("query.kms-key", &kms(PRIMARY), &kms(STANDBY)),
    ];
    Policy::parse(&text.join("\n")).unwrap()
}

pub fn kms(region: &str) -> String {
    format!("arn:aws:kms:{region}:111122223333:key/k-{region}")
}

pub fn object(key: ObjectKey, fields: Value) -> QueryObject {
    let fields: Fields = serde_json::from_value(fields).unwrap();
    QueryObject::normalized(key, fields)
}

pub fn workgroup(name: &str, location: &str) -> QueryObject {
    let configuration = json!({
        "ResultConfiguration": {"OutputLocation": location,
            "EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": kms(PRIMARY)}},
        "EnforceWorkGroupConfiguration": true,
        "BytesScannedCutoffPerQuery": 10_000_000,
    });
    let fields =
        json!({"State": "ENABLED", "Description": "for reports", "Configuration": configuration});
    object(ObjectKey::new(QueryKind::WorkGroup, name), fields)
}

pub fn saved_query(workgroup: &str, name: &str, text: &str) -> QueryObject {
    let key = ObjectKey::within(QueryKind::NamedQuery, workgroup, "");
    object(
        key,
        json!({"Name": name, "Database": "sales", "QueryString": text}),
    )
}

pub fn statement(workgroup: &str, name: &str, text: &str) -> QueryObject {
    let key = ObjectKey::within(QueryKind::PreparedStatement, workgroup, name);
    object(key, json!({"QueryStatement": text}))
}

pub fn catalog(name: &str, kind: &str, parameters: Value) -> QueryObject {
    let key = ObjectKey::new(QueryKind::DataCatalog, name);
    object(key, json!({"Type": kind, "Parameters": parameters}))
}

impl Lab {
    pub fn new(policy: Policy) -> Self {
        Self {
            primary: SimQueryTools::new(PRIMARY),
            standby: SimQueryTools::new(STANDBY),
            ledger: InMemoryLedger::default(),
            clock: TestClock::default(),
            policy,
            approved: BTreeSet::new(),
            confirmed: None,
        }
    }

    /// Two Regions in sync, with an object of each kind.
    pub fn replicated() -> Self {
        let lab = Self::new(policy_with("", ""));
        lab.primary
            .put(workgroup("etl", "s3://results-primary/etl/"));
        lab.primary
            .put(saved_query("etl", "daily", "select * from sales.orders"));
        lab.primary.put(statement(
            "etl",
            "by_id",
            "select * from sales.orders where id = ?",
        ));
        lab.primary.put(catalog(
            "other",
            "GLUE",
            json!({"catalog-id": "111122223333"}),
        ));
        let outcome = lab.resync();
        assert!(outcome.is_done(), "{outcome:#?}");
        assert_eq!(outcome.applied.len(), 4);
        let _ = lab.standby.take_writes();
        lab
    }

    pub fn context(
        &self,
    ) -> QueryToolsContext<'_, SimQueryTools, SimQueryTools, InMemoryLedger, TestClock> {
        QueryToolsContext {
            primary: &self.primary,
            standby: &self.standby,
            ledger: &self.ledger,
            clock: &self.clock,
            policy: (&self.policy, self.policy.query.as_ref().unwrap()),
            epoch: epoch_led_by(leader()),
            approved_deletions: &self.approved,
            confirmed: self.confirmed.as_deref(),
            run: new_run(),
            stop_at: None,
        }
    }

    pub fn resync(&self) -> QueryToolsOutcome {
        self.resync_with(|_| {})
    }

    /// The lab after its first resync, which writes so many objects in the standby.
    pub fn in_sync(self, objects: usize) -> Self {
        let outcome = self.resync();
        assert!(outcome.is_done(), "{outcome:#?}");
        assert_eq!(outcome.applied.len(), objects);
        let _ = self.standby.take_writes();
        self
    }

    pub fn key_of(&self, athena: &SimQueryTools, name: &str) -> ObjectKey {
        let objects = athena.objects();
        let is_it =
            |object: &&QueryObject| object.text("Name") == Some(name) || object.key.id == name;
        let found: Vec<_> = objects.values().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0].key.clone()
    }

    pub fn in_standby(&self, name: &str) -> QueryObject {
        self.standby.objects()[&self.key_of(&self.standby, name)].clone()
    }

    pub fn state_of(&self, key: &ObjectKey) -> SubjectState {
        self.row_of(key).state
    }

    pub fn row_of(&self, key: &ObjectKey) -> QueryRow {
        self.stored().0[key].clone()
    }

    /// The rows and the record of the last run.
    pub fn stored(&self) -> (QueryRows, Option<QueryResyncRecord>) {
        let site = epoch_led_by(leader()).primary();
        read_query_ledger(&self.ledger, site)
            .now_or_never()
            .unwrap()
            .unwrap()
    }

    /// Why the status does not count the query tools as in order.
    pub fn problems(&self) -> Vec<String> {
        let (rows, record) = self.stored();
        let status = QueryStatus {
            rows: &rows,
            record: record.as_ref(),
            query: self.policy.query.as_ref().unwrap(),
        };
        status.problems(self.clock.now(), 46_800)
    }

    /// Runs with another context than [`Self::context`], two hours later.
    pub fn resync_with<'a>(
        &'a self,
        change: impl FnOnce(
            &mut QueryToolsContext<'a, SimQueryTools, SimQueryTools, InMemoryLedger, TestClock>,
        ),
    ) -> QueryToolsOutcome {
        self.clock.0.set(self.clock.0.get() + 7200);
        let mut context = self.context();
        change(&mut context);
        reconcile_query(&context).now_or_never().unwrap().unwrap()
    }
}

pub fn findings(outcome: &QueryToolsOutcome, kind: FindingKind) -> Vec<String> {
    let of_kind = outcome
        .findings
        .iter()
        .filter(|finding| finding.kind == kind);
    of_kind
        .map(|finding| format!("{}: {}", finding.object, finding.detail))
        .collect()
}
