//! Parses an event into the scope to read.
//!
//! An event is a hint: it may be late, duplicated, out of order, truncated or missing. Four facts
//! of an event are used: which object changed, that the change was a deletion, which grants a
//! revoke named, and when calls granted and revoked what AWS may list late (LF-07). A heartbeat
//! also says when it was sent. Parsing is lenient: keys are compared without regard to case,
//! enumerations are open, and a missing detail of a change enlarges the scope. An event without the Region or
//! the account, or of another catalog than the default one, is ignored; one without the name of its database or
//! table, or with a name that cannot be read, is unrecognized.

mod cloudtrail;
mod cloudtrail_lakeformation;
mod cloudtrail_record;
mod data_access;
mod glue_catalog;
mod lenient_json;
mod lf_subject_calls;
mod operational;
mod own_catalog;
mod s3_replication;

pub use data_access::DataReaders;
pub use operational::{OperationalEvent, OutOfBandChange, parse_operational_event};
pub use s3_replication::{
    ParsedNotifications, ReplicationEventType, ReplicationNotice,
    alert_subject as replication_alert_subject, alerts as replication_alerts, parse_replication,
    unwrap_notification,
};

use crate::grant::{GrantMapping, OwnRoles};
use crate::scope::Scope;
use crate::timestamp::Timestamp;
use lenient_json::LenientJson;
use serde_json::Value;

/// The `source` of the events that Twinlake sends.
pub const TWINLAKE_SOURCE: &str = "twinlake";
/// The `detail-type` of an S3 notification that is forwarded to the other Region.
pub const S3_REPLICATION_DETAIL_TYPE: &str = "S3 Replication";
/// The `detail-type` of an alert that is mirrored to the peer Region.
pub const ALERT_DETAIL_TYPE: &str = "Alert";

/// What an event is checked against: the Region and account that it must come from, and the
/// roles whose calls are ignored.
#[derive(Clone, Debug, Default)]
pub struct EventContext {
    /// The primary's Region: events of another one are ignored. Of operational events the local Region:
    /// rules of EventBridge admit no others, and it is not checked again.
    pub region: String,
    /// The account that events must come from.
    pub account: String,
    /// Twinlake's own roles. Their calls are ignored.
    pub own_roles: OwnRoles,
    /// Maps the principals and data locations that a revoke names to the standby's.
    pub grant_mapping: GrantMapping,
    /// When the event is parsed: the time of alerts for events without a time.
    pub now: Timestamp,
}

/// The result of parsing an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// The scope to read.
    Scope(Scope),
    /// The event needs no action, for this reason.
    Ignored(String),
}

/// Why an event is not recognized. The error is permanent: a retry gives the same result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized event: {0}")]
pub struct UnrecognizedEvent(pub String);

/// The largest event that is parsed, in bytes. EventBridge and SQS deliver up to 1 MiB.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// When an event happened, as it says itself; `None` if it does not, or is none.
#[must_use]
pub fn time_of(bytes: &[u8]) -> Option<Timestamp> {
    let json = read_json(bytes).ok()?;
    LenientJson::new(&json).time("time")
}

/// Parses one EventBridge event.
///
/// # Errors
/// The event is too large or no JSON object, its type is unknown, or it names nothing that can be
/// read; the text says which.
pub fn parse(bytes: &[u8], event_context: &EventContext) -> Result<Parsed, UnrecognizedEvent> {
    let json = read_json(bytes)?;
    let event = LenientJson::new(&json);
    let source = event.text("source").unwrap_or_default();
    let detail_type = event.text("detail-type").unwrap_or_default();
    let region = event.text("region").unwrap_or_default();
    if source == "aws.events" && detail_type == "Scheduled Event" {
        return Ok(Parsed::Scope(Scope::catalog()));
    }
    if region != event_context.region {
        return Ok(Parsed::Ignored(format!(
            "it is from Region {}, not from {}",
            quoted(&region),
            event_context.region
        )));
    }
    let account = event.text("account").unwrap_or_default();
    if account != event_context.account {
        return Ok(Parsed::Ignored(format!(
            "it is from account {}, not from {}",
            quoted(&account),
            event_context.account
        )));
    }
    match (source.as_str(), detail_type.as_str()) {
        ("aws.glue", "Glue Data Catalog Database State Change") => {
            glue_catalog::database(event, event_context)
        }
        ("aws.glue", "Glue Data Catalog Table State Change") => {
            glue_catalog::table(event, event_context)
        }
        ("aws.glue" | "aws.lakeformation", "AWS API Call via CloudTrail") => {
            cloudtrail::parse(event, event_context)
        }
        _ => Err(UnrecognizedEvent(format!(
            "unknown source {} with detail-type {}",
            quoted(&source),
            quoted(&detail_type)
        ))),
    }
}

fn read_json(bytes: &[u8]) -> Result<Value, UnrecognizedEvent> {
    if bytes.len() > MAX_EVENT_BYTES {
        return Err(UnrecognizedEvent(format!(
            "it has {} bytes, more than the limit of {MAX_EVENT_BYTES}",
            bytes.len()
        )));
    }
    let json: Value = serde_json::from_slice(bytes)
        .map_err(|e| UnrecognizedEvent(format!("it is not JSON: {e}")))?;
    if json.is_object() {
        Ok(json)
    } else {
        Err(UnrecognizedEvent("it is not a JSON object".to_owned()))
    }
}

/// Returns untrusted text safe for a message: at most 80 characters, escaped, in quotes.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    format!("\"{}\"", crate::render::escape(&short))
}
