use super::*;
use crate::InMemoryLedger;
use crate::failover::preview;
use std::cell::RefCell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use twinlake_core::Name;
use twinlake_core::drill::DrillExpectation;
use twinlake_core::failover::FailoverRequest;
use twinlake_core::topology::SiteId;

const ROLE: &str = "arn:aws:iam::111122223333:role/analyst";

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(5000)
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

/// A Region with one table, `sales.orders` with the column `id`, in which every query ends in the same way.
struct Region {
    name: &'static str,
    end: QueryEnd,
    limits: Result<WorkgroupLimits, CallErrorKind>,
    asked: RefCell<Vec<String>>,
}

fn region(name: &'static str, end: QueryEnd) -> Region {
    Region {
        name,
        end,
        limits: Ok(usable()),
        asked: RefCell::default(),
    }
}

fn usable() -> WorkgroupLimits {
    WorkgroupLimits {
        is_enabled: true,
        is_enforced: true,
        bytes_per_query: Some(MAX_BYTES_PER_QUERY),
    }
}

fn error(kind: CallErrorKind) -> CallError {
    CallError::new(kind, "Call", "x", "x")
}

impl DrilledCatalog for Region {
    fn region_name(&self) -> &str {
        self.name
    }

    async fn columns(&self, id: &TableId) -> Result<BTreeSet<String>, CallError> {
        match id.to_string().as_str() {
            "sales.orders" => Ok(["id".to_owned()].into()),
            "sales.hidden" => Err(error(CallErrorKind::Denied)),
            _ => Err(error(CallErrorKind::NotFound)),
        }
    }
}

impl RoleQueries for Region {
    async fn workgroup(&self, name: &str) -> Result<WorkgroupLimits, CallError> {
        assert_eq!(name, "drill");
        self.limits.map_err(error)
    }

    async fn run(&self, role: &str, _: &str, statement: &Statement, _: Duration) -> QueryEnd {
        assert_eq!(role, ROLE);
        self.asked.borrow_mut().push(statement.sql.clone());
        self.end.clone()
    }
}

fn check(table: &str, query: DrillQuery, expect: DrillExpectation) -> DrillCheck {
    let name = |text: &str| Name::new(text).unwrap();
    DrillCheck {
        role: ROLE.to_owned(),
        table: TableId::new(name("sales"), name(table)),
        query,
        expect,
    }
}

fn column(name: &str) -> DrillQuery {
    DrillQuery::Columns(vec![name.to_owned()])
}

fn drill(
    standby: &Region,
    primary: &Region,
    checks: Vec<DrillCheck>,
) -> Result<Vec<DrillOutcome>, String> {
    let config = DrillConfig {
        workgroup: "drill".to_owned(),
        checks,
    };
    let of = |region| DrilledRegion {
        catalog: region,
        queries: region,
    };
    let drill = Drill {
        standby: of(standby),
        primary: of(primary),
        timer: &FixedClock,
        config: &config,
    };
    let results = ready(drill.run())?;
    Ok(results.iter().map(|result| result.outcome).collect())
}

#[test]
fn what_the_standby_does_not_have_is_not_asked_and_proves_no_refusal() {
    let refused = QueryEnd::Refused("denied".to_owned());
    let standby = region("ap-south-1", refused.clone());
    let primary = region("us-east-1", refused);
    use DrillExpectation::{Allowed, Denied};
    let checks = vec![
        check("orders", column("ID"), Denied),
        check("orders", column("salary"), Denied),
        check("orders", column("salary"), Allowed),
        check("gone", DrillQuery::Rows, Denied),
        check("gone", DrillQuery::Rows, Allowed),
        check("hidden", DrillQuery::Rows, Allowed),
    ];
    let outcomes = drill(&standby, &primary, checks).unwrap();
    use DrillOutcome::{Failed, Passed, Unknown};
    assert_eq!(
        outcomes,
        [Passed, Unknown, Failed, Unknown, Failed, Unknown]
    );
    let asked = standby.asked.borrow();
    assert_eq!(*asked, [r#"SELECT "ID" FROM "sales"."orders" LIMIT 1"#]);
    assert!(primary.asked.borrow().is_empty());
}

#[test]
fn counts_are_compared_between_the_regions() {
    let counted = |rows| QueryEnd::Answered(Some(rows));
    let compared = || {
        let rows = DrillQuery::RowsInBothRegions;
        vec![check("orders", rows, DrillExpectation::Allowed)]
    };
    let of = |here, there| {
        let standby = region("ap-south-1", counted(here));
        let primary = region("us-east-1", counted(there));
        let outcomes = drill(&standby, &primary, compared()).unwrap();
        assert_eq!(primary.asked.borrow().len(), 1);
        outcomes
    };
    assert_eq!(of(3, 3), [DrillOutcome::Passed]);
    assert_eq!(of(2, 3), [DrillOutcome::Failed]);

    // The workgroup of the primary is used only then.
    let standby = region("ap-south-1", counted(3));
    let mut primary = region("us-east-1", counted(3));
    primary.limits = Err(CallErrorKind::NotFound);
    let refused = drill(&standby, &primary, compared()).unwrap_err();
    assert_eq!(refused, "the workgroup drill does not exist in us-east-1");
    assert!(standby.asked.borrow().is_empty(), "no query was made");
    let rows = vec![check("orders", DrillQuery::Rows, DrillExpectation::Allowed)];
    assert_eq!(
        drill(&standby, &primary, rows).unwrap(),
        [DrillOutcome::Passed]
    );
}

#[test]
fn a_workgroup_without_a_byte_limit_of_its_own_is_not_used() {
    let cases = [
        (Ok(usable()), None),
        (
            Ok(WorkgroupLimits {
                bytes_per_query: None,
                ..usable()
            }),
            Some("has no limit"),
        ),
        (
            Ok(WorkgroupLimits {
                bytes_per_query: Some(MAX_BYTES_PER_QUERY + 1),
                ..usable()
            }),
            Some("has no limit"),
        ),
        (
            Ok(WorkgroupLimits {
                is_enforced: false,
                ..usable()
            }),
            Some("does not enforce"),
        ),
        (
            Ok(WorkgroupLimits {
                is_enabled: false,
                ..usable()
            }),
            Some("is disabled"),
        ),
        (Err(error(CallErrorKind::NotFound)), Some("does not exist")),
        (Err(error(CallErrorKind::Denied)), Some("could not be read")),
    ];
    for (limits, problem) in cases {
        let found = unusable_workgroup("drill", "ap-south-1", &limits);
        match problem {
            None => assert_eq!(found, None),
            Some(problem) => assert!(found.as_ref().unwrap().contains(problem), "{found:?}"),
        }
    }
}

#[test]
fn the_report_has_the_refusal_of_a_failover_or_its_steps() {
    let ledger = InMemoryLedger::default();
    let of = |site, accepts_loss| {
        let request = FailoverRequest {
            accepts_loss,
            forced: twinlake_core::failover::ForceableGate::EVERY.into(),
            ..FailoverRequest::default()
        };
        let preview = ready(preview(site, &ledger, &FixedClock, &request)).unwrap();
        validated(&preview, FixedClock.now())
    };
    let open = of(SiteId::B, true);
    assert_eq!((open.refusal, open.steps.len()), (None, 3));
    let closed = of(SiteId::B, false).refusal.unwrap();
    assert!(closed.contains("accepted-loss"), "{closed}");
    let primary = of(SiteId::A, true).refusal.unwrap();
    assert!(primary.contains("is the primary already"), "{primary}");
    assert!(
        ready(crate::Ledger::epoch_record(&ledger))
            .unwrap()
            .is_none()
    );
}
