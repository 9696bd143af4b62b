//! Changes of the primary that only take access away, and the API calls that they do not need.

use crate::equality_oracle;
use crate::harness::{PRIMARY, STANDBY, TestHarness};
use crate::history::{HistoryAction, RandomGrant, any_grant, perform, table_input};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::CallErrorKind;
use twinlake_sim::{ApiError, InjectedFault};

/// A change that only takes access away.
#[derive(Clone, Debug)]
pub enum Narrowing {
    /// A revoke of a grant.
    Revoke(RandomGrant),
    /// A revoke of SELECT on the table `db0.wide`.
    RevokeOnTable,
    /// A data cells filter of `db0.wide` with fewer rows and columns.
    NarrowerFilter,
    /// A dropped column of `db0.wide`.
    DroppedColumn,
}

/// Generates a change.
pub fn any_narrowing() -> impl Strategy<Value = Narrowing> {
    prop_oneof![
        2 => any_grant().prop_map(Narrowing::Revoke),
        1 => Just(Narrowing::RevokeOnTable),
        1 => Just(Narrowing::NarrowerFilter),
        1 => Just(Narrowing::DroppedColumn),
    ]
}

/// What the primary allowed before a narrowing and does not allow after it.
#[derive(Debug, Default)]
pub struct Removed {
    /// Permissions, by the key of their grant in [`equality_oracle::contents`].
    permissions: BTreeSet<(String, String)>,
    /// The filter as it was.
    filter: Option<String>,
    /// Columns of `db0.wide`.
    columns: BTreeSet<String>,
}

const FILTER: &str = "lakeformation|filter|db0.wide|f9";
const TABLE: &str = "db0.wide";
const GRANTEE: &str = "arn:aws:iam::111122223333:role/Analyst";

fn permissions(contents: &BTreeMap<String, String>) -> BTreeSet<(String, String)> {
    let grants = contents.iter().filter(|(key, _)| key.starts_with("grant|"));
    let pairs = grants.flat_map(|(key, json)| {
        let held: BTreeMap<String, bool> = serde_json::from_str(json).unwrap_or_default();
        held.into_keys()
            .map(move |permission| (key.clone(), permission))
    });
    pairs.collect()
}

fn columns(harness: &TestHarness, region: &str) -> BTreeSet<String> {
    let mut tables = harness.sim.state().table_columns(region);
    tables.remove(TABLE).unwrap_or_default()
}

fn filter_data(rows: Value, columns: (&str, Value)) -> Value {
    let mut data = json!({"DatabaseName": "db0", "TableName": "wide", "Name": "f9",
                          "RowFilter": rows});
    data[columns.0] = columns.1;
    json!({ "TableData": data })
}

fn table(columns: &[&str]) -> Value {
    json!({"DatabaseName": "db0", "TableInput": table_input("db0", "wide", columns)})
}

fn grant_on_table() -> Value {
    json!({"Principal": {"DataLakePrincipalIdentifier": GRANTEE},
           "Resource": {"Table": {"DatabaseName": "db0", "Name": "wide"}},
           "Permissions": ["SELECT"]})
}

impl Narrowing {
    /// Creates in the primary what the change will narrow.
    pub fn prepare(&self, harness: &TestHarness) {
        let call = |name: &str, request: &Value| {
            let _ = harness.call(PRIMARY, name, request);
        };
        call("CreateTable", &table(&["id", "amount", "ssn"]));
        let all_columns = ("ColumnWildcard", json!({}));
        let filter = filter_data(json!({"AllRowsWildcard": {}}), all_columns);
        call("CreateDataCellsFilter", &filter);
        let on_filter = json!({"DataCellsFilter":
            {"DatabaseName": "db0", "TableName": "wide", "Name": "f9"}});
        let mut grant = grant_on_table();
        call("GrantPermissions", &grant);
        grant["Resource"] = on_filter;
        call("GrantPermissions", &grant);
        if let Self::Revoke(grant) = self {
            perform(harness, PRIMARY, &HistoryAction::Grant(grant.clone()));
        }
    }

    /// Makes the change in the primary. Returns what it removed there and the standby still has.
    #[must_use]
    pub fn make(&self, harness: &TestHarness) -> Removed {
        let before = equality_oracle::mapped_contents(&harness.sim.state());
        let columns_before = columns(harness, PRIMARY);
        match self {
            Self::Revoke(grant) => {
                perform(harness, PRIMARY, &HistoryAction::Revoke(grant.clone()));
            }
            Self::RevokeOnTable => {
                let _ = harness.call(PRIMARY, "RevokePermissions", &grant_on_table());
            }
            Self::NarrowerFilter => {
                let only_id = ("ColumnNames", json!(["id"]));
                let filter = filter_data(json!({"FilterExpression": "id > 1"}), only_id);
                let _ = harness.call(PRIMARY, "UpdateDataCellsFilter", &filter);
            }
            Self::DroppedColumn => {
                let _ = harness.call(PRIMARY, "UpdateTable", &table(&["id", "amount"]));
            }
        }
        let after = equality_oracle::mapped_contents(&harness.sim.state());
        let removed = permissions(&before);
        let filter = before
            .get(FILTER)
            .filter(|old| after.get(FILTER) != Some(*old));
        let columns_after = columns(harness, PRIMARY);
        let dropped = columns_before.difference(&columns_after).cloned();
        let mut removed = Removed {
            permissions: removed.difference(&permissions(&after)).cloned().collect(),
            filter: filter.cloned(),
            columns: dropped.collect(),
        };
        let open = removed.in_standby(harness);
        removed.permissions.retain(|one| open.contains(&one.0));
        removed.filter = removed.filter.filter(|_| open.contains(FILTER));
        removed.columns.retain(|one| open.contains(one));
        removed
    }

    /// The Regions and calls that this change needs: those that read what it changes, and whether
    /// the standby's object is the one that Twinlake manages, and those that apply it.
    fn own_calls(&self) -> Vec<(&'static str, &'static str)> {
        let mut own = vec![
            (PRIMARY, "GetDataLakeSettings"),
            (STANDBY, "GetDataLakeSettings"),
            (STANDBY, "GetDatabase"),
            (STANDBY, "GetDatabases"),
            (STANDBY, "GetTable"),
            (STANDBY, "GetTables"),
        ];
        own.extend(match self {
            Self::Revoke(_) | Self::RevokeOnTable => vec![
                (PRIMARY, "ListPermissions"),
                (STANDBY, "ListPermissions"),
                (STANDBY, "RevokePermissions"),
                (STANDBY, "BatchRevokePermissions"),
            ],
            Self::NarrowerFilter => vec![
                (PRIMARY, "GetTable"),
                (PRIMARY, "GetTables"),
                (PRIMARY, "ListDataCellsFilter"),
                (STANDBY, "ListDataCellsFilter"),
                (STANDBY, "GetDataCellsFilter"),
                (STANDBY, "CreateDataCellsFilter"),
                (STANDBY, "UpdateDataCellsFilter"),
            ],
            // The grants say whether Twinlake's role sees every column of the primary's table.
            Self::DroppedColumn => vec![
                (PRIMARY, "ListPermissions"),
                (PRIMARY, "GetTable"),
                (PRIMARY, "GetTables"),
                (STANDBY, "UpdateTable"),
            ],
        });
        own
    }

    /// Makes calls fail that this change does not need. Returns which.
    pub fn fail_other_calls(&self, harness: &TestHarness, trouble: &[Trouble]) -> Vec<String> {
        let own = self.own_calls();
        let mut failing = Vec::new();
        for one in trouble {
            let (region, call) = CALLS[one.call % CALLS.len()];
            if own.contains(&(region, call)) {
                continue;
            }
            failing.push(format!("{call} in {region}: {}", one.kind));
            harness.sim.state().inject_fault(InjectedFault {
                region: Some(region.to_owned()),
                call: Some(call.to_owned()),
                skip_calls: one.skip_calls,
                times: usize::MAX,
                error: ApiError::new(one.kind, "TestException", "set to fail"),
                takes_effect: one.takes_effect,
            });
        }
        failing
    }
}

/// A call that fails.
#[derive(Clone, Debug)]
pub struct Trouble {
    call: usize,
    kind: CallErrorKind,
    skip_calls: usize,
    takes_effect: bool,
}

/// Generates a failing call.
pub fn any_trouble() -> impl Strategy<Value = Trouble> {
    use CallErrorKind::{Contended, Denied, Invalid, NotPropagated, Unavailable};
    let kinds = vec![Contended, Denied, Invalid, NotPropagated, Unavailable];
    let kind = prop::sample::select(kinds);
    let skip_calls = prop::sample::select(vec![0, 0, 0, 1, 3]);
    (0..CALLS.len(), kind, skip_calls, any::<bool>()).prop_map(
        |(call, kind, skip_calls, takes_effect)| Trouble {
            call,
            kind,
            skip_calls,
            takes_effect,
        },
    )
}

impl Removed {
    /// Whether the narrowing changed nothing that the standby has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.permissions.is_empty() && self.filter.is_none() && self.columns.is_empty()
    }

    /// Returns what the standby still allows of it.
    #[must_use]
    pub fn in_standby(&self, harness: &TestHarness) -> BTreeSet<String> {
        let standby = equality_oracle::contents(&harness.sim.state(), STANDBY);
        let held = permissions(&standby);
        let permissions = self
            .permissions
            .intersection(&held)
            .map(|(key, _)| key.clone());
        let filter = self.filter.as_ref();
        let filter = filter.filter(|old| standby.get(FILTER) == Some(*old));
        let columns = columns(harness, STANDBY);
        let columns = self.columns.intersection(&columns).cloned();
        let open = permissions.chain(filter.map(|_| FILTER.to_owned()));
        open.chain(columns).collect()
    }
}

/// The calls that can fail.
const CALLS: [(&str, &str); 57] = [
    (PRIMARY, "GetDatabase"),
    (PRIMARY, "GetDatabases"),
    (PRIMARY, "GetTable"),
    (PRIMARY, "GetTables"),
    (PRIMARY, "GetPartitions"),
    (PRIMARY, "BatchGetPartition"),
    (PRIMARY, "GetUserDefinedFunctions"),
    (PRIMARY, "GetUserDefinedFunction"),
    (PRIMARY, "GetPartitionIndexes"),
    (PRIMARY, "GetColumnStatisticsForTable"),
    (PRIMARY, "GetTags"),
    (PRIMARY, "ListPermissions"),
    (PRIMARY, "ListDataCellsFilter"),
    (PRIMARY, "GetResourceLFTags"),
    (PRIMARY, "ListLakeFormationOptIns"),
    (PRIMARY, "ListLFTags"),
    (PRIMARY, "ListLFTagExpressions"),
    (PRIMARY, "ListResources"),
    (PRIMARY, "SearchTablesByLFTags"),
    (PRIMARY, "SearchDatabasesByLFTags"),
    (STANDBY, "GetPartitions"),
    (STANDBY, "BatchGetPartition"),
    (STANDBY, "GetUserDefinedFunctions"),
    (STANDBY, "GetPartitionIndexes"),
    (STANDBY, "GetColumnStatisticsForTable"),
    (STANDBY, "GetTags"),
    (STANDBY, "ListPermissions"),
    (STANDBY, "ListDataCellsFilter"),
    (STANDBY, "GetResourceLFTags"),
    (STANDBY, "ListLakeFormationOptIns"),
    (STANDBY, "ListLFTags"),
    (STANDBY, "ListLFTagExpressions"),
    (STANDBY, "ListResources"),
    (STANDBY, "SearchTablesByLFTags"),
    (STANDBY, "CreateDatabase"),
    (STANDBY, "UpdateDatabase"),
    (STANDBY, "DeleteDatabase"),
    (STANDBY, "CreateTable"),
    (STANDBY, "UpdateTable"),
    (STANDBY, "DeleteTable"),
    (STANDBY, "BatchCreatePartition"),
    (STANDBY, "BatchUpdatePartition"),
    (STANDBY, "BatchDeletePartition"),
    (STANDBY, "CreateUserDefinedFunction"),
    (STANDBY, "CreatePartitionIndex"),
    (STANDBY, "TagResource"),
    (STANDBY, "BatchGrantPermissions"),
    (STANDBY, "GrantPermissions"),
    (STANDBY, "RevokePermissions"),
    (STANDBY, "CreateDataCellsFilter"),
    (STANDBY, "DeleteDataCellsFilter"),
    (STANDBY, "AddLFTagsToResource"),
    (STANDBY, "RemoveLFTagsFromResource"),
    (STANDBY, "CreateLakeFormationOptIn"),
    (STANDBY, "DeleteLakeFormationOptIn"),
    (STANDBY, "UpdateLFTag"),
    (STANDBY, "RegisterResource"),
];
