//! Parses S3 replication notifications: raw, wrapped by SNS, or forwarded by the other Region.
//!
//! S3 does not send them through EventBridge: the source bucket sends them to SQS or SNS in its own
//! Region, which is the primary's. The function in the primary forwards them through EventBridge to
//! the standby, whose ledger maps the objects to tables.

mod failure_reasons;

use super::lenient_json::LenientJson;
use super::{S3_REPLICATION_DETAIL_TYPE, TWINLAKE_SOURCE, UnrecognizedEvent, quoted, read_json};
use crate::alert::{Alert, AlertKind, REASON_SEPARATOR};
use crate::canary;
use crate::ledger::ExpectedReplica;
use crate::name::TableId;
use crate::scope::Subject;
use crate::timestamp::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The result of parsing one message.
#[derive(Clone, Debug, PartialEq)]
pub enum ParsedNotifications {
    /// The notices of the message's records, and an error for each unrecognized record.
    Notices(Vec<ReplicationNotice>, Vec<UnrecognizedEvent>),
    /// The test message that S3 sends when the notification is configured.
    TestEvent,
}

/// The type of a replication event of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplicationEventType {
    /// `OperationFailedReplication`: the replication failed, and S3 does not retry it.
    Failed,
    /// `OperationMissedThreshold`: the object was not replicated in time; S3 continues to retry.
    MissedThreshold,
    /// `OperationReplicatedAfterThreshold`: the object was replicated late.
    ReplicatedAfterThreshold,
    /// `OperationNotTracked`: S3 no longer reports the object's replication status.
    NotTracked,
}

/// One record of a notification: one replication event of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicationNotice {
    /// The type of the event.
    pub event_type: ReplicationEventType,
    /// The Region of the source bucket.
    pub region: String,
    /// The source bucket.
    pub bucket: String,
    /// The object's key, URL-decoded.
    pub key: String,
    /// The object's version id, if the bucket has versions.
    pub version: Option<String>,
    /// The id of the replication rule.
    pub rule: String,
    /// The destination bucket, if the record names it.
    pub destination: Option<String>,
    /// The failure reason, as S3 spells it. AWS may add reasons.
    pub reason: Option<String>,
    /// The replicated operation is a deletion.
    pub is_delete: bool,
    /// When the source object was created.
    pub object_created_at: Timestamp,
    /// The time of the event.
    pub event_time: Timestamp,
}

/// The largest number of objects that an alert names.
const MAX_SAMPLES: usize = 5;

/// Parses one S3 notification, as SQS delivers it.
///
/// # Errors
/// The message is not JSON, or not an S3 notification; the text says which.
pub fn parse_replication(
    bytes: &[u8],
    now: Timestamp,
) -> Result<ParsedNotifications, UnrecognizedEvent> {
    let json = read_json(bytes)?;
    let event = LenientJson::new(&json);
    // SNS to SQS without raw message delivery: the notification is the text in `Message`.
    if event.text("Type").as_deref() == Some("Notification")
        && let Some(message) = event.text("Message")
    {
        return from_records(&read_json(message.as_bytes())?, now);
    }
    let is = |key: &str, text: &str| event.text(key).as_deref() == Some(text);
    if is("source", TWINLAKE_SOURCE) && is("detail-type", S3_REPLICATION_DETAIL_TYPE) {
        return from_records(json.get("detail").unwrap_or(&Value::Null), now);
    }
    from_records(&json, now)
}

/// Returns the notification without the SNS envelope, to be forwarded to the other Region.
/// `None` if it holds no records, or was forwarded already.
#[must_use]
pub fn unwrap_notification(bytes: &[u8]) -> Option<String> {
    let json = read_json(bytes).ok()?;
    let wrapped = LenientJson::new(&json).text("Message");
    let inner = match wrapped {
        Some(message) => read_json(message.as_bytes()).ok()?,
        None => json,
    };
    inner.get("Records").is_some().then(|| inner.to_string())
}

fn from_records(json: &Value, now: Timestamp) -> Result<ParsedNotifications, UnrecognizedEvent> {
    let event = LenientJson::new(json);
    if event.text("Event").as_deref() == Some("s3:TestEvent") {
        return Ok(ParsedNotifications::TestEvent);
    }
    let (mut notices, mut errors) = (Vec::new(), Vec::new());
    for record in event.get("Records").items() {
        match parse_record(record, now) {
            Ok(notice) => notices.push(notice),
            Err(error) => errors.push(error),
        }
    }
    match (notices.is_empty(), errors.first()) {
        (false, _) => Ok(ParsedNotifications::Notices(notices, errors)),
        (true, Some(first)) => Err(first.clone()),
        (true, None) => Err(UnrecognizedEvent("it has no S3 records".to_owned())),
    }
}

fn parse_record(
    record: LenientJson<'_>,
    now: Timestamp,
) -> Result<ReplicationNotice, UnrecognizedEvent> {
    let name = record.text("eventName").unwrap_or_default();
    let event_type = match name.trim_start_matches("s3:") {
        "Replication:OperationFailedReplication" => ReplicationEventType::Failed,
        "Replication:OperationMissedThreshold" => ReplicationEventType::MissedThreshold,
        "Replication:OperationReplicatedAfterThreshold" => {
            ReplicationEventType::ReplicatedAfterThreshold
        }
        "Replication:OperationNotTracked" => ReplicationEventType::NotTracked,
        _ => {
            return Err(UnrecognizedEvent(format!(
                "unknown S3 event {}",
                quoted(&name)
            )));
        }
    };
    let bucket = record.get("s3").get("bucket").text("name");
    let bucket = bucket.ok_or_else(|| UnrecognizedEvent("a record names no bucket".to_owned()))?;
    let object = record.get("s3").get("object");
    let data = record.get("replicationEventData");
    let text = |key: &str| data.text(key);
    let event_time = record.time("eventTime").unwrap_or(now);
    let destination = text("destinationBucket");
    let destination = destination.map(|arn| arn.rsplit(':').next().unwrap_or(&arn).to_owned());
    Ok(ReplicationNotice {
        event_type,
        region: record
            .text("awsRegion")
            .filter(|region| is_region(region))
            .unwrap_or_else(|| "unknown".to_owned()),
        bucket,
        key: decode(&object.text("key").unwrap_or_default()),
        version: object.text("versionId").filter(|version| version != "null"),
        rule: text("replicationRuleId").unwrap_or_else(|| "unknown".to_owned()),
        destination,
        reason: match event_type {
            ReplicationEventType::Failed => {
                text("failureReason").or(Some("no reason given".to_owned()))
            }
            ReplicationEventType::MissedThreshold
            | ReplicationEventType::ReplicatedAfterThreshold
            | ReplicationEventType::NotTracked => None,
        },
        is_delete: text("s3Operation").is_some_and(|operation| operation.contains("DELETE")),
        object_created_at: data.time("requestTime").unwrap_or(event_time),
        event_time,
    })
}

/// Whether a text has the form of a Region's name. It becomes a message attribute of an alert.
fn is_region(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= 32 && text.chars().all(plain)
}

impl ReplicationNotice {
    /// Returns the expected replica of the object. `None` if no replica will arrive (deletions,
    /// and permanent failures), or if the destination is not known.
    #[must_use]
    pub fn replica(&self) -> Option<ExpectedReplica> {
        let is_permanent = self
            .reason
            .as_deref()
            .is_some_and(failure_reasons::is_permanent);
        if self.is_delete || is_permanent {
            return None;
        }
        Some(ExpectedReplica {
            bucket: self.destination.clone()?,
            key: self.key.clone(),
            version: self.version.clone(),
            created_at: self.object_created_at,
        })
    }

    /// The prefixes of the object's key, from the longest to the empty one. The others end in a
    /// slash.
    pub fn key_prefixes(&self) -> impl Iterator<Item = &str> {
        let ends = self.key.rmatch_indices('/').map(|(slash, _)| slash + 1);
        let prefixes = ends.filter_map(|end| self.key.get(..end));
        prefixes.chain(std::iter::once(""))
    }

    /// Whether the object is a canary: no table has it.
    #[must_use]
    pub fn is_of_canary(&self) -> bool {
        canary::is_canary_key(&self.key)
    }

    /// The kind of the alert for this event.
    #[must_use]
    pub fn alert_kind(&self) -> AlertKind {
        match self.event_type {
            ReplicationEventType::Failed => AlertKind::ReplicationFailed,
            ReplicationEventType::MissedThreshold
            | ReplicationEventType::ReplicatedAfterThreshold
            | ReplicationEventType::NotTracked => AlertKind::ReplicationLate,
        }
    }
}

/// The subject of the alert for a notice: the table (or the bucket and rule, if the table is not
/// known) and the failure reason.
#[must_use]
pub fn alert_subject(notice: &ReplicationNotice, table: Option<&TableId>) -> String {
    let source = match table {
        Some(id) => Subject::Table(id.clone()).to_string(),
        None => format!("bucket {} rule {}", notice.bucket, notice.rule),
    };
    match &notice.reason {
        Some(reason) => format!("{source}{REASON_SEPARATOR}{reason}"),
        None => source,
    }
}

/// Returns the alerts for notices, each given with the table of its object if it is known: one
/// alert for each table (or bucket and rule) and reason.
#[must_use]
pub fn alerts(notices: &[(ReplicationNotice, Option<TableId>)]) -> Vec<Alert> {
    let with_subject = |(notice, table): &(ReplicationNotice, Option<TableId>)| {
        (notice.event_type, alert_subject(notice, table.as_ref()))
    };
    let is_awaited = |(notice, table): &&(ReplicationNotice, Option<TableId>)| {
        table.is_some() && notice.replica().is_some()
    };
    let awaited: BTreeSet<(ReplicationEventType, String)> = notices
        .iter()
        .filter(is_awaited)
        .map(with_subject)
        .collect();
    let mut groups: BTreeMap<(AlertKind, String, String), Alert> = BTreeMap::new();
    for (notice, table) in notices {
        let subject = alert_subject(notice, table.as_ref());
        let key = (notice.alert_kind(), notice.region.clone(), subject.clone());
        let sample = format!("s3://{}/{}", notice.bucket, notice.key);
        let alert = groups.entry(key).or_insert_with(|| {
            let awaits_objects = awaited.contains(&(notice.event_type, subject.clone()));
            let sentences = sentences(notice, table.as_ref(), awaits_objects);
            Alert {
                databases: table.iter().map(|id| id.database.clone()).collect(),
                affected: BTreeSet::from([subject.clone()]),
                count: 0,
                ..Alert::new(
                    notice.alert_kind(),
                    &notice.region,
                    &subject,
                    sentences,
                    notice.event_time,
                )
            }
        });
        alert.count += 1;
        if alert.samples.len() < MAX_SAMPLES {
            alert.samples.push(sample);
        }
    }
    groups.into_values().collect()
}

/// Returns the sentences of the alert about a notice, and about others of its type and subject.
/// `awaits_objects` states whether Twinlake records an object of one of them as pending.
fn sentences(
    notice: &ReplicationNotice,
    table: Option<&TableId>,
    awaits_objects: bool,
) -> [String; 3] {
    let bucket = &notice.bucket;
    let destination = notice
        .destination
        .as_deref()
        .unwrap_or("its destination bucket");
    let objects = match table {
        Some(id) => format!("objects of table {id} from {bucket} to {destination}"),
        None => format!("objects from {bucket} to {destination}"),
    };
    match notice.event_type {
        ReplicationEventType::Failed => {
            let reason = notice.reason.as_deref().unwrap_or_default();
            let current_state = match (table, awaits_objects) {
                (Some(_), true) => {
                    "The table is in state data-pending: its metadata is replicated, these objects \
                     are missing in the standby, and S3 does not retry."
                }
                (Some(_), false) => "Twinlake awaits none of these objects, and S3 does not retry.",
                (None, _) if notice.is_of_canary() => {
                    "The object is a canary of Twinlake, which no table has. S3 does not retry, and \
                     objects of tables under the same rule fail likewise."
                }
                (None, _) => {
                    "No table is known to have these files: Twinlake awaits none of these objects, \
                     and S3 does not retry."
                }
            };
            [
                format!("S3 did not replicate {objects}: {reason}."),
                current_state.to_owned(),
                failure_reasons::action_for(reason),
            ]
        }
        ReplicationEventType::MissedThreshold => [
            format!("S3 has not replicated {objects} in time."),
            "The objects are not in the standby yet. S3 continues to retry.".to_owned(),
            "Wait. If the delay persists, check the rule's metric ReplicationLatency and the \
             bucket's write rate."
                .to_owned(),
        ],
        ReplicationEventType::ReplicatedAfterThreshold => [
            format!("S3 replicated {objects} late."),
            match awaits_objects {
                true => {
                    "S3 reports that the objects have arrived. If their table is data-pending, \
                     Twinlake looks for them in the standby's bucket."
                }
                false => "S3 reports that the objects have arrived.",
            }
            .to_owned(),
            "No action is needed, unless this happens often.".to_owned(),
        ],
        ReplicationEventType::NotTracked => [
            format!("S3 no longer tracks the replication of {objects}."),
            match awaits_objects {
                true => {
                    "It is not known whether the objects are in the standby. Twinlake checks \
                     samples of them each hour."
                }
                false => "It is not known whether the objects are in the standby.",
            }
            .to_owned(),
            "Compare the objects of both buckets, and copy missing ones with S3 Batch Replication."
                .to_owned(),
        ],
    }
}

/// Decodes an object key, which S3 URL-encodes with `+` for a space.
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
    fn keys_are_decoded_and_invalid_escapes_are_kept() {
        assert_eq!(
            decode("orders/dt%3D2026-11-20/a+b"),
            "orders/dt=2026-11-20/a b"
        );
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%4"), "%zz%4");
    }

    #[test]
    fn a_notification_is_forwarded_once_and_without_its_envelope() {
        let records = serde_json::json!({"Records": [{"eventName": "x"}]});
        let raw = records.to_string();
        let by_sns = serde_json::json!({"Type": "Notification", "Message": raw}).to_string();
        let forwarded = serde_json::json!({
            "source": TWINLAKE_SOURCE, "detail-type": S3_REPLICATION_DETAIL_TYPE, "detail": records})
        .to_string();
        assert_eq!(unwrap_notification(raw.as_bytes()), Some(raw.clone()));
        assert_eq!(unwrap_notification(by_sns.as_bytes()), Some(raw));
        assert_eq!(unwrap_notification(forwarded.as_bytes()), None);
        assert_eq!(unwrap_notification(b"{\"Event\": \"s3:TestEvent\"}"), None);
    }

    #[test]
    fn key_prefixes_are_ordered_from_the_longest_to_the_empty_one() {
        let record = serde_json::json!({"Records": [{
            "eventName": "Replication:OperationNotTracked",
            "s3": {"bucket": {"name": "b"}, "object": {"key": "a/b%2Fc/d"}}}]});
        let bytes = record.to_string().into_bytes();
        let Ok(ParsedNotifications::Notices(notices, _)) =
            parse_replication(&bytes, Timestamp::from_millis(0))
        else {
            panic!("not parsed as a notification");
        };
        let key_prefixes: Vec<&str> = notices[0].key_prefixes().collect();
        assert_eq!(key_prefixes, ["a/b/c/", "a/b/", "a/", ""]);
    }

    /// Returns the state that the alerts about one record state: with a table and without one.
    fn current_states(name: &str, reason: &str, operation: &str) -> [String; 2] {
        let record = serde_json::json!({"Records": [{
            "eventName": format!("Replication:{name}"),
            "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}},
            "replicationEventData": {"failureReason": reason, "s3Operation": operation,
                "destinationBucket": "arn:aws:s3:::c"}}]});
        let bytes = record.to_string().into_bytes();
        let Ok(ParsedNotifications::Notices(notices, _)) =
            parse_replication(&bytes, Timestamp::from_millis(0))
        else {
            panic!("not parsed as a notification");
        };
        let id = TableId::new(
            crate::name::Name::from_service("sales"),
            crate::name::Name::from_service("orders"),
        );
        [Some(id), None].map(|table| {
            let found = alerts(&[(notices[0].clone(), table)]);
            found[0].current_state.clone()
        })
    }

    #[test]
    fn an_alert_says_that_objects_are_awaited_only_if_they_are() {
        let put = "OBJECT_PUT";
        let failed = "OperationFailedReplication";
        let [with_table, without] = current_states(failed, "DstBucketNotFound", put);
        assert!(with_table.contains("data-pending"), "{with_table}");
        assert!(without.contains("Twinlake awaits none"), "{without}");
        for (reason, operation) in [
            ("SrcKeyNotFound", put),
            ("DstDelObjNotPermitted", "OBJECT_DELETE_MARKER"),
        ] {
            let [with_table, _] = current_states(failed, reason, operation);
            assert!(
                with_table.starts_with("Twinlake awaits none"),
                "{with_table}"
            );
        }
        let [with_table, without] = current_states("OperationNotTracked", "", put);
        assert!(with_table.contains("each hour"), "{with_table}");
        assert!(!without.contains("each hour"), "{without}");
    }

    #[test]
    fn an_unrecognized_record_does_not_affect_the_others() {
        let record = |name: &str| {
            serde_json::json!({"eventName": name, "awsRegion": "US\nEAST",
                "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}})
        };
        let known = record("Replication:OperationNotTracked");
        let records = serde_json::json!({"Records": [record("ObjectCreated:Put"), known]});
        let bytes = records.to_string().into_bytes();
        let Ok(ParsedNotifications::Notices(notices, errors)) =
            parse_replication(&bytes, Timestamp::from_millis(0))
        else {
            panic!("one record is valid");
        };
        assert_eq!((notices.len(), errors.len()), (1, 1));
        assert_eq!(
            notices[0].region, "unknown",
            "an invalid Region is not a message attribute"
        );
        let alone = serde_json::json!({"Records": [record("ObjectCreated:Put")]});
        assert!(
            parse_replication(alone.to_string().as_bytes(), Timestamp::from_millis(0)).is_err()
        );
    }

    #[test]
    fn raw_wrapped_and_forwarded_notifications_parse_to_the_same_notices() {
        let records = serde_json::json!({"Records": [{
            "eventName": "Replication:OperationNotTracked", "awsRegion": "us-east-1",
            "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}}]});
        let by_sns = serde_json::json!({"Type": "Notification", "Message": records.to_string()});
        let forwarded = serde_json::json!({
            "source": TWINLAKE_SOURCE, "detail-type": S3_REPLICATION_DETAIL_TYPE, "detail": records});
        let read = |json: &Value| {
            parse_replication(json.to_string().as_bytes(), Timestamp::from_millis(0))
        };
        let raw = read(&records).unwrap();
        assert!(matches!(&raw, ParsedNotifications::Notices(notices, _) if notices.len() == 1));
        assert_eq!(read(&by_sns).unwrap(), raw);
        assert_eq!(read(&forwarded).unwrap(), raw);
    }
}
