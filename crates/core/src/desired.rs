//! From what the primary holds to what the standby should hold.

mod link;
mod view;

use crate::catalog::{
    Database, Function, LAST_DDL_TIME_PARAMETER, MaybeLink as _, Partition, StorageDescriptor,
    Table,
};
use crate::location::{Location, LocationError, Mapped};
use crate::policy::{IcebergPolicy, Policy, UnmappedLocation};
use crate::topology::{Epoch, Site, SiteId};

/// An object for the standby, with what a person should know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired<T> {
    /// The object as the standby should hold it.
    pub object: T,
    /// Standing findings: true as long as the policy stays as it is.
    pub notes: Vec<String>,
}

/// Why an object gets no counterpart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The policy holds it back, for this reason.
    Held(String),
    /// This version does not replicate such a thing; the kind, for counting.
    Unsupported(String),
}

/// Translates between the two sides, in the direction that an epoch gives.
#[derive(Clone, Copy, Debug)]
pub struct Translator<'a> {
    policy: &'a Policy,
    epoch: Epoch,
}

type Noted<'n> = &'n mut Vec<String>;

/// Parameters of a table that hold a place in S3.
pub(crate) const TABLE_PLACES: [&str; 3] = [
    "metadata_location",
    "previous_metadata_location",
    "storage.location.template",
];

/// More of them, on tables of a table format (Delta, Hudi) or of Spark.
pub(crate) const FORMAT_PLACES: [&str; 2] = ["location", "path"];

/// The input format of a table whose files name other files.
const SYMLINKS: &str = "org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat";

/// Parameters of a SerDe that hold a place in S3 (Spark, Delta).
pub(crate) const SERDE_PLACES: [&str; 1] = ["path"];

impl<'a> Translator<'a> {
    /// A translator from the primary of this epoch to its standby.
    #[must_use]
    pub fn new(policy: &'a Policy, epoch: Epoch) -> Self {
        Self { policy, epoch }
    }

    /// The site of the primary, and that of the standby.
    fn sites(self) -> (&'a Site, &'a Site) {
        (
            self.policy.primary(self.epoch),
            self.policy.standby(self.epoch),
        )
    }

    /// The site that is read.
    fn source(self) -> SiteId {
        self.epoch.primary()
    }

    /// A database for the standby. Its default for new tables is closed there,
    /// whatever the primary's is (LF-15); that one rests in the ledger.
    ///
    /// # Errors
    /// Why the database is held back.
    pub fn database(self, database: &Database) -> Result<Desired<Database>, Withheld> {
        if let Some(target) = &database.target_database {
            let object = Database {
                target_database: Some(self.target(target)?),
                ..database.clone().without_target_fields()
            };
            let notes = Vec::new();
            return Ok(Desired { object, notes });
        }
        refuse_extra("database", database.unsupported_fields.keys())?;
        let mut notes = Vec::new();
        let mut object = database.clone();
        object.create_table_default_permissions = Some(Vec::new());
        object.parameters.remove(LAST_DDL_TIME_PARAMETER);
        if let Some(uri) = &mut object.location_uri {
            self.place("LocationUri", uri, &mut notes)?;
        }
        Ok(Desired { object, notes })
    }

    /// A table for the standby.
    ///
    /// # Errors
    /// Why the table is held back.
    pub fn table(self, table: &Table) -> Result<Desired<Table>, Withheld> {
        if let Some(target) = &table.target_table {
            let object = Table {
                target_table: Some(self.target(target)?),
                ..table.clone().without_target_fields()
            };
            let notes = Vec::new();
            return Ok(Desired { object, notes });
        }
        refuse_extra("table", table.unsupported_fields.keys())?;
        let mut notes = Vec::new();
        let mut object = table.clone();
        object.parameters.remove(LAST_DDL_TIME_PARAMETER);
        if table.is_iceberg() {
            return self.iceberg(object);
        }
        if let Some(descriptor) = &mut object.storage_descriptor {
            self.descriptor(descriptor, &mut notes)?;
        }
        for key in TABLE_PLACES {
            if let Some(value) = object.parameters.get_mut(key) {
                self.place(key, value, &mut notes)?;
            }
        }
        if table.has_format_parameters() {
            for key in FORMAT_PLACES {
                match object.parameters.get_mut(key) {
                    Some(value) if value.contains("://") => self.place(key, value, &mut notes)?,
                    Some(_) | None => {}
                }
            }
        }
        if let Some(view) = &mut object.view_definition {
            self.view(view);
        }
        let format = table.storage_descriptor.as_ref();
        if format.is_some_and(|sd| sd.input_format.as_deref() == Some(SYMLINKS)) {
            notes.push(
                "its manifest files name the primary's objects: make them anew in the standby"
                    .to_owned(),
            );
        }
        Ok(Desired { object, notes })
    }

    /// An Iceberg entry names a metadata file that names every other file by its
    /// full path: mapping the entry alone would not make it read the standby.
    fn iceberg(self, object: Table) -> Result<Desired<Table>, Withheld> {
        match self.policy.iceberg {
            IcebergPolicy::Withhold => Err(Withheld::Held(
                "it is an Iceberg table, and its metadata files name the primary's bucket; \
                 set `iceberg = \"pointer\"` to copy the catalog entry all the same"
                    .to_owned(),
            )),
            IcebergPolicy::Pointer => Ok(Desired {
                object,
                notes: vec![
                    "Iceberg entry copied as it is: it reads the primary's bucket".to_owned(),
                ],
            }),
        }
    }

    /// A user-defined function for the standby.
    ///
    /// # Errors
    /// Why the function is held back.
    pub fn function(self, function: &Function) -> Result<Desired<Function>, Withheld> {
        let mut notes = Vec::new();
        let mut object = function.clone();
        for resource in &mut object.resource_uris {
            // Code may come from other systems, too.
            match &mut resource.uri {
                Some(uri) if names_s3(uri) => self.place("Uri", uri, &mut notes)?,
                Some(_) | None => {}
            }
        }
        if let Some(place) = &mut object.artifact_location {
            self.place("ArtifactLocation", place, &mut notes)?;
        }
        Ok(Desired { object, notes })
    }

    /// A partition of a table for the standby.
    ///
    /// # Errors
    /// Why the partition is held back.
    pub fn partition(self, partition: &Partition) -> Result<Desired<Partition>, Withheld> {
        refuse_extra("partition", partition.unsupported_fields.keys())?;
        let mut notes = Vec::new();
        let mut object = partition.clone();
        object.parameters.remove(LAST_DDL_TIME_PARAMETER);
        if let Some(descriptor) = &mut object.storage_descriptor {
            self.descriptor(descriptor, &mut notes)?;
        }
        Ok(Desired { object, notes })
    }

    fn descriptor(self, sd: &mut StorageDescriptor, notes: Noted) -> Result<(), Withheld> {
        refuse_extra("storage descriptor", sd.unsupported_fields.keys())?;
        if let Some(location) = &mut sd.location {
            self.place("Location", location, notes)?;
        }
        for location in &mut sd.additional_locations {
            self.place("AdditionalLocations", location, notes)?;
        }
        if let Some(serde) = &mut sd.serde_info {
            for key in SERDE_PLACES {
                match serde.parameters.get_mut(key) {
                    // Other SerDes use the same key for what is no place.
                    Some(value) if value.contains("://") => self.place(key, value, notes)?,
                    Some(_) | None => {}
                }
            }
        }
        if let Some(skewed) = &mut sd.skewed_info {
            for location in skewed.skewed_column_value_location_maps.values_mut() {
                self.place("SkewedColumnValueLocationMaps", location, notes)?;
            }
        }
        Ok(())
    }

    /// Maps one place, in the spelling that it came in. Views have none, and
    /// write that as an empty text.
    fn place(self, field: &str, text: &mut String, notes: Noted) -> Result<(), Withheld> {
        if text.is_empty() {
            return Ok(());
        }
        let problem = match self.policy.locations.map(text, self.source()) {
            Ok(Mapped::To(there)) => {
                *text = there;
                return Ok(());
            }
            Ok(Mapped::Unmapped) => format!("no [[location]] pair holds {field} {text}"),
            Err(e) => format!("{field} {text} cannot be mapped: {e}"),
        };
        match self.policy.unmapped_location {
            UnmappedLocation::Refuse => Err(Withheld::Held(format!(
                "{problem}; add a pair, or set `unmapped-location = \"keep\"`"
            ))),
            UnmappedLocation::Keep => {
                notes.push(format!("{problem}: kept, so it reads the primary's place"));
                Ok(())
            }
        }
    }
}

/// Whether a text means a place in S3, even if it is none.
fn names_s3(text: &str) -> bool {
    let looks = Location::parse(text) != Err(LocationError::NotS3);
    looks || (text.starts_with("arn:") && text.contains(":s3:::"))
}

fn refuse_extra<'k>(
    what: &str,
    mut fields: impl Iterator<Item = &'k String>,
) -> Result<(), Withheld> {
    match fields.next() {
        Some(field) => Err(Withheld::Unsupported(format!("{what} with {field}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(extra: &str) -> Policy {
        let text = format!(
            "{extra}\n[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
             [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n\
             [[location]]\na = \"s3://a\"\nb = \"s3://b/dr\"\n"
        );
        Policy::parse(&text).unwrap()
    }

    fn table(json: serde_json::Value) -> Table {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_place_of_a_table_is_mapped_and_nothing_else() {
        let policy = policy("");
        let before = table(serde_json::json!({
            "Name": "t",
            "Parameters": {"storage.location.template": "s3://a/t/${dt}", "comment": "s3://a/x",
                           "transient_lastDdlTime": "1"},
            "StorageDescriptor": {
                "Location": "s3://a/t", "AdditionalLocations": ["s3://a/u"],
                "SerdeInfo": {"Parameters": {"path": "s3://a/t", "paths": "s3://a"}},
                "SkewedInfo": {"SkewedColumnValueLocationMaps": {"x": "s3://a/t/x"}}
            }
        }));
        let after = Translator::new(&policy, Epoch::INITIAL)
            .table(&before)
            .unwrap();
        let expected = table(serde_json::json!({
            "Name": "t",
            "Parameters": {"storage.location.template": "s3://b/dr/t/${dt}", "comment": "s3://a/x"},
            "StorageDescriptor": {
                "Location": "s3://b/dr/t", "AdditionalLocations": ["s3://b/dr/u"],
                "SerdeInfo": {"Parameters": {"path": "s3://b/dr/t", "paths": "s3://a"}},
                "SkewedInfo": {"SkewedColumnValueLocationMaps": {"x": "s3://b/dr/t/x"}}
            }
        }));
        assert_eq!(after.object, expected);
        let back = Translator::new(&policy, Epoch::new(1, SiteId::B))
            .table(&expected)
            .unwrap();
        let mut original = before;
        original.parameters.remove(LAST_DDL_TIME_PARAMETER);
        assert_eq!(back.object, original, "an odd epoch maps the other way");
    }

    #[test]
    fn an_unmapped_place_is_refused_or_kept_with_a_note() {
        let stray = table(serde_json::json!({
            "Name": "t", "StorageDescriptor": {"Location": "s3://elsewhere/t"}
        }));
        let refuse = policy("");
        let held = Translator::new(&refuse, Epoch::INITIAL).table(&stray);
        assert!(matches!(held, Err(Withheld::Held(reason)) if reason.contains("elsewhere")));
        let keep = policy("unmapped-location = \"keep\"");
        let kept = Translator::new(&keep, Epoch::INITIAL)
            .table(&stray)
            .unwrap();
        assert_eq!((kept.object, kept.notes.len()), (stray, 1));
    }

    #[test]
    fn fields_that_are_not_replicated_are_named() {
        let policy = policy("");
        let translator = Translator::new(&policy, Epoch::INITIAL);
        let federated = table(serde_json::json!({"Name": "t", "FederatedTable": {}}));
        let unsupported = |kind: &str| Err(Withheld::Unsupported(kind.to_owned()));
        assert_eq!(
            translator.table(&federated),
            unsupported("table with FederatedTable")
        );
    }

    #[test]
    fn a_link_keeps_its_name_and_points_into_the_standby() {
        let policy = policy("[[catalog]]\na = \"444455556666\"\nb = \"777788889999\"\n");
        let translator = Translator::new(&policy, Epoch::INITIAL);
        let link = |target: serde_json::Value| {
            let read = table(serde_json::json!({
                "Name": "t", "TargetTable": target, "Owner": "of the target",
                "StorageDescriptor": {"Location": "s3://elsewhere/t"},
            }));
            translator.table(&read).map(|desired| desired.object)
        };
        let there = link(serde_json::json!({
            "CatalogId": "444455556666", "DatabaseName": "d", "Name": "x", "Region": "us-east-1",
        }));
        let expected = table(serde_json::json!({"Name": "t", "TargetTable": {
            "CatalogId": "777788889999", "DatabaseName": "d", "Name": "x", "Region": "ap-south-1",
        }}));
        assert_eq!(there, Ok(expected));
        let elsewhere =
            serde_json::json!({"DatabaseName": "d", "Name": "x", "Region": "eu-west-1"});
        let kept = link(elsewhere).unwrap().target_table.unwrap();
        assert_eq!(kept.region.as_deref(), Some("eu-west-1"));
        let inward = serde_json::json!({"DatabaseName": "d", "Name": "x", "Region": "ap-south-1"});
        assert!(matches!(link(inward), Err(Withheld::Held(_))));
    }

    #[test]
    fn arns_in_a_view_move_and_what_a_person_wrote_stays() {
        let policy = policy("");
        let arn = |region: &str| format!("arn:aws:glue:{region}:111122223333:table/d/t");
        let view = |region: &str| {
            table(serde_json::json!({"Name": "v", "ViewDefinition": {
                "Definer": "arn:aws:iam::111122223333:role/Definer",
                "SubObjects": [arn(region)],
                "Representations": [{
                    "Dialect": "ATHENA", "ViewExpandedText": format!("select 1 from {}", arn(region)),
                    "ViewOriginalText": "select 'arn:aws:glue:us-east-1:111122223333:table/d/t'",
                    "ValidationConnection":
                        format!("arn:aws:glue:{region}:111122223333:connection/c"),
                }],
            }}))
        };
        let there = Translator::new(&policy, Epoch::INITIAL).table(&view("us-east-1"));
        assert_eq!(there.unwrap().object, view("ap-south-1"));
    }

    #[test]
    fn places_in_the_parameters_of_a_table_format_move() {
        let policy = policy("");
        let translator = Translator::new(&policy, Epoch::INITIAL);
        let delta = |kind: &str, place: &str| {
            table(serde_json::json!({"Name": "t", "Parameters": {kind: "delta", "path": place}}))
        };
        for kind in ["table_type", "spark.sql.sources.provider"] {
            let there = translator.table(&delta(kind, "s3://a/t")).unwrap();
            assert_eq!(there.object, delta(kind, "s3://b/dr/t"));
        }
        let plain = delta("comment", "s3://a/t");
        assert_eq!(translator.table(&plain).unwrap().object, plain);
    }

    #[test]
    fn symlinks_are_copied_with_a_note() {
        let policy = policy("");
        let symlinks = table(serde_json::json!({"Name": "t", "StorageDescriptor": {
            "InputFormat": SYMLINKS, "Location": "s3://a/t/_symlink_format_manifest",
        }}));
        let there = Translator::new(&policy, Epoch::INITIAL)
            .table(&symlinks)
            .unwrap();
        assert_eq!(there.notes.len(), 1, "{:?}", there.notes);
    }

    #[test]
    fn a_database_is_closed_in_the_standby() {
        let policy = policy("");
        let open: Database =
            serde_json::from_value(serde_json::json!({"Name": "d", "LocationUri": "s3://a/d"}))
                .unwrap();
        let desired = Translator::new(&policy, Epoch::INITIAL)
            .database(&open)
            .unwrap();
        assert_eq!(
            desired.object.create_table_default_permissions,
            Some(vec![])
        );
        assert_eq!(desired.object.location_uri.as_deref(), Some("s3://b/dr/d"));
    }

    #[test]
    fn iceberg_is_withheld_until_the_policy_says_pointer() {
        let iceberg = table(serde_json::json!({
            "Name": "t", "Parameters": {"table_type": "ICEBERG", "metadata_location": "s3://a/m"}
        }));
        let withhold = policy("");
        assert!(
            Translator::new(&withhold, Epoch::INITIAL)
                .table(&iceberg)
                .is_err()
        );
        let pointer = policy("iceberg = \"pointer\"");
        let copied = Translator::new(&pointer, Epoch::INITIAL)
            .table(&iceberg)
            .unwrap();
        assert_eq!((copied.object, copied.notes.len()), (iceberg, 1));
    }
}
