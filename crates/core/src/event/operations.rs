//! Job and crawler events: nothing to replicate, but people want to know.

use super::loose::Loose;
use super::{Heard, Listener, Refused};
use crate::alert::{Alert, AlertKind};
use crate::timestamp::Timestamp;

pub(super) fn parse(event: Loose<'_>, listener: &Listener) -> Result<Heard, Refused> {
    let detail = event.get("detail");
    let state = detail.text("state").unwrap_or_default();
    let failed = ["failed", "timeout", "stopped", "error"];
    if !failed.iter().any(|bad| state.eq_ignore_ascii_case(bad)) {
        return Ok(Heard::Nothing(format!(
            "its state is {}",
            super::shown(&state)
        )));
    }
    let (kind, name) = match (detail.text("jobName"), detail.text("crawlerName")) {
        (Some(job), _) => ("job", job),
        (None, Some(crawler)) => ("crawler", crawler),
        (None, None) => return Err(Refused("it names neither a job nor a crawler".to_owned())),
    };
    let message = detail
        .text("message")
        .or_else(|| detail.text("errorMessage"))
        .unwrap_or_else(|| "no message".to_owned());
    let at = event.text("time").and_then(|time| Timestamp::parse(&time));
    let sentences = [
        format!("The Glue {kind} {name} ended as {state}: {message}"),
        "The catalog stays in step; what the run should have written is missing on both sides."
            .to_owned(),
        format!("Look at the run's log, and start the {kind} again in the primary."),
    ];
    Ok(Heard::Tell(vec![Alert::new(
        AlertKind::JobFailed,
        &listener.region,
        &format!("{kind} {name}"),
        sentences,
        at.unwrap_or(listener.now),
    )]))
}
