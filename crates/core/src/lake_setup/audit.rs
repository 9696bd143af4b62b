//! The trail of one Region, as `stacks/audit.yaml` makes it.

use super::{ExpirationRule, SetupState, default_key_statement, document, only_tls_statement};
use crate::readiness::Trail;
use crate::topology::AwsPartition;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A trail of one Region, with its bucket and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditTrail {
    /// The name of the trail, and the beginning of the name of its bucket.
    pub name: String,
    /// The account.
    pub account: String,
    /// The Region.
    pub region: String,
}

impl AuditTrail {
    fn partition(&self) -> AwsPartition {
        AwsPartition::of_region(&self.region)
    }

    /// The ARN of the trail.
    #[must_use]
    pub fn arn(&self) -> String {
        let (region, account) = (&self.region, &self.account);
        format!(
            "arn:{}:cloudtrail:{region}:{account}:trail/{}",
            self.partition(),
            self.name
        )
    }

    /// The name of the bucket of the trail.
    #[must_use]
    pub fn bucket(&self) -> String {
        format!("{}-{}-{}", self.name, self.account, self.region)
    }

    /// The alias of the key.
    #[must_use]
    pub fn key_alias(&self) -> String {
        format!("alias/{}", self.name)
    }

    /// The description of the key.
    #[must_use]
    pub fn key_description(&self) -> String {
        format!("The log files of the trail {}.", self.name)
    }

    /// The policy of the key, with which CloudTrail encrypts the log files.
    #[must_use]
    pub fn key_policy(&self) -> Value {
        let (partition, account) = (self.partition(), &self.account);
        let trail = json!({"aws:SourceArn": self.arn()});
        document(vec![
            default_key_statement(partition, account),
            json!({
                "Sid": "EncryptLogFiles",
                "Effect": "Allow",
                "Principal": {"Service": "cloudtrail.amazonaws.com"},
                "Action": "kms:GenerateDataKey*",
                "Resource": "*",
                "Condition": {
                    "StringEquals": trail,
                    "StringLike": {"kms:EncryptionContext:aws:cloudtrail:arn":
                        format!("arn:{partition}:cloudtrail:*:{account}:trail/*")},
                },
            }),
            json!({
                "Sid": "DescribeKey",
                "Effect": "Allow",
                "Principal": {"Service": "cloudtrail.amazonaws.com"},
                "Action": "kms:DescribeKey",
                "Resource": "*",
                "Condition": {"StringEquals": trail},
            }),
        ])
    }

    /// The policy of the bucket of the trail.
    #[must_use]
    pub fn bucket_policy(&self) -> Value {
        let bucket = self.bucket_arn(&self.bucket());
        let mut statements = vec![only_tls_statement(&bucket)];
        statements.extend(self.delivery_statements(&self.bucket()));
        document(statements)
    }

    fn bucket_arn(&self, bucket: &str) -> String {
        format!("arn:{}:s3:::{bucket}", self.partition())
    }

    /// The statements of a bucket's policy that let CloudTrail store the log files of this trail.
    fn delivery_statements(&self, bucket: &str) -> [Value; 2] {
        let (bucket, trail) = (self.bucket_arn(bucket), self.arn());
        [
            json!({
                "Sid": "CloudTrailChecksTheBucket",
                "Effect": "Allow",
                "Principal": {"Service": "cloudtrail.amazonaws.com"},
                "Action": "s3:GetBucketAcl",
                "Resource": bucket,
                "Condition": {"StringEquals": {"aws:SourceArn": trail}},
            }),
            json!({
                "Sid": "CloudTrailWrites",
                "Effect": "Allow",
                "Principal": {"Service": "cloudtrail.amazonaws.com"},
                "Action": "s3:PutObject",
                "Resource": format!("{bucket}/AWSLogs/{}/*", self.account),
                "Condition": {"StringEquals": {
                    "aws:SourceArn": trail,
                    "s3:x-amz-acl": "bucket-owner-full-control",
                }},
            }),
        ]
    }

    /// The lifecycle rules of the bucket.
    #[must_use]
    pub fn lifecycle(&self, log_days: i32) -> Vec<ExpirationRule> {
        vec![ExpirationRule {
            id: "log-files".to_owned(),
            object_days: Some(log_days),
            noncurrent_days: Some(1),
            ..ExpirationRule::default()
        }]
    }
}

/// The policy of an existing bucket with the statements that it lacks for the trail; `None` if it has them.
/// Other statements stay as they are.
///
/// # Errors
/// The policy is no JSON object with statements.
pub fn attached_bucket_policy(
    policy: Option<&str>,
    trail: &AuditTrail,
    bucket: &str,
) -> Result<Option<Value>, String> {
    let mut found = match policy {
        Some(text) => {
            serde_json::from_str(text).map_err(|error| format!("the policy is no JSON: {error}"))?
        }
        None => document(Vec::new()),
    };
    let statements = match found.get_mut("Statement") {
        Some(Value::Array(statements)) => statements,
        // S3 also takes a statement in place of a list.
        Some(single @ Value::Object(_)) => {
            let statement = single.take();
            *single = Value::Array(vec![statement]);
            match single.as_array_mut() {
                Some(statements) => statements,
                None => return Err("the policy has no statements".to_owned()),
            }
        }
        Some(_) | None => return Err("the policy has no statements".to_owned()),
    };
    let region = &trail.region;
    let mut is_changed = false;
    for mut statement in trail.delivery_statements(bucket) {
        // Both Regions may use one bucket, and the IDs of its statements are unique.
        if let Some(sid) = statement.get("Sid").and_then(Value::as_str) {
            let letters = region.replace(|c: char| !c.is_ascii_alphanumeric(), "");
            statement["Sid"] = json!(format!("{sid}{letters}"));
        }
        let wanted = super::canonical(&statement);
        if !statements
            .iter()
            .any(|found| super::canonical(found) == wanted)
        {
            statements.push(statement);
            is_changed = true;
        }
    }
    Ok(is_changed.then_some(found))
}

/// Whether a Region needs a trail of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrailNeed {
    /// It needs one, or has one by this name.
    Own,
    /// Another trail logs all management events: a further copy costs (D-12).
    Suitable(String),
    /// None is known to, and these could not be read, each with the error.
    Unknown(BTreeMap<String, String>),
}

/// Whether a Region needs the trail with this ARN, by the trails that record its calls.
#[must_use]
pub fn trail_need(trails: &[Trail], own: &str) -> TrailNeed {
    if trails.iter().any(|trail| trail.arn == own) {
        return TrailNeed::Own;
    }
    let mut unknown = BTreeMap::new();
    for trail in trails {
        match trail.records_all_management_events() {
            Ok(true) => return TrailNeed::Suitable(trail.arn.clone()),
            Ok(false) => {}
            Err(error) => {
                unknown.insert(trail.arn.clone(), error.to_owned());
            }
        }
    }
    match unknown.is_empty() {
        true => TrailNeed::Own,
        false => TrailNeed::Unknown(unknown),
    }
}

/// Whether a trail that exists has to be started. Its event selectors are never replaced: somebody may have chosen
/// them, and a trail that selects something else is not started either.
#[must_use]
pub fn logging_of_existing(selectors: SetupState, logging: SetupState) -> SetupState {
    match (selectors, logging) {
        (SetupState::Equal, logging) => logging,
        (SetupState::Different(difference), SetupState::Equal) => SetupState::Different(difference),
        (SetupState::Different(difference), SetupState::Missing | SetupState::Different(_)) => {
            SetupState::Different(format!(
                "{difference}, and it is stopped: let it select all management events and start it, or \
                 choose another name with --trail-name"
            ))
        }
        (SetupState::Missing, _) => {
            SetupState::Different("its event selectors are not known".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_is_started_only_if_it_selects_what_the_setup_wants() {
        let different = || SetupState::Different("it has other event selectors".to_owned());
        let state = logging_of_existing;
        let (missing, equal) = (|| SetupState::Missing, || SetupState::Equal);
        assert_eq!(state(equal(), missing()), SetupState::Missing);
        assert_eq!(state(equal(), equal()), SetupState::Equal);
        assert_eq!(state(different(), equal()), different());
        for selectors in [different(), missing()] {
            let stopped = state(selectors, missing());
            assert!(matches!(stopped, SetupState::Different(_)), "{stopped:?}");
        }
    }

    fn trail(region: &str) -> AuditTrail {
        AuditTrail {
            name: "twinlake-audit".to_owned(),
            account: "111122223333".to_owned(),
            region: region.to_owned(),
        }
    }

    #[test]
    fn an_attached_bucket_keeps_its_policy_and_serves_both_regions() {
        let theirs = json!({"Sid": "Theirs", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
                            "Resource": "arn:aws:s3:::logs"});
        let single = json!({"Version": "2012-10-17", "Statement": theirs}).to_string();
        let attach = |policy: Option<&str>, region: &str| {
            attached_bucket_policy(policy, &trail(region), "logs").unwrap()
        };
        let first = attach(Some(&single), "us-east-1").unwrap();
        let both = attach(Some(&first.to_string()), "ap-south-1").unwrap();
        let statements = both["Statement"].as_array().unwrap();
        assert_eq!(statements[0], theirs);
        let sids: std::collections::BTreeSet<&str> = statements
            .iter()
            .filter_map(|statement| statement["Sid"].as_str())
            .collect();
        assert_eq!((statements.len(), sids.len()), (5, 5));
        for region in ["us-east-1", "ap-south-1"] {
            assert_eq!(attach(Some(&both.to_string()), region), None);
        }
        assert_eq!(
            attach(None, "us-east-1").unwrap()["Statement"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        assert!(attached_bucket_policy(Some("{}"), &trail("us-east-1"), "logs").is_err());
    }
}
