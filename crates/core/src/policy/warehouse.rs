//! Warehouses of Redshift whose external schemas are replicated.

use crate::topology::BySite;
use serde::{Deserialize, Serialize};

/// What a warehouse is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarehouseEndpoint {
    /// A provisioned cluster, by its identifier.
    Cluster(String),
    /// A workgroup of Redshift Serverless, by its name.
    Workgroup(String),
}

/// As whom statements run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarehouseLogin {
    /// The database user of the caller's IAM identity, with temporary credentials.
    IamIdentity,
    /// A database user of a cluster, with temporary credentials.
    DbUser(String),
    /// The user whose name and password a secret of Secrets Manager holds, by its ARN.
    Secret(String),
}

/// A warehouse in one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarehouseSite {
    /// The cluster or workgroup.
    pub endpoint: WarehouseEndpoint,
    /// The database that has the external schemas.
    pub database: String,
    /// As whom statements run in it.
    pub login: WarehouseLogin,
}

/// A warehouse of one site with its counterpart in the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warehouse {
    /// The name of the pair, which reports and the ledger use.
    pub name: String,
    /// The warehouse in each site.
    pub sites: BySite<WarehouseSite>,
}
