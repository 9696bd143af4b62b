//! Parses Lake Formation API calls that CloudTrail recorded. They are the only events that
//! report changes of permissions.
//!
//! How a record spells `LFTag`, and what it omits of a data cells filter, is not known (Q-06,
//! So keys are compared without regard to case, and filters are read from the API.

use super::cloudtrail_record::{arns, has_omitted_part, is_omitted, no_valid_name};
use super::lenient_json::LenientJson;
use super::lf_subject_calls::parse_lake_formation_subject;
use super::{EventContext, Parsed, UnrecognizedEvent, own_catalog, quoted};
use crate::grant::{
    self, LfTagExpression, LfTagPolicy, LfTagPolicyTarget, ListedColumns, ListedPermission,
    ListedResource, Principal,
};
use crate::name::{Name, TableId};
use crate::scope::{
    DATABASE_ITSELF, Facet, GrantCallTimes, LfSubject, ReadRequest, Scope, Subject, WHOLE_DATABASE,
    may_stay_listed, subject_of_grant, subject_of_resource,
};
use crate::timestamp::Timestamp;
use std::collections::BTreeSet;

/// Why a resource of a request leads to nothing.
#[derive(PartialEq)]
enum Unparsed {
    /// It is in another catalog, as the reason says.
    OtherCatalog(String),
    /// It has no valid name.
    NoValidName,
    /// Its kind is unknown.
    UnknownKind,
}

pub(super) fn parse(
    record: LenientJson<'_>,
    event_name: &str,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let request = record.get("requestParameters");
    if let Some(reason) = own_catalog::foreign_id(request, event_context) {
        return Ok(Parsed::Ignored(reason));
    }
    let lf_subject = match event_name {
        "CreateLFTag" | "UpdateLFTag" | "DeleteLFTag" => LfSubject::LfTags,
        "CreateLFTagExpression" | "UpdateLFTagExpression" | "DeleteLFTagExpression" => {
            LfSubject::LfTagExpressions
        }
        "RegisterResource" | "UpdateResource" | "DeregisterResource" => LfSubject::DataLocations,
        "PutDataLakeSettings" => LfSubject::Settings,
        _ => return parse_call_with_names(record, event_name, event_context),
    };
    Ok(parse_lake_formation_subject(
        lf_subject,
        (event_name, request),
        event_context,
    ))
}

/// Parses a call whose parameters name what it changes.
fn parse_call_with_names(
    record: LenientJson<'_>,
    event_name: &str,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let request = record.get("requestParameters");
    let is_known = matches!(
        event_name,
        "GrantPermissions"
            | "RevokePermissions"
            | "BatchGrantPermissions"
            | "BatchRevokePermissions"
            | "AddLFTagsToResource"
            | "RemoveLFTagsFromResource"
            | "CreateDataCellsFilter"
            | "UpdateDataCellsFilter"
            | "DeleteDataCellsFilter"
            | "CreateLakeFormationOptIn"
            | "DeleteLakeFormationOptIn"
    );
    let names_resource =
        is_known && !event_name.contains("Batch") && !event_name.contains("Filter");
    let lacks_resource = names_resource && !request.get("resource").is_object();
    if is_known && (is_omitted(request) || has_omitted_part(request) || lacks_resource) {
        return Ok(Parsed::Scope(Scope::catalog()));
    }
    match event_name {
        "GrantPermissions" | "RevokePermissions" => {
            parse_permission_calls(record, std::iter::once(request), event_name, event_context)
        }
        "BatchGrantPermissions" | "BatchRevokePermissions" => {
            let entries = request.get("entries");
            match entries.is_list() {
                true => parse_permission_calls(record, entries.items(), event_name, event_context),
                false => Ok(Parsed::Scope(Scope::catalog())),
            }
        }
        "AddLFTagsToResource" | "RemoveLFTagsFromResource" => {
            parse_tag_assignment(record, event_name, event_context)
        }
        "CreateDataCellsFilter" | "UpdateDataCellsFilter" => {
            parse_filter_call(record, request.get("tableData"), event_name, event_context)
        }
        "DeleteDataCellsFilter" => parse_filter_call(record, request, event_name, event_context),
        "CreateLakeFormationOptIn" | "DeleteLakeFormationOptIn" => {
            parse_opt_in(record, event_name, event_context)
        }
        _ => Ok(Parsed::Ignored(format!(
            "{} changes nothing that Twinlake replicates",
            quoted(event_name)
        ))),
    }
}

/// Which entries of a call on permissions were done. A batch call succeeds although entries of it
/// failed, even if its caller has no right to any of them (LF-13).
enum DoneEntries {
    /// All but those with these ids.
    AllBut(BTreeSet<String>),
    /// The record does not tell.
    Unknown,
}

impl DoneEntries {
    fn of(record: LenientJson<'_>, requests: &[LenientJson<'_>], event_name: &str) -> Self {
        if !event_name.starts_with("Batch") {
            // Records of failed calls are ignored.
            return Self::AllBut(BTreeSet::new());
        }
        let failures = record.get("responseElements").get("failures");
        if !failures.is_list() {
            return Self::Unknown;
        }
        let requested: BTreeSet<String> = requests.iter().filter_map(|r| r.text("id")).collect();
        let failed = failures
            .items()
            .map(|failure| failure.get("requestEntry").text("id"));
        let failed: Option<BTreeSet<String>> = failed.collect();
        match failed {
            Some(failed) if failed.is_subset(&requested) => Self::AllBut(failed),
            Some(_) | None => Self::Unknown,
        }
    }

    /// Whether an entry is known to be done. Of several entries with one id, none is if one failed.
    fn contains(&self, request: LenientJson<'_>) -> bool {
        match self {
            Self::AllBut(failed) if failed.is_empty() => true,
            Self::AllBut(failed) => request.text("id").is_some_and(|id| !failed.contains(&id)),
            Self::Unknown => false,
        }
    }
}

/// Parses grants or revokes. An entry that failed, or of which the record does not tell, is read and
/// believed nothing about. Entries on other catalogs, and those that cannot be read, are left
/// out: they change nothing in the default catalog, or nothing that is known.
fn parse_permission_calls<'r>(
    record: LenientJson<'_>,
    requests: impl Iterator<Item = LenientJson<'r>>,
    event_name: &str,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let revokes = event_name.ends_with("RevokePermissions");
    let requests: Vec<LenientJson<'r>> = requests.collect();
    let done = DoneEntries::of(record, &requests, event_name);
    let mut scope = Scope::default();
    let mut unparsed = Vec::new();
    for request in requests {
        let outer_id = own_catalog::foreign_id(request, event_context);
        let resource = match outer_id {
            Some(reason) => Err(Unparsed::OtherCatalog(reason)),
            None => resource_in_own_catalog(record, request.get("resource"), event_context),
        };
        let resource = resource.and_then(|resource| match subject_of_resource(&resource) {
            Some(subject) => Ok((resource, subject)),
            None => Err(Unparsed::UnknownKind),
        });
        let (resource, subject) = match resource {
            Ok(resource) => resource,
            Err(problem) => {
                unparsed.push(problem);
                continue;
            }
        };
        scope.add(subject, grants_request(&resource));
        if !done.contains(request) {
            continue;
        }
        let entry = listed_permission(request, resource);
        add_grant_calls(
            &mut scope,
            &entry,
            (revokes, record.time("eventTime")),
            event_context,
        );
        if revokes {
            add_named_revokes(&mut scope, entry, event_context);
        }
    }
    if scope.is_empty() {
        return outcome_of_unparsed(unparsed, event_name);
    }
    // What an entry without a valid name has changed can be anywhere.
    if unparsed.contains(&Unparsed::NoValidName) {
        scope.merge(Scope::catalog());
    }
    Ok(Parsed::Scope(scope))
}

/// Adds when grants were made or revoked that AWS may list long after their revoke. A revoke that names
/// only the grant option of a permission leaves the permission itself.
fn add_grant_calls(
    scope: &mut Scope,
    entry: &ListedPermission,
    (is_revoke, at): (bool, Option<Timestamp>),
    event_context: &EventContext,
) {
    let mut entry = entry.clone();
    if is_revoke {
        entry.grantable.clear();
    }
    let (grants, _) = grant::normalize(&[entry], &event_context.grant_mapping);
    for grant in grants.into_keys().filter(may_stay_listed) {
        let times = match is_revoke {
            true => GrantCallTimes {
                granted_at: None,
                revoked_at: at,
            },
            false => GrantCallTimes {
                granted_at: at,
                revoked_at: None,
            },
        };
        scope.grant_calls.entry(grant).or_default().merge(times);
    }
}

/// Adds the grants that a revoke named, and the subjects that they are on.
fn add_named_revokes(scope: &mut Scope, entry: ListedPermission, event_context: &EventContext) {
    // A revoke with the grant option may leave the permission itself.
    let (grants, _) = grant::normalize(&[entry], &event_context.grant_mapping);
    for (grant, grant_option) in grants {
        let subject = subject_of_grant(&grant);
        if matches!(subject, Subject::Database(_) | Subject::Table(_)) {
            scope.add(subject, ReadRequest::for_facets(&DATABASE_ITSELF));
        }
        *scope.named_revokes.entry(grant).or_default() |= grant_option;
    }
}

/// The result for a call none of whose resources leads to a scope.
fn outcome_of_unparsed(
    unparsed: Vec<Unparsed>,
    event_name: &str,
) -> Result<Parsed, UnrecognizedEvent> {
    let mut unknown_kinds = 0usize;
    let mut other_catalog = None;
    for problem in unparsed {
        match problem {
            Unparsed::NoValidName => return Err(no_valid_name(event_name)),
            Unparsed::OtherCatalog(reason) => other_catalog = Some(reason),
            Unparsed::UnknownKind => unknown_kinds += 1,
        }
    }
    Ok(Parsed::Ignored(other_catalog.unwrap_or_else(|| {
        let call = quoted(event_name);
        format!(
            "{call} names only resources of kinds that Twinlake does not replicate \
             ({unknown_kinds})"
        )
    })))
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

/// The subject of the one resource of a call, or what the call leads to without it.
fn subject_of_call(
    record: LenientJson<'_>,
    event_name: &str,
    event_context: &EventContext,
) -> Result<Subject, Box<Result<Parsed, UnrecognizedEvent>>> {
    let resource = record.get("requestParameters").get("resource");
    let resource = resource_in_own_catalog(record, resource, event_context);
    let subject =
        resource.and_then(|resource| subject_of_resource(&resource).ok_or(Unparsed::UnknownKind));
    subject.map_err(|problem| Box::new(outcome_of_unparsed(vec![problem], event_name)))
}

/// Parses an assignment of LF-Tags. Tables inherit the tags of their database, so the whole
/// database is read. The LF-Tags are read as well, because an assigned one may be new.
fn parse_tag_assignment(
    record: LenientJson<'_>,
    event_name: &str,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let mut scope = Scope::default();
    let subject = match subject_of_call(record, event_name, event_context) {
        Ok(subject) => subject,
        Err(outcome) => return *outcome,
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
    Ok(Parsed::Scope(scope))
}

/// Parses a call on a data cells filter. `table` is the part of the request that names its table;
/// CloudTrail may omit it.
fn parse_filter_call(
    record: LenientJson<'_>,
    table: LenientJson<'_>,
    event_name: &str,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    if is_omitted(table) {
        return Ok(Parsed::Scope(Scope::catalog()));
    }
    if let Some(reason) = own_catalog::foreign_id(table, event_context) {
        return Ok(Parsed::Ignored(reason));
    }
    let (Some(database), Some(table)) = (table.name("databaseName"), table.name("tableName"))
    else {
        return Err(no_valid_name(event_name));
    };
    let names = std::slice::from_ref(&table);
    let foreign = own_catalog::foreign_arn(&arns(record), &database, names, event_context);
    if let Some(reason) = foreign {
        return Ok(Parsed::Ignored(reason));
    }
    let mut scope = Scope::default();
    let read_request =
        ReadRequest::for_facets(&[Facet::Definition, Facet::Grants, Facet::DataCellsFilters]);
    scope.add(Subject::Table(TableId::new(database, table)), read_request);
    Ok(Parsed::Scope(scope))
}

fn parse_opt_in(
    record: LenientJson<'_>,
    event_name: &str,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let mut scope = Scope::default();
    let subject = match subject_of_call(record, event_name, event_context) {
        Ok(subject) => subject,
        Err(outcome) => return *outcome,
    };
    match subject {
        // Opt-ins on anything but a database or a table are one facet of this subject.
        Subject::LakeFormation(_) => {
            let subject = Subject::LakeFormation(LfSubject::Permissions);
            scope.add(subject, ReadRequest::for_facets(&[Facet::OptIns]));
        }
        Subject::Catalog | Subject::Database(_) | Subject::Table(_) | Subject::Function(_) => {
            let facets = [Facet::Definition, Facet::OptIns];
            scope.add(subject, ReadRequest::for_facets(&facets));
        }
    }
    Ok(Parsed::Scope(scope))
}

/// Parses a resource, unless its catalog id or the ARNs of the record say that it is in another
/// catalog.
fn resource_in_own_catalog(
    record: LenientJson<'_>,
    resource: LenientJson<'_>,
    event_context: &EventContext,
) -> Result<ListedResource, Unparsed> {
    if let Some(reason) = own_catalog::foreign_resource(resource, event_context) {
        return Err(Unparsed::OtherCatalog(reason));
    }
    let listed = parse_resource(resource)?;
    let foreign = listed.database().and_then(|database| {
        let table = listed.table().map(|id| id.table.clone());
        let names: Vec<Name> = table.into_iter().collect();
        own_catalog::foreign_arn(&arns(record), database, &names, event_context)
    });
    match foreign {
        Some(reason) => Err(Unparsed::OtherCatalog(reason)),
        None => Ok(listed),
    }
}

fn listed_permission(request: LenientJson<'_>, resource: ListedResource) -> ListedPermission {
    let texts = |key: &str| -> BTreeSet<String> {
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
        permissions: texts("permissions"),
        grantable: texts("permissionsWithGrantOption"),
        condition: request.get("condition").text("expression"),
    }
}

fn parse_resource(resource: LenientJson<'_>) -> Result<ListedResource, Unparsed> {
    let listed = if resource.get("database").exists() {
        let name = resource.get("database").name("name");
        name.map(ListedResource::Database)
    } else if resource.get("table").exists() {
        parse_table(resource.get("table"))
    } else if resource.get("tableWithColumns").exists() {
        parse_columns(resource.get("tableWithColumns"))
    } else {
        return parse_other_resource(resource);
    };
    listed.ok_or(Unparsed::NoValidName)
}

fn parse_table(table: LenientJson<'_>) -> Option<ListedResource> {
    let database = table.name("databaseName")?;
    match table.text("name") {
        Some(name) => listed_table(database, &name, None),
        None => Some(ListedResource::TableWildcard(database)),
    }
}

/// A table, or columns of it, unless AWS does not admit its name.
fn listed_table(
    database: Name,
    name: &str,
    columns: Option<ListedColumns>,
) -> Option<ListedResource> {
    Name::new(name).ok()?;
    Some(grant::listed_table_resource(database, name, columns))
}

/// Parses columns of a table. Without one of its column names, or without any, an entry is about
/// other columns than the call, so it is not parsed.
fn parse_columns(columns: LenientJson<'_>) -> Option<ListedResource> {
    let database = columns.name("databaseName")?;
    let wildcard = columns.get("columnWildcard");
    let names: BTreeSet<Name> = columns.all_names("columnNames")?.into_iter().collect();
    let listed = match (names.is_empty(), wildcard.exists()) {
        (false, _) => ListedColumns::Only(names),
        (true, true) => {
            let excluded = wildcard.all_names("excludedColumnNames")?;
            ListedColumns::AllBut(excluded.into_iter().collect())
        }
        (true, false) => return None,
    };
    listed_table(database, &columns.text("name")?, Some(listed))
}

/// Parses a resource that is neither a database nor a table.
fn parse_other_resource(resource: LenientJson<'_>) -> Result<ListedResource, Unparsed> {
    let filter = resource.get("dataCellsFilter");
    if filter.exists() {
        let database = filter.name("databaseName").ok_or(Unparsed::NoValidName)?;
        let table = filter.name("tableName").ok_or(Unparsed::NoValidName)?;
        let name = filter.text("name").ok_or(Unparsed::NoValidName)?;
        let id = TableId::new(database, table);
        return Ok(ListedResource::DataCellsFilter(id, name));
    }
    parse_resource_without_table(resource).ok_or(Unparsed::UnknownKind)
}

fn parse_resource_without_table(resource: LenientJson<'_>) -> Option<ListedResource> {
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
