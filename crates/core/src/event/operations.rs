//! What happens around the lake: jobs, crawlers and statistics that fail, refused access,
//! alarms, other people's hands on this Region, and what the primary's functions told.

use super::loose::Loose;
use super::{Heard, Listener, OWN_SOURCE, Refused, TOLD, cloudtrail, read_json, shown};
use crate::alert::{Alert, AlertKind};
use crate::name::Name;
use crate::scope::{Look, Scope};
use crate::timestamp::Timestamp;

/// What an event of operations comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Tell people.
    Tell(Box<Alert>),
    /// A trouble of this kind and subject is over, since then.
    Over(AlertKind, String, Timestamp),
    /// Somebody else changed something in this Region.
    Hand(Hand),
    /// The other Region's functions have told people of this.
    Told(Box<Alert>),
    /// Nothing to do, for this reason.
    Nothing(String),
}

/// Somebody else's change.
#[derive(Clone, Debug, PartialEq)]
pub struct Hand {
    /// Who.
    pub who: String,
    /// The API call.
    pub action: String,
    /// What it may have changed.
    pub scope: Scope,
    /// When.
    pub at: Timestamp,
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
        ("aws.glue", "Glue Scheduled Crawler Invocation Failure") => {
            Ok(not_run(event, listener, "crawler"))
        }
        ("aws.glue", kind) if kind.contains("Statistics") => Ok(statistics(event, kind, listener)),
        ("aws.glue" | "aws.lakeformation", "AWS API Call via CloudTrail") => {
            match event.get("detail").get("errorCode").exists() {
                true => Ok(refusal(event, listener)),
                false => hand(event, listener),
            }
        }
        ("aws.cloudwatch", "CloudWatch Alarm State Change") => alarm(event, listener),
        (OWN_SOURCE, TOLD) => {
            let alert = json.get("detail").cloned().unwrap_or_default();
            let alert = serde_json::from_value(alert);
            let alert: Alert = alert.map_err(|e| Refused(format!("it holds no alert: {e}")))?;
            // The peer tells of its own Region alone, which EventBridge stamps on the event.
            let is_its_own = event.text("region").as_deref() == Some(alert.region.as_str());
            if !is_its_own {
                return Err(Refused("it is an alert of another Region's".to_owned()));
            }
            Ok(Operation::Told(Box::new(alert)))
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
        let at = time(event, listener);
        return Ok(Operation::Over(AlertKind::JobFailed, subject, at));
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

/// A run that was not even started.
fn not_run(event: Loose<'_>, listener: &Listener, kind: &str) -> Operation {
    let detail = event.get("detail");
    let named = ["crawlerName", "name"]
        .iter()
        .find_map(|key| detail.text(key));
    let subject = format!("{kind} {}", named.unwrap_or_else(|| "unnamed".to_owned()));
    failed_run(event, listener, &subject, "could not be started")
}

/// What becomes of a task that computes column statistics. How its events are shaped is not
/// documented, only what they are called; so names are looked for where tasks have them.
fn statistics(event: Loose<'_>, kind: &str, listener: &Listener) -> Operation {
    let detail = event.get("detail");
    let table = detail.name("tableName");
    let named = detail.name("databaseName").zip(table);
    let subject = match named {
        Some((database, table)) => format!("statistics of {database}.{table}"),
        None => "statistics".to_owned(),
    };
    if kind.ends_with("Succeeded") {
        return Operation::Over(AlertKind::JobFailed, subject, time(event, listener));
    }
    if !(kind.contains("Fail")) {
        return Operation::Nothing(format!("it is {}", shown(kind)));
    }
    failed_run(event, listener, &subject, "failed")
}

fn failed_run(event: Loose<'_>, listener: &Listener, subject: &str, how: &str) -> Operation {
    let detail = event.get("detail");
    let words = ["message", "errorMessage", "reason"];
    let message = words.iter().find_map(|key| detail.text(key));
    let message = message.unwrap_or_else(|| "no message".to_owned());
    let sentences = [
        format!("The Glue {subject} {how}: {message}"),
        "The catalog stays in step; what the run should have written is missing on both sides."
            .to_owned(),
        "Look at the run in Glue, mend what its message names, and start it again.".to_owned(),
    ];
    let (region, at) = (&listener.region, time(event, listener));
    tell(Alert::new(
        AlertKind::JobFailed,
        region,
        subject,
        sentences,
        at,
    ))
}

/// A CloudWatch alarm that changed its state.
fn alarm(event: Loose<'_>, listener: &Listener) -> Result<Operation, Refused> {
    let detail = event.get("detail");
    let name = detail.text("alarmName");
    let name = name.ok_or_else(|| Refused("it names no alarm".to_owned()))?;
    let subject = format!("alarm {name}");
    let state = detail.get("state");
    match state.text("value").unwrap_or_default().as_str() {
        "ALARM" => {}
        "OK" => {
            let at = time(event, listener);
            return Ok(Operation::Over(AlertKind::Alarm, subject, at));
        }
        other => return Ok(Operation::Nothing(format!("its state is {}", shown(other)))),
    }
    let reason = state.text("reason");
    let reason = reason.unwrap_or_else(|| "no reason".to_owned());
    let about = detail.get("configuration").text("description");
    let sentences = [
        format!("The CloudWatch {subject} went off: {reason}"),
        about.unwrap_or_else(|| "What it watches is over its limit.".to_owned()),
        "Look at Twinlake's dashboard, and at `twinlake status` for what lags.".to_owned(),
    ];
    let (region, at) = (&listener.region, time(event, listener));
    let kind = AlertKind::Alarm;
    Ok(tell(Alert::new(kind, region, &subject, sentences, at)))
}

/// Somebody else's change in this Region.
fn hand(event: Loose<'_>, listener: &Listener) -> Result<Operation, Refused> {
    let record = event.get("detail");
    if cloudtrail::is_ours(record, listener) || is_by_command(record) {
        return Ok(Operation::Nothing("it is our own call".to_owned()));
    }
    match cloudtrail::parse(event, listener)? {
        Heard::Nothing(reason) => Ok(Operation::Nothing(reason)),
        Heard::Look(scope) => Ok(Operation::Hand(Hand {
            who: caller(record),
            action: record.text("eventName").unwrap_or_default(),
            scope: only_where(&scope),
            at: time(event, listener),
        })),
    }
}

/// A scope without all that an event of the primary would say: what was taken away here may
/// well be there in the primary, and is no proof of anything.
fn only_where(scope: &Scope) -> Scope {
    let mut bare = Scope::default();
    for (subject, look) in &scope.looks {
        let look = Look {
            facets: look.facets.clone(),
            values: look.values.clone(),
            ..Look::default()
        };
        bare.look(subject.clone(), look);
    }
    bare
}

/// Whether a person made the call with the command line: its name stands in the user agent.
/// Who only claims so is seen by the next resync.
fn is_by_command(record: Loose<'_>) -> bool {
    let agent = record.text("userAgent").unwrap_or_default();
    agent.split_whitespace().any(|word| word == "app/twinlake")
}

/// Who made a call: the role of a session, else the caller itself.
fn caller(record: Loose<'_>) -> String {
    let user = record.get("userIdentity");
    let issuer = user.get("sessionContext").get("sessionIssuer").text("arn");
    let who = issuer.or_else(|| user.text("arn"));
    who.unwrap_or_else(|| "somebody unknown".to_owned())
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
    let who = caller(record);
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
    event.time("time").unwrap_or(listener.now)
}

fn tell(alert: Alert) -> Operation {
    Operation::Tell(Box::new(alert))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_by_our_command_line_is_nobodys_hand() {
        let told = |agent: &str| {
            let event = json!({
                "source": "aws.glue", "detail-type": "AWS API Call via CloudTrail",
                "region": "r", "account": "1", "detail": {
                    "eventSource": "glue.amazonaws.com", "eventName": "DeleteTable",
                    "userAgent": agent, "userIdentity": {"arn": "arn:aws:iam::1:user/ann"},
                    "requestParameters": {"databaseName": "d", "name": "t"}},
            });
            let listener = Listener {
                region: "r".to_owned(),
                account: "1".to_owned(),
                ..Listener::default()
            };
            parse_operation(event.to_string().as_bytes(), &listener).unwrap()
        };
        let ours = told("aws-sdk-rust/1.3 os/linux lang/rust/1.95 app/twinlake");
        assert!(matches!(ours, Operation::Nothing(_)), "{ours:?}");
        let Operation::Hand(hand) = told("aws-cli/2 app/twinlake-not") else {
            panic!("somebody did it");
        };
        assert_eq!(
            (hand.who.as_str(), hand.action.as_str()),
            ("arn:aws:iam::1:user/ann", "DeleteTable")
        );
    }

    #[test]
    fn a_refusal_is_of_a_principal_and_an_action_wherever_it_was() {
        let told = |table: &str, role: &str, code: &str, action: &str| {
            let event = json!({
                "source": "aws.lakeformation", "detail-type": "AWS API Call via CloudTrail",
                "detail": {"eventSource": "lakeformation.amazonaws.com", "eventName": action,
                    "errorCode": code, "errorMessage": "no",
                    "userIdentity": {"arn": format!("arn:aws:sts::1:assumed-role/{role}/s"),
                        "sessionContext": {"sessionIssuer": {"arn": format!("arn:aws:iam::1:role/{role}")}}},
                    "requestParameters": {"tableArn": format!("arn:aws:glue:r:1:table/{table}")}},
            });
            let listener = Listener::default();
            match parse_operation(event.to_string().as_bytes(), &listener) {
                Ok(Operation::Tell(alert)) => Some(alert),
                other => {
                    assert!(matches!(other, Ok(Operation::Nothing(_))), "{other:?}");
                    None
                }
            }
        };
        let key = |table, role, action| told(table, role, "AccessDenied", action).unwrap().key();
        let first = key("d/t", "a", "GetDataAccess");
        assert_eq!(first, key("d/u", "a", "GetDataAccess"));
        assert_ne!(first, key("d/t", "b", "GetDataAccess"));
        assert_ne!(first, key("d/t", "a", "GrantPermissions"));
        // Any error of `GetDataAccess` counts; of other calls a denial alone.
        assert!(told("d/t", "a", "EntityNotFound", "GetDataAccess").is_some());
        assert!(told("d/t", "a", "EntityNotFound", "GrantPermissions").is_none());
    }

    #[test]
    fn the_peer_tells_of_its_own_region_alone() {
        let told = |region: &str| {
            let words = ["a", "b", "c"].map(str::to_owned);
            let alert = Alert::new(
                AlertKind::JobFailed,
                "us-east-1",
                "job x",
                words,
                Timestamp(0),
            );
            let event = json!({"source": OWN_SOURCE, "detail-type": TOLD, "region": region,
                               "detail": alert});
            parse_operation(event.to_string().as_bytes(), &Listener::default())
        };
        assert!(matches!(told("us-east-1"), Ok(Operation::Told(_))));
        assert!(told("eu-west-1").is_err());
    }
}
