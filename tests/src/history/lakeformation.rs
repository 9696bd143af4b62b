//! Random API calls on LF-Tags, data cells filters, opt-ins and registered locations.

use super::{COLUMNS, GRANTEES, columns, database, table};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One change of Lake Formation metadata other than grants.
#[derive(Clone, Debug)]
pub struct LakeFormationAction {
    /// The kind of change.
    pub kind: LakeFormationActionKind,
    database: u8,
    table: u8,
    /// Selects the resource, names and values of the change.
    variant: u8,
}

/// The kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LakeFormationActionKind {
    /// Creates an LF-Tag, or adds a value to it.
    PutLfTag,
    /// Removes a value of an LF-Tag.
    RemoveLfTagValue,
    /// Assigns an LF-Tag to a database, a table or a column.
    AssignLfTag,
    /// Removes the assignment of an LF-Tag.
    UnassignLfTag,
    /// Creates a data cells filter, or updates it.
    PutDataCellsFilter,
    /// Deletes a data cells filter.
    DeleteDataCellsFilter,
    /// Creates a named LF-Tag expression, or updates it.
    PutNamedExpression,
    /// Deletes a named LF-Tag expression.
    DeleteNamedExpression,
    /// Creates an opt-in of a principal.
    OptIn,
    /// Deletes an opt-in of a principal.
    OptOut,
    /// Registers a location, or updates its registration.
    Register,
    /// Deregisters a location.
    Deregister,
}

impl LakeFormationActionKind {
    /// Whether the change is to an existing table or database, and not to LF-Tags, named
    /// expressions or registered locations.
    #[must_use]
    pub fn is_on_objects(self) -> bool {
        matches!(
            self,
            Self::AssignLfTag
                | Self::UnassignLfTag
                | Self::PutDataCellsFilter
                | Self::DeleteDataCellsFilter
                | Self::OptIn
                | Self::OptOut
        )
    }
}

/// Generates any change; LF-Tag assignments are the most frequent.
pub fn any_lakeformation_action() -> impl Strategy<Value = LakeFormationAction> {
    use LakeFormationActionKind::{
        AssignLfTag, DeleteDataCellsFilter, DeleteNamedExpression, Deregister, OptIn, OptOut,
        PutDataCellsFilter, PutLfTag, PutNamedExpression, Register, RemoveLfTagValue,
        UnassignLfTag,
    };
    let kinds = vec![
        PutLfTag,
        RemoveLfTagValue,
        AssignLfTag,
        AssignLfTag,
        AssignLfTag,
        AssignLfTag,
        UnassignLfTag,
        UnassignLfTag,
        PutDataCellsFilter,
        PutDataCellsFilter,
        DeleteDataCellsFilter,
        PutNamedExpression,
        DeleteNamedExpression,
        OptIn,
        OptIn,
        OptOut,
        Register,
        Deregister,
    ];
    let kind = prop::sample::select(kinds);
    (kind, 0..2u8, 0..3u8, 0..48u8).prop_map(|(kind, database, table, variant)| {
        LakeFormationAction {
            kind,
            database,
            table,
            variant,
        }
    })
}

/// Generates a change that grants or withdraws access. The changes are to two tables of one
/// database and to few LF-Tags, so that they affect each other.
pub(super) fn any_access_change() -> impl Strategy<Value = LakeFormationAction> {
    use LakeFormationActionKind::{
        AssignLfTag, DeleteDataCellsFilter, OptIn, OptOut, PutDataCellsFilter, PutNamedExpression,
        UnassignLfTag,
    };
    let tag_changes = (
        prop::sample::select(vec![
            AssignLfTag,
            AssignLfTag,
            AssignLfTag,
            UnassignLfTag,
            UnassignLfTag,
            PutNamedExpression,
        ]),
        prop::sample::select((8..12u8).chain(16..20).collect::<Vec<u8>>()),
    );
    let other_kinds = vec![
        PutDataCellsFilter,
        PutDataCellsFilter,
        PutDataCellsFilter,
        DeleteDataCellsFilter,
        OptIn,
        OptIn,
        OptOut,
    ];
    let other_changes = (prop::sample::select(other_kinds), 0..48u8);
    let change = prop_oneof![tag_changes, other_changes];
    (change, super::mostly_first_table()).prop_map(|((kind, variant), table)| LakeFormationAction {
        kind,
        database: 0,
        table,
        variant,
    })
}

/// Returns the key of an LF-Tag and one of its values.
fn lf_tag(variant: u8) -> (String, String) {
    (format!("k{}", variant % 2), format!("v{}", variant / 2 % 3))
}

/// Returns an LF-Tag expression with one or two LF-Tags.
pub(super) fn expression(variant: u8) -> Value {
    let condition = |variant: u8| {
        let (key, value) = lf_tag(variant);
        json!({"TagKey": key, "TagValues": [value]})
    };
    match variant % 3 {
        0 => json!([condition(variant), condition(variant / 3 + 1 - variant % 2)]),
        _ => json!([condition(variant)]),
    }
}

/// Returns the calls that create the first LF-Tags.
pub(super) fn initial_lf_tags() -> Vec<(&'static str, Value)> {
    ["k0", "k1"]
        .iter()
        .map(|key| {
            let request = json!({"TagKey": key, "TagValues": ["v0", "v1", "v2"]});
            ("CreateLFTag", request)
        })
        .collect()
}

impl LakeFormationAction {
    /// Returns a change of a table, of its database, or of a column of it.
    pub(super) const fn new(
        kind: LakeFormationActionKind,
        database: u8,
        table: u8,
        variant: u8,
    ) -> Self {
        Self {
            kind,
            database,
            table,
            variant,
        }
    }

    /// Returns a change of the first table of the first database, or of a column of it.
    pub(super) const fn on_first_table(kind: LakeFormationActionKind, variant: u8) -> Self {
        Self::new(kind, 0, 0, variant)
    }

    fn resource(&self) -> Value {
        let (database, table) = (database(self.database), table(self.table));
        match self.variant % 4 {
            0 => json!({"Database": {"Name": database}}),
            1 => json!({"TableWithColumns": {
                "DatabaseName": database, "Name": table,
                "ColumnNames": [COLUMNS[usize::from(self.variant / 4) % COLUMNS.len()]],
            }}),
            _ => json!({"Table": {"DatabaseName": database, "Name": table}}),
        }
    }

    /// Returns the API calls of the change.
    pub(super) fn calls(&self) -> Vec<(&'static str, Value)> {
        let (database, table) = (database(self.database), table(self.table));
        let (key, value) = lf_tag(self.variant / 4);
        match self.kind {
            LakeFormationActionKind::PutLfTag => vec![
                ("CreateLFTag", json!({"TagKey": key, "TagValues": [value]})),
                (
                    "UpdateLFTag",
                    json!({"TagKey": key, "TagValuesToAdd": [value]}),
                ),
            ],
            LakeFormationActionKind::RemoveLfTagValue => vec![(
                "UpdateLFTag",
                json!({"TagKey": key, "TagValuesToDelete": [value]}),
            )],
            LakeFormationActionKind::AssignLfTag | LakeFormationActionKind::UnassignLfTag => {
                let call = match self.kind {
                    LakeFormationActionKind::AssignLfTag => "AddLFTagsToResource",
                    _ => "RemoveLFTagsFromResource",
                };
                let tags = json!([{"TagKey": key, "TagValues": [value]}]);
                vec![(call, json!({"Resource": self.resource(), "LFTags": tags}))]
            }
            LakeFormationActionKind::PutDataCellsFilter => self.put_data_cells_filter(),
            LakeFormationActionKind::DeleteDataCellsFilter => {
                let name = format!("f{}", self.variant % 2);
                let request = json!({"DatabaseName": database, "TableName": table, "Name": name});
                vec![("DeleteDataCellsFilter", request)]
            }
            LakeFormationActionKind::PutNamedExpression => {
                let name = format!("e{}", self.database % 2);
                let request = json!({"Name": name, "Expression": expression(self.variant)});
                vec![
                    ("CreateLFTagExpression", request.clone()),
                    ("UpdateLFTagExpression", request),
                ]
            }
            LakeFormationActionKind::DeleteNamedExpression => {
                let request = json!({"Name": format!("e{}", self.database % 2)});
                vec![("DeleteLFTagExpression", request)]
            }
            LakeFormationActionKind::OptIn | LakeFormationActionKind::OptOut => {
                let call = match self.kind {
                    LakeFormationActionKind::OptIn => "CreateLakeFormationOptIn",
                    _ => "DeleteLakeFormationOptIn",
                };
                let principal = GRANTEES[usize::from(self.variant / 3) % 2];
                let resource = match self.variant % 3 {
                    0 => json!({"Database": {"Name": database}}),
                    1 => json!({"Table": {"DatabaseName": database, "Name": table}}),
                    _ => json!({"Table": {"DatabaseName": database, "TableWildcard": {}}}),
                };
                let principal = json!({"DataLakePrincipalIdentifier": principal});
                vec![(call, json!({"Principal": principal, "Resource": resource}))]
            }
            LakeFormationActionKind::Register => {
                let role = format!(
                    "arn:aws:iam::111122223333:role/Register{}",
                    self.variant % 2
                );
                let mut request = json!({
                    "ResourceArn": format!("arn:aws:s3:::lake-us/{database}"),
                    "HybridAccessEnabled": self.variant.is_multiple_of(3),
                });
                match self.variant % 4 {
                    0 => request["UseServiceLinkedRole"] = json!(true),
                    _ => request["RoleArn"] = json!(role),
                }
                vec![
                    ("RegisterResource", request.clone()),
                    ("UpdateResource", request),
                ]
            }
            LakeFormationActionKind::Deregister => {
                let request = json!({"ResourceArn": format!("arn:aws:s3:::lake-us/{database}")});
                vec![("DeregisterResource", request)]
            }
        }
    }

    fn put_data_cells_filter(&self) -> Vec<(&'static str, Value)> {
        let column_names = columns(self.variant % 16);
        let row_filter = match self.variant / 16 {
            0 => json!({"AllRowsWildcard": {}}),
            n => json!({"FilterExpression": format!("id > {n}")}),
        };
        let mut data = json!({
            "DatabaseName": database(self.database), "TableName": table(self.table),
            "Name": format!("f{}", self.variant % 2), "RowFilter": row_filter,
        });
        match self.variant % 3 {
            0 => data["ColumnWildcard"] = json!({"ExcludedColumnNames": column_names}),
            _ => data["ColumnNames"] = json!(column_names),
        }
        let request = json!({"TableData": data});
        vec![
            ("CreateDataCellsFilter", request.clone()),
            ("UpdateDataCellsFilter", request),
        ]
    }
}
