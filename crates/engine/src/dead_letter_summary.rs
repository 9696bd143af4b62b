//! Summaries of dead-letter messages for alerts and `twinlake redrive`.

use crate::retry_message::RetryMessage;
use twinlake_core::event::{
    EventContext, OperationalEvent, Parsed, ParsedNotifications, parse, parse_operational_event,
};
use twinlake_core::event::{parse_replication, replication_alert_subject};
use twinlake_core::grant::GrantMapping;
use twinlake_core::{OwnRoles, Timestamp, render};

/// The maximum length of a summary, in characters.
const MAX_SUMMARY_CHARS: usize = 200;

/// Returns a one-line summary of a message body, escaped so that it is safe to print.
#[must_use]
pub fn summarize(body: &[u8]) -> String {
    let summary = summarize_retry_message(body)
        .or_else(|| summarize_notification(body))
        .or_else(|| summarize_event(body))
        .unwrap_or_else(|| "not recognized as an event".to_owned());
    let escaped = render::escape(&summary);
    escaped.chars().take(MAX_SUMMARY_CHARS).collect()
}

fn summarize_retry_message(body: &[u8]) -> Option<String> {
    let message = RetryMessage::parse(body)?;
    let purpose = match message.part {
        Some(part) => format!("part of the resync run {}", part.run),
        None => "queued for a retry".to_owned(),
    };
    Some(format!("{}: {purpose}", message.scope))
}

fn summarize_notification(body: &[u8]) -> Option<String> {
    let Ok(ParsedNotifications::Notices(notices, _)) =
        parse_replication(body, Timestamp::default())
    else {
        return None;
    };
    let first = notices.first()?;
    let subject = replication_alert_subject(first, None);
    Some(format!(
        "{} of {subject}",
        render::counted(notices.len(), "object")
    ))
}

fn summarize_event(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    if json.get("requestPayload").is_some() {
        return Some("a scheduled invocation that failed".to_owned());
    }
    let text = |key: &str| {
        let text = json.get(key).and_then(serde_json::Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let event_context = EventContext {
        region: text("region"),
        account: text("account"),
        own_roles: OwnRoles::default(),
        grant_mapping: GrantMapping::default(),
        now: Timestamp::default(),
    };
    let kind = text("detail-type");
    if let Ok(Parsed::Scope(scope)) = parse(body, &event_context) {
        return Some(format!("{scope}: {kind}"));
    }
    match parse_operational_event(body, &event_context).ok()? {
        OperationalEvent::Alert(alert) | OperationalEvent::PeerAlert(alert) => {
            Some(format!("{}: {kind}", alert.subject))
        }
        OperationalEvent::Resolved(_, subject, _) => Some(format!("{subject}: {kind}")),
        OperationalEvent::OutOfBandChange(change) => Some(format!("{}: {kind}", change.scope)),
        OperationalEvent::Ignored(_) => Some(kind),
    }
}
