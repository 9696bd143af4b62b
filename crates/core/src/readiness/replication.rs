//! Checks of the S3 replication between the locations of each pair, in both directions.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{
    BucketDirection, BucketReadings, Checked, Reading, ReplicationRule, RuleGap, S3EventTarget,
    Texts, Versioning,
};
use crate::location::{CopiedBy, Location, Mapped};
use crate::render::counted;

/// The event of a failed replication.
const FAILED_REPLICATION: &str = "s3:Replication:OperationFailedReplication";

/// Where S3 replicates from and to.
pub(super) struct Route<'a> {
    pub(super) direction: BucketDirection,
    pub(super) region: &'a str,
    pub(super) from: &'a Location,
    pub(super) to: &'a Location,
    pub(super) bucket: &'a BucketReadings,
}

/// The routes between the locations of the pairs that S3 replicates, and of those that something else
/// copies: without the ones whose bucket was not read.
fn all_routes<'a>(checked: &Checked<'a>) -> Vec<(CopiedBy, Route<'a>)> {
    let (readings, policy, epoch) = (checked.readings, checked.policy, checked.epoch);
    let mut routes = Vec::new();
    for pair in policy.locations.pairs() {
        let primary = pair.sites.get(epoch.primary());
        let standby = pair.sites.get(epoch.standby());
        let (forward, reverse) = (BucketDirection::Forward, BucketDirection::Reverse);
        for (direction, region, from, to) in [
            (forward, &readings.primary, primary, standby),
            (reverse, &readings.standby, standby, primary),
        ] {
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
            routes.push((pair.copied_by, route));
        }
    }
    routes
}

/// The routes that S3 replicates, from buckets that are where the policy places them.
pub(super) fn routes<'a>(checked: &Checked<'a>) -> Vec<Route<'a>> {
    let routes = all_routes(checked).into_iter();
    let replicated = routes.filter(|(copied_by, route)| {
        *copied_by == CopiedBy::S3 && !route.bucket.is_missing_in(route.region)
    });
    replicated.map(|(_, route)| route).collect()
}

pub(super) fn check(checked: &mut Checked<'_>) {
    for (_, route) in all_routes(checked) {
        check_bucket(checked, &route);
    }
    for route in routes(checked) {
        check_versioning(checked, &route);
        check_rules(checked, &route);
    }
}

/// Checks that the bucket exists in its Region.
fn check_bucket(checked: &mut Checked<'_>, route: &Route<'_>) {
    let bucket = route.from.bucket();
    let region = match &route.bucket.region {
        Reading::Unread(error) => {
            return checked.add_unread(Check::Bucket, route.region, bucket, error);
        }
        Reading::Read(region) => region.as_deref(),
    };
    let problem = match region {
        Some(region) if region == route.region => return,
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
    // S3 copies an object under its own key.
    if route.from.prefix() != route.to.prefix() {
        return add_other_prefix(checked, check, route);
    }
    let deciding = deciding_rules(checked, route, rules);
    if deciding.is_empty() {
        add_missing_rule(checked, check, route, rules);
    }
    for rule in deciding {
        check_rule(checked, route, rule);
    }
}

/// The rules that decide how the objects of a route are replicated: the covering one with the highest
/// priority, and those of a higher priority that match a part; or else narrower rules that cover the
/// location of each table. None if objects of tables are not covered.
pub(super) fn deciding_rules<'a>(
    checked: &Checked<'_>,
    route: &Route<'_>,
    rules: &'a [ReplicationRule],
) -> Vec<&'a ReplicationRule> {
    let (prefix, destination) = (route.from.prefix(), route.to.bucket());
    let covering = rules
        .iter()
        .filter(|rule| rule.covers(&prefix, destination));
    // Of the rules to one destination that match an object, the one with the highest priority applies.
    let covering = covering.max_by_key(|rule| rule.priority);
    if covering.is_none() && !covers_all_tables(checked, route, rules) {
        return Vec::new();
    }
    let covers_part = |rule: &&ReplicationRule| {
        let is_higher = covering.is_none_or(|covering| rule.priority > covering.priority);
        is_higher && rule.covers_part_of(&prefix, destination)
    };
    covering
        .into_iter()
        .chain(rules.iter().filter(covers_part))
        .collect()
}

fn add_other_prefix(checked: &mut Checked<'_>, check: Check, route: &Route<'_>) {
    let severity = match route.direction {
        BucketDirection::Forward => Severity::Blocker,
        BucketDirection::Reverse => return,
    };
    let texts = Texts {
        problem: format!(
            "S3 copies each object under its own key, and the pair maps {} to {}",
            quoted_prefix(route.from),
            quoted_prefix(route.to)
        ),
        effect: "The tables of the standby are empty.",
        remedy: "Give both locations of the pair the same path, or add copied-by = \"other\" if something else \
                 copies the objects."
            .to_owned(),
    };
    let subject = route.from.without_trailing_slash();
    checked.add(severity, check, route.region, &subject, texts);
}

fn quoted_prefix(location: &Location) -> String {
    match location.prefix().as_str() {
        "" => "the whole bucket".to_owned(),
        prefix => format!("the prefix {prefix}"),
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
                match locations.counterpart_from(checked.epoch.primary(), &table.location) {
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
        remedy: format!(
            "twinlake setup storage --policy FILE --attach {} --replication-role ARN # adds a rule, and \
             replaces none: enable or widen one that is there",
            route.from.bucket()
        ),
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
    // Whether KMS encrypts objects is decided by the objects that are there.
    for gap in rule.gaps(false) {
        let Some(found) = describe_gap(gap, route, rule) else {
            continue;
        };
        let texts = Texts {
            problem: found.problem,
            effect: found.effect,
            remedy: change_rule(route.region, route.from.bucket(), rule, found.change),
        };
        checked.add(found.severity, found.check, route.region, &subject, texts);
    }
    check_notifications(checked, route);
}

/// A gap of a rule as a finding, with the change of the rule that closes it.
struct DescribedGap {
    severity: Severity,
    check: Check,
    problem: String,
    effect: &'static str,
    change: &'static str,
}

/// `None` for a gap that another check reports.
fn describe_gap(gap: RuleGap, route: &Route<'_>, rule: &ReplicationRule) -> Option<DescribedGap> {
    let warning = |check, problem: &str, effect, change| DescribedGap {
        severity: Severity::Warning,
        check,
        problem: problem.to_owned(),
        effect,
        change,
    };
    Some(match gap {
        RuleGap::ArchiveClass => DescribedGap {
            severity: match route.direction {
                BucketDirection::Forward => Severity::Blocker,
                BucketDirection::Reverse => Severity::Warning,
            },
            check: Check::StorageClass,
            problem: format!(
                "the rule stores the replicas in the class {}",
                rule.archive_class.as_deref().unwrap_or_default()
            ),
            effect: "Queries fail on the replicas, which have to be restored first.",
            change: "remove Destination.StorageClass",
        },
        RuleGap::DeleteMarkers => warning(
            Check::DeleteMarkers,
            "the rule does not replicate delete markers",
            "Files that were deleted in the primary stay readable in the standby: a table that rewrites \
             its files shows rows twice.",
            "set DeleteMarkerReplication.Status to Enabled; a rule with a tag filter cannot",
        ),
        RuleGap::ReplicaModifications => warning(
            Check::ReplicaModifications,
            "the rule does not replicate changes of replicas (ReplicaModifications)",
            "Tags and ACLs that change in one Region stay different in the other.",
            "set SourceSelectionCriteria.ReplicaModifications.Status to Enabled, in the rules of both \
             directions",
        ),
        RuleGap::KmsObjects => return None,
        RuleGap::Metrics => warning(
            Check::ReplicationMetrics,
            "the rule publishes no metrics",
            "S3 reports neither failed nor late replication: Twinlake learns of no missing object.",
            "set Destination.Metrics.Status to Enabled",
        ),
    })
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
    let told: Vec<&S3EventTarget> = targets.iter().filter(|target| is_told(target)).collect();
    if told.iter().any(|target| target.may_reach_twinlake()) {
        return;
    }
    let texts = Texts {
        problem: match told.first() {
            None => format!(
                "the bucket sends no notification of {FAILED_REPLICATION} for all keys of this location"
            ),
            Some(other) => format!(
                "the bucket sends {FAILED_REPLICATION} to {}, which is no queue of a Twinlake stack",
                other.target
            ),
        },
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

/// The steps that change a rule of a bucket: S3 replaces the whole configuration. A rule of version 1 takes
/// most settings only in the form of version 2.
pub(super) fn change_rule(
    region: &str,
    bucket: &str,
    rule: &ReplicationRule,
    change: &str,
) -> String {
    let id = &rule.id;
    let version = match rule.is_version_1 {
        true => {
            " (first give each rule of the file Filter, Priority and DeleteMarkerReplication in place of \
             Prefix)"
        }
        false => "",
    };
    format!(
        "aws s3api get-bucket-replication --region {region} --bucket {bucket} --output json --query \
         ReplicationConfiguration > replication.json # in the rule {id}{version} {change}; then: aws s3api \
         put-bucket-replication --region {region} --bucket {bucket} --replication-configuration \
         file://replication.json"
    )
}

/// "1 table" or "3 tables".
pub(crate) fn count_tables(count: usize) -> String {
    counted(count, "table")
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
