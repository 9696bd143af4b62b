//! Parses calls on LF-Tags, LF-Tag expressions, registered locations and data lake settings that CloudTrail recorded.

use super::cloudtrail_record::{has_omitted_part, is_omitted};
use super::lenient_json::LenientJson;
use super::{EventContext, Parsed};
use crate::scope::{DeletedItem, Facet, LfSubject, ReadRequest, Scope, Subject};
use std::collections::BTreeSet;

/// Parses a call on LF-Tags, LF-Tag expressions, registered locations or data lake settings.
pub(super) fn parse_lake_formation_subject(
    lf_subject: LfSubject,
    (event_name, request): (&str, LenientJson<'_>),
    event_context: &EventContext,
) -> Parsed {
    let mut scope = Scope::default();
    let creating_verbs = ["Create", "Register", "Put"];
    let read_request = match creating_verbs
        .iter()
        .any(|verb| event_name.starts_with(verb))
    {
        true => ReadRequest::for_facets(&[Facet::Items]),
        false => ReadRequest {
            deleted_items: deleted_items(event_name, request, event_context),
            ..ReadRequest::for_facets(lf_subject.facets())
        },
    };
    scope.add(Subject::LakeFormation(lf_subject), read_request);
    Parsed::Scope(scope)
}

/// The items that a call deletes, by their names in the standby.
fn deleted_items(
    event_name: &str,
    request: LenientJson<'_>,
    event_context: &EventContext,
) -> BTreeSet<DeletedItem> {
    let is_incomplete = is_omitted(request) || has_omitted_part(request);
    let key = || Some(request.text("tagKey")?.to_lowercase());
    let named: Option<BTreeSet<DeletedItem>> = match event_name {
        "DeleteLFTag" => key().map(|key| [DeletedItem::LfTag(key)].into()),
        "UpdateLFTag" => deleted_values(request),
        "DeleteLFTagExpression" => {
            let name = request.text("name");
            name.map(|name| [DeletedItem::NamedExpression(name)].into())
        }
        "DeregisterResource" => {
            let arn = request.text("resourceArn");
            let mapped = arn.and_then(|arn| event_context.grant_mapping.location(&arn));
            let mapped = mapped.map(|arn| arn.trim_end_matches('/').to_owned());
            mapped.map(|arn| [DeletedItem::Registration(arn)].into())
        }
        _ => Some(BTreeSet::new()),
    };
    match named {
        Some(named) if !is_incomplete => named,
        Some(_) | None => [DeletedItem::Unnamed].into(),
    }
}

/// The values that `UpdateLFTag` deletes; none if it only adds some.
fn deleted_values(request: LenientJson<'_>) -> Option<BTreeSet<DeletedItem>> {
    let listed = request.get("tagValuesToDelete");
    if !listed.exists() {
        return Some(BTreeSet::new());
    }
    let key = request.text("tagKey")?.to_lowercase();
    let values = listed.is_list().then(|| listed.items())?;
    let deleted = values.map(|value| {
        Some(DeletedItem::LfTagValue {
            key: key.clone(),
            value: value.as_text()?.to_lowercase(),
        })
    });
    deleted.collect()
}
