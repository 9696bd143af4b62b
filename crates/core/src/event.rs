//! From the bytes of an event to where to look.
//!
//! An event is a hint: it may be late, doubled, out of order, cut or missing. So
//! of all that it carries, only names are used, and of what it says, only this:
//! which object changed, that a deletion was meant, and which grants a revoke
//! named. Parsing is lenient (every field optional, keys compared without case,
//! unknown types open), and what is missing widens the scope.

mod cloudtrail;
mod lake;
mod loose;
mod native;
mod operations;
mod replication;

pub use operations::{Hand, Operation, parse_operation};
pub use replication::{
    Happened, Notice, Notified, alerts as replication_alerts, parse_replication,
    subject as replication_subject, unwrapped,
};

use crate::grant::{OwnRoles, Terms};
use crate::scope::Scope;
use crate::timestamp::Timestamp;
use loose::Loose;
use serde_json::Value;

/// The source of our own events.
pub const OWN_SOURCE: &str = "twinlake";
/// The detail-type of an S3 notification that is handed on to the other Region.
pub const HANDED_ON: &str = "S3 Replication";
/// The detail-type of an alert that was told in the primary, for the standby to know.
pub const TOLD: &str = "Alert";

/// Whose events are listened to, and which are our own echo.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    /// The primary's Region.
    pub region: String,
    /// Its account.
    pub account: String,
    /// Our own roles: what they do is no news.
    pub ours: OwnRoles,
    /// How the principals and places that a revoke names are told in the secondary.
    pub terms: Terms,
    /// When the event is read, for alerts that carry no time of their own.
    pub now: Timestamp,
}

/// What an event comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Look there.
    Look(Scope),
    /// Nothing to do, for this reason.
    Nothing(String),
}

/// Why an event cannot be understood. Reading it again cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event that Twinlake understands: {0}")]
pub struct Refused(pub String);

/// The largest event that is read: EventBridge and SQS deliver up to 1 MiB.
const MAX_BYTES: usize = 1 << 20;

/// Reads one EventBridge event.
///
/// # Errors
/// It is no JSON, or not of a kind that is understood; the text says which.
pub fn parse(bytes: &[u8], listener: &Listener) -> Result<Heard, Refused> {
    let json = read_json(bytes)?;
    let event = Loose::new(&json);
    let source = event.text("source").unwrap_or_default();
    let detail_type = event.text("detail-type").unwrap_or_default();
    let region = event.text("region").unwrap_or_default();
    if source == "aws.events" && detail_type == "Scheduled Event" {
        return Ok(Heard::Look(Scope::catalog()));
    }
    if region != listener.region {
        return Ok(Heard::Nothing(format!(
            "it is from {}, and the primary is {}",
            shown(&region),
            listener.region
        )));
    }
    let account = event.text("account").unwrap_or_default();
    if account != listener.account {
        return Ok(Heard::Nothing(format!(
            "it is from account {}, which is not the primary's",
            shown(&account)
        )));
    }
    match (source.as_str(), detail_type.as_str()) {
        ("aws.glue", "Glue Data Catalog Database State Change") => native::database(event),
        ("aws.glue", "Glue Data Catalog Table State Change") => native::table(event),
        ("aws.glue" | "aws.lakeformation", "AWS API Call via CloudTrail") => {
            cloudtrail::parse(event, listener)
        }
        _ => Err(Refused(format!(
            "source {} with detail-type {}",
            shown(&source),
            shown(&detail_type)
        ))),
    }
}

fn read_json(bytes: &[u8]) -> Result<Value, Refused> {
    if bytes.len() > MAX_BYTES {
        return Err(Refused(format!(
            "it has {} bytes, and no event has more than {MAX_BYTES}",
            bytes.len()
        )));
    }
    let json: Value =
        serde_json::from_slice(bytes).map_err(|e| Refused(format!("it is no JSON: {e}")))?;
    if json.is_object() {
        Ok(json)
    } else {
        Err(Refused("it is JSON, but no object".to_owned()))
    }
}

/// Untrusted text as it may stand in a message: escaped, short, in quotes.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    format!("\"{}\"", crate::render::escape(&short))
}
