//! S3 replication notifications, raw or wrapped by SNS.
//!
//! They do not come through EventBridge: the source bucket sends them to SQS or
//! SNS itself.

use super::loose::Loose;
use super::{Refused, read_json, shown};
use crate::alert::{Alert, AlertKind};
use crate::timestamp::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// What one notification comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Notified {
    /// Alerts, one for each bucket, rule and reason.
    Alerts(Vec<Alert>),
    /// The message that S3 sends when the notification is set up.
    Test,
}

/// How many objects an alert names.
const SAMPLES: usize = 5;

/// Reads one S3 notification, as SQS or SNS delivers it.
///
/// # Errors
/// It is no JSON or no S3 notification; the text says which.
pub fn parse_replication(bytes: &[u8], now: Timestamp) -> Result<Notified, Refused> {
    let json = read_json(bytes)?;
    let event = Loose::new(&json);
    // SNS to SQS without raw delivery: the notification is text inside.
    if event.get("Type").as_text().as_deref() == Some("Notification")
        && let Some(message) = event.text("Message")
    {
        return from_records(&read_json(message.as_bytes())?, now);
    }
    from_records(&json, now)
}

fn from_records(json: &Value, now: Timestamp) -> Result<Notified, Refused> {
    let event = Loose::new(json);
    if event.text("Event").as_deref() == Some("s3:TestEvent") {
        return Ok(Notified::Test);
    }
    let mut groups: BTreeMap<(AlertKind, String), Alert> = BTreeMap::new();
    let mut records = 0usize;
    for record in event.get("Records").items() {
        records += 1;
        let alert = from_record(record, now)?;
        match groups.entry((alert.kind, alert.subject.clone())) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(alert);
            }
            std::collections::btree_map::Entry::Occupied(mut same) => {
                let known = same.get_mut();
                known.count += 1;
                if known.samples.len() < SAMPLES {
                    known.samples.extend(alert.samples);
                }
            }
        }
    }
    if records == 0 {
        return Err(Refused("it has no S3 records".to_owned()));
    }
    Ok(Notified::Alerts(groups.into_values().collect()))
}

fn from_record(record: Loose<'_>, now: Timestamp) -> Result<Alert, Refused> {
    let name = record.text("eventName").unwrap_or_default();
    let bucket = record.get("s3").get("bucket").text("name");
    let bucket = bucket.ok_or_else(|| Refused("a record names no bucket".to_owned()))?;
    let key = record
        .get("s3")
        .get("object")
        .text("key")
        .unwrap_or_default();
    let data = record.get("replicationEventData");
    let rule = data
        .text("replicationRuleId")
        .unwrap_or_else(|| "unknown".to_owned());
    let destination = data
        .text("destinationBucket")
        .unwrap_or_else(|| "its replica".to_owned());
    let reason = data.text("failureReason");
    let (kind, what, now_true, todo) = match name.trim_start_matches("s3:") {
        "Replication:OperationFailedReplication" => {
            let reason = reason
                .clone()
                .unwrap_or_else(|| "no reason given".to_owned());
            (
                AlertKind::ReplicationFailed,
                format!("S3 did not replicate objects from {bucket} to {destination}: {reason}."),
                "The objects are missing in the secondary, and S3 does not try again.".to_owned(),
                advice(&reason).to_owned(),
            )
        }
        "Replication:OperationMissedThreshold" => (
            AlertKind::ReplicationLate,
            format!("S3 has not replicated objects from {bucket} to {destination} in time."),
            "The objects are not in the secondary yet; S3 goes on trying.".to_owned(),
            "Wait; if it lasts, look at the rule's ReplicationLatency and the bucket's write rate."
                .to_owned(),
        ),
        "Replication:OperationReplicatedAfterThreshold" => (
            AlertKind::ReplicationLate,
            format!("S3 replicated objects from {bucket} to {destination} late."),
            "The objects are in the secondary now.".to_owned(),
            "Nothing, unless it happens often.".to_owned(),
        ),
        "Replication:OperationNotTracked" => (
            AlertKind::ReplicationLate,
            format!("S3 no longer tracks the replication of objects in {bucket}."),
            "Whether the objects are in the secondary is not known.".to_owned(),
            "Compare the objects by hand; S3 Batch Replication copies what is missing.".to_owned(),
        ),
        _ => return Err(Refused(format!("S3 event {}", shown(&name)))),
    };
    let subject = match reason {
        Some(reason) => format!("{bucket} rule {rule}: {reason}"),
        None => format!("{bucket} rule {rule}"),
    };
    let at = record
        .text("eventTime")
        .and_then(|time| Timestamp::parse(&time));
    let region = record.text("awsRegion");
    let region = region.as_deref().unwrap_or("unknown");
    let sentences = [what, now_true, todo];
    Ok(Alert {
        samples: vec![format!("s3://{bucket}/{}", decode(&key))],
        ..Alert::new(kind, region, &subject, sentences, at.unwrap_or(now))
    })
}

/// What to do about a failure reason. The list is open; AWS adds to it.
fn advice(reason: &str) -> &'static str {
    let is = |parts: &[&str]| parts.iter().any(|part| reason.contains(part));
    if is(&["Kms"]) {
        "Enable the KMS key and let the replication role use it, then run S3 Batch Replication."
    } else if is(&["AssumeRole", "InitiateReplication"]) {
        "Let S3 assume the replication role, then run S3 Batch Replication for the failed objects."
    } else if is(&["NotPermitted"]) {
        "Give the replication role the right that the reason names, then run S3 Batch Replication."
    } else if reason.starts_with("Dst") {
        "Mend the destination bucket (it exists, is versioned), then run S3 Batch Replication."
    } else {
        "Mend what the reason names, then run S3 Batch Replication for the failed objects."
    }
}

/// Object keys come URL-encoded, with `+` for a space.
fn decode(key: &str) -> String {
    let spaced = key.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_and_broken_escapes_stay() {
        assert_eq!(
            decode("orders/dt%3D2026-11-20/a+b"),
            "orders/dt=2026-11-20/a b"
        );
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%4"), "%zz%4");
    }
}
