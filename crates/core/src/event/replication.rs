//! S3 replication notifications: raw, wrapped by SNS, or handed on by the other Region.
//!
//! They do not come through EventBridge: the source bucket sends them to SQS or SNS itself,
//! in its own Region, which is the primary's. What the primary's function hears it hands on
//! to the standby, where the ledger says whose objects they are.

mod advice;

use super::loose::Loose;
use super::{HANDED_ON, OWN_SOURCE, Refused, read_json, shown};
use crate::alert::{Alert, AlertKind};
use crate::ledger::Replica;
use crate::name::TableId;
use crate::timestamp::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What one notification comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Notified {
    /// What happened to objects, and why other records of the notification were not
    /// understood.
    Objects(Vec<Notice>, Vec<Refused>),
    /// The message that S3 sends when the notification is set up.
    Test,
}

/// What happened to an object on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happened {
    /// S3 gave it up.
    Failed,
    /// It is not there in time; S3 goes on trying.
    Missed,
    /// It is there, late.
    Late,
    /// S3 no longer tells how it stands.
    Untracked,
}

/// What S3 told of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// What happened.
    pub happened: Happened,
    /// The Region of the source bucket.
    pub region: String,
    /// The source bucket.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// The version.
    pub version: Option<String>,
    /// The replication rule.
    pub rule: String,
    /// The destination bucket, if it is told.
    pub destination: Option<String>,
    /// Why, as S3 spells it; the list is open.
    pub reason: Option<String>,
    /// It was a deletion that was to be replicated.
    pub deletes: bool,
    /// When the object was made.
    pub made: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// How many objects an alert names.
const SAMPLES: usize = 5;

/// Reads one S3 notification, as SQS delivers it.
///
/// # Errors
/// It is no JSON or no S3 notification; the text says which.
pub fn parse_replication(bytes: &[u8], now: Timestamp) -> Result<Notified, Refused> {
    let json = read_json(bytes)?;
    let event = Loose::new(&json);
    // SNS to SQS without raw delivery: the notification is text inside.
    if event.text("Type").as_deref() == Some("Notification")
        && let Some(message) = event.text("Message")
    {
        return from_records(&read_json(message.as_bytes())?, now);
    }
    let is = |key: &str, text: &str| event.text(key).as_deref() == Some(text);
    if is("source", OWN_SOURCE) && is("detail-type", HANDED_ON) {
        return from_records(json.get("detail").unwrap_or(&Value::Null), now);
    }
    from_records(&json, now)
}

/// The notification itself, as it is handed on to the other Region: without what wraps it.
/// `None` if it holds no records, or was handed on already.
#[must_use]
pub fn unwrapped(bytes: &[u8]) -> Option<String> {
    let json = read_json(bytes).ok()?;
    let wrapped = Loose::new(&json).text("Message");
    let inner = match wrapped {
        Some(message) => read_json(message.as_bytes()).ok()?,
        None => json,
    };
    inner.get("Records").is_some().then(|| inner.to_string())
}

fn from_records(json: &Value, now: Timestamp) -> Result<Notified, Refused> {
    let event = Loose::new(json);
    if event.text("Event").as_deref() == Some("s3:TestEvent") {
        return Ok(Notified::Test);
    }
    let (mut notices, mut refused) = (Vec::new(), Vec::new());
    for record in event.get("Records").items() {
        match from_record(record, now) {
            Ok(notice) => notices.push(notice),
            Err(why) => refused.push(why),
        }
    }
    match (notices.is_empty(), refused.first()) {
        (false, _) => Ok(Notified::Objects(notices, refused)),
        (true, Some(first)) => Err(first.clone()),
        (true, None) => Err(Refused("it has no S3 records".to_owned())),
    }
}

fn from_record(record: Loose<'_>, now: Timestamp) -> Result<Notice, Refused> {
    let name = record.text("eventName").unwrap_or_default();
    let happened = match name.trim_start_matches("s3:") {
        "Replication:OperationFailedReplication" => Happened::Failed,
        "Replication:OperationMissedThreshold" => Happened::Missed,
        "Replication:OperationReplicatedAfterThreshold" => Happened::Late,
        "Replication:OperationNotTracked" => Happened::Untracked,
        _ => return Err(Refused(format!("S3 event {}", shown(&name)))),
    };
    let bucket = record.get("s3").get("bucket").text("name");
    let bucket = bucket.ok_or_else(|| Refused("a record names no bucket".to_owned()))?;
    let object = record.get("s3").get("object");
    let data = record.get("replicationEventData");
    let text = |key: &str| data.text(key);
    let at = record.time("eventTime").unwrap_or(now);
    let destination = text("destinationBucket");
    let destination = destination.map(|arn| arn.rsplit(':').next().unwrap_or(&arn).to_owned());
    Ok(Notice {
        happened,
        region: record
            .text("awsRegion")
            .filter(|region| is_region(region))
            .unwrap_or_else(|| "unknown".to_owned()),
        bucket,
        key: decode(&object.text("key").unwrap_or_default()),
        version: object.text("versionId").filter(|version| version != "null"),
        rule: text("replicationRuleId").unwrap_or_else(|| "unknown".to_owned()),
        destination,
        reason: match happened {
            Happened::Failed => text("failureReason").or(Some("no reason given".to_owned())),
            Happened::Missed | Happened::Late | Happened::Untracked => None,
        },
        deletes: text("s3Operation").is_some_and(|operation| operation.contains("DELETE")),
        made: data.time("requestTime").unwrap_or(at),
        at,
    })
}

/// Whether a text is spelt like a Region: it becomes an attribute of a message.
fn is_region(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= 32 && text.chars().all(plain)
}

impl Notice {
    /// Where the object ought to be, if it is one that can be waited for.
    #[must_use]
    pub fn replica(&self) -> Option<Replica> {
        let never = self.reason.as_deref().is_some_and(advice::is_final);
        if self.deletes || never {
            return None;
        }
        Some(Replica {
            bucket: self.destination.clone()?,
            key: self.key.clone(),
            version: self.version.clone(),
            made: self.made,
        })
    }

    /// The places that hold the object, from its own folder up to the bucket: prefixes that
    /// are empty or end in a slash.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        let ends = self.key.rmatch_indices('/').map(|(at, _)| at + 1);
        let folders = ends.filter_map(|end| self.key.get(..end));
        folders.chain(std::iter::once(""))
    }

    /// The kind of alert that it calls for.
    #[must_use]
    pub fn kind(&self) -> AlertKind {
        match self.happened {
            Happened::Failed => AlertKind::ReplicationFailed,
            Happened::Missed | Happened::Late | Happened::Untracked => AlertKind::ReplicationLate,
        }
    }
}

/// Whom a trouble with objects is about: a table, or a bucket where no table is known.
#[must_use]
pub fn subject(notice: &Notice, table: Option<&TableId>) -> String {
    let place = match table {
        Some(id) => format!("table {id}"),
        None => format!("bucket {} rule {}", notice.bucket, notice.rule),
    };
    match &notice.reason {
        Some(reason) => format!("{place}: {reason}"),
        None => place,
    }
}

/// The alerts for what S3 told, each notice with the table that its object belongs to: one
/// for each table (or bucket and rule) and reason.
#[must_use]
pub fn alerts(notices: &[(Notice, Option<TableId>)]) -> Vec<Alert> {
    let mut groups: BTreeMap<(AlertKind, String, String), Alert> = BTreeMap::new();
    for (notice, table) in notices {
        let subject = subject(notice, table.as_ref());
        let key = (notice.kind(), notice.region.clone(), subject.clone());
        let sample = format!("s3://{}/{}", notice.bucket, notice.key);
        let known = groups.entry(key).or_insert_with(|| {
            let words = sentences(notice, table.as_ref());
            Alert {
                databases: table.iter().map(|id| id.database.clone()).collect(),
                about: BTreeSet::from([subject.clone()]),
                count: 0,
                ..Alert::new(notice.kind(), &notice.region, &subject, words, notice.at)
            }
        });
        known.count += 1;
        if known.samples.len() < SAMPLES {
            known.samples.push(sample);
        }
    }
    groups.into_values().collect()
}

fn sentences(notice: &Notice, table: Option<&TableId>) -> [String; 3] {
    let bucket = &notice.bucket;
    let there = notice.destination.as_deref().unwrap_or("its replica");
    let what = match table {
        Some(id) => format!("objects of table {id} from {bucket} to {there}"),
        None => format!("objects from {bucket} to {there}"),
    };
    match notice.happened {
        Happened::Failed => {
            let reason = notice.reason.as_deref().unwrap_or_default();
            let now = match table {
                Some(_) => {
                    "The table is data-pending: its entry is there, these files are not, and S3 \
                     does not try again."
                }
                None => "The objects are missing in the secondary, and S3 does not try again.",
            };
            [
                format!("S3 did not replicate {what}: {reason}."),
                now.to_owned(),
                advice::on(reason),
            ]
        }
        Happened::Missed => [
            format!("S3 has not replicated {what} in time."),
            "The objects are not in the secondary yet; S3 goes on trying.".to_owned(),
            "Wait; if it lasts, look at the rule's ReplicationLatency and the bucket's write rate."
                .to_owned(),
        ],
        Happened::Late => [
            format!("S3 replicated {what} late."),
            "The objects are in the secondary now.".to_owned(),
            "Nothing, unless it happens often.".to_owned(),
        ],
        Happened::Untracked => [
            format!("S3 no longer tracks the replication of {what}."),
            "Whether the objects are in the secondary is not known; Twinlake looks for some of \
             them each hour."
                .to_owned(),
            "Compare the objects; S3 Batch Replication copies what is missing.".to_owned(),
        ],
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

    #[test]
    fn what_is_handed_on_is_the_notification_itself_and_only_once() {
        let records = serde_json::json!({"Records": [{"eventName": "x"}]});
        let raw = records.to_string();
        let by_sns = serde_json::json!({"Type": "Notification", "Message": raw}).to_string();
        let handed_on = serde_json::json!({
            "source": OWN_SOURCE, "detail-type": HANDED_ON, "detail": records})
        .to_string();
        assert_eq!(unwrapped(raw.as_bytes()), Some(raw.clone()));
        assert_eq!(unwrapped(by_sns.as_bytes()), Some(raw));
        assert_eq!(unwrapped(handed_on.as_bytes()), None);
        assert_eq!(unwrapped(b"{\"Event\": \"s3:TestEvent\"}"), None);
    }

    #[test]
    fn an_object_is_looked_for_from_its_own_folder_upwards() {
        let record = serde_json::json!({"Records": [{
            "eventName": "Replication:OperationNotTracked",
            "s3": {"bucket": {"name": "b"}, "object": {"key": "a/b%2Fc/d"}}}]});
        let bytes = record.to_string().into_bytes();
        let Ok(Notified::Objects(notices, _)) = parse_replication(&bytes, Timestamp(0)) else {
            panic!("it is a notification");
        };
        let folders: Vec<&str> = notices[0].folders().collect();
        assert_eq!(folders, ["a/b/c/", "a/b/", "a/", ""]);
    }

    #[test]
    fn one_record_that_is_not_understood_costs_no_other() {
        let record = |name: &str| {
            serde_json::json!({"eventName": name, "awsRegion": "US\nEAST",
                "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}})
        };
        let known = record("Replication:OperationNotTracked");
        let records = serde_json::json!({"Records": [record("ObjectCreated:Put"), known]});
        let bytes = records.to_string().into_bytes();
        let Ok(Notified::Objects(notices, refused)) = parse_replication(&bytes, Timestamp(0))
        else {
            panic!("one is known");
        };
        assert_eq!((notices.len(), refused.len()), (1, 1));
        assert_eq!(
            notices[0].region, "unknown",
            "it is no attribute of a message"
        );
        let alone = serde_json::json!({"Records": [record("ObjectCreated:Put")]});
        assert!(parse_replication(alone.to_string().as_bytes(), Timestamp(0)).is_err());
    }

    #[test]
    fn what_sns_wraps_and_what_is_handed_on_reads_as_what_s3_sends() {
        let records = serde_json::json!({"Records": [{
            "eventName": "Replication:OperationNotTracked", "awsRegion": "us-east-1",
            "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}}]});
        let by_sns = serde_json::json!({"Type": "Notification", "Message": records.to_string()});
        let handed_on = serde_json::json!({
            "source": OWN_SOURCE, "detail-type": HANDED_ON, "detail": records});
        let read = |json: &Value| parse_replication(json.to_string().as_bytes(), Timestamp(0));
        let raw = read(&records).unwrap();
        assert!(matches!(&raw, Notified::Objects(notices, _) if notices.len() == 1));
        assert_eq!(read(&by_sns).unwrap(), raw);
        assert_eq!(read(&handed_on).unwrap(), raw);
    }
}
