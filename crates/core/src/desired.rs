//! Translates the objects of the primary to those that the standby should have.

mod link;
mod parameters;
mod view;

use crate::catalog::{
    Database, Function, MaybeLink as _, Partition, SCHEMA_REFERENCE_FIELD, StorageDescriptor, Table,
};
use crate::iceberg_replica::{METADATA_LOCATION, PREVIOUS_METADATA_LOCATION, RelocatedCommit};
use crate::location::{Location, Mapped};
use crate::policy::{IcebergPolicy, Policy, UnmappedLocation};
use crate::topology::{Epoch, Site, SiteId};
use parameters::ParameterOwner;

/// An object that the standby should have, with notes for the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired<T> {
    /// The object.
    pub object: T,
    /// Reservations. They hold for as long as the policy is unchanged.
    pub notes: Vec<String>,
}

/// Why an object is not replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The policy holds it back, for this reason.
    OnHold(String),
    /// This version does not replicate objects of this kind.
    Unsupported(String),
    /// It is an Iceberg table, and no commit of it that its entry may show is in the standby yet.
    NotRelocated,
}

/// Translates objects of the primary to those of the standby, as an epoch names them.
#[derive(Clone, Copy, Debug)]
pub struct Translator<'a> {
    policy: &'a Policy,
    epoch: Epoch,
}

type Notes<'n> = &'n mut Vec<String>;

/// The input format of a table whose files are manifests that name other files.
const SYMLINK_INPUT_FORMAT: &str = "org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat";

impl<'a> Translator<'a> {
    /// Creates a translator from the primary of this epoch to its standby.
    #[must_use]
    pub fn new(policy: &'a Policy, epoch: Epoch) -> Self {
        Self { policy, epoch }
    }

    /// Returns the primary's site and the standby's.
    fn sites(self) -> (&'a Site, &'a Site) {
        (
            self.policy.primary(self.epoch),
            self.policy.standby(self.epoch),
        )
    }

    /// Returns the site of the objects to translate.
    fn source(self) -> SiteId {
        self.epoch.primary()
    }

    /// Translates a database. Its default permissions for new tables are empty in the standby
    /// (LF-15); the ledger keeps those of the primary.
    ///
    /// # Errors
    /// The reason why the database is not replicated.
    pub fn database(self, database: &Database) -> Result<Desired<Database>, Withheld> {
        if let Some(target) = &database.target_database {
            let object = Database {
                target_database: Some(self.link_target(target)?),
                ..database.clone().without_target_fields()
            };
            let notes = Vec::new();
            return Ok(Desired { object, notes });
        }
        reject_unsupported_fields("database", database.unsupported_fields.keys())?;
        let mut notes = Vec::new();
        let mut object = database.clone();
        object.create_table_default_permissions = Some(Vec::new());
        if let Some(uri) = &mut object.location_uri {
            self.map_location("LocationUri", uri, &mut notes)?;
        }
        Ok(Desired { object, notes })
    }

    /// Translates a table.
    ///
    /// # Errors
    /// The reason why the table is not replicated.
    pub fn table(self, table: &Table) -> Result<Desired<Table>, Withheld> {
        self.table_at_commit(table, None)
    }

    /// Translates a table. The entry of an Iceberg table that is relocated gets the pointer of `commit`.
    ///
    /// # Errors
    /// The reason why the table is not replicated.
    pub fn table_at_commit(
        self,
        table: &Table,
        commit: Option<&RelocatedCommit>,
    ) -> Result<Desired<Table>, Withheld> {
        if let Some(target) = &table.target_table {
            let object = Table {
                target_table: Some(self.link_target(target)?),
                ..table.clone().without_target_fields()
            };
            let notes = Vec::new();
            return Ok(Desired { object, notes });
        }
        reject_unsupported_fields("table", table.unsupported_fields.keys())?;
        let mut notes = Vec::new();
        let mut object = table.clone();
        if table.is_iceberg() {
            return self.iceberg_table(object, commit);
        }
        if let Some(reason) = table.view_obstacle() {
            return Err(Withheld::OnHold(reason));
        }
        object = object.normalized_view();
        if let Some(descriptor) = &mut object.storage_descriptor {
            require_listed_columns(descriptor)?;
            self.descriptor(descriptor, &mut notes)?;
        }
        let owner = match table.has_format_parameters() {
            true => ParameterOwner::FormatTable,
            false => ParameterOwner::Table,
        };
        self.map_parameters(owner, &mut object.parameters, &mut notes)?;
        if let Some(view) = &mut object.view_definition {
            self.rewrite_view_arns(view);
        }
        let format = table.storage_descriptor.as_ref();
        if format.is_some_and(|sd| sd.input_format.as_deref() == Some(SYMLINK_INPUT_FORMAT)) {
            notes.push(
                "its manifest files name the primary's objects: create them again in the standby"
                    .to_owned(),
            );
        }
        Ok(Desired { object, notes })
    }

    /// Translates an Iceberg table. Its metadata file names every other file by its full path, so
    /// mapping the location of that file would not suffice.
    fn iceberg_table(
        self,
        object: Table,
        commit: Option<&RelocatedCommit>,
    ) -> Result<Desired<Table>, Withheld> {
        match self.policy.iceberg {
            IcebergPolicy::Withhold => Err(Withheld::OnHold(
                "it is an Iceberg table, and its metadata files name the primary's bucket; \
                 set `iceberg = \"relocate\"` to rewrite these, or \"pointer\" to copy the catalog entry as it is"
                    .to_owned(),
            )),
            IcebergPolicy::Pointer => Ok(Desired {
                object,
                notes: vec![
                    "Iceberg entry copied as it is: it reads the primary's bucket".to_owned(),
                ],
            }),
            IcebergPolicy::Relocate => match commit {
                Some(commit) => self.relocated_table(object, commit),
                None => Err(Withheld::NotRelocated),
            },
        }
    }

    /// Translates an Iceberg table whose entry shows a relocated commit. Its other parameters are free
    /// text for engines.
    fn relocated_table(
        self,
        mut object: Table,
        commit: &RelocatedCommit,
    ) -> Result<Desired<Table>, Withheld> {
        let mut notes = Vec::new();
        let pointers = [
            (METADATA_LOCATION, Some(&commit.metadata_location)),
            (
                PREVIOUS_METADATA_LOCATION,
                commit.previous_metadata_location.as_ref(),
            ),
        ];
        for (key, location) in pointers {
            match location {
                Some(location) => {
                    object
                        .parameters
                        .insert(key.to_owned(), location.to_owned());
                }
                None => {
                    object.parameters.remove(key);
                }
            }
        }
        if let Some(descriptor) = &mut object.storage_descriptor {
            require_listed_columns(descriptor)?;
            self.descriptor(descriptor, &mut notes)?;
        }
        Ok(Desired { object, notes })
    }

    /// Translates a user-defined function.
    ///
    /// # Errors
    /// The reason why the function is not replicated.
    pub fn function(self, function: &Function) -> Result<Desired<Function>, Withheld> {
        let mut notes = Vec::new();
        let mut object = function.clone();
        for resource in &mut object.resource_uris {
            if let Some(uri) = &mut resource.uri {
                self.map_location("Uri", uri, &mut notes)?;
            }
        }
        if let Some(location) = &mut object.artifact_location {
            self.map_location("ArtifactLocation", location, &mut notes)?;
        }
        Ok(Desired { object, notes })
    }

    /// Translates a partition of a table.
    ///
    /// # Errors
    /// The reason why the partition is not replicated.
    pub fn partition(self, partition: &Partition) -> Result<Desired<Partition>, Withheld> {
        reject_unsupported_fields("partition", partition.unsupported_fields.keys())?;
        let mut notes = Vec::new();
        let mut object = partition.clone();
        if let Some(descriptor) = &mut object.storage_descriptor {
            self.descriptor(descriptor, &mut notes)?;
        }
        let owner = ParameterOwner::Partition;
        self.map_parameters(owner, &mut object.parameters, &mut notes)?;
        Ok(Desired { object, notes })
    }

    fn descriptor(self, sd: &mut StorageDescriptor, notes: Notes) -> Result<(), Withheld> {
        if sd
            .unsupported_fields
            .remove(SCHEMA_REFERENCE_FIELD)
            .is_some()
        {
            notes.push(
                "its columns are copied as they are listed, without the reference to the schema in \
                 the Glue Schema Registry, which is not replicated"
                    .to_owned(),
            );
        }
        reject_unsupported_fields("storage descriptor", sd.unsupported_fields.keys())?;
        if let Some(location) = &mut sd.location {
            self.map_location("Location", location, notes)?;
        }
        for location in &mut sd.additional_locations {
            self.map_location("AdditionalLocations", location, notes)?;
        }
        let owner = ParameterOwner::StorageDescriptor;
        self.map_parameters(owner, &mut sd.parameters, notes)?;
        if let Some(serde) = &mut sd.serde_info {
            self.map_parameters(ParameterOwner::SerDe, &mut serde.parameters, notes)?;
        }
        if let Some(skewed) = &mut sd.skewed_info {
            for location in skewed.skewed_column_value_location_maps.values_mut() {
                self.map_location("SkewedColumnValueLocationMaps", location, notes)?;
            }
        }
        Ok(())
    }

    /// Replaces a location by its counterpart in the standby. A blank location, as views have it,
    /// stays as it is, and so does one outside S3, such as `file:`, `hdfs:`, or the name of a stream:
    /// it has no counterpart that the policy could name.
    fn map_location(self, field: &str, text: &mut String, notes: Notes) -> Result<(), Withheld> {
        if text.trim().is_empty() {
            return Ok(());
        }
        if !Location::is_s3(text) {
            notes.push(format!("{field} {text} is not in S3: copied as it is"));
            return Ok(());
        }
        let (problem, remedy) = match self.policy.locations.counterpart_from(self.source(), text) {
            Ok(Mapped::To(counterpart)) => {
                *text = counterpart;
                return Ok(());
            }
            Ok(Mapped::Unmapped) => (
                format!("no [[location]] pair holds {field} {text}"),
                "add a pair",
            ),
            Err(e) => (
                format!("{field} {text} cannot be mapped: {e}"),
                "correct it in the primary",
            ),
        };
        match self.policy.unmapped_location {
            UnmappedLocation::Refuse => Err(Withheld::OnHold(format!(
                "{problem}; {remedy}, or set `unmapped-location = \"keep\"`"
            ))),
            UnmappedLocation::Keep => {
                notes.push(format!(
                    "{problem}: kept, so it reads the primary's location"
                ));
                Ok(())
            }
        }
    }
}

/// Requires that the columns of a table are listed, where they come from a schema in the Glue Schema
/// Registry.
fn require_listed_columns(descriptor: &StorageDescriptor) -> Result<(), Withheld> {
    let has_reference = descriptor
        .unsupported_fields
        .contains_key(SCHEMA_REFERENCE_FIELD);
    if has_reference && descriptor.columns.is_empty() {
        return Err(Withheld::Unsupported(
            "storage descriptor with SchemaReference whose columns are not listed".to_owned(),
        ));
    }
    Ok(())
}

fn reject_unsupported_fields<'k>(
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
    fn every_location_of_a_table_is_mapped_and_nothing_else() {
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
            "Parameters": {"storage.location.template": "s3://b/dr/t/${dt}", "comment": "s3://a/x",
                           "transient_lastDdlTime": "1"},
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
        assert_eq!(back.object, before, "an odd epoch maps the other way");
    }

    #[test]
    fn an_unmapped_location_is_refused_or_kept_with_a_note() {
        let unmapped = table(serde_json::json!({
            "Name": "t", "StorageDescriptor": {"Location": "s3://elsewhere/t"}
        }));
        let refuse = policy("");
        let held = Translator::new(&refuse, Epoch::INITIAL).table(&unmapped);
        assert!(matches!(held, Err(Withheld::OnHold(reason)) if reason.contains("elsewhere")));
        let keep = policy("unmapped-location = \"keep\"");
        let kept = Translator::new(&keep, Epoch::INITIAL)
            .table(&unmapped)
            .unwrap();
        assert_eq!((kept.object, kept.notes.len()), (unmapped, 1));
    }

    #[test]
    fn a_location_outside_s3_is_kept_with_a_note_and_a_blank_one_without() {
        let policy = policy("");
        let translator = Translator::new(&policy, Epoch::INITIAL);
        let translated = |location: &str| {
            let read: Database =
                serde_json::from_value(serde_json::json!({"Name": "d", "LocationUri": location}))
                    .unwrap();
            let read_table = table(
                serde_json::json!({"Name": "t", "StorageDescriptor": {"Location": location}}),
            );
            let database = translator.database(&read).unwrap();
            assert_eq!(database.object.location_uri, read.location_uri);
            let kept = translator.table(&read_table).unwrap();
            assert_eq!(kept.object, read_table);
            assert_eq!(kept.notes.len(), database.notes.len());
            database.notes.len()
        };
        for location in [
            "file:/spark-warehouse",
            "hdfs://nn:8020/warehouse/d.db",
            "jdbc:postgresql://host/db",
            "sales.public.orders",
            "arn:aws:dynamodb:us-east-1:111122223333:table/orders",
            "arn:aws:s3tables:us-east-1:111122223333:bucket/b",
            "s3tables://b",
        ] {
            assert_eq!(translated(location), 1, "{location}");
        }
        for location in ["", " ", "\t"] {
            assert_eq!(translated(location), 0, "{location:?}");
        }
    }

    #[test]
    fn what_is_meant_for_s3_and_cannot_be_mapped_is_on_hold() {
        let policy = policy("");
        let translator = Translator::new(&policy, Epoch::INITIAL);
        for location in [
            "s3:///x",
            "S3A://c/x",
            " s3://a/x",
            "s3://arn:aws:s3:us-east-1:111122223333:accesspoint/p/x",
            "arn:aws:s3:us-east-1:111122223333:accesspoint/p",
        ] {
            let read =
                serde_json::json!({"Name": "t", "StorageDescriptor": {"Location": location}});
            let held = translator.table(&table(read));
            assert!(matches!(held, Err(Withheld::OnHold(_))), "{location}");
        }
    }

    #[test]
    fn a_table_of_the_schema_registry_gets_its_listed_columns() {
        let policy = policy("");
        let translator = Translator::new(&policy, Epoch::INITIAL);
        let read = |columns: serde_json::Value| {
            table(serde_json::json!({"Name": "t", "StorageDescriptor": {
                "Columns": columns, "SchemaReference": true, "Location": "s3://a/t",
            }}))
        };
        let columns = serde_json::json!([{"Name": "id", "Type": "bigint"}]);
        let desired = translator.table(&read(columns.clone())).unwrap();
        let expected = table(serde_json::json!({"Name": "t", "StorageDescriptor": {
            "Columns": columns, "Location": "s3://b/dr/t",
        }}));
        assert_eq!((desired.object, desired.notes.len()), (expected, 1));
        let held = translator.table(&read(serde_json::json!([])));
        assert!(matches!(held, Err(Withheld::Unsupported(_))));
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
        let translated = link(serde_json::json!({
            "CatalogId": "444455556666", "DatabaseName": "d", "Name": "x", "Region": "us-east-1",
        }));
        let expected = table(serde_json::json!({"Name": "t", "TargetTable": {
            "CatalogId": "777788889999", "DatabaseName": "d", "Name": "x", "Region": "ap-south-1",
        }}));
        assert_eq!(translated, Ok(expected));
        let elsewhere =
            serde_json::json!({"DatabaseName": "d", "Name": "x", "Region": "eu-west-1"});
        let kept = link(elsewhere).unwrap().target_table.unwrap();
        assert_eq!(kept.region.as_deref(), Some("eu-west-1"));
        let into_standby_region =
            serde_json::json!({"DatabaseName": "d", "Name": "x", "Region": "ap-south-1"});
        assert!(matches!(
            link(into_standby_region),
            Err(Withheld::OnHold(_))
        ));
    }

    #[test]
    fn arns_in_a_view_are_rewritten_except_in_the_original_text() {
        let policy = policy("");
        let arn = |region: &str| format!("arn:aws:glue:{region}:111122223333:table/d/t");
        let view = |region: &str| {
            table(serde_json::json!({"Name": "v", "ViewDefinition": {
                "Definer": "arn:aws:iam::111122223333:role/Definer",
                "SubObjects": [arn(region)],
                "Representations": [{
                    "Dialect": "REDSHIFT", "ViewExpandedText": format!("select 1 from {}", arn(region)),
                    "ViewOriginalText": "select 'arn:aws:glue:us-east-1:111122223333:table/d/t'",
                    "ValidationConnection":
                        format!("arn:aws:glue:{region}:111122223333:connection/c"),
                }],
            }}))
        };
        let translated = Translator::new(&policy, Epoch::INITIAL).table(&view("us-east-1"));
        assert_eq!(translated.unwrap().object, view("ap-south-1"));
    }

    #[test]
    fn locations_in_the_parameters_of_a_table_format_are_mapped() {
        let policy = policy("");
        let translator = Translator::new(&policy, Epoch::INITIAL);
        let delta = |kind: &str, location: &str| {
            table(serde_json::json!({"Name": "t", "Parameters": {kind: "delta", "path": location}}))
        };
        for kind in ["table_type", "spark.sql.sources.provider"] {
            let translated = translator.table(&delta(kind, "s3://a/t")).unwrap();
            assert_eq!(translated.object, delta(kind, "s3://b/dr/t"));
        }
        let plain = delta("comment", "s3://a/t");
        assert_eq!(translator.table(&plain).unwrap().object, plain);
    }

    #[test]
    fn symlinks_are_copied_with_a_note() {
        let policy = policy("");
        let symlinks = table(serde_json::json!({"Name": "t", "StorageDescriptor": {
            "InputFormat": SYMLINK_INPUT_FORMAT, "Location": "s3://a/t/_symlink_format_manifest",
        }}));
        let translated = Translator::new(&policy, Epoch::INITIAL)
            .table(&symlinks)
            .unwrap();
        assert_eq!(translated.notes.len(), 1, "{:?}", translated.notes);
    }

    #[test]
    fn a_database_has_no_default_permissions_in_the_standby() {
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
    fn an_iceberg_table_is_on_hold_unless_the_policy_says_pointer() {
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

    #[test]
    fn a_validated_view_is_reduced_or_held_with_the_reason() {
        let policy = policy("");
        let translator = Translator::new(&policy, Epoch::INITIAL);
        let view = |text: Option<&str>| {
            table(serde_json::json!({
                "Name": "v", "TableType": "VIRTUAL_VIEW",
                "StorageDescriptor": {"Columns": [{"Name": "a"}], "Location": "s3://elsewhere/v"},
                "ViewDefinition": {"Representations": [{
                    "Dialect": "ATHENA", "ViewOriginalText": text, "ViewExpandedText": "x",
                }]},
            }))
        };
        let in_standby = translator.table(&view(Some("select 1"))).unwrap().object;
        assert_eq!(in_standby.columns().count(), 1);
        let definition = in_standby.view_definition.unwrap();
        let representation = &definition.representations[0];
        let sql = representation.view_original_text.as_deref();
        assert_eq!(sql, Some("select 1"));
        assert_eq!(representation.view_expanded_text, None);
        let held = translator.table(&view(None));
        assert!(matches!(held, Err(Withheld::OnHold(reason)) if reason.contains("ATHENA")));
    }
}
