//! The storage and the trail that a lake without them gets: their names, policies and settings.
//!
//! They are those of `stacks/storage.yaml` and `stacks/audit.yaml`; a test compares both. What exists is
//! compared and never changed: what is missing is added, and what differs is reported.

mod audit;
mod storage;

pub use audit::{AuditTrail, TrailNeed, attached_bucket_policy, logging_of_existing, trail_need};
pub use storage::{LAKE_PREFIXES, LakeStorage, RESULT_PREFIX};

use crate::topology::AwsPartition;
use serde_json::{Value, json};

/// The state of something that the setup makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupState {
    /// It is not there.
    Missing,
    /// It is as the setup would make it.
    Equal,
    /// Something else is there, in words. It is left as it is.
    Different(String),
}

impl SetupState {
    /// The state of something that is `found`, or not, where `wanted` should be.
    #[must_use]
    pub fn of<T: PartialEq>(
        found: Option<&T>,
        wanted: &T,
        describe: impl FnOnce(&T) -> String,
    ) -> Self {
        match found {
            None => Self::Missing,
            Some(found) if found == wanted => Self::Equal,
            Some(found) => Self::Different(describe(found)),
        }
    }

    /// The state of a policy document. Services return it with lists of one item as that item, or in
    /// another order.
    ///
    /// # Errors
    /// The text is no JSON.
    pub fn of_document(found: Option<&str>, wanted: &Value) -> Result<Self, String> {
        let Some(found) = found else {
            return Ok(Self::Missing);
        };
        let found: Value = serde_json::from_str(found)
            .map_err(|error| format!("the policy is no JSON: {error}"))?;
        Ok(match canonical(&found) == canonical(wanted) {
            true => Self::Equal,
            false => Self::Different("it has another policy".to_owned()),
        })
    }
}

/// A JSON value in one form: a list of one item is the item, and lists are sorted.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(canonical).collect();
            items.sort_by_key(ToString::to_string);
            match items.len() {
                1 => items.swap_remove(0),
                _ => Value::Array(items),
            }
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.clone(), canonical(value)));
            Value::Object(fields.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// What a lifecycle rule of a bucket deletes, by the age of an object or of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpirationRule {
    /// `ID`.
    pub id: String,
    /// The prefix of the keys; empty for all objects.
    pub prefix: String,
    /// Days after which objects expire.
    pub object_days: Option<i32>,
    /// Days after which versions that were replaced or deleted expire.
    pub noncurrent_days: Option<i32>,
    /// Whether delete markers without versions are removed (`ExpiredObjectDeleteMarker`).
    pub removes_delete_markers: bool,
    /// Days after which parts of an unfinished upload are removed.
    pub upload_days: Option<i32>,
}

/// The default encryption of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketEncryption {
    /// With keys of S3, which is the default of each new bucket.
    S3,
    /// With the KMS key of this ARN, and S3 Bucket Keys.
    Kms(String),
}

/// The policy of a key as KMS makes it by default: IAM policies decide who uses the key.
fn default_key_statement(partition: AwsPartition, account: &str) -> Value {
    json!({
        "Sid": "IamPoliciesOfTheAccount",
        "Effect": "Allow",
        "Principal": {"AWS": format!("arn:{partition}:iam::{account}:root")},
        "Action": "kms:*",
        "Resource": "*",
    })
}

/// Denies requests to a bucket without TLS.
fn only_tls_statement(bucket_arn: &str) -> Value {
    json!({
        "Sid": "OnlyTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [bucket_arn, format!("{bucket_arn}/*")],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    })
}

/// The policy that lets a service assume a role.
#[must_use]
pub fn service_trust(service: &str) -> Value {
    document(vec![json!({
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
    })])
}

fn document(statements: Vec<Value>) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Whether a text may begin the names of what the setup makes: small letters, digits and hyphens, with a
/// letter first and no hyphen last. S3, IAM, KMS and Athena take it.
#[must_use]
pub fn is_setup_name(name: &str, max_chars: usize) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (3..=max_chars).contains(&name.len())
        && name.chars().all(is_allowed)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_equal_in_each_form_in_which_a_service_returns_it() {
        let wanted = document(vec![
            only_tls_statement("arn:aws:s3:::b"),
            json!({"Sid": "A"}),
        ]);
        let state = |found: &Value| SetupState::of_document(Some(&found.to_string()), &wanted);
        let mut found = wanted.clone();
        found["Statement"].as_array_mut().unwrap().reverse();
        found["Statement"][1]["Action"] = json!(["s3:*"]);
        assert_eq!(state(&found), Ok(SetupState::Equal));
        found["Statement"][1]["Effect"] = json!("Allow");
        assert!(matches!(state(&found), Ok(SetupState::Different(_))));
        assert_eq!(
            SetupState::of_document(None, &wanted),
            Ok(SetupState::Missing)
        );
        assert!(SetupState::of_document(Some("{"), &wanted).is_err());
    }

    #[test]
    fn names_are_those_that_all_services_take() {
        for name in ["lake", "a1b", "my-lake-2"] {
            assert!(is_setup_name(name, 16), "{name}");
        }
        for name in [
            "",
            "ab",
            "Lake",
            "1lake",
            "lake-",
            "la_ke",
            "lake.a",
            "a-name-that-is-too-long",
        ] {
            assert!(!is_setup_name(name, 16), "{name}");
        }
    }
}
