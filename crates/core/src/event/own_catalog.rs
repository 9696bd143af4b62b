//! Tells the default catalog of the account from the other catalogs that events name.
//!
//! Beside its default catalog, whose id is the account, an account has nested and federated
//! catalogs (`111122223333:s3tablescatalog/BUCKET`), and it sees catalogs of other accounts. All of
//! them may contain a database and a table of the same names. Only the default catalog is
//! replicated, so an event of another one is refused: its deletion or revoke proves nothing about
//! the object of the same name in the default catalog. An id or ARN that has no known form counts
//! as another catalog.

use super::lenient_json::LenientJson;
use super::{EventContext, quoted};
use crate::arn::Arn;
use crate::name::{Name, TableId};

/// Why an event or an entry of it is refused, if its catalog id is not that of the default catalog.
/// A missing id means the default catalog.
pub(super) fn foreign_id(parent: LenientJson<'_>, event_context: &EventContext) -> Option<String> {
    let ids = ["catalogId", "tableCatalogId"].map(|key| parent.get(key));
    ids.into_iter()
        .find_map(|id| reason_of_id(id, event_context))
}

/// The same for a Lake Formation resource of any kind.
pub(super) fn foreign_resource(
    resource: LenientJson<'_>,
    event_context: &EventContext,
) -> Option<String> {
    resource.pairs().find_map(|(kind, value)| {
        let id = match kind.eq_ignore_ascii_case("catalog") {
            true => reason_of_id(value.get("id"), event_context),
            false => None,
        };
        id.or_else(|| foreign_id(value, event_context))
    })
}

fn reason_of_id(id: LenientJson<'_>, event_context: &EventContext) -> Option<String> {
    if !id.exists() {
        return None;
    }
    let text = id.as_text().unwrap_or_default();
    (text != event_context.account).then(|| reason(&text, event_context))
}

fn reason(catalog: &str, event_context: &EventContext) -> String {
    format!(
        "it is about {}, which is not the default catalog of account {}",
        quoted(catalog),
        event_context.account
    )
}

/// What an ARN names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ArnTarget {
    /// A database of the default catalog.
    Database(Name),
    /// A table of the default catalog.
    Table(TableId),
    /// A database, a table or a catalog other than the default one, for this reason.
    OtherCatalog(String),
    /// A database or a table whose name is not valid.
    InvalidName,
    /// The default catalog, another kind of resource, or no resource of Glue.
    Other,
}

/// Parses an ARN. A path with more segments than the kind has names is that of a nested catalog.
pub(super) fn arn_target(text: &str, event_context: &EventContext) -> ArnTarget {
    let Some(arn) = Arn::parse(text).filter(|arn| arn.service == "glue") else {
        return ArnTarget::Other;
    };
    let (kind, path) = kind_and_path(arn);
    let names: Vec<Option<Name>> = path.split('/').map(|text| Name::new(text).ok()).collect();
    let other_catalog = || ArnTarget::OtherCatalog(reason(text, event_context));
    match (kind, names.as_slice()) {
        ("database" | "table", _) if !is_of_region(arn, event_context) => other_catalog(),
        ("database", [name]) => name
            .clone()
            .map_or(ArnTarget::InvalidName, ArnTarget::Database),
        ("table", [Some(database), Some(table)]) => {
            ArnTarget::Table(TableId::new(database.clone(), table.clone()))
        }
        ("table", [] | [_] | [_, _]) => ArnTarget::InvalidName,
        ("database" | "table", _) => other_catalog(),
        ("catalog", _) if !path.is_empty() => other_catalog(),
        _ => ArnTarget::Other,
    }
}

fn kind_and_path<'a>(arn: Arn<'a>) -> (&'a str, &'a str) {
    arn.resource.split_once('/').unwrap_or((arn.resource, ""))
}

/// Whether an ARN is of the Region and account that the event must come from.
fn is_of_region(arn: Arn<'_>, event_context: &EventContext) -> bool {
    arn.region == event_context.region && arn.account == event_context.account
}

/// Why an event is refused whose ARNs place the objects that it names in another catalog. `names`
/// are those of tables or functions; without any, the event is about the database.
///
/// ARNs that name other objects do not count: the ARN in an event is not always that of its object.
pub(super) fn foreign_arn(
    arns: &[String],
    database: &Name,
    names: &[Name],
    event_context: &EventContext,
) -> Option<String> {
    let database_path = vec![database.as_str().to_owned()];
    let paths: Vec<String> = names
        .iter()
        .map(|name| format!("{database}/{name}"))
        .collect();
    let own_paths = match paths.is_empty() {
        true => &database_path,
        false => &paths,
    };
    let mut foreign = None;
    for text in arns {
        let Some(arn) = Arn::parse(text).filter(|arn| arn.service == "glue") else {
            continue;
        };
        let (kind, path) = kind_and_path(arn);
        let path = path.to_lowercase();
        let is_local = is_of_region(arn, event_context);
        if is_local && own_paths.contains(&path) {
            return None;
        }
        let is_elsewhere = |named: &String| {
            let head = path.strip_suffix(named.as_str());
            head.is_some_and(|head| head.ends_with('/') || (head.is_empty() && !is_local))
        };
        let is_foreign = match kind {
            "catalog" => !path.is_empty(),
            "database" => paths.iter().chain(&database_path).any(is_elsewhere),
            _ => paths.iter().any(is_elsewhere),
        };
        if is_foreign {
            foreign = foreign.or(Some(text));
        }
    }
    foreign.map(|arn| reason(arn, event_context))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event_context() -> EventContext {
        EventContext {
            region: "us-east-1".to_owned(),
            account: "111122223333".to_owned(),
            ..EventContext::default()
        }
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn only_the_account_is_the_id_of_the_default_catalog() {
        let own = [
            json!({}),
            json!({"catalogId": null}),
            json!({"CatalogId": "111122223333"}),
        ];
        for id in own {
            assert_eq!(
                foreign_id(LenientJson::new(&id), &event_context()),
                None,
                "{id}"
            );
        }
        let foreign = [
            json!({"catalogId": "111122223333:s3tablescatalog/analytics-bucket"}),
            json!({"catalogId": "s3tablescatalog/analytics-bucket"}),
            json!({"tableCatalogId": "444455556666"}),
            json!({"catalogid": "444455556666"}),
            json!({"catalogId": ["111122223333"]}),
            json!({"catalogId": ""}),
        ];
        for id in foreign {
            let reason = foreign_id(LenientJson::new(&id), &event_context());
            assert!(reason.is_some(), "{id}");
        }
    }

    #[test]
    fn the_catalog_of_a_resource_of_any_kind_is_found() {
        let foreign = [
            json!({"database": {"catalogId": "444455556666", "name": "sales"}}),
            json!({"dataCellsFilter": {"tableCatalogId": "444455556666"}}),
            json!({"catalog": {"id": "111122223333:federated"}}),
            json!({"somethingNew": {"CatalogId": "444455556666"}}),
        ];
        for resource in foreign {
            let reason = foreign_resource(LenientJson::new(&resource), &event_context());
            assert!(reason.is_some(), "{resource}");
        }
        let own = json!({"catalog": {"id": "111122223333"}, "lfTag": {"tagKey": "id"}});
        assert_eq!(
            foreign_resource(LenientJson::new(&own), &event_context()),
            None
        );
    }

    #[test]
    fn an_arn_of_a_nested_catalog_names_no_table_of_the_default_catalog() {
        let target = |rest: &str| {
            let arn = format!("arn:aws:glue:us-east-1:111122223333:{rest}");
            arn_target(&arn, &event_context())
        };
        let orders = TableId::new(name("sales"), name("orders"));
        assert_eq!(target("table/Sales/orders"), ArnTarget::Table(orders));
        assert_eq!(target("database/sales"), ArnTarget::Database(name("sales")));
        for rest in [
            "table/s3tablescatalog/bucket/sales/orders",
            "table/federated/sales/orders",
            "database/federated/sales",
            "catalog/s3tablescatalog/bucket",
        ] {
            assert!(matches!(target(rest), ArnTarget::OtherCatalog(_)), "{rest}");
        }
        assert_eq!(target("catalog"), ArnTarget::Other);
        assert_eq!(target("table/sales"), ArnTarget::InvalidName);
        for arn in [
            "arn:aws:glue:us-east-1:444455556666:table/sales/orders",
            "arn:aws:glue:eu-west-1:111122223333:table/sales/orders",
        ] {
            let target = arn_target(arn, &event_context());
            assert!(matches!(target, ArnTarget::OtherCatalog(_)), "{arn}");
        }
    }

    #[test]
    fn the_arns_of_an_event_place_its_objects_in_a_catalog() {
        let is_foreign = |rests: &[&str], tables: &[&str]| {
            let arns: Vec<String> = rests
                .iter()
                .map(|rest| format!("arn:aws:glue:us-east-1:{rest}"))
                .collect();
            let tables: Vec<Name> = tables.iter().map(|table| name(table)).collect();
            foreign_arn(&arns, &name("sales"), &tables, &event_context()).is_some()
        };
        let nested = "111122223333:table/s3tablescatalog/bucket/sales/orders";
        assert!(is_foreign(&[nested], &["orders"]));
        assert!(is_foreign(&["111122223333:database/federated/sales"], &[]));
        assert!(is_foreign(
            &["444455556666:table/sales/orders"],
            &["orders"]
        ));
        assert!(is_foreign(
            &["111122223333:database/sales", nested],
            &["orders"]
        ));
        let own = "111122223333:table/sales/orders";
        assert!(!is_foreign(&[own], &["orders"]));
        assert!(!is_foreign(&["111122223333:catalog", own], &["orders"]));
        // The ARN that AWS documents for a table.
        assert!(!is_foreign(
            &["111122223333:database/sales/orders"],
            &["orders"]
        ));
        // The target of a link, beside the link itself.
        assert!(!is_foreign(
            &["444455556666:table/sales/orders", own],
            &["orders"]
        ));
        assert!(!is_foreign(
            &["444455556666:table/other/orders"],
            &["orders"]
        ));
        assert!(!is_foreign(&[], &["orders"]));
    }
}
