//! Checks of Twinlake's own deployment.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{Checked, DeployedPolicy, DeploymentReadings, Reading, Texts, canaries};
use crate::render::{counted, one_or_many};

pub(super) fn check(checked: &mut Checked<'_>) {
    let readings = checked.readings;
    let Some(deployment) = &readings.deployment else {
        return;
    };
    let mut is_deployed = true;
    for (region, policy) in [
        (&readings.primary.region, &deployment.primary_policy),
        (&readings.standby.region, &deployment.standby_policy),
    ] {
        is_deployed &= check_policy(checked, region, policy);
    }
    if is_deployed {
        check_resync(checked, deployment);
        check_frozen_grants(checked, deployment);
        canaries::check(checked, deployment);
    }
}

/// Checks the policy in the ledger of a Region; whether it is this one.
fn check_policy(checked: &mut Checked<'_>, region: &str, policy: &Reading<DeployedPolicy>) -> bool {
    let push = "twinlake policy push FILE";
    let (problem, remedy) = match policy {
        Reading::Unread(error) => {
            checked.add_unread(Check::Deployment, region, "ledger", error);
            return false;
        }
        Reading::Read(DeployedPolicy::Digest(digest)) if digest == checked.policy.digest() => {
            return true;
        }
        Reading::Read(DeployedPolicy::Digest(_)) => ("the ledger holds another policy", push),
        Reading::Read(DeployedPolicy::None) => ("no policy was pushed to the ledger", push),
        Reading::Read(DeployedPolicy::NoLedger) => (
            "there is no ledger: Twinlake is not deployed in this Region",
            "Deploy the stacks as docs/deploy.md says, then run twinlake policy push FILE.",
        ),
    };
    let texts = Texts {
        problem: problem.to_owned(),
        effect: "The functions replicate nothing until the ledgers of both Regions hold one policy.",
        remedy: remedy.to_owned(),
    };
    checked.add(
        Severity::Blocker,
        Check::Deployment,
        region,
        "ledger",
        texts,
    );
    false
}

fn check_resync(checked: &mut Checked<'_>, deployment: &DeploymentReadings) {
    let region = &checked.readings.standby.region;
    let limit = deployment.verified_age_limit_secs;
    let (severity, problem, effect) = match &deployment.seconds_since_verified {
        Reading::Unread(error) => {
            return checked.add_unread(Check::Resync, region, "resync", error);
        }
        Reading::Read(None) => (
            Severity::Blocker,
            "no resync has completed".to_owned(),
            "The standby has only what events have named since the deployment.",
        ),
        Reading::Read(Some(seconds)) if *seconds > limit => (
            Severity::Warning,
            format!("the last complete resync began {} h ago", seconds / 3600),
            "What no event reported since then is missing.",
        ),
        Reading::Read(Some(_)) => return,
    };
    let texts = Texts {
        problem,
        effect,
        remedy: format!("twinlake resync --region {region}; see twinlake status --region {region}"),
    };
    checked.add(severity, Check::Resync, region, "resync", texts);
}

fn check_frozen_grants(checked: &mut Checked<'_>, deployment: &DeploymentReadings) {
    let readings = checked.readings;
    let (primary, standby) = (&readings.primary.region, &readings.standby.region);
    let count = match &deployment.abandoned_grants {
        Reading::Unread(error) => {
            return checked.add_unread(Check::FrozenGrants, standby, "ledger", error);
        }
        Reading::Read(0) => return,
        Reading::Read(count) => *count,
    };
    let texts = Texts {
        problem: format!(
            "{} to write {} revoked in {primary} for a switchover that was undone, or has not gone on for an hour",
            counted(count, "grant"),
            one_or_many(count, "is", "are")
        ),
        effect: "Their principals cannot write in the primary. The standby keeps the grants, whatever is revoked in the \
                 primary meanwhile.",
        remedy: format!(
            "twinlake switchover --region {standby} --undo grants them again; or run the switchover again"
        ),
    };
    checked.add(
        Severity::Warning,
        Check::FrozenGrants,
        primary,
        "switchover",
        texts,
    );
}
