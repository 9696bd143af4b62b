//! What fails around the lake: jobs, crawlers, refused access. Nothing to replicate, but
//! people want to know, and to hear when it is over.

use super::loose::Loose;
use super::{Listener, Refused, read_json, shown};
use crate::alert::{Alert, AlertKind};
use crate::name::Name;
use crate::timestamp::Timestamp;

/// What an event of operations comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Tell people.
    Tell(Box<Alert>),
    /// A trouble of this kind and subject is over.
    Over(AlertKind, String),
    /// Nothing to do, for this reason.
    Nothing(String),
}

/// Reads one event of operations in the listener's Region.
///
/// # Errors
/// It is no JSON, or not of a kind that is understood; the text says which.
pub fn parse_operation(bytes: &[u8], listener: &Listener) -> Result<Operation, Refused> {
    let json = read_json(bytes)?;
    let event = Loose::new(&json);
    let source = event.text("source").unwrap_or_default();
    let detail_type = event.text("detail-type").unwrap_or_default();
    match (source.as_str(), detail_type.as_str()) {
        ("aws.glue", "Glue Job State Change" | "Glue Crawler State Change") => run(event, listener),
        ("aws.glue" | "aws.lakeformation", "AWS API Call via CloudTrail") => {
            Ok(refusal(event, listener))
        }
        _ => Err(Refused(format!(
            "source {} with detail-type {}",
            shown(&source),
            shown(&detail_type)
        ))),
    }
}

/// The end of a run of a Glue job or crawler.
fn run(event: Loose<'_>, listener: &Listener) -> Result<Operation, Refused> {
    let detail = event.get("detail");
    let state = detail.text("state").unwrap_or_default();
    let (kind, name) = match (detail.text("jobName"), detail.text("crawlerName")) {
        (Some(job), _) => ("job", job),
        (None, Some(crawler)) => ("crawler", crawler),
        (None, None) => return Err(Refused("it names neither a job nor a crawler".to_owned())),
    };
    let subject = format!("{kind} {name}");
    if state.eq_ignore_ascii_case("succeeded") {
        return Ok(Operation::Over(AlertKind::JobFailed, subject));
    }
    let failed = ["failed", "timeout", "stopped", "error"];
    if !failed.iter().any(|bad| state.eq_ignore_ascii_case(bad)) {
        return Ok(Operation::Nothing(format!(
            "its state is {}",
            shown(&state)
        )));
    }
    let message = detail
        .text("message")
        .or_else(|| detail.text("errorMessage"))
        .unwrap_or_else(|| "no message".to_owned());
    let sentences = [
        format!("The Glue {subject} ended as {state}: {message}"),
        "The catalog stays in step; what the run should have written is missing on both sides."
            .to_owned(),
        format!("Look at the run's log, and start the {kind} again."),
    ];
    let region = &listener.region;
    let at = time(event, listener);
    let kind = AlertKind::JobFailed;
    Ok(tell(Alert::new(kind, region, &subject, sentences, at)))
}

/// A call that was refused. Of `GetDataAccess` no record of a refusal is public, so any
/// error of it counts.
fn refusal(event: Loose<'_>, listener: &Listener) -> Operation {
    let record = event.get("detail");
    let action = record.text("eventName").unwrap_or_default();
    let Some(code) = record.text("errorCode") else {
        return Operation::Nothing("the call did not fail".to_owned());
    };
    let denies = ["AccessDenied", "Unauthorized", "NotAuthorized"];
    let denied = denies.iter().any(|word| code.contains(word));
    if !denied && action != "GetDataAccess" {
        return Operation::Nothing(format!("the call failed with {}", shown(&code)));
    }
    let user = record.get("userIdentity");
    let issuer = user.get("sessionContext").get("sessionIssuer").text("arn");
    let who = issuer.or_else(|| user.text("arn"));
    let who = who.unwrap_or_else(|| "somebody unknown".to_owned());
    if listener.ours.contains(&who) {
        // Our own denials are told where they happen, with what they hold up.
        return Operation::Nothing("it is our own call".to_owned());
    }
    let (place, database) = place(record);
    let message = record.text("errorMessage").unwrap_or(code);
    let sentences = [
        format!("{who} was refused {action} on {place}: {message}"),
        "Grants are mirrored as they are: whoever is refused here is refused in the other Region."
            .to_owned(),
        "If the access is meant, grant it in the primary; `twinlake access PRINCIPAL RESOURCE` \
         shows what is held."
            .to_owned(),
    ];
    let subject = format!("{who} {action}");
    let at = time(event, listener);
    let kind = AlertKind::Unauthorized;
    tell(Alert {
        databases: database.into_iter().collect(),
        samples: vec![format!("{action} on {place}")],
        ..Alert::new(kind, &listener.region, &subject, sentences, at)
    })
}

/// What a refused call was about, and the database that it lies in.
fn place(record: Loose<'_>) -> (String, Option<Name>) {
    let request = record.get("requestParameters");
    let arn = request.text("tableArn").or_else(|| {
        let mut resources = record.get("resources").items();
        resources.find_map(|resource| resource.text("ARN"))
    });
    let database = request.name("databaseName").or_else(|| {
        let path = arn.as_deref()?.splitn(6, ':').nth(5)?;
        let mut words = path.split('/');
        let kind = words.next()?;
        let name = matches!(kind, "table" | "database").then(|| words.next())??;
        Name::new(name).ok()
    });
    let named = database
        .as_ref()
        .map(|database| format!("database {database}"));
    let place = arn.or(named).unwrap_or_else(|| "the catalog".to_owned());
    (place, database)
}

fn time(event: Loose<'_>, listener: &Listener) -> Timestamp {
    let at = event.text("time").and_then(|time| Timestamp::parse(&time));
    at.unwrap_or(listener.now)
}

fn tell(alert: Alert) -> Operation {
    Operation::Tell(Box::new(alert))
}
