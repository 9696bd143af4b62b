//! Parses the tables `[[query.warehouse]]`.

use crate::arn::Arn;
use crate::document::{DocumentError, DocumentSource};
use crate::policy::{Warehouse, WarehouseEndpoint, WarehouseLogin, WarehouseSite};
use crate::topology::{BySite, SiteId};
use serde::Deserialize;
use toml::Spanned;

const KEY: &str = "query.warehouse";
const MAX_NAME_CHARS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWarehouse {
    name: String,
    a: RawWarehouseSite,
    b: RawWarehouseSite,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawWarehouseSite {
    cluster: Option<String>,
    workgroup: Option<String>,
    database: String,
    db_user: Option<String>,
    secret: Option<String>,
}

/// The pairs of warehouses.
pub(super) fn parse(
    source: &DocumentSource<'_>,
    raw: &[Spanned<RawWarehouse>],
) -> Result<Vec<Warehouse>, DocumentError> {
    let mut warehouses: Vec<Warehouse> = Vec::new();
    for entry in raw {
        let refuse = |problem: String| source.error(entry.span().start, KEY, problem);
        let warehouse = warehouse(entry.get_ref()).map_err(refuse)?;
        let is_known = |known: &Warehouse| {
            known.name == warehouse.name
                || SiteId::ALL.into_iter().any(|site| {
                    let (one, other) = (known.sites.get(site), warehouse.sites.get(site));
                    one.endpoint == other.endpoint && one.database == other.database
                })
        };
        if warehouses.iter().any(is_known) {
            let problem = "an earlier pair already has this name, or one of these databases; each has one counterpart";
            return Err(refuse(problem.to_owned()));
        }
        warehouses.push(warehouse);
    }
    Ok(warehouses)
}

fn warehouse(raw: &RawWarehouse) -> Result<Warehouse, String> {
    let is_name_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_name = !raw.name.is_empty()
        && raw.name.len() <= MAX_NAME_CHARS
        && raw.name.chars().all(is_name_char);
    if !is_name {
        return Err(
            "name the pair with up to 64 letters, digits, hyphens and underscores".to_owned(),
        );
    }
    Ok(Warehouse {
        name: raw.name.clone(),
        sites: BySite {
            a: site(&raw.a)?,
            b: site(&raw.b)?,
        },
    })
}

fn site(raw: &RawWarehouseSite) -> Result<WarehouseSite, String> {
    let endpoint = match (&raw.cluster, &raw.workgroup) {
        (Some(cluster), None) => WarehouseEndpoint::Cluster(cluster.clone()),
        (None, Some(workgroup)) => WarehouseEndpoint::Workgroup(workgroup.clone()),
        (None, None) | (Some(_), Some(_)) => {
            return Err("each site has either a `cluster` or a `workgroup`".to_owned());
        }
    };
    let login = match (&raw.db_user, &raw.secret) {
        (None, None) => WarehouseLogin::IamIdentity,
        (Some(user), None) if raw.cluster.is_some() => WarehouseLogin::DbUser(user.clone()),
        (Some(_), None) => {
            return Err("`db-user` is for a cluster; a workgroup takes `secret`, or neither for the IAM identity".to_owned());
        }
        (None, Some(secret)) => {
            let is_secret = Arn::parse(secret).is_some_and(|arn| arn.service == "secretsmanager");
            if !is_secret {
                return Err("`secret` is the ARN of a secret of Secrets Manager".to_owned());
            }
            WarehouseLogin::Secret(secret.clone())
        }
        (Some(_), Some(_)) => {
            return Err("a site has `db-user` or `secret`, not both".to_owned());
        }
    };
    let texts = [
        raw.cluster.as_deref(),
        raw.workgroup.as_deref(),
        Some(raw.database.as_str()),
        raw.db_user.as_deref(),
    ];
    if texts.into_iter().flatten().any(str::is_empty) {
        return Err("no text of it is empty".to_owned());
    }
    Ok(WarehouseSite {
        endpoint,
        database: raw.database.clone(),
        login,
    })
}

#[cfg(test)]
mod tests {
    use crate::policy::{Policy, WarehouseEndpoint, WarehouseLogin};

    const REGIONS: &str = r#"[[region]]
id = "a"
region = "us-east-1"
account = "111122223333"
[[region]]
id = "b"
region = "ap-south-1"
account = "111122223333"
[query]
"#;
    const SITES: &str = r#"a = { workgroup = "reports", database = "dev", secret = "arn:aws:secretsmanager:us-east-1:111122223333:secret:s" }
b = { cluster = "reports", database = "dev", db-user = "twinlake" }
"#;

    fn parse(tables: &str) -> Result<Policy, String> {
        Policy::parse(&format!("{REGIONS}{tables}")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pair_of_warehouses_names_endpoint_database_and_login_of_each_site() {
        let policy = parse(&format!("[[query.warehouse]]\nname = \"reports\"\n{SITES}")).unwrap();
        let query = policy.query.as_ref().unwrap();
        let warehouse = query.warehouse("reports").unwrap();
        let (a, b) = (&warehouse.sites.a, &warehouse.sites.b);
        assert_eq!(
            a.endpoint,
            WarehouseEndpoint::Workgroup("reports".to_owned())
        );
        assert!(matches!(&a.login, WarehouseLogin::Secret(arn) if arn.ends_with(":s")));
        assert_eq!(b.endpoint, WarehouseEndpoint::Cluster("reports".to_owned()));
        assert_eq!(b.login, WarehouseLogin::DbUser("twinlake".to_owned()));
        assert!(query.warehouse("other").is_none());
        // Without one, the digest is that of versions that did not know the key.
        let without = parse("").unwrap();
        assert!(without.query.as_ref().unwrap().warehouses.is_empty());
        assert_ne!(policy.digest(), without.digest());
    }

    #[test]
    fn a_pair_that_says_too_much_or_too_little_is_refused() {
        let pair =
            |name: &str, sites: &str| format!("[[query.warehouse]]\nname = \"{name}\"\n{sites}");
        let refused = |tables: &str, with: &str| {
            let problem = parse(tables).unwrap_err();
            assert!(problem.contains(with), "{problem}");
        };
        refused(&pair("re/ports", SITES), "name the pair");
        refused(&pair("", SITES), "name the pair");
        refused(
            &format!("{}{}", pair("x", SITES), pair("y", SITES)),
            "an earlier pair",
        );
        let replaced = |from: &str, to: &str| pair("x", &SITES.replace(from, to));
        refused(
            &replaced("cluster = \"reports\", ", ""),
            "either a `cluster` or a `workgroup`",
        );
        refused(
            &replaced("cluster = \"reports\"", "workgroup = \"reports\""),
            "`db-user` is for a cluster",
        );
        refused(
            &replaced(
                "arn:aws:secretsmanager:us-east-1:111122223333:secret:s",
                "s",
            ),
            "the ARN of a secret",
        );
        refused(&replaced("\"dev\", db-user", "\"\", db-user"), "empty");
        refused(&replaced("db-user", "user"), "unknown field");
    }
}
