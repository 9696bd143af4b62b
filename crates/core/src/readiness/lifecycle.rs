//! Checks that the standby's lifecycle rules delete and archive no object that the primary keeps longer, and delete
//! what the primary deletes. S3 does not replicate
//! expirations, and a replica keeps the creation time of its source object.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{Checked, LifecycleRule, Reading, Texts};
use crate::location::{CopiedBy, Location};

pub(super) fn check(checked: &mut Checked<'_>) {
    let (readings, policy, epoch) = (checked.readings, checked.policy, checked.epoch);
    let replicated = policy.locations.pairs().iter();
    for pair in replicated.filter(|pair| pair.copied_by == CopiedBy::S3) {
        let primary = pair.sites.get(epoch.primary());
        let standby = pair.sites.get(epoch.standby());
        let buckets = (
            readings.primary.buckets.get(primary.bucket()),
            readings.standby.buckets.get(standby.bucket()),
        );
        let (Some(source), Some(replica)) = buckets else {
            continue;
        };
        let (of_primary, of_standby) = (&readings.primary.region, &readings.standby.region);
        if source.is_missing_in(of_primary) || replica.is_missing_in(of_standby) {
            continue;
        }
        let rules = [
            (&source.lifecycle, of_primary, primary),
            (&replica.lifecycle, of_standby, standby),
        ];
        for (rules, region, location) in rules {
            if let Reading::Unread(error) = rules {
                checked.add_unread(Check::Lifecycle, region, location.bucket(), error);
            }
        }
        if let (Some(source), Some(replica)) = (source.lifecycle.read(), replica.lifecycle.read()) {
            compare(checked, standby, source, replica);
        }
    }
}

fn compare(
    checked: &mut Checked<'_>,
    standby: &Location,
    source: &[LifecycleRule],
    replica: &[LifecycleRule],
) {
    let prefix = standby.prefix();
    let concerns = |rule: &&LifecycleRule| {
        let overlaps = prefix.starts_with(&rule.prefix) || rule.prefix.starts_with(&prefix);
        rule.is_enabled && overlaps
    };
    for rule in replica.iter().filter(concerns) {
        if rule.expires_objects && !acts_as_soon(source, rule, &prefix, EXPIRATION) {
            add_early_expiration(checked, standby.bucket(), rule);
        }
        if let Some(class) = &rule.archive_class
            && !acts_as_soon(source, rule, &prefix, ARCHIVING)
        {
            add_archive(checked, standby.bucket(), rule, class);
        }
    }
    for rule in source.iter().filter(concerns) {
        if rule.expires_objects && !acts_as_soon(replica, rule, &prefix, EXPIRATION) {
            add_late_expiration(checked, standby.bucket(), rule);
        }
    }
}

/// The age in days at which a rule acts on all objects with its prefix.
type AgeInDays = fn(&LifecycleRule) -> Option<i32>;

const EXPIRATION: AgeInDays = |rule| rule.expires_after_days;
const ARCHIVING: AgeInDays = |rule| rule.archives_after_days;

/// Whether rules act on the objects of a location that a rule acts on, as soon as it or sooner.
fn acts_as_soon(
    rules: &[LifecycleRule],
    rule: &LifecycleRule,
    location: &str,
    age_in_days: AgeInDays,
) -> bool {
    // Of the rule's objects only those of the location matter.
    let prefix = match rule.prefix.starts_with(location) {
        true => rule.prefix.as_str(),
        false => location,
    };
    let mut enabled = rules.iter().filter(|other| other.is_enabled);
    enabled.any(|other| {
        let days = (age_in_days(other), age_in_days(rule));
        let is_as_soon = matches!(days, (Some(other), Some(days)) if other <= days);
        other.definition == rule.definition || (is_as_soon && prefix.starts_with(&other.prefix))
    })
}

fn add_early_expiration(checked: &mut Checked<'_>, bucket: &str, rule: &LifecycleRule) {
    let texts = Texts {
        problem: "the rule deletes objects that the rules of the primary's bucket keep longer"
            .to_owned(),
        effect: "Queries in the standby miss these objects.",
        remedy: format!(
            "Remove or lengthen this rule of {bucket}; {}",
            see(checked, bucket)
        ),
    };
    add(checked, Severity::Blocker, bucket, rule, texts);
}

fn add_archive(checked: &mut Checked<'_>, bucket: &str, rule: &LifecycleRule, class: &str) {
    let texts = Texts {
        problem: format!(
            "the rule moves objects to {class} that the primary's bucket keeps, or keeps longer"
        ),
        effect: "Queries in the standby fail on objects that have to be restored first.",
        remedy: format!(
            "Remove or lengthen this rule of {bucket}; {}",
            see(checked, bucket)
        ),
    };
    add(checked, Severity::Blocker, bucket, rule, texts);
}

fn add_late_expiration(checked: &mut Checked<'_>, bucket: &str, rule: &LifecycleRule) {
    let texts = Texts {
        problem: format!(
            "it lacks the expiration of the primary's rule {}, or has it later",
            rule.id
        ),
        effect: "S3 does not replicate expirations: queries in the standby show objects that the primary has \
                 deleted.",
        remedy: format!("Add the rule to {bucket}; {}", see(checked, bucket)),
    };
    let region = &checked.readings.standby.region;
    checked.add(Severity::Warning, Check::Lifecycle, region, bucket, texts);
}

fn see(checked: &Checked<'_>, bucket: &str) -> String {
    let region = &checked.readings.standby.region;
    format!("see aws s3api get-bucket-lifecycle-configuration --region {region} --bucket {bucket}")
}

fn add(
    checked: &mut Checked<'_>,
    severity: Severity,
    bucket: &str,
    rule: &LifecycleRule,
    texts: Texts,
) {
    let region = &checked.readings.standby.region;
    let subject = format!("lifecycle rule {} of the bucket {bucket}", rule.id);
    checked.add(severity, Check::Lifecycle, region, &subject, texts);
}
