//! Parses operational events: failed Glue jobs, crawlers and column statistics tasks, denied
//! calls, CloudWatch alarms, out-of-band changes in the local Region, and alerts of the peer
//! Region.

use super::cloudtrail_record::{arns, caller, invoker, is_own_call, principal};
use super::lenient_json::LenientJson;
use super::own_catalog::{self, ArnTarget};
use super::{
    ALERT_DETAIL_TYPE, EventContext, Parsed, TWINLAKE_SOURCE, UnrecognizedEvent, cloudtrail,
    quoted, read_json,
};
use crate::alert::{Alert, AlertKind};
use crate::name::{Name, TableId};
use crate::scope::{ReadRequest, Scope};
use crate::timestamp::Timestamp;

/// The result of parsing an operational event.
#[derive(Clone, Debug, PartialEq)]
pub enum OperationalEvent {
    /// The event calls for an alert.
    Alert(Box<Alert>),
    /// The alert of this kind and subject is resolved, since this time.
    Resolved(AlertKind, String, Timestamp),
    /// Someone other than Twinlake changed an object in the local Region.
    OutOfBandChange(OutOfBandChange),
    /// The peer Region has published this alert.
    PeerAlert(Box<Alert>),
    /// The event needs no action, for this reason.
    Ignored(String),
}

/// A change in the local Region that Twinlake did not make.
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfBandChange {
    /// Who made the call: an ARN if the record has one.
    pub caller: String,
    /// The API call.
    pub action: String,
    /// What the call may have changed.
    pub scope: Scope,
    /// The time of the event.
    pub event_time: Timestamp,
}

/// Parses one operational event of the local Region.
///
/// # Errors
/// The event is too large or no JSON object, its type is unknown, or its detail lacks what its type
/// needs; the text says which.
pub fn parse_operational_event(
    bytes: &[u8],
    event_context: &EventContext,
) -> Result<OperationalEvent, UnrecognizedEvent> {
    let json = read_json(bytes)?;
    let event = LenientJson::new(&json);
    let source = event.text("source").unwrap_or_default();
    let detail_type = event.text("detail-type").unwrap_or_default();
    match (source.as_str(), detail_type.as_str()) {
        ("aws.glue", "Glue Job State Change" | "Glue Crawler State Change") => {
            parse_run_state(event, event_context)
        }
        ("aws.glue", "Glue Scheduled Crawler Invocation Failure") => {
            Ok(parse_invocation_failure(event, event_context, "crawler"))
        }
        ("aws.glue", kind) if kind.contains("Statistics") => {
            Ok(parse_statistics_task(event, kind, event_context))
        }
        ("aws.glue" | "aws.lakeformation", "AWS API Call via CloudTrail") => {
            match event.get("detail").get("errorCode").exists() {
                true => Ok(parse_failed_call(event, event_context)),
                false => parse_change(event, event_context),
            }
        }
        ("aws.cloudwatch", "CloudWatch Alarm State Change") => parse_alarm(event, event_context),
        (TWINLAKE_SOURCE, ALERT_DETAIL_TYPE) => {
            let alert = json.get("detail").cloned().unwrap_or_default();
            let alert = serde_json::from_value(alert);
            let alert: Alert =
                alert.map_err(|e| UnrecognizedEvent(format!("its detail is not an alert: {e}")))?;
            // The peer sends alerts only for its own Region, which EventBridge sets in the event.
            let is_own_region = event.text("region").as_deref() == Some(alert.region.as_str());
            if !is_own_region {
                return Err(UnrecognizedEvent(
                    "its alert is for another Region than the sender's".to_owned(),
                ));
            }
            Ok(OperationalEvent::PeerAlert(Box::new(alert)))
        }
        _ => Err(UnrecognizedEvent(format!(
            "unknown source {} with detail-type {}",
            quoted(&source),
            quoted(&detail_type)
        ))),
    }
}

/// Parses a state change of a run of a Glue job or crawler.
fn parse_run_state(
    event: LenientJson<'_>,
    event_context: &EventContext,
) -> Result<OperationalEvent, UnrecognizedEvent> {
    let detail = event.get("detail");
    let state = detail.text("state").unwrap_or_default();
    let (kind, name) = match (detail.text("jobName"), detail.text("crawlerName")) {
        (Some(job), _) => ("job", job),
        (None, Some(crawler)) => ("crawler", crawler),
        (None, None) => {
            return Err(UnrecognizedEvent(
                "it names neither a job nor a crawler".to_owned(),
            ));
        }
    };
    let subject = format!("{kind} {name}");
    if state.eq_ignore_ascii_case("succeeded") {
        let since = event_time(event, event_context);
        return Ok(OperationalEvent::Resolved(
            AlertKind::JobFailed,
            subject,
            since,
        ));
    }
    let failed_states = ["failed", "timeout", "stopped", "error"];
    if !failed_states
        .iter()
        .any(|failed| state.eq_ignore_ascii_case(failed))
    {
        return Ok(OperationalEvent::Ignored(format!(
            "its state is {}",
            quoted(&state)
        )));
    }
    let message = detail
        .text("message")
        .or_else(|| detail.text("errorMessage"))
        .unwrap_or_else(|| "no message".to_owned());
    let sentences = [
        format!("The Glue {subject} ended with state {state}: {message}"),
        "The catalogs stay in sync. The changes that the run would have made are missing in both \
         Regions."
            .to_owned(),
        format!("Check the log of the run, and start the {kind} again."),
    ];
    let region = &event_context.region;
    let at = event_time(event, event_context);
    let kind = AlertKind::JobFailed;
    Ok(alert_event(Alert::new(
        kind, region, &subject, sentences, at,
    )))
}

/// Parses the event of a scheduled run that Glue could not start.
fn parse_invocation_failure(
    event: LenientJson<'_>,
    event_context: &EventContext,
    kind: &str,
) -> OperationalEvent {
    let detail = event.get("detail");
    let named = ["crawlerName", "name"]
        .iter()
        .find_map(|key| detail.text(key));
    let subject = format!("{kind} {}", named.unwrap_or_else(|| "unnamed".to_owned()));
    run_failed(event, event_context, &subject, "could not be started")
}

/// Parses an event of a column statistics task. AWS documents only the detail-types of these
/// events; the keys of the names are assumed to be those of a `ColumnStatisticsTaskRun`.
fn parse_statistics_task(
    event: LenientJson<'_>,
    kind: &str,
    event_context: &EventContext,
) -> OperationalEvent {
    let detail = event.get("detail");
    let table = detail.name("tableName");
    let named = detail.name("databaseName").zip(table);
    let subject = match named {
        Some((database, table)) => {
            format!(
                "column statistics task of {}",
                TableId::new(database, table)
            )
        }
        None => "column statistics task".to_owned(),
    };
    if kind.ends_with("Succeeded") {
        return OperationalEvent::Resolved(
            AlertKind::JobFailed,
            subject,
            event_time(event, event_context),
        );
    }
    if !(kind.contains("Fail")) {
        return OperationalEvent::Ignored(format!("its detail-type is {}", quoted(kind)));
    }
    run_failed(event, event_context, &subject, "failed")
}

fn run_failed(
    event: LenientJson<'_>,
    event_context: &EventContext,
    subject: &str,
    outcome: &str,
) -> OperationalEvent {
    let detail = event.get("detail");
    let keys = ["message", "errorMessage", "reason"];
    let message = keys.iter().find_map(|key| detail.text(key));
    let message = message.unwrap_or_else(|| "no message".to_owned());
    let sentences = [
        format!("The Glue {subject} {outcome}: {message}"),
        "The catalogs stay in sync. The changes that the run would have made are missing in both \
         Regions."
            .to_owned(),
        "Check the run in the Glue console, fix the cause, and start it again.".to_owned(),
    ];
    let (region, at) = (&event_context.region, event_time(event, event_context));
    alert_event(Alert::new(
        AlertKind::JobFailed,
        region,
        subject,
        sentences,
        at,
    ))
}

/// Parses a state change of a CloudWatch alarm.
fn parse_alarm(
    event: LenientJson<'_>,
    event_context: &EventContext,
) -> Result<OperationalEvent, UnrecognizedEvent> {
    let detail = event.get("detail");
    let name = detail.text("alarmName");
    let name = name.ok_or_else(|| UnrecognizedEvent("it names no alarm".to_owned()))?;
    let subject = format!("alarm {name}");
    let state = detail.get("state");
    match state.text("value").unwrap_or_default().as_str() {
        "ALARM" => {}
        "OK" => {
            let since = event_time(event, event_context);
            return Ok(OperationalEvent::Resolved(AlertKind::Alarm, subject, since));
        }
        other => {
            return Ok(OperationalEvent::Ignored(format!(
                "its state is {}",
                quoted(other)
            )));
        }
    }
    let reason = state.text("reason");
    let reason = reason.unwrap_or_else(|| "no reason".to_owned());
    let description = detail.get("configuration").text("description");
    let sentences = [
        format!("The CloudWatch {subject} is in state ALARM: {reason}"),
        description.unwrap_or_else(|| "The alarm's metric is outside its threshold.".to_owned()),
        format!(
            "Check Twinlake's dashboard, and run `twinlake status --region {}` to list what is not \
             in sync.",
            event_context.region
        ),
    ];
    let (region, at) = (&event_context.region, event_time(event, event_context));
    let kind = AlertKind::Alarm;
    Ok(alert_event(Alert::new(
        kind, region, &subject, sentences, at,
    )))
}

/// Parses a successful call in the local Region, to find out-of-band changes.
fn parse_change(
    event: LenientJson<'_>,
    event_context: &EventContext,
) -> Result<OperationalEvent, UnrecognizedEvent> {
    let record = event.get("detail");
    if is_own_call(record, event_context) || is_cli_call(record) {
        return Ok(OperationalEvent::Ignored(
            "it is a call of Twinlake".to_owned(),
        ));
    }
    match cloudtrail::parse(event, event_context)? {
        Parsed::Ignored(reason) => Ok(OperationalEvent::Ignored(reason)),
        Parsed::Scope(scope) => Ok(OperationalEvent::OutOfBandChange(OutOfBandChange {
            caller: caller(record),
            action: record.text("eventName").unwrap_or_default(),
            scope: without_deletions(&scope),
            event_time: event_time(event, event_context),
        })),
    }
}

/// Returns the scope with its facets and partition values alone. A deletion or a revoke in the
/// local Region does not prove that the primary lacks the object or the grant.
fn without_deletions(scope: &Scope) -> Scope {
    let mut stripped = Scope::default();
    for (subject, read_request) in &scope.read_requests {
        let read_request = ReadRequest {
            facets: read_request.facets.clone(),
            partition_values: read_request.partition_values.clone(),
            ..ReadRequest::default()
        };
        stripped.add(subject.clone(), read_request);
    }
    stripped
}

/// Whether the Twinlake CLI made the call, by its name in the user agent. A caller can forge the
/// user agent; the next resync finds such changes.
fn is_cli_call(record: LenientJson<'_>) -> bool {
    let agent = record.text("userAgent").unwrap_or_default();
    agent
        .split_whitespace()
        .any(|token| token == "app/twinlake")
}

/// Parses a failed call, to find denied ones. AWS documents no example of the record of
/// a denied `GetDataAccess` (Q-08), so every error of that call counts as a denial.
fn parse_failed_call(event: LenientJson<'_>, event_context: &EventContext) -> OperationalEvent {
    let record = event.get("detail");
    let action = record.text("eventName").unwrap_or_default();
    let Some(code) = record.text("errorCode") else {
        return OperationalEvent::Ignored("the call did not fail".to_owned());
    };
    let denial_codes = ["AccessDenied", "Unauthorized", "NotAuthorized"];
    let is_denied = denial_codes.iter().any(|part| code.contains(part));
    if !is_denied && action != "GetDataAccess" {
        return OperationalEvent::Ignored(format!("the call failed with {}", quoted(&code)));
    }
    let (principal, caller) = (principal(record), caller(record));
    let own_roles = &event_context.own_roles;
    if own_roles.contains(&caller) || own_roles.contains(&principal) {
        // The code that makes a denied call publishes the alert, with the objects that it blocks.
        return OperationalEvent::Ignored("it is a call of Twinlake".to_owned());
    }
    let (resource, database) = denied_resource(record, event_context);
    let message = record.text("errorMessage").unwrap_or(code);
    let sentences = [
        format!("{principal} was denied {action} on {resource}: {message}"),
        "The other Region was not checked; `twinlake access` compares both.".to_owned(),
        format!(
            "If the access is intended, grant it in the primary. To list the grants, run `twinlake \
             access PRINCIPAL DATABASE.TABLE --region {}`.",
            event_context.region
        ),
    ];
    let mut sample = format!("{action} on {resource}");
    if caller != principal {
        sample.push_str(&format!(", called by {caller}"));
    }
    if let Some(invoker) = invoker(record).filter(|invoker| *invoker != principal) {
        sample.push_str(&format!(", invoked by {invoker}"));
    }
    let subject = format!("{principal} {action}");
    let at = event_time(event, event_context);
    let kind = AlertKind::UserAccessDenied;
    alert_event(Alert {
        databases: database.into_iter().collect(),
        samples: vec![sample],
        ..Alert::new(kind, &event_context.region, &subject, sentences, at)
    })
}

/// Returns the resource of a denied call, and its database if it has one in the default catalog.
fn denied_resource(
    record: LenientJson<'_>,
    event_context: &EventContext,
) -> (String, Option<Name>) {
    let request = record.get("requestParameters");
    let location = request.get("dataLocations").items().next();
    let arn = request
        .text("tableArn")
        .or_else(|| arns(record).into_iter().next())
        .or_else(|| location.and_then(LenientJson::as_text));
    let named = request.name("databaseName");
    let named = named.filter(|_| own_catalog::foreign_id(request, event_context).is_none());
    let database =
        named.or_else(
            || match own_catalog::arn_target(arn.as_deref()?, event_context) {
                ArnTarget::Database(database) => Some(database),
                ArnTarget::Table(id) => Some(id.database),
                ArnTarget::OtherCatalog(_) | ArnTarget::InvalidName | ArnTarget::Other => None,
            },
        );
    let named = database
        .as_ref()
        .map(|database| format!("database {database}"));
    let resource = arn.or(named).unwrap_or_else(|| "the catalog".to_owned());
    (resource, database)
}

fn event_time(event: LenientJson<'_>, event_context: &EventContext) -> Timestamp {
    event.time("time").unwrap_or(event_context.now)
}

fn alert_event(alert: Alert) -> OperationalEvent {
    OperationalEvent::Alert(Box::new(alert))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_of_the_twinlake_cli_is_not_an_out_of_band_change() {
        let parse_call = |agent: &str| {
            let event = json!({
                "source": "aws.glue", "detail-type": "AWS API Call via CloudTrail",
                "region": "r", "account": "1", "detail": {
                    "eventSource": "glue.amazonaws.com", "eventName": "DeleteTable",
                    "userAgent": agent, "userIdentity": {"arn": "arn:aws:iam::1:user/ann"},
                    "requestParameters": {"databaseName": "d", "name": "t"}},
            });
            let event_context = EventContext {
                region: "r".to_owned(),
                account: "1".to_owned(),
                ..EventContext::default()
            };
            parse_operational_event(event.to_string().as_bytes(), &event_context).unwrap()
        };
        let by_cli = parse_call("aws-sdk-rust/1.3 os/linux lang/rust/1.95 app/twinlake");
        assert!(matches!(by_cli, OperationalEvent::Ignored(_)), "{by_cli:?}");
        let OperationalEvent::OutOfBandChange(change) = parse_call("aws-cli/2 app/twinlake-not")
        else {
            panic!("not an out-of-band change");
        };
        assert_eq!(
            (change.caller.as_str(), change.action.as_str()),
            ("arn:aws:iam::1:user/ann", "DeleteTable")
        );
    }

    #[test]
    fn denials_are_grouped_by_principal_and_action_whatever_the_table() {
        let denial = |table: &str, role: &str, code: &str, action: &str| {
            let event = json!({
                "source": "aws.lakeformation", "detail-type": "AWS API Call via CloudTrail",
                "detail": {"eventSource": "lakeformation.amazonaws.com", "eventName": action,
                    "errorCode": code, "errorMessage": "no",
                    "userIdentity": {"arn": format!("arn:aws:sts::1:assumed-role/{role}/s"),
                        "sessionContext": {"sessionIssuer": {"arn": format!("arn:aws:iam::1:role/{role}")}}},
                    "requestParameters": {"tableArn": format!("arn:aws:glue:r:1:table/{table}")}},
            });
            let event_context = EventContext::default();
            match parse_operational_event(event.to_string().as_bytes(), &event_context) {
                Ok(OperationalEvent::Alert(alert)) => Some(alert),
                other => {
                    assert!(
                        matches!(other, Ok(OperationalEvent::Ignored(_))),
                        "{other:?}"
                    );
                    None
                }
            }
        };
        let key = |table, role, action| denial(table, role, "AccessDenied", action).unwrap().key();
        let first = key("d/t", "a", "GetDataAccess");
        assert_eq!(first, key("d/u", "a", "GetDataAccess"));
        assert_ne!(first, key("d/t", "b", "GetDataAccess"));
        assert_ne!(first, key("d/t", "a", "GrantPermissions"));
        // Every error of `GetDataAccess` counts as a denial; of other calls only denial codes do.
        assert!(denial("d/t", "a", "EntityNotFound", "GetDataAccess").is_some());
        assert!(denial("d/t", "a", "EntityNotFound", "GrantPermissions").is_none());
    }

    #[test]
    fn denials_of_other_accounts_and_persons_are_grouped_by_principal() {
        let denial = |identity: &serde_json::Value, additional: &serde_json::Value| {
            let event = json!({
                "source": "aws.lakeformation", "detail-type": "AWS API Call via CloudTrail",
                "region": "us-east-1", "account": "111122223333",
                "detail": {"eventSource": "lakeformation.amazonaws.com",
                    "eventName": "GetDataAccess", "errorCode": "AccessDenied",
                    "userIdentity": identity, "additionalEventData": additional,
                    "requestParameters": {
                        "tableArn": "arn:aws:glue:us-east-1:111122223333:table/x/y/sales/orders"}},
            });
            let event_context = EventContext {
                region: "us-east-1".to_owned(),
                account: "111122223333".to_owned(),
                ..EventContext::default()
            };
            match parse_operational_event(event.to_string().as_bytes(), &event_context) {
                Ok(OperationalEvent::Alert(alert)) => alert,
                other => panic!("{other:?}"),
            }
        };
        let account = json!({"type": "AWSAccount", "principalId": "AROAX:s",
                             "accountId": "444455556666"});
        let person = |id: &str| json!({"lakeFormationPrincipal": format!("arn:aws:identitystore:::user/{id}")});
        let (ann, bob) = (
            denial(&account, &person("ann")),
            denial(&account, &person("bob")),
        );
        assert_ne!(ann.key(), bob.key());
        assert!(
            ann.summary
                .starts_with("arn:aws:identitystore:::user/ann was denied"),
            "{}",
            ann.summary
        );
        assert!(
            ann.samples[0].ends_with("called by AROAX of account 444455556666"),
            "{:?}",
            ann.samples
        );
        // A database of a nested catalog is none of the default catalog.
        assert!(ann.databases.is_empty(), "{:?}", ann.databases);
        let behalf = json!({"type": "IdentityCenterUser", "onBehalfOf": {"userId": "ann"}});
        assert_eq!(denial(&behalf, &json!(null)).key(), ann.key());
        let unnamed = denial(&account, &json!(null));
        assert_ne!(unnamed.key(), ann.key());
        assert!(!unnamed.subject.contains("unknown"), "{}", unnamed.subject);
    }

    #[test]
    fn a_peer_alert_is_accepted_for_the_senders_region_only() {
        let parse_alert = |region: &str| {
            let sentences = ["a", "b", "c"].map(str::to_owned);
            let alert = Alert::new(
                AlertKind::JobFailed,
                "us-east-1",
                "job x",
                sentences,
                Timestamp::from_millis(0),
            );
            let event = json!({"source": TWINLAKE_SOURCE, "detail-type": ALERT_DETAIL_TYPE, "region": region,
                               "detail": alert});
            parse_operational_event(event.to_string().as_bytes(), &EventContext::default())
        };
        assert!(matches!(
            parse_alert("us-east-1"),
            Ok(OperationalEvent::PeerAlert(_))
        ));
        assert!(parse_alert("eu-west-1").is_err());
    }
}
