//! Checks of lifecycle rules of the standby. A replica keeps the creation time of its source object, so
//! a rule of the destination counts from there.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{Checked, LifecycleRule, Reading, Texts};

pub(super) fn check(checked: &mut Checked<'_>) {
    let (readings, policy, epoch) = (checked.readings, checked.policy, checked.epoch);
    for pair in policy.locations.pairs() {
        let primary = pair.sites.get(epoch.primary());
        let standby = pair.sites.get(epoch.standby());
        let buckets = (
            readings.primary.buckets.get(primary.bucket()),
            readings.standby.buckets.get(standby.bucket()),
        );
        let (Some(source), Some(replica)) = buckets else {
            continue;
        };
        let region = &readings.standby.region;
        if source.is_missing_in(&readings.primary.region) || replica.is_missing_in(region) {
            continue;
        }
        let rules = match &replica.lifecycle {
            Reading::Unread(error) => {
                checked.add_unread(Check::Lifecycle, region, standby.bucket(), error);
                continue;
            }
            Reading::Read(rules) => rules,
        };
        let of_source = match &source.lifecycle {
            Reading::Unread(error) => {
                checked.add_unread(
                    Check::Lifecycle,
                    &readings.primary.region,
                    primary.bucket(),
                    error,
                );
                continue;
            }
            Reading::Read(rules) => rules,
        };
        let prefix = standby.prefix();
        let overlaps = |rule: &&LifecycleRule| {
            let overlaps = prefix.starts_with(&rule.prefix) || rule.prefix.starts_with(&prefix);
            rule.is_enabled && overlaps
        };
        let is_in_primary = |rule: &LifecycleRule| {
            let mut rules = of_source.iter().filter(|other| other.is_enabled);
            rules.any(|other| other.definition == rule.definition)
        };
        for rule in rules
            .iter()
            .filter(overlaps)
            .filter(|rule| !is_in_primary(rule))
        {
            add_rule(checked, region, standby.bucket(), rule);
        }
    }
}

fn add_rule(checked: &mut Checked<'_>, region: &str, bucket: &str, rule: &LifecycleRule) {
    let (problem, effect) = match (rule.expires_objects, &rule.archive_class) {
        (true, _) => (
            "the rule expires objects, and the primary's bucket has no such rule".to_owned(),
            "The standby loses objects that the primary keeps.",
        ),
        (false, Some(class)) => (
            format!("the rule moves objects to {class}, and the primary's bucket has no such rule"),
            "Queries in the standby fail on objects that have to be restored first.",
        ),
        (false, None) => return,
    };
    let texts = Texts {
        problem,
        effect,
        remedy: format!(
            "Give both buckets the same lifecycle rules; compare aws s3api \
             get-bucket-lifecycle-configuration --region {region} --bucket {bucket} with that of the \
             primary."
        ),
    };
    let subject = format!("lifecycle rule {} of the bucket {bucket}", rule.id);
    checked.add(Severity::Blocker, Check::Lifecycle, region, &subject, texts);
}
