//! Checks that CloudTrail records the calls that Twinlake learns of permission changes by. Several trails
//! may record them together.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{Checked, Reading, RegionReadings, Texts, Trail};
use crate::arn::Arn;

const NO_PERMISSION_EVENTS: &str = "EventBridge gets no event of permission changes: a revoke in this \
     Region, while it is the primary, reaches the other one only with the next resync.";
const NO_READ_EVENTS: &str = "Denied reads and GetDataAccess are not recorded: Twinlake cannot report users \
     that are refused in the standby.";

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
        let records = |of_type: fn(&Trail) -> bool| {
            let mut logging = trails.iter().filter(|trail| is_logging(trail));
            logging.any(of_type)
        };
        let (writes, reads) = (records(selects_writes), records(selects_reads));
        if writes && reads {
            add_delivery_errors(checked, region, trails);
            continue;
        }
        let mut is_explained = false;
        for trail in trails {
            is_explained |= add_unread(checked, region, trail);
        }
        if !is_explained {
            add_missing_events(checked, region, trails, writes);
        }
    }
}

fn is_logging(trail: &Trail) -> bool {
    trail.is_logging.read() == Some(&true)
}

fn selects_writes(trail: &Trail) -> bool {
    trail
        .selection
        .read()
        .is_some_and(|selection| selection.writes)
}

fn selects_reads(trail: &Trail) -> bool {
    trail
        .selection
        .read()
        .is_some_and(|selection| selection.reads)
}

/// Reports a trail of which it is not known whether it records what is needed.
fn add_unread(checked: &mut Checked<'_>, region: &RegionReadings, trail: &Trail) -> bool {
    let error = match (&trail.is_logging, &trail.selection) {
        (Reading::Unread(error), _) | (_, Reading::Unread(error)) => error,
        (Reading::Read(_), Reading::Read(_)) => return false,
    };
    checked.add_unread(Check::Trail, &region.region, &trail.arn, error);
    true
}

/// Reports what all trails together lack: writes, or else reads.
fn add_missing_events(
    checked: &mut Checked<'_>,
    region: &RegionReadings,
    trails: &[Trail],
    writes: bool,
) {
    let name = region.region.as_str();
    let selects: fn(&Trail) -> bool = if writes {
        selects_reads
    } else {
        selects_writes
    };
    let stopped = trails
        .iter()
        .find(|trail| !is_logging(trail) && selects(trail));
    let logging = trails
        .iter()
        .find(|trail| is_logging(trail) && (selects_writes(trail) || selects_reads(trail)));
    let (trail, problem, remedy) = match (stopped, logging) {
        (Some(trail), _) => (
            trail.arn.as_str(),
            "logging is stopped".to_owned(),
            start_logging_remedy(name, trail),
        ),
        (None, Some(trail)) => (
            trail.arn.as_str(),
            format!(
                "the trail records only calls that {}",
                if writes { "write" } else { "read" }
            ),
            select_all_events_remedy(name, trail),
        ),
        (None, None) => (
            "trails",
            "no trail records management events of this Region".to_owned(),
            format!(
                "Run make deploy-audit, or create a trail in {name} that logs management events, those that \
                 read, too."
            ),
        ),
    };
    let (severity, effect) = match writes {
        true => (Severity::Warning, NO_READ_EVENTS),
        false => (Severity::Blocker, NO_PERMISSION_EVENTS),
    };
    let texts = Texts {
        problem,
        effect,
        remedy,
    };
    checked.add(severity, Check::Trail, name, trail, texts);
}

fn add_delivery_errors(checked: &mut Checked<'_>, region: &RegionReadings, trails: &[Trail]) {
    for trail in trails.iter().filter(|trail| is_logging(trail)) {
        let Some(error) = &trail.delivery_error else {
            continue;
        };
        let name = region.region.as_str();
        let texts = Texts {
            problem: format!("the last delivery failed: {error}"),
            effect: "The trail does not store its records.",
            remedy: format!(
                "Correct the policy of the trail's bucket or key; see aws cloudtrail get-trail-status \
                 --region {name} --name {}",
                trail.arn
            ),
        };
        checked.add(Severity::Warning, Check::Trail, name, &trail.arn, texts);
    }
}

/// The Region that a trail is managed from, which may be another one than it records.
fn home_region<'a>(region: &'a str, trail: &'a Trail) -> &'a str {
    Arn::parse(&trail.arn).map_or(region, |arn| arn.region)
}

fn start_logging_remedy(region: &str, trail: &Trail) -> String {
    if trail.is_of_organization {
        return ASK_ORGANIZATION.to_owned();
    }
    let region = home_region(region, trail);
    format!(
        "aws cloudtrail start-logging --region {region} --name {}",
        trail.arn
    )
}

const ASK_ORGANIZATION: &str = "Ask for the change in the management account of the organization, or run make \
     deploy-audit.";

fn select_all_events_remedy(region: &str, trail: &Trail) -> String {
    if trail.is_of_organization {
        return ASK_ORGANIZATION.to_owned();
    }
    let region = home_region(region, trail);
    let arn = &trail.arn;
    if trail.has_advanced_selectors {
        return format!(
            "Add a selector of all management events to those that aws cloudtrail get-event-selectors --region \
             {region} --trail-name {arn} shows."
        );
    }
    format!(
        "aws cloudtrail put-event-selectors --region {region} --trail-name {arn} --event-selectors \
         '[{{\"ReadWriteType\":\"All\",\"IncludeManagementEvents\":true}}]' # replaces the selectors: add \
         those of data events"
    )
}
