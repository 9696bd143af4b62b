//! Reads what the records of CloudTrail have in common: the ARNs, and who made a call for whom.
//!
//! A record names a principal in one of many places. An IAM role has a session issuer; a role of
//! another account only its unique id and its account; a service that acts for a person of IAM
//! Identity Center has the service's role, and the person in `onBehalfOf`; and
//! `additionalEventData` of `GetDataAccess` has the principal whose permissions were checked.

use super::lenient_json::LenientJson;
use super::{EventContext, UnrecognizedEvent, quoted};
use crate::arn::Arn;
use crate::topology::AwsPartition;
use serde_json::Value;

/// Whether CloudTrail omitted the parameters of a call, or those of a part of it.
pub(super) fn is_omitted(request: LenientJson<'_>) -> bool {
    !request.is_object() || request.get("omitted").exists()
}

/// The ARNs of the resources of a record.
pub(super) fn arns(record: LenientJson<'_>) -> Vec<String> {
    let resources = record.get("resources").items();
    resources
        .filter_map(|resource| resource.text("ARN"))
        .collect()
}

/// The error for a record that names nothing that can be read.
pub(super) fn no_valid_name(event_name: &str) -> UnrecognizedEvent {
    UnrecognizedEvent(format!("no valid name in {}", quoted(event_name)))
}

/// Whether one of Twinlake's own roles made the call.
pub(super) fn is_own_call(record: LenientJson<'_>, event_context: &EventContext) -> bool {
    let issuer = session_issuer(record);
    issuer.is_some_and(|issuer| event_context.own_roles.contains(&issuer))
}

fn session_issuer(record: LenientJson<'_>) -> Option<String> {
    let session = record.get("userIdentity").get("sessionContext");
    text_of(session.get("sessionIssuer"), "arn")
}

/// The text of a key, unless it is empty.
fn text_of(parent: LenientJson<'_>, key: &str) -> Option<String> {
    parent.text(key).filter(|text| !text.is_empty())
}

/// The principal whose permissions decide about a call, as a grant names it where the record says
/// so: that of Lake Formation, the person for whom a service acts, or the caller.
pub(super) fn principal(record: LenientJson<'_>) -> String {
    let checked = text_of(record.get("additionalEventData"), "lakeFormationPrincipal");
    let checked = checked.map(|arn| without_session(&arn));
    checked
        .or_else(|| person(record.get("userIdentity").get("onBehalfOf")))
        .unwrap_or_else(|| caller(record))
}

/// A person of IAM Identity Center, as Lake Formation names it.
fn person(on_behalf_of: LenientJson<'_>) -> Option<String> {
    let user = text_of(on_behalf_of, "userId")?;
    let store = text_of(on_behalf_of, "identityStoreArn").unwrap_or_default();
    let partition = Arn::parse(&store).map_or(AwsPartition::Aws, |arn| arn.partition);
    Some(format!("arn:{partition}:identitystore:::user/{user}"))
}

/// Who made a call: the role of a session, or else what identifies the caller best.
pub(super) fn caller(record: LenientJson<'_>) -> String {
    let user = record.get("userIdentity");
    let arn = session_issuer(record).or_else(|| text_of(user, "arn"));
    arn.map(|arn| without_session(&arn))
        .or_else(|| person(user.get("onBehalfOf")))
        .or_else(|| caller_without_arn(user))
        .or_else(|| invoker(record))
        .or_else(|| text_of(user, "invokedBy"))
        .or_else(|| {
            let address = text_of(record, "sourceIPAddress")?;
            Some(format!("an unknown caller at {address}"))
        })
        .unwrap_or_else(|| "an unknown caller".to_owned())
}

/// A caller whose identity has no ARN, such as a role of another account.
fn caller_without_arn(user: LenientJson<'_>) -> Option<String> {
    let (id, account) = (text_of(user, "principalId"), text_of(user, "accountId"));
    // The unique id of a role is followed by the name of the session.
    let id = id.map(|id| match id.split_once(':') {
        Some((role, _)) if role.starts_with("AROA") => role.to_owned(),
        Some(_) | None => id,
    });
    match (text_of(user, "userName").or(id), account) {
        (Some(id), Some(account)) => Some(format!("{id} of account {account}")),
        (Some(id), None) => Some(id),
        (None, Some(account)) => Some(format!("account {account}")),
        (None, None) => None,
    }
}

/// The identity that a query engine states in the audit context, such as a database user. The
/// engine vouches for it, not AWS.
pub(super) fn invoker(record: LenientJson<'_>) -> Option<String> {
    let context = record.get("requestParameters").get("auditContext");
    let stated = text_of(context, "additionalAuditContext")?;
    let stated: Value = serde_json::from_str(&stated).ok()?;
    text_of(LenientJson::new(&stated), "invokedBy")
}

fn without_session(arn: &str) -> String {
    Arn::parse(arn).map_or_else(|| arn.to_owned(), Arn::without_session)
}

/// Whether CloudTrail left out a part of the parameters, however deep. The keys are those of the API: no name of an
/// object is one.
pub(super) fn has_omitted_part(part: LenientJson<'_>) -> bool {
    let is_marker = |key: &str| key.eq_ignore_ascii_case("omitted");
    let mut members = part.pairs();
    members.any(|(key, value)| is_marker(key) || has_omitted_part(value))
        || part.items().any(has_omitted_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn principal_of(record: &Value) -> String {
        principal(LenientJson::new(record))
    }

    #[test]
    fn the_principal_is_named_in_every_shape_of_a_record() {
        let role = "arn:aws:iam::111122223333:role/team/Analyst";
        let session = "arn:aws:sts::111122223333:assumed-role/Analyst/ann";
        let person = "arn:aws:identitystore:::user/459e10f6-1";
        let on_behalf_of = json!({
            "userId": "459e10f6-1",
            "identityStoreArn": "arn:aws:identitystore::111122223333:identitystore/d-1",
        });
        let issuer = json!({"sessionIssuer": {"arn": role}});
        let cases = [
            (
                json!({"userIdentity": {"arn": session, "sessionContext": issuer}}),
                role,
            ),
            (
                json!({"userIdentity": {"arn": session}}),
                "arn:aws:iam::111122223333:role/Analyst",
            ),
            (
                json!({"userIdentity": {"sessionContext": issuer, "onBehalfOf": on_behalf_of}}),
                person,
            ),
            (
                json!({"userIdentity": {"type": "IdentityCenterUser", "onBehalfOf": on_behalf_of}}),
                person,
            ),
            (
                json!({
                    "userIdentity": {"type": "AWSAccount", "principalId": "AROAX:s"},
                    "additionalEventData": {"lakeFormationPrincipal": person},
                }),
                person,
            ),
            (
                json!({"additionalEventData": {"lakeFormationPrincipal": session}}),
                "arn:aws:iam::111122223333:role/Analyst",
            ),
            (
                json!({"userIdentity": {
                    "type": "AWSAccount", "principalId": "AROAX:s", "accountId": "444455556666"}}),
                "AROAX of account 444455556666",
            ),
            (
                json!({"userIdentity": {"type": "SAMLUser", "principalId": "q:ann"}}),
                "q:ann",
            ),
            (
                json!({"userIdentity": {"type": "AWSService", "invokedBy": "redshift.amazonaws.com"}}),
                "redshift.amazonaws.com",
            ),
            (
                json!({"requestParameters": {"auditContext": {
                    "additionalAuditContext": "{\"invokedBy\": \"dbuser:x/ann\"}"}}}),
                "dbuser:x/ann",
            ),
            (
                json!({"sourceIPAddress": "203.0.113.10"}),
                "an unknown caller at 203.0.113.10",
            ),
            (json!({"userIdentity": {"arn": ""}}), "an unknown caller"),
        ];
        for (record, expected) in cases {
            assert_eq!(principal_of(&record), expected, "{record}");
        }
    }

    #[test]
    fn two_sessions_of_a_role_of_another_account_are_one_principal() {
        let of = |id: &str| {
            principal_of(&json!({"userIdentity": {"principalId": id, "accountId": "444455556666"}}))
        };
        assert_eq!(of("AROAX:one"), of("AROAX:two"));
        assert_ne!(of("AROAX:one"), of("AROAY:one"));
        assert_ne!(of("AIDAX"), of("AIDAY"));
    }
}
