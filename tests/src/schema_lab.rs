//! Two simulated warehouses of Redshift, a cluster and a workgroup of Serverless, for the tests of external schemas.

use crate::harness::{PRIMARY, STANDBY, leader};
use crate::query_lab::{Lab, policy_with};
use std::collections::BTreeSet;
use twinlake_core::query::{ObjectKey, QueryKind};
use twinlake_core::topology::SiteId;
use twinlake_engine::ports::ReadQueryRegion as _;
use twinlake_sim::{SimExternalSchema, SimQueryTools, SimRedshift, SimWarehouse};

/// The beginning of the roles of the schemas.
pub const ROLE: &str = "arn:aws:iam::111122223333:role/spectrum";

/// The role of the schemas in a Region.
pub fn role(region: &str) -> String {
    format!("{ROLE}-{region}")
}

/// Two Regions without Athena's objects, with a pair of warehouses.
pub fn lab() -> Lab {
    lab_with("", "")
}

/// Such Regions, with more keys before the tables of the policy and more pairs of warehouses.
pub fn lab_with(keys: &str, warehouses: &str) -> Lab {
    let by_leader = |key: &str, primary: &str, standby: &str| match leader() {
        SiteId::A => format!("[[{key}]]\na = {primary}\nb = {standby}\n"),
        SiteId::B => format!("[[{key}]]\na = {standby}\nb = {primary}\n"),
    };
    let secret = "arn:aws:secretsmanager:us-east-1:111122223333:secret:admin";
    let warehouse = by_leader(
        "query.warehouse",
        &format!("{{ workgroup = \"there\", database = \"dev\", secret = \"{secret}\" }}"),
        "{ cluster = \"here\", database = \"lake\", db-user = \"twinlake\" }",
    );
    let roles = by_leader(
        "principal",
        &format!("\"{}\"", role(PRIMARY)),
        &format!("\"{}\"", role(STANDBY)),
    );
    let query = format!("{warehouse}name = \"reports\"\n{warehouses}{roles}");
    let lab = Lab::new(policy_with(keys, &query));
    for region in [&lab.primary, &lab.standby] {
        change(region, |warehouse| {
            for user in ["etl", "anna", "ben"] {
                warehouse.users.insert(user.to_owned(), false);
            }
            warehouse.others.insert("analysts".to_owned());
        });
    }
    lab
}

/// The warehouse of a Region.
pub fn change<T>(region: &SimQueryTools, change: impl FnOnce(&mut SimWarehouse) -> T) -> T {
    let is_primary = region.region() == PRIMARY;
    let (endpoint, database) = if is_primary {
        ("there", "dev")
    } else {
        ("here", "lake")
    };
    region.with_redshift(|redshift| change(redshift.warehouse(endpoint, database)))
}

/// A schema of the Data Catalog that `etl` owns.
pub fn schema(database: &str, region: &str) -> SimExternalSchema {
    let grant = |grantee_type: &str, grantee: &str, option| {
        (
            "USAGE".to_owned(),
            grantee_type.to_owned(),
            grantee.to_owned(),
            option,
        )
    };
    SimExternalSchema {
        id: 7,
        kind: 1,
        database: database.to_owned(),
        options: serde_json::json!({ "IAM_ROLE": role(region) }).to_string(),
        owner: "etl".to_owned(),
        grants: BTreeSet::from([
            grant("user", "anna", true),
            grant("group", "analysts", false),
        ]),
    }
}

/// Puts a schema into the warehouse of a Region.
pub fn put(region: &SimQueryTools, name: &str, schema: SimExternalSchema) {
    change(region, |warehouse| {
        warehouse.schemas.insert(name.to_owned(), schema)
    });
}

/// A schema of the warehouse of a Region.
pub fn found(region: &SimQueryTools, name: &str) -> Option<SimExternalSchema> {
    change(region, |warehouse| warehouse.schemas.get(name).cloned())
}

/// The statements that write, since the last call.
pub fn writes(region: &SimQueryTools) -> Vec<String> {
    region.with_redshift(SimRedshift::take_writes)
}

/// The key of a schema.
pub fn key(name: &str) -> ObjectKey {
    ObjectKey::within(QueryKind::ExternalSchema, "reports", name)
}
