//! What people do to LF-Tags, data cells filters, opt-ins and registered locations.

use super::{COLUMNS, GRANTEES, columns, database, table};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One thing that somebody does to what Lake Formation keeps beside grants.
#[derive(Clone, Debug)]
pub struct LakeAct {
    /// Which thing.
    pub kind: LakeKind,
    d: u8,
    t: u8,
    n: u8,
}

/// The things that are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LakeKind {
    /// Makes an LF-Tag, or gives it one more value.
    PutTag,
    /// Takes a value away, or the whole tag.
    DropTag,
    /// Assigns a tag to a database, a table or a column.
    Assign,
    /// Takes an assigned tag away.
    Unassign,
    /// Makes a data cells filter, or changes it.
    PutFilter,
    /// Drops a data cells filter.
    DropFilter,
    /// Saves an expression, or changes it.
    PutExpression,
    /// Drops a saved expression.
    DropExpression,
    /// Opts a principal in.
    OptIn,
    /// Opts a principal out.
    OptOut,
    /// Registers a location, or changes it.
    Register,
    /// Deregisters a location.
    Deregister,
}

impl LakeKind {
    /// Whether it changes a table or a database that is there, and not the vocabulary.
    #[must_use]
    pub fn is_on_objects(self) -> bool {
        matches!(
            self,
            Self::Assign
                | Self::Unassign
                | Self::PutFilter
                | Self::DropFilter
                | Self::OptIn
                | Self::OptOut
        )
    }
}

/// Any such act; those on tables are the most frequent.
pub fn lake_act() -> impl Strategy<Value = LakeAct> {
    use LakeKind::{
        Assign, Deregister, DropExpression, DropFilter, DropTag, OptIn, OptOut, PutExpression,
        PutFilter, PutTag, Register, Unassign,
    };
    let kinds = vec![
        PutTag,
        DropTag,
        Assign,
        Assign,
        Assign,
        Assign,
        Unassign,
        Unassign,
        PutFilter,
        PutFilter,
        DropFilter,
        PutExpression,
        DropExpression,
        OptIn,
        OptIn,
        OptOut,
        Register,
        Deregister,
    ];
    let kind = prop::sample::select(kinds);
    (kind, 0..2u8, 0..3u8, 0..48u8).prop_map(|(kind, d, t, n)| LakeAct { kind, d, t, n })
}

/// One of those that open or close something, all about the same few objects and values.
pub(super) fn risky() -> impl Strategy<Value = LakeAct> {
    use LakeKind::{Assign, DropFilter, OptIn, OptOut, PutExpression, PutFilter, Unassign};
    let about_tags = (
        prop::sample::select(vec![
            Assign,
            Assign,
            Assign,
            Unassign,
            Unassign,
            PutExpression,
        ]),
        prop::sample::select((8..12u8).chain(16..20).collect::<Vec<u8>>()),
    );
    let others = vec![
        PutFilter, PutFilter, PutFilter, DropFilter, OptIn, OptIn, OptOut,
    ];
    let others = (prop::sample::select(others), 0..48u8);
    let chosen = prop_oneof![about_tags, others];
    (chosen, super::mostly_one()).prop_map(|((kind, n), t)| LakeAct { kind, d: 0, t, n })
}

/// A tag and one of its values.
fn tag(n: u8) -> (String, String) {
    (format!("k{}", n % 2), format!("v{}", n / 2 % 3))
}

/// An expression over one or two tags.
pub(super) fn expression(n: u8) -> Value {
    let one = |n: u8| {
        let (key, value) = tag(n);
        json!({"TagKey": key, "TagValues": [value]})
    };
    match n % 3 {
        0 => json!([one(n), one(n / 3 + 1 - n % 2)]),
        _ => json!([one(n)]),
    }
}

/// What the vocabulary is at the beginning.
pub(super) fn vocabulary() -> Vec<(&'static str, Value)> {
    ["k0", "k1"]
        .iter()
        .map(|key| {
            let request = json!({"TagKey": key, "TagValues": ["v0", "v1", "v2"]});
            ("CreateLFTag", request)
        })
        .collect()
}

impl LakeAct {
    /// Does it to the first table of the first database, or to a column of it.
    pub(super) const fn on_first(kind: LakeKind, n: u8) -> Self {
        Self {
            kind,
            d: 0,
            t: 0,
            n,
        }
    }

    fn resource(&self) -> Value {
        let (database, table) = (database(self.d), table(self.t));
        match self.n % 4 {
            0 => json!({"Database": {"Name": database}}),
            1 => json!({"TableWithColumns": {
                "DatabaseName": database, "Name": table,
                "ColumnNames": [COLUMNS[usize::from(self.n / 4) % COLUMNS.len()]],
            }}),
            _ => json!({"Table": {"DatabaseName": database, "Name": table}}),
        }
    }

    /// The calls that it is made of.
    pub(super) fn calls(&self) -> Vec<(&'static str, Value)> {
        let (database, table) = (database(self.d), table(self.t));
        let (key, value) = tag(self.n / 4);
        match self.kind {
            LakeKind::PutTag => vec![
                ("CreateLFTag", json!({"TagKey": key, "TagValues": [value]})),
                (
                    "UpdateLFTag",
                    json!({"TagKey": key, "TagValuesToAdd": [value]}),
                ),
            ],
            LakeKind::DropTag => vec![(
                "UpdateLFTag",
                json!({"TagKey": key, "TagValuesToDelete": [value]}),
            )],
            LakeKind::Assign | LakeKind::Unassign => {
                let call = match self.kind {
                    LakeKind::Assign => "AddLFTagsToResource",
                    _ => "RemoveLFTagsFromResource",
                };
                let tags = json!([{"TagKey": key, "TagValues": [value]}]);
                vec![(call, json!({"Resource": self.resource(), "LFTags": tags}))]
            }
            LakeKind::PutFilter => self.put_filter(),
            LakeKind::DropFilter => {
                let name = format!("f{}", self.n % 2);
                let request = json!({"DatabaseName": database, "TableName": table, "Name": name});
                vec![("DeleteDataCellsFilter", request)]
            }
            LakeKind::PutExpression => {
                let name = format!("e{}", self.d % 2);
                let request = json!({"Name": name, "Expression": expression(self.n)});
                vec![
                    ("CreateLFTagExpression", request.clone()),
                    ("UpdateLFTagExpression", request),
                ]
            }
            LakeKind::DropExpression => {
                let request = json!({"Name": format!("e{}", self.d % 2)});
                vec![("DeleteLFTagExpression", request)]
            }
            LakeKind::OptIn | LakeKind::OptOut => {
                let call = match self.kind {
                    LakeKind::OptIn => "CreateLakeFormationOptIn",
                    _ => "DeleteLakeFormationOptIn",
                };
                let who = GRANTEES[usize::from(self.t) % 2];
                let resource = match self.n % 3 {
                    0 => json!({"Database": {"Name": database}}),
                    _ => json!({"Table": {"DatabaseName": database, "Name": table}}),
                };
                let principal = json!({"DataLakePrincipalIdentifier": who});
                vec![(call, json!({"Principal": principal, "Resource": resource}))]
            }
            LakeKind::Register => {
                let role = format!("arn:aws:iam::111122223333:role/Register{}", self.n % 2);
                let mut request = json!({
                    "ResourceArn": format!("arn:aws:s3:::lake-us/{database}"),
                    "HybridAccessEnabled": self.n.is_multiple_of(3),
                });
                match self.n % 4 {
                    0 => request["UseServiceLinkedRole"] = json!(true),
                    _ => request["RoleArn"] = json!(role),
                }
                vec![
                    ("RegisterResource", request.clone()),
                    ("UpdateResource", request),
                ]
            }
            LakeKind::Deregister => {
                let request = json!({"ResourceArn": format!("arn:aws:s3:::lake-us/{database}")});
                vec![("DeregisterResource", request)]
            }
        }
    }

    fn put_filter(&self) -> Vec<(&'static str, Value)> {
        let names = columns(self.n % 16);
        let rows = match self.n / 16 {
            0 => json!({"AllRowsWildcard": {}}),
            n => json!({"FilterExpression": format!("id > {n}")}),
        };
        let mut data = json!({
            "DatabaseName": database(self.d), "TableName": table(self.t),
            "Name": format!("f{}", self.n % 2), "RowFilter": rows,
        });
        match self.n % 3 {
            0 => data["ColumnWildcard"] = json!({"ExcludedColumnNames": names}),
            _ => data["ColumnNames"] = json!(names),
        }
        let request = json!({"TableData": data});
        vec![
            ("CreateDataCellsFilter", request.clone()),
            ("UpdateDataCellsFilter", request),
        ]
    }
}
