//! Checks that CloudTrail records the calls that Twinlake learns of permission changes by.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{Checked, Reading, RegionReadings, Texts, Trail};

const NO_PERMISSION_EVENTS: &str = "EventBridge gets no event of permission changes: a revoke in the \
     primary reaches the standby only with the next resync.";

pub(super) fn check(checked: &mut Checked<'_>) {
    let readings = checked.readings;
    for region in [&readings.primary, &readings.standby] {
        let trails = match &region.trails {
            Reading::Unread(error) => {
                checked.add_unread(Check::Trail, &region.region, "trails", error);
                continue;
            }
            Reading::Read(trails) => trails,
        };
        if trails.iter().any(is_sound) {
            continue;
        }
        let mut is_explained = false;
        for trail in trails {
            is_explained |= explain(checked, region, trail);
        }
        if !is_explained {
            let texts = Texts {
                problem: "no trail records management events of this Region".to_owned(),
                effect: NO_PERMISSION_EVENTS,
                remedy: format!(
                    "Create a trail in {} that logs management events, those that read, too.",
                    region.region
                ),
            };
            checked.add(
                Severity::Blocker,
                Check::Trail,
                &region.region,
                "trails",
                texts,
            );
        }
    }
}

/// Whether a trail is known to record what is needed.
fn is_sound(trail: &Trail) -> bool {
    let selection = trail.selection.read();
    trail.is_logging.read() == Some(&true)
        && trail.delivery_error.is_none()
        && selection.is_some_and(|selection| selection.writes && selection.reads)
}

/// Reports what a trail that is not sound lacks; whether there is something to report.
fn explain(checked: &mut Checked<'_>, region: &RegionReadings, trail: &Trail) -> bool {
    let region = region.region.as_str();
    let (logging, selection) = match (&trail.is_logging, &trail.selection) {
        (Reading::Unread(error), _) | (_, Reading::Unread(error)) => {
            checked.add_unread(Check::Trail, region, &trail.arn, error);
            return true;
        }
        (Reading::Read(logging), Reading::Read(selection)) => (*logging, selection),
    };
    // A trail that records no management event, such as one of data events, is not meant for this.
    if !selection.writes && !selection.reads {
        return false;
    }
    let (severity, problem, effect, remedy) = if !logging {
        (
            Severity::Blocker,
            "logging is stopped".to_owned(),
            NO_PERMISSION_EVENTS,
            format!(
                "aws cloudtrail start-logging --region {region} --name {}",
                trail.arn
            ),
        )
    } else if !selection.writes {
        (
            Severity::Blocker,
            "the trail records only calls that read".to_owned(),
            NO_PERMISSION_EVENTS,
            selectors_remedy(region, &trail.arn),
        )
    } else if !selection.reads {
        (
            Severity::Warning,
            "the trail records only calls that write".to_owned(),
            "Denied reads and GetDataAccess are not recorded: Twinlake cannot report users that are \
             refused in the standby.",
            selectors_remedy(region, &trail.arn),
        )
    } else {
        (
            Severity::Warning,
            format!(
                "the last delivery failed: {}",
                trail.delivery_error.as_deref().unwrap_or_default()
            ),
            "The trail does not store its records.",
            format!(
                "Correct the policy of the trail's bucket or key; see aws cloudtrail get-trail-status \
                 --region {region} --name {}",
                trail.arn
            ),
        )
    };
    let texts = Texts {
        problem,
        effect,
        remedy,
    };
    checked.add(severity, Check::Trail, region, &trail.arn, texts);
    true
}

fn selectors_remedy(region: &str, arn: &str) -> String {
    format!(
        "aws cloudtrail put-event-selectors --region {region} --trail-name {arn} --event-selectors \
         '[{{\"ReadWriteType\":\"All\",\"IncludeManagementEvents\":true}}]' (it replaces the trail's \
         selectors: add those of data events)"
    )
}
