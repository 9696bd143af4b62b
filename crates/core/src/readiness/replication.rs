//! Checks of the S3 replication between the locations of each pair, in both directions.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{
    BucketDirection, BucketReadings, Checked, Reading, ReplicationRule, S3EventTarget, Texts,
    Versioning,
};
use crate::location::{CopiedBy, Location, Mapped};

/// The event of a failed replication.
const FAILED_REPLICATION: &str = "s3:Replication:OperationFailedReplication";

/// Where S3 replicates from and to.
struct Route<'a> {
    direction: BucketDirection,
    region: &'a str,
    from: &'a Location,
    to: &'a Location,
    bucket: &'a BucketReadings,
}

pub(super) fn check(checked: &mut Checked<'_>) {
    let (readings, policy, epoch) = (checked.readings, checked.policy, checked.epoch);
    for pair in policy.locations.pairs() {
        let primary = pair.sites.get(epoch.primary());
        let standby = pair.sites.get(epoch.standby());
        let routes = [
            (
                BucketDirection::Forward,
                &readings.primary,
                primary,
                standby,
            ),
            (
                BucketDirection::Reverse,
                &readings.standby,
                standby,
                primary,
            ),
        ];
        for (direction, region, from, to) in routes {
            let Some(bucket) = region.buckets.get(from.bucket()) else {
                continue;
            };
            let route = Route {
                direction,
                region: &region.region,
                from,
                to,
                bucket,
            };
            if check_bucket(checked, &route) && pair.copied_by == CopiedBy::S3 {
                check_versioning(checked, &route);
                check_rules(checked, &route);
            }
        }
    }
}

/// Whether the bucket exists in its Region, so that further checks make sense.
fn check_bucket(checked: &mut Checked<'_>, route: &Route<'_>) -> bool {
    let bucket = route.from.bucket();
    let region = match &route.bucket.region {
        Reading::Unread(error) => {
            checked.add_unread(Check::Bucket, route.region, bucket, error);
            // The other reads say for themselves what they could not read.
            return true;
        }
        Reading::Read(region) => region.as_deref(),
    };
    let problem = match region {
        Some(region) if region == route.region => return true,
        Some(other) => format!(
            "the bucket is in {other}, and the policy places it in {}",
            route.region
        ),
        None => "there is no such bucket".to_owned(),
    };
    let remedy = match region {
        Some(_) => "Correct the [[location]] pair or the [[region]] in the policy.".to_owned(),
        None => format!(
            "Create the bucket in {}, or correct the [[location]] pair in the policy.",
            route.region
        ),
    };
    let texts = Texts {
        problem,
        effect: "The tables of this location pair cannot be read after a takeover.",
        remedy,
    };
    checked.add(
        Severity::Blocker,
        Check::Bucket,
        route.region,
        bucket,
        texts,
    );
    false
}

fn check_versioning(checked: &mut Checked<'_>, route: &Route<'_>) {
    let (bucket, region) = (route.from.bucket(), route.region);
    let problem = match &route.bucket.versioning {
        Reading::Unread(error) => {
            return checked.add_unread(Check::Versioning, region, bucket, error);
        }
        Reading::Read(Versioning::Enabled) => return,
        Reading::Read(Versioning::Off) => "versioning is off",
        Reading::Read(Versioning::Suspended) => "versioning is suspended",
    };
    let texts = Texts {
        problem: problem.to_owned(),
        effect: "S3 replicates neither from nor to this bucket.",
        remedy: format!(
            "aws s3api put-bucket-versioning --region {region} --bucket {bucket} \
             --versioning-configuration Status=Enabled"
        ),
    };
    checked.add(Severity::Blocker, Check::Versioning, region, bucket, texts);
}

fn check_rules(checked: &mut Checked<'_>, route: &Route<'_>) {
    let check = match route.direction {
        BucketDirection::Forward => Check::ReplicationRule,
        BucketDirection::Reverse => Check::ReverseReplicationRule,
    };
    let bucket = route.from.bucket();
    let rules = match &route.bucket.rules {
        Reading::Unread(error) => {
            return checked.add_unread(check, route.region, bucket, error);
        }
        Reading::Read(rules) => rules,
    };
    let prefix = route.from.prefix();
    let destination = route.to.bucket();
    let covering = rules
        .iter()
        .filter(|rule| rule.covers(&prefix, destination));
    // Of the rules to one destination that match an object, the one with the highest priority applies.
    match covering.max_by_key(|rule| rule.priority) {
        Some(rule) => {
            check_rule(checked, route, rule);
            // A rule of a higher priority that only matches a part decides for that part.
            let others = rules.iter().filter(|other| {
                other.covers_part_of(&prefix, destination) && other.priority > rule.priority
            });
            for other in others {
                check_rule(checked, route, other);
            }
        }
        None if covers_all_tables(checked, route, rules) => {
            for rule in rules {
                if rule.covers_part_of(&prefix, destination) {
                    check_rule(checked, route, rule);
                }
            }
        }
        None => add_missing_rule(checked, check, route, rules),
    }
}

/// Whether narrower rules cover the location of each table of this pair.
fn covers_all_tables(checked: &Checked<'_>, route: &Route<'_>, rules: &[ReplicationRule]) -> bool {
    let tables = tables_of(checked, route);
    tables.is_some_and(|tables| {
        !tables.is_empty() && uncovered_tables(&tables, route, rules).is_empty()
    })
}

/// The tables whose data lies in the location of a route, with the prefix of their keys; `None` if the
/// tables could not be read.
fn tables_of(checked: &Checked<'_>, route: &Route<'_>) -> Option<Vec<(String, String)>> {
    let tables = checked.readings.tables.read()?;
    let located = tables.iter().filter_map(|table| {
        let text = match route.direction {
            BucketDirection::Forward => table.location.clone(),
            BucketDirection::Reverse => {
                let locations = &checked.policy.locations;
                match locations.map(&table.location, checked.epoch.primary()) {
                    Ok(Mapped::To(text)) => text,
                    Ok(Mapped::Unmapped) | Err(_) => return None,
                }
            }
        };
        let location = Location::parse(&text).ok()?;
        let is_here = route.from.contains(&location);
        is_here.then(|| (table.table.to_string(), location.prefix()))
    });
    Some(located.collect())
}

/// The names of the tables that no rule covers.
fn uncovered_tables(
    tables: &[(String, String)],
    route: &Route<'_>,
    rules: &[ReplicationRule],
) -> Vec<String> {
    let is_covered = |prefix: &str| {
        rules
            .iter()
            .any(|rule| rule.covers(prefix, route.to.bucket()))
    };
    let uncovered = tables.iter().filter(|(_, prefix)| !is_covered(prefix));
    uncovered.map(|(table, _)| table.clone()).collect()
}

fn add_missing_rule(
    checked: &mut Checked<'_>,
    check: Check,
    route: &Route<'_>,
    rules: &[ReplicationRule],
) {
    let subject = route.from.without_trailing_slash();
    let uncovered = tables_of(checked, route).map(|tables| uncovered_tables(&tables, route, rules));
    let tables = uncovered
        .filter(|tables| !tables.is_empty())
        .map_or_else(String::new, |tables| {
            format!(
                "; {} without a rule: {}",
                count_tables(tables.len()),
                shorten(&tables)
            )
        });
    let problem = format!(
        "no enabled rule replicates the whole of it to the bucket {}{}{tables}",
        route.to.bucket(),
        describe_near_misses(route, rules),
    );
    let (severity, effect) = match route.direction {
        BucketDirection::Forward => (
            Severity::Blocker,
            "The standby lacks the objects of these tables.",
        ),
        BucketDirection::Reverse => (
            Severity::Warning,
            "After a takeover nothing copies new objects back, and such a rule cannot be made while \
             S3's control plane is impaired.",
        ),
    };
    let texts = Texts {
        problem,
        effect,
        remedy: rule_remedy(route, "add a rule, or set its Status to Enabled"),
    };
    checked.add(severity, check, route.region, &subject, texts);
}

/// The rules that nearly cover a location, and why they do not.
fn describe_near_misses(route: &Route<'_>, rules: &[ReplicationRule]) -> String {
    let prefix = route.from.prefix();
    let overlaps = |rule: &&ReplicationRule| {
        prefix.starts_with(&rule.prefix) || rule.prefix.starts_with(&prefix)
    };
    let mut reasons = Vec::new();
    for rule in rules.iter().filter(overlaps) {
        let id = &rule.id;
        let is_narrower = !prefix.starts_with(&rule.prefix);
        if !rule.is_enabled {
            reasons.push(format!("rule {id} is disabled"));
        } else if rule.destination != route.to.bucket() {
            reasons.push(format!(
                "rule {id} replicates to the bucket {}",
                rule.destination
            ));
        } else if rule.has_tag_filter {
            reasons.push(format!(
                "rule {id} replicates only objects with certain tags"
            ));
        } else if is_narrower {
            reasons.push(format!(
                "rule {id} replicates only the prefix {}",
                rule.prefix
            ));
        }
    }
    match reasons.is_empty() {
        true => String::new(),
        false => format!(" ({})", reasons.join(", ")),
    }
}

/// Checks the settings of a rule that applies to objects of a route.
fn check_rule(checked: &mut Checked<'_>, route: &Route<'_>, rule: &ReplicationRule) {
    let subject = rule_subject(route.from.bucket(), rule);
    let mut warn = |check, problem: &str, effect, change: &str| {
        let texts = Texts {
            problem: problem.to_owned(),
            effect,
            remedy: rule_remedy(route, change),
        };
        checked.add(Severity::Warning, check, route.region, &subject, texts);
    };
    if !rule.replicates_delete_markers {
        warn(
            Check::DeleteMarkers,
            "the rule does not replicate delete markers",
            "Files that were deleted in the primary stay readable in the standby: a table that rewrites \
             its files shows rows twice.",
            "set DeleteMarkerReplication.Status to Enabled; a rule with a tag filter cannot",
        );
    }
    if !rule.replicates_modifications {
        warn(
            Check::ReplicaModifications,
            "the rule does not replicate changes of replicas (ReplicaModifications)",
            "Tags and ACLs that change in one Region stay different in the other.",
            "set SourceSelectionCriteria.ReplicaModifications.Status to Enabled, in the rules of both \
             directions",
        );
    }
    if !rule.publishes_metrics {
        warn(
            Check::ReplicationMetrics,
            "the rule publishes no metrics",
            "S3 reports neither failed nor late replication: Twinlake learns of no missing object.",
            "set Destination.Metrics.Status to Enabled",
        );
    }
    check_notifications(checked, route);
}

fn check_notifications(checked: &mut Checked<'_>, route: &Route<'_>) {
    let bucket = route.from.bucket();
    let check = Check::ReplicationNotifications;
    let targets = match &route.bucket.notifications {
        Reading::Unread(error) => {
            return checked.add_unread(check, route.region, bucket, error);
        }
        Reading::Read(targets) => targets,
    };
    let is_failure = |event: &String| event == FAILED_REPLICATION || event == "s3:Replication:*";
    let prefix = route.from.prefix();
    let is_told = |target: &S3EventTarget| {
        let covers = prefix.starts_with(&target.prefix) && !target.has_suffix;
        covers && target.events.iter().any(is_failure)
    };
    if targets.iter().any(is_told) {
        return;
    }
    let texts = Texts {
        problem: format!(
            "the bucket sends no notification of {FAILED_REPLICATION} for all keys of this location"
        ),
        effect: "Twinlake learns of no object that S3 failed to replicate.",
        remedy: format!(
            "Send s3:Replication:* of the bucket {bucket} to the queue in the output \
             ReplicationQueue of the stack in {} (README, Deploy).",
            route.region
        ),
    };
    checked.add(Severity::Warning, check, route.region, bucket, texts);
}

/// How a rule is named in a finding.
pub(super) fn rule_subject(bucket: &str, rule: &ReplicationRule) -> String {
    format!("rule {} of the bucket {bucket}", rule.id)
}

fn rule_remedy(route: &Route<'_>, change: &str) -> String {
    change_rule(route.region, route.from.bucket(), change)
}

/// The steps that change a rule of a bucket: S3 replaces the whole configuration.
pub(super) fn change_rule(region: &str, bucket: &str, change: &str) -> String {
    format!(
        "aws s3api get-bucket-replication --region {region} --bucket {bucket} --query \
         ReplicationConfiguration > replication.json; in this file {change}; then aws s3api \
         put-bucket-replication --region {region} --bucket {bucket} --replication-configuration \
         file://replication.json"
    )
}

/// "1 table" or "3 tables".
pub(crate) fn count_tables(count: usize) -> String {
    match count {
        1 => "1 table".to_owned(),
        count => format!("{count} tables"),
    }
}

/// The number of names that a finding lists.
const MAX_NAMES: usize = 5;

/// A list of names, cut after the first few.
pub(crate) fn shorten(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(MAX_NAMES).map(String::as_str).collect();
    match names.len().saturating_sub(MAX_NAMES) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
