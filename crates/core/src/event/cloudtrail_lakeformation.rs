//! Parses Lake Formation API calls that CloudTrail recorded. They are the only events that
//! report changes of permissions.
//!
//! How a record spells `LFTag`, and what it omits of a data cells filter, is not known (Q-06,
//! So keys are compared without regard to case, and filters are read from the API.

use super::lenient_json::LenientJson;
use super::{EventContext, Parsed, quoted};
use crate::grant::{
    self, LfTagExpression, LfTagPolicy, LfTagPolicyTarget, ListedColumns, ListedPermission,
    ListedResource, Principal,
};
use crate::name::{Name, TableId};
use crate::scope::{
    DATABASE_ITSELF, Facet, LfSubject, ReadRequest, Scope, Subject, WHOLE_DATABASE,
    subject_of_grant, subject_of_resource,
};
use std::collections::BTreeSet;

pub(super) fn parse(record: LenientJson<'_>, name: &str, event_context: &EventContext) -> Parsed {
    let request = record.get("requestParameters");
    if request.get("omitted").exists() {
        return Parsed::Scope(Scope::catalog());
    }
    match name {
        "GrantPermissions" | "RevokePermissions" => {
            parse_permission_calls(std::iter::once(request), name, event_context)
        }
        "BatchGrantPermissions" | "BatchRevokePermissions" => {
            parse_permission_calls(request.get("entries").items(), name, event_context)
        }
        "AddLFTagsToResource" | "RemoveLFTagsFromResource" => parse_tag_assignment(request),
        "CreateDataCellsFilter" => parse_filter_call(request.get("tableData"), "tableName"),
        "UpdateDataCellsFilter" => parse_filter_call(request.get("tableData"), "tableName"),
        "DeleteDataCellsFilter" => parse_filter_call(request, "tableName"),
        "CreateLakeFormationOptIn" | "DeleteLakeFormationOptIn" => {
            parse_opt_in(request.get("resource"), &[Facet::Definition, Facet::OptIns])
        }
        "CreateLFTag" | "UpdateLFTag" | "DeleteLFTag" => {
            parse_lake_formation_subject(LfSubject::LfTags, name)
        }
        "CreateLFTagExpression" | "UpdateLFTagExpression" | "DeleteLFTagExpression" => {
            parse_lake_formation_subject(LfSubject::LfTagExpressions, name)
        }
        "RegisterResource" | "UpdateResource" | "DeregisterResource" => {
            parse_lake_formation_subject(LfSubject::DataLocations, name)
        }
        "PutDataLakeSettings" => parse_lake_formation_subject(LfSubject::Settings, name),
        _ => Parsed::Ignored(format!(
            "{} changes nothing that Twinlake replicates",
            quoted(name)
        )),
    }
}

/// Parses a call on LF-Tags, LF-Tag expressions, registered locations or data lake settings.
fn parse_lake_formation_subject(lf_subject: LfSubject, name: &str) -> Parsed {
    let mut scope = Scope::default();
    let creating_verbs = ["Create", "Register", "Put"];
    let read_request = match creating_verbs.iter().any(|word| name.starts_with(word)) {
        true => ReadRequest::for_facets(&[Facet::Items]),
        false => ReadRequest {
            // UpdateLFTag may delete values of a tag.
            deletion_named: name.starts_with("De") || name == "UpdateLFTag",
            ..ReadRequest::for_facets(lf_subject.facets())
        },
    };
    scope.add(Subject::LakeFormation(lf_subject), read_request);
    Parsed::Scope(scope)
}

fn parse_permission_calls<'r>(
    requests: impl Iterator<Item = LenientJson<'r>>,
    name: &str,
    event_context: &EventContext,
) -> Parsed {
    let revokes = name.ends_with("RevokePermissions");
    let mut scope = Scope::default();
    let (mut has_entries, mut unsupported) = (false, 0usize);
    for request in requests {
        has_entries = true;
        let entry = parse_resource(request.get("resource"))
            .map(|resource| listed_permission(request, resource));
        let subject = entry
            .as_ref()
            .and_then(|entry| subject_of_resource(&entry.resource));
        let (Some(entry), Some(subject)) = (entry, subject) else {
            unsupported += 1;
            continue;
        };
        scope.add(subject, grants_request(&entry.resource));
        if revokes {
            // A revoke with the grant option may leave the permission itself.
            let (grants, _) = grant::normalize(&[entry], &event_context.principal_mapping);
            for (grant, grant_option) in grants {
                let read_request = ReadRequest::for_facets(&DATABASE_ITSELF);
                if matches!(
                    subject_of_grant(&grant),
                    Subject::Database(_) | Subject::Table(_)
                ) {
                    scope.add(subject_of_grant(&grant), read_request);
                }
                *scope.named_revokes.entry(grant).or_default() |= grant_option;
            }
        }
    }
    if !has_entries {
        return Parsed::Scope(Scope::catalog());
    }
    if scope.is_empty() {
        let event_name = quoted(name);
        return Parsed::Ignored(format!(
            "{event_name} names only resources of kinds that Twinlake does not replicate ({unsupported})"
        ));
    }
    Parsed::Scope(scope)
}

/// The facets to read for a change of the grants on a resource. A grant on a data cells filter
/// needs the filter, too.
fn grants_request(resource: &ListedResource) -> ReadRequest {
    match resource {
        ListedResource::DataCellsFilter(..) => {
            ReadRequest::for_facets(&[Facet::Definition, Facet::Grants, Facet::DataCellsFilters])
        }
        ListedResource::Catalog
        | ListedResource::DataLocation(_)
        | ListedResource::LfTag(..)
        | ListedResource::LfTagPolicy(..)
        | ListedResource::LfTagExpression(_) => ReadRequest::for_facets(&[Facet::Grants]),
        ListedResource::Database(_)
        | ListedResource::Table(_)
        | ListedResource::TableWildcard(_)
        | ListedResource::Columns(..)
        | ListedResource::ColumnWildcard(..)
        | ListedResource::Other(_) => ReadRequest::for_facets(&DATABASE_ITSELF),
    }
}

/// Parses an assignment of LF-Tags. Tables inherit the tags of their database, so the whole
/// database is read. The LF-Tags are read as well, because an assigned one may be new.
fn parse_tag_assignment(request: LenientJson<'_>) -> Parsed {
    let mut scope = Scope::default();
    let named = parse_resource(request.get("resource"));
    let Some(subject) = named.as_ref().and_then(subject_of_resource) else {
        return Parsed::Scope(Scope::catalog());
    };
    let read_request = match subject {
        Subject::Database(_) => ReadRequest::for_facets(&WHOLE_DATABASE),
        Subject::Catalog | Subject::LakeFormation(_) | Subject::Table(_) | Subject::Function(_) => {
            ReadRequest::for_facets(&[Facet::Definition, Facet::Grants, Facet::LfTagAssignments])
        }
    };
    scope.add(subject, read_request);
    scope.add(
        Subject::LakeFormation(LfSubject::LfTags),
        ReadRequest::for_facets(&[Facet::Items]),
    );
    Parsed::Scope(scope)
}

fn parse_filter_call(table: LenientJson<'_>, key: &str) -> Parsed {
    let mut scope = Scope::default();
    let (Some(database), Some(name)) = (table.name("databaseName"), table.name(key)) else {
        return Parsed::Scope(Scope::catalog());
    };
    let read_request =
        ReadRequest::for_facets(&[Facet::Definition, Facet::Grants, Facet::DataCellsFilters]);
    scope.add(Subject::Table(TableId::new(database, name)), read_request);
    Parsed::Scope(scope)
}

fn parse_opt_in(named: LenientJson<'_>, facets: &[Facet]) -> Parsed {
    let mut scope = Scope::default();
    let Some(subject) = parse_resource(named).as_ref().and_then(subject_of_resource) else {
        return Parsed::Scope(Scope::catalog());
    };
    match subject {
        // Opt-ins on anything but a database or a table are one facet of this subject.
        Subject::LakeFormation(_) => {
            let subject = Subject::LakeFormation(LfSubject::Permissions);
            scope.add(subject, ReadRequest::for_facets(&[Facet::OptIns]));
        }
        Subject::Catalog | Subject::Database(_) | Subject::Table(_) | Subject::Function(_) => {
            scope.add(subject, ReadRequest::for_facets(facets));
        }
    }
    Parsed::Scope(scope)
}

fn listed_permission(request: LenientJson<'_>, resource: ListedResource) -> ListedPermission {
    let words = |key: &str| -> BTreeSet<String> {
        let items = request.get(key).items();
        items.filter_map(LenientJson::as_text).collect()
    };
    let principal = request
        .get("principal")
        .text("dataLakePrincipalIdentifier")
        .unwrap_or_default();
    ListedPermission {
        principal: Principal(principal),
        resource,
        permissions: words("permissions"),
        grantable: words("permissionsWithGrantOption"),
        condition: request.get("condition").text("expression"),
    }
}

fn parse_resource(resource: LenientJson<'_>) -> Option<ListedResource> {
    if let Some(name) = resource.get("database").name("name") {
        return Some(ListedResource::Database(name));
    }
    let table = resource.get("table");
    if let Some(database) = table.name("databaseName") {
        return match table.text("name") {
            Some(name) => grant::listed_table_resource(database, &name, None),
            None => Some(ListedResource::TableWildcard(database)),
        };
    }
    let columns = resource.get("tableWithColumns");
    if let Some(database) = columns.name("databaseName") {
        let names: BTreeSet<Name> = columns.names("columnNames").into_iter().collect();
        let excluded = columns.get("columnWildcard").names("excludedColumnNames");
        let listed = match names.is_empty() {
            true => ListedColumns::AllBut(excluded.into_iter().collect()),
            false => ListedColumns::Only(names),
        };
        return grant::listed_table_resource(database, &columns.text("name")?, Some(listed));
    }
    parse_other_resource(resource)
}

/// Parses a resource that is neither a database nor a table.
fn parse_other_resource(resource: LenientJson<'_>) -> Option<ListedResource> {
    let filter = resource.get("dataCellsFilter");
    if let (Some(database), Some(table)) = (filter.name("databaseName"), filter.name("tableName")) {
        let id = TableId::new(database, table);
        return Some(ListedResource::DataCellsFilter(id, filter.text("name")?));
    }
    if let Some(arn) = resource.get("dataLocation").text("resourceArn") {
        return Some(ListedResource::DataLocation(arn));
    }
    let tag = resource.get("lfTag");
    if let Some(key) = tag.text("tagKey") {
        let values = tag
            .get("tagValues")
            .items()
            .filter_map(LenientJson::as_text);
        return Some(ListedResource::LfTag(key, values.collect()));
    }
    let policy = resource.get("lfTagPolicy");
    if policy.exists() {
        let target = LfTagPolicyTarget::parse(&policy.text("resourceType")?)?;
        let tag_policy = match policy.text("expressionName") {
            Some(name) if !name.is_empty() => LfTagPolicy::NamedExpression(name),
            Some(_) | None => LfTagPolicy::Expression(parse_expression(policy.get("expression"))),
        };
        return Some(ListedResource::LfTagPolicy(target, tag_policy));
    }
    if let Some(name) = resource.get("lfTagExpression").text("name") {
        return Some(ListedResource::LfTagExpression(name));
    }
    resource
        .get("catalog")
        .exists()
        .then_some(ListedResource::Catalog)
}

fn parse_expression(listed: LenientJson<'_>) -> LfTagExpression {
    let mut expression = LfTagExpression::new();
    for tag in listed.items() {
        let values = tag
            .get("tagValues")
            .items()
            .filter_map(LenientJson::as_text);
        if let Some(key) = tag.text("tagKey") {
            expression.entry(key).or_default().extend(values);
        }
    }
    expression
}
