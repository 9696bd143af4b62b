//! Checks of the canaries: what they prove of S3 replication, in both directions.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::batch_job::shell_quoted;
use super::{BucketDirection, Checked, DeploymentReadings, Reading, Texts};
use crate::canary::{self, CanaryProblem, CanaryState, INTERVAL_SECS, ReceivedCanary};
use crate::topology::SiteId;

/// The function runs every five minutes: three runs may be missed.
const MAX_AGE_SECS: i64 = 4 * INTERVAL_SECS;

/// A rule whose canaries are later than this does not replicate in time. It is the default of the alert.
const MAX_LAG_SECS: i64 = 1800;

/// Where canaries go.
struct Direction<'a> {
    direction: BucketDirection,
    /// The site that sends them.
    source: SiteId,
    /// The Region that sends them.
    source_region: &'a str,
    /// The Region that receives them.
    region: &'a str,
}

pub(super) fn check(checked: &mut Checked<'_>, deployment: &DeploymentReadings) {
    let (readings, epoch) = (checked.readings, checked.epoch);
    let (primary, standby) = (&readings.primary.region, &readings.standby.region);
    let forward = Direction {
        direction: BucketDirection::Forward,
        source: epoch.primary(),
        source_region: primary,
        region: standby,
    };
    let reverse = Direction {
        direction: BucketDirection::Reverse,
        source: epoch.standby(),
        source_region: standby,
        region: primary,
    };
    for (direction, state) in [
        (forward, &deployment.standby_canaries),
        (reverse, &deployment.primary_canaries),
    ] {
        if !canary::routes(checked.policy, direction.source).is_empty() {
            check_direction(checked, deployment, &direction, state);
        }
    }
}

fn check_direction(
    checked: &mut Checked<'_>,
    deployment: &DeploymentReadings,
    direction: &Direction<'_>,
    state: &Reading<Option<CanaryState>>,
) {
    let received = match state {
        Reading::Unread(error) => {
            return checked.add_unread(Check::Canary, direction.region, "canaries", error);
        }
        Reading::Read(None) => {
            return add_function(checked, direction, "the canary function has not run");
        }
        Reading::Read(Some(state)) => &state.received,
    };
    let now = deployment.read_at;
    let age = now.secs() - received.at.secs();
    if age > MAX_AGE_SECS {
        let problem = format!("the canary function last looked {} min ago", age / 60);
        add_function(checked, direction, &problem);
    }
    if let Some(error) = &received.unread_list {
        let problem = format!("the list of the canaries of the peer could not be read: {error}");
        add_function(checked, direction, &problem);
    }
    for known in &received.canaries {
        check_canary(checked, direction, known, known.lag(now));
    }
    for unproven in &received.unproven {
        let texts = Texts {
            problem: format!("no canary proves it: {}", unproven.reason),
            effect: "Whether S3 replicates these objects shows only in the objects themselves.",
            remedy: "Look at a few of its objects with aws s3api head-object: ReplicationStatus."
                .to_owned(),
        };
        let (region, subject) = (direction.source_region, unproven.subject());
        checked.add(Severity::Note, Check::Canary, region, &subject, texts);
    }
}

fn add_function(checked: &mut Checked<'_>, direction: &Direction<'_>, problem: &str) {
    let texts = Texts {
        problem: problem.to_owned(),
        effect: "Whether S3 replicates to the buckets of this Region is not proved.",
        remedy: format!(
            "Look at the log and the schedule of the canary function in {}. It runs every five minutes.",
            direction.region
        ),
    };
    let region = direction.region;
    checked.add(Severity::Unknown, Check::Canary, region, "canaries", texts);
}

fn check_canary(
    checked: &mut Checked<'_>,
    direction: &Direction<'_>,
    known: &ReceivedCanary,
    lag: i64,
) {
    let is_late = lag >= MAX_LAG_SECS;
    let has_other_key = matches!(known.problem, Some(CanaryProblem::OtherKey(_)));
    let (severity, effect) = match (is_late || has_other_key, direction.direction) {
        (true, BucketDirection::Forward) => (
            Severity::Blocker,
            "New objects under this rule are missing in the standby, or unreadable there.",
        ),
        (true, BucketDirection::Reverse) => (
            Severity::Warning,
            "After a takeover new objects do not come back under this rule.",
        ),
        (false, _) if known.health.last.is_none() => (
            Severity::Unknown,
            "Whether S3 replicates under this rule is not proved yet.",
        ),
        (false, _) => return,
    };
    let canary = &known.canary;
    let problem = match known.health.last {
        Some(last) => format!(
            "the newest canary that arrived in the bucket {} was written at {}: {}",
            canary.destination,
            last.sent,
            known.describe()
        ),
        None => format!(
            "no canary has arrived in the bucket {} yet: {}",
            canary.destination,
            known.describe()
        ),
    };
    let texts = Texts {
        problem,
        effect,
        remedy: format!(
            "aws s3api head-object --region {} --bucket {} --key {} # its ReplicationStatus is PENDING, FAILED, or \
             missing if no rule covers it; then correct the rule, its role or the keys",
            direction.source_region,
            canary.bucket,
            shell_quoted(&canary.key)
        ),
    };
    let region = direction.source_region;
    checked.add(severity, Check::Canary, region, &canary.subject(), texts);
}
