//! Converts Glue objects between the SDK's types and the core's, field by field.
//!
//! The SDK's types do not implement serde, so each field is mapped explicitly. The test module
//! `sdk_fields` fails when an SDK upgrade adds a field.

mod column_statistics;
mod function;
mod partition_index;
mod view;

pub use column_statistics::{from_sdk_column_statistics, to_sdk_column_statistics};
pub use function::{from_sdk_function, to_sdk_function};
pub use partition_index::{from_sdk_partition_index, to_sdk_partition_index};

use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types as glue;
use aws_smithy_types::DateTime;
use serde_json::Value;
use std::collections::BTreeMap;
use twinlake_core::catalog::{
    DataLakePrincipal, LinkTarget, Observed, Order, Parameters, PrincipalPermissions, SerDeInfo,
    SkewedInfo, UnsupportedFields,
};
use twinlake_core::{Column, Database, Name, Partition, StorageDescriptor, Table, Timestamp};

fn from_sdk_time(time: Option<DateTime>) -> Option<Timestamp> {
    time.and_then(|time| time.to_millis().ok())
        .map(Timestamp::from_millis)
}

fn to_sdk_time(time: Option<Timestamp>) -> Option<DateTime> {
    time.map(|time| DateTime::from_millis(time.millis()))
}

fn from_sdk_map<I: IntoIterator<Item = (String, String)>>(pairs: Option<I>) -> Parameters {
    pairs.into_iter().flatten().collect()
}

fn to_sdk_map<M: FromIterator<(String, String)>>(pairs: &Parameters) -> Option<M> {
    (!pairs.is_empty()).then(|| pairs.clone().into_iter().collect())
}

fn to_sdk_list<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}

/// Records that a field which Twinlake does not replicate is set.
fn mark_unsupported(unsupported_fields: &mut UnsupportedFields, field: &str, is_set: bool) {
    if is_set {
        unsupported_fields.insert(field.to_owned(), Value::Bool(true));
    }
}

/// Converts a database as it was read.
#[must_use]
pub fn from_sdk_database(from: glue::Database) -> Observed<Database> {
    let mut unsupported_fields = UnsupportedFields::new();
    mark_unsupported(
        &mut unsupported_fields,
        "FederatedDatabase",
        from.federated_database.is_some(),
    );
    let defaults = from.create_table_default_permissions;
    let object = Database {
        name: Name::from_service(&from.name),
        description: from.description,
        location_uri: from.location_uri,
        parameters: from_sdk_map(from.parameters),
        create_table_default_permissions: defaults.map(|all| {
            all.into_iter()
                .map(from_sdk_principal_permissions)
                .collect()
        }),
        target_database: from.target_database.map(|target| LinkTarget {
            catalog_id: target.catalog_id,
            database_name: target.database_name,
            name: None,
            region: target.region,
        }),
        unsupported_fields,
    };
    Observed {
        object,
        created: from_sdk_time(from.create_time),
        updated: None,
        version: None,
    }
}

fn from_sdk_principal_permissions(from: glue::PrincipalPermissions) -> PrincipalPermissions {
    let permissions = from.permissions.unwrap_or_default();
    PrincipalPermissions {
        principal: from.principal.map(|principal| DataLakePrincipal {
            data_lake_principal_identifier: principal.data_lake_principal_identifier,
        }),
        permissions: permissions
            .into_iter()
            .map(|permission| permission.as_str().to_owned())
            .collect(),
    }
}

/// Converts a database to the SDK's input type.
///
/// # Errors
/// A required field is missing.
pub fn to_sdk_database(from: &Database) -> Result<glue::DatabaseInput, BuildError> {
    let defaults = from.create_table_default_permissions.as_ref();
    glue::DatabaseInput::builder()
        .name(from.name.as_str())
        .set_description(from.description.clone())
        .set_location_uri(from.location_uri.clone())
        .set_parameters(to_sdk_map(&from.parameters))
        .set_create_table_default_permissions(
            defaults.map(|all| all.iter().map(to_sdk_principal_permissions).collect()),
        )
        .set_target_database(from.target_database.as_ref().map(|target| {
            glue::DatabaseIdentifier::builder()
                .set_catalog_id(target.catalog_id.clone())
                .set_database_name(target.database_name.clone())
                .set_region(target.region.clone())
                .build()
        }))
        .build()
}

fn to_sdk_principal_permissions(from: &PrincipalPermissions) -> glue::PrincipalPermissions {
    let principal = from.principal.as_ref().map(|principal| {
        glue::DataLakePrincipal::builder()
            .set_data_lake_principal_identifier(principal.data_lake_principal_identifier.clone())
            .build()
    });
    let permissions = from.permissions.iter();
    glue::PrincipalPermissions::builder()
        .set_principal(principal)
        .set_permissions(Some(
            permissions
                .map(|p| glue::Permission::from(p.as_str()))
                .collect(),
        ))
        .build()
}

/// Converts a table as it was read.
#[must_use]
pub fn from_sdk_table(from: glue::Table) -> Observed<Table> {
    let mut unsupported_fields = UnsupportedFields::new();
    mark_unsupported(
        &mut unsupported_fields,
        "FederatedTable",
        from.federated_table.is_some(),
    );
    let mut view_definition = from.view_definition.map(view::from_sdk_view_definition);
    if let Some(view) = &mut view_definition {
        view::add_validated_sql(view, from.status);
    }
    let object = Table {
        name: Name::from_service(&from.name),
        description: from.description,
        owner: from.owner,
        last_access_time: from_sdk_time(from.last_access_time),
        last_analyzed_time: from_sdk_time(from.last_analyzed_time),
        retention: from.retention,
        storage_descriptor: from.storage_descriptor.map(from_sdk_storage_descriptor),
        partition_keys: from_sdk_columns(from.partition_keys),
        view_original_text: from.view_original_text,
        view_expanded_text: from.view_expanded_text,
        table_type: from.table_type,
        parameters: from_sdk_map(from.parameters),
        target_table: from.target_table.map(|target| LinkTarget {
            catalog_id: target.catalog_id,
            database_name: target.database_name,
            name: target.name,
            region: target.region,
        }),
        view_definition,
        unsupported_fields,
    };
    Observed {
        object,
        created: from_sdk_time(from.create_time),
        updated: from_sdk_time(from.update_time),
        version: from.version_id,
    }
}

/// Converts a table to the SDK's input type: the whole input, since an update replaces it.
///
/// # Errors
/// A required field is missing.
pub fn to_sdk_table(from: &Table) -> Result<glue::TableInput, BuildError> {
    let descriptor = from
        .storage_descriptor
        .as_ref()
        .map(to_sdk_storage_descriptor);
    glue::TableInput::builder()
        .name(from.name.as_str())
        .set_description(from.description.clone())
        .set_owner(from.owner.clone())
        .set_last_access_time(to_sdk_time(from.last_access_time))
        .set_last_analyzed_time(to_sdk_time(from.last_analyzed_time))
        .retention(from.retention)
        .set_storage_descriptor(descriptor.transpose()?)
        // Always sent, if need be as an empty list (GL-02).
        .set_partition_keys(Some(to_sdk_columns(&from.partition_keys)?))
        .set_view_original_text(from.view_original_text.clone())
        .set_view_expanded_text(from.view_expanded_text.clone())
        .set_table_type(from.table_type.clone())
        .set_parameters(to_sdk_map(&from.parameters))
        .set_target_table(from.target_table.as_ref().map(|target| {
            glue::TableIdentifier::builder()
                .set_catalog_id(target.catalog_id.clone())
                .set_database_name(target.database_name.clone())
                .set_name(target.name.clone())
                .set_region(target.region.clone())
                .build()
        }))
        .set_view_definition(
            from.view_definition
                .as_ref()
                .map(view::to_sdk_view_definition),
        )
        .build()
}

fn from_sdk_columns(from: Option<Vec<glue::Column>>) -> Vec<Column> {
    let columns = from.unwrap_or_default().into_iter();
    columns
        .map(|column| Column {
            name: column.name,
            kind: column.r#type,
            comment: column.comment,
            parameters: from_sdk_map(column.parameters),
        })
        .collect()
}

fn to_sdk_columns(from: &[Column]) -> Result<Vec<glue::Column>, BuildError> {
    from.iter()
        .map(|column| {
            glue::Column::builder()
                .name(&column.name)
                .set_type(column.kind.clone())
                .set_comment(column.comment.clone())
                .set_parameters(to_sdk_map(&column.parameters))
                .build()
        })
        .collect()
}

fn from_sdk_storage_descriptor(from: glue::StorageDescriptor) -> StorageDescriptor {
    let mut unsupported_fields = BTreeMap::new();
    mark_unsupported(
        &mut unsupported_fields,
        "SchemaReference",
        from.schema_reference.is_some(),
    );
    let sort_columns = from.sort_columns.unwrap_or_default().into_iter();
    StorageDescriptor {
        columns: from_sdk_columns(from.columns),
        location: from.location,
        additional_locations: from.additional_locations.unwrap_or_default(),
        input_format: from.input_format,
        output_format: from.output_format,
        compressed: from.compressed,
        number_of_buckets: from.number_of_buckets,
        serde_info: from.serde_info.map(|serde| SerDeInfo {
            name: serde.name,
            serialization_library: serde.serialization_library,
            parameters: from_sdk_map(serde.parameters),
        }),
        bucket_columns: from.bucket_columns.unwrap_or_default(),
        sort_columns: sort_columns
            .map(|order| Order {
                column: order.column,
                sort_order: order.sort_order,
            })
            .collect(),
        parameters: from_sdk_map(from.parameters),
        skewed_info: from.skewed_info.map(|skewed| SkewedInfo {
            skewed_column_names: skewed.skewed_column_names.unwrap_or_default(),
            skewed_column_values: skewed.skewed_column_values.unwrap_or_default(),
            skewed_column_value_location_maps: from_sdk_map(
                skewed.skewed_column_value_location_maps,
            ),
        }),
        stored_as_sub_directories: from.stored_as_sub_directories,
        unsupported_fields,
    }
}

fn to_sdk_storage_descriptor(
    from: &StorageDescriptor,
) -> Result<glue::StorageDescriptor, BuildError> {
    let orders: Result<Vec<glue::Order>, BuildError> = from
        .sort_columns
        .iter()
        .map(|order| {
            glue::Order::builder()
                .column(&order.column)
                .sort_order(order.sort_order)
                .build()
        })
        .collect();
    let serde_info = from.serde_info.as_ref().map(|serde| {
        glue::SerDeInfo::builder()
            .set_name(serde.name.clone())
            .set_serialization_library(serde.serialization_library.clone())
            .set_parameters(to_sdk_map(&serde.parameters))
            .build()
    });
    let skewed_info = from.skewed_info.as_ref().map(|skewed| {
        glue::SkewedInfo::builder()
            .set_skewed_column_names(to_sdk_list(&skewed.skewed_column_names))
            .set_skewed_column_values(to_sdk_list(&skewed.skewed_column_values))
            .set_skewed_column_value_location_maps(to_sdk_map(
                &skewed.skewed_column_value_location_maps,
            ))
            .build()
    });
    Ok(glue::StorageDescriptor::builder()
        .set_columns(Some(to_sdk_columns(&from.columns)?))
        .set_location(from.location.clone())
        .set_additional_locations(to_sdk_list(&from.additional_locations))
        .set_input_format(from.input_format.clone())
        .set_output_format(from.output_format.clone())
        .compressed(from.compressed)
        .number_of_buckets(from.number_of_buckets)
        .set_serde_info(serde_info)
        .set_bucket_columns(to_sdk_list(&from.bucket_columns))
        .set_sort_columns(Some(orders?).filter(|orders| !orders.is_empty()))
        .set_parameters(to_sdk_map(&from.parameters))
        .set_skewed_info(skewed_info)
        .stored_as_sub_directories(from.stored_as_sub_directories)
        .build())
}

/// Converts a partition as it was read.
#[must_use]
pub fn from_sdk_partition(from: glue::Partition) -> Partition {
    Partition {
        values: from.values.unwrap_or_default(),
        last_access_time: from_sdk_time(from.last_access_time),
        last_analyzed_time: from_sdk_time(from.last_analyzed_time),
        storage_descriptor: from.storage_descriptor.map(from_sdk_storage_descriptor),
        parameters: from_sdk_map(from.parameters),
        unsupported_fields: UnsupportedFields::new(),
    }
}

/// Converts a partition to the SDK's input type.
///
/// # Errors
/// A required field is missing.
pub fn to_sdk_partition(from: &Partition) -> Result<glue::PartitionInput, BuildError> {
    let descriptor = from
        .storage_descriptor
        .as_ref()
        .map(to_sdk_storage_descriptor);
    Ok(glue::PartitionInput::builder()
        .set_values(Some(from.values.clone()))
        .set_last_access_time(to_sdk_time(from.last_access_time))
        .set_last_analyzed_time(to_sdk_time(from.last_analyzed_time))
        .set_storage_descriptor(descriptor.transpose()?)
        .set_parameters(to_sdk_map(&from.parameters))
        .build())
}

#[cfg(test)]
mod tests;
