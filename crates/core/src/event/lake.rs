//! Lake Formation's calls, as CloudTrail recorded them: the only signal that there is of
//! permissions.
//!
//! How a record spells `LFTag`, and what it leaves out of a data cells filter, is not
//! known: keys are compared without case, and a filter is read.

use super::loose::Loose;
use super::{Heard, Listener, shown};
use crate::grant::{
    self, Entry, EntryResource, ListedColumns, Principal, TagExpression, TagRule, TagTarget,
};
use crate::name::{Name, TableId};
use crate::scope::{
    DATABASE_ITSELF, Facet, Lake, Look, Scope, Subject, WHOLE_DATABASE, home_of, subject_of,
};
use std::collections::BTreeSet;

pub(super) fn parse(record: Loose<'_>, name: &str, listener: &Listener) -> Heard {
    let request = record.get("requestParameters");
    if request.get("omitted").exists() {
        return Heard::Look(Scope::catalog());
    }
    match name {
        "GrantPermissions" | "RevokePermissions" => {
            permissions(std::iter::once(request), name, listener)
        }
        "BatchGrantPermissions" | "BatchRevokePermissions" => {
            permissions(request.get("entries").items(), name, listener)
        }
        "AddLFTagsToResource" | "RemoveLFTagsFromResource" => tagged(request),
        "CreateDataCellsFilter" => filter(request.get("tableData"), "tableName"),
        "UpdateDataCellsFilter" => filter(request.get("tableData"), "tableName"),
        "DeleteDataCellsFilter" => filter(request, "tableName"),
        "CreateLakeFormationOptIn" | "DeleteLakeFormationOptIn" => {
            at_resource(request.get("resource"), &[Facet::Definition, Facet::OptIns])
        }
        "CreateLFTag" | "UpdateLFTag" | "DeleteLFTag" => items(Lake::Tags, name),
        "CreateLFTagExpression" | "UpdateLFTagExpression" | "DeleteLFTagExpression" => {
            items(Lake::Expressions, name)
        }
        "RegisterResource" | "UpdateResource" | "DeregisterResource" => {
            items(Lake::Locations, name)
        }
        "PutDataLakeSettings" => items(Lake::Settings, name),
        _ => Heard::Nothing(format!(
            "{} changes nothing that is replicated",
            shown(name)
        )),
    }
}

/// What a subject of the lake consists of.
fn items(lake: Lake, name: &str) -> Heard {
    let mut scope = Scope::default();
    let makes = ["Create", "Register", "Put"];
    let look = match makes.iter().any(|word| name.starts_with(word)) {
        true => Look::at(&[Facet::Items]),
        false => Look {
            // An update may take values of a tag away.
            deletion_named: name.starts_with("De") || name == "UpdateLFTag",
            ..Look::at(lake.facets())
        },
    };
    scope.look(Subject::Lake(lake), look);
    Heard::Look(scope)
}

fn permissions<'r>(
    requests: impl Iterator<Item = Loose<'r>>,
    name: &str,
    listener: &Listener,
) -> Heard {
    let revokes = name.ends_with("RevokePermissions");
    let mut scope = Scope::default();
    let (mut any, mut beyond) = (false, 0usize);
    for request in requests {
        any = true;
        let entry = resource(request.get("resource")).map(|resource| entry(request, resource));
        let home = entry.as_ref().and_then(|entry| home_of(&entry.resource));
        let (Some(entry), Some(home)) = (entry, home) else {
            beyond += 1;
            continue;
        };
        scope.look(home, grants_of(&entry.resource));
        if revokes {
            // A revoke that took the grant option may have left the permission.
            let (atoms, _) = grant::normalize(&[entry], &listener.terms);
            for (atom, option) in atoms {
                let look = Look::at(&DATABASE_ITSELF);
                if matches!(subject_of(&atom), Subject::Database(_) | Subject::Table(_)) {
                    scope.look(subject_of(&atom), look);
                }
                *scope.suspects.entry(atom).or_default() |= option;
            }
        }
    }
    if !any {
        return Heard::Look(Scope::catalog());
    }
    if scope.is_empty() {
        let what = shown(name);
        return Heard::Nothing(format!(
            "{what} names {beyond} resources of kinds that this version does not replicate"
        ));
    }
    Heard::Look(scope)
}

/// Where the grants on a resource are looked at. One that opens by LF-Tags or through a
/// filter needs what it names, too.
fn grants_of(resource: &EntryResource) -> Look {
    match resource {
        EntryResource::Filter(..) => Look::at(&[Facet::Definition, Facet::Grants, Facet::Filters]),
        EntryResource::Catalog
        | EntryResource::Location(_)
        | EntryResource::Tag(..)
        | EntryResource::TagPolicy(..)
        | EntryResource::Expression(_) => Look::at(&[Facet::Grants]),
        EntryResource::Database(_)
        | EntryResource::Table(_)
        | EntryResource::TableWildcard(_)
        | EntryResource::Columns(..)
        | EntryResource::ColumnWildcard(..)
        | EntryResource::Other(_) => Look::at(&DATABASE_ITSELF),
    }
}

/// LF-Tags on a resource. What lies in a database inherits its tags, so all of it is
/// looked at; and a tag that is not there yet is looked for first.
fn tagged(request: Loose<'_>) -> Heard {
    let mut scope = Scope::default();
    let named = resource(request.get("resource"));
    let Some(home) = named.as_ref().and_then(home_of) else {
        return Heard::Look(Scope::catalog());
    };
    let look = match home {
        Subject::Database(_) => Look::at(&WHOLE_DATABASE),
        Subject::Catalog | Subject::Lake(_) | Subject::Table(_) | Subject::Function(_) => {
            Look::at(&[Facet::Definition, Facet::Grants, Facet::Assigned])
        }
    };
    scope.look(home, look);
    scope.look(Subject::Lake(Lake::Tags), Look::at(&[Facet::Items]));
    Heard::Look(scope)
}

fn filter(table: Loose<'_>, key: &str) -> Heard {
    let mut scope = Scope::default();
    let (Some(database), Some(name)) = (table.name("databaseName"), table.name(key)) else {
        return Heard::Look(Scope::catalog());
    };
    let look = Look::at(&[Facet::Definition, Facet::Grants, Facet::Filters]);
    scope.look(Subject::Table(TableId::new(database, name)), look);
    Heard::Look(scope)
}

fn at_resource(named: Loose<'_>, facets: &[Facet]) -> Heard {
    let mut scope = Scope::default();
    let Some(home) = resource(named).as_ref().and_then(home_of) else {
        return Heard::Look(Scope::catalog());
    };
    match home {
        // Opt-ins that are on no database and on no table belong together.
        Subject::Lake(_) => {
            let home = Subject::Lake(Lake::Permissions);
            scope.look(home, Look::at(&[Facet::OptIns]));
        }
        Subject::Catalog | Subject::Database(_) | Subject::Table(_) | Subject::Function(_) => {
            scope.look(home, Look::at(facets));
        }
    }
    Heard::Look(scope)
}

fn entry(request: Loose<'_>, resource: EntryResource) -> Entry {
    let words = |key: &str| -> BTreeSet<String> {
        let items = request.get(key).items();
        items.filter_map(Loose::as_text).collect()
    };
    let principal = request
        .get("principal")
        .text("dataLakePrincipalIdentifier")
        .unwrap_or_default();
    Entry {
        principal: Principal(principal),
        resource,
        permissions: words("permissions"),
        grantable: words("permissionsWithGrantOption"),
        condition: request.get("condition").text("expression"),
    }
}

fn resource(resource: Loose<'_>) -> Option<EntryResource> {
    if let Some(name) = resource.get("database").name("name") {
        return Some(EntryResource::Database(name));
    }
    let table = resource.get("table");
    if let Some(database) = table.name("databaseName") {
        return match table.text("name") {
            Some(name) => grant::named(database, &name, None),
            None => Some(EntryResource::TableWildcard(database)),
        };
    }
    let columns = resource.get("tableWithColumns");
    if let Some(database) = columns.name("databaseName") {
        let names: BTreeSet<Name> = columns.names("columnNames").into_iter().collect();
        let excluded = columns.get("columnWildcard").names("excludedColumnNames");
        let listed = match names.is_empty() {
            true => ListedColumns::AllBut(excluded.into_iter().collect()),
            false => ListedColumns::Some(names),
        };
        return grant::named(database, &columns.text("name")?, Some(listed));
    }
    of_lake(resource)
}

/// Resources that are no table and no database.
fn of_lake(resource: Loose<'_>) -> Option<EntryResource> {
    let filter = resource.get("dataCellsFilter");
    if let (Some(database), Some(table)) = (filter.name("databaseName"), filter.name("tableName")) {
        let id = TableId::new(database, table);
        return Some(EntryResource::Filter(id, filter.text("name")?));
    }
    if let Some(arn) = resource.get("dataLocation").text("resourceArn") {
        return Some(EntryResource::Location(arn));
    }
    let tag = resource.get("lfTag");
    if let Some(key) = tag.text("tagKey") {
        let values = tag.get("tagValues").items().filter_map(Loose::as_text);
        return Some(EntryResource::Tag(key, values.collect()));
    }
    let policy = resource.get("lfTagPolicy");
    if policy.exists() {
        let target = TagTarget::parse(&policy.text("resourceType")?)?;
        let rule = match policy.text("expressionName") {
            Some(name) if !name.is_empty() => TagRule::Saved(name),
            Some(_) | None => TagRule::Inline(expression(policy.get("expression"))),
        };
        return Some(EntryResource::TagPolicy(target, rule));
    }
    if let Some(name) = resource.get("lfTagExpression").text("name") {
        return Some(EntryResource::Expression(name));
    }
    resource
        .get("catalog")
        .exists()
        .then_some(EntryResource::Catalog)
}

fn expression(listed: Loose<'_>) -> TagExpression {
    let mut expression = TagExpression::new();
    for one in listed.items() {
        let values = one.get("tagValues").items().filter_map(Loose::as_text);
        if let Some(key) = one.text("tagKey") {
            expression.entry(key).or_default().extend(values);
        }
    }
    expression
}
