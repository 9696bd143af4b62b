//! Converts multi-dialect views.

use super::{from_sdk_map, to_sdk_list, to_sdk_map};
use aws_sdk_glue::types as glue;
use twinlake_core::catalog::{SubObjectStatistics, ViewDefinition, ViewRepresentation};

pub(super) fn from_sdk_view_definition(from: glue::ViewDefinition) -> ViewDefinition {
    let representations = from.representations.unwrap_or_default().into_iter();
    let statistics = from.sub_objects_statistics.unwrap_or_default().into_iter();
    ViewDefinition {
        is_protected: from.is_protected,
        is_managed: from.is_managed,
        definer: from.definer,
        representations: representations.map(from_sdk_representation).collect(),
        view_version_id: from.view_version_id,
        view_version_token: from.view_version_token,
        refresh_seconds: from.refresh_seconds,
        last_refresh_type: from.last_refresh_type.map(|kind| kind.as_str().to_owned()),
        sub_objects: from.sub_objects.unwrap_or_default(),
        sub_object_version_ids: from.sub_object_version_ids.unwrap_or_default(),
        sub_objects_statistics: statistics
            .map(|one| SubObjectStatistics {
                source_type: one.source_type.map(|kind| kind.as_str().to_owned()),
                glue_version_id: one.glue_version_id,
                partition_count: one.partition_count,
                file_count: one.file_count,
                total_file_bytes: one.total_file_bytes,
            })
            .collect(),
        spark_pipeline_info: from_sdk_map(from.spark_pipeline_info),
    }
}

/// Adds the SQL of representations that a read shows without text: the status of the table holds it
/// as it was sent (F-4). A validation that did not succeed describes a view that is not in effect.
pub(super) fn add_validated_sql(view: &mut ViewDefinition, status: Option<glue::TableStatus>) {
    let details = status.and_then(|status| status.details);
    let validations = details.and_then(|details| details.view_validations);
    for validation in validations.unwrap_or_default() {
        if validation.state != Some(glue::ResourceState::Success) {
            continue;
        }
        let dialect = validation.dialect.as_ref().map(glue::ViewDialect::as_str);
        let mut representations = view.representations.iter_mut();
        let own = representations
            .find(|one| one.dialect.as_deref() == dialect && one.view_original_text.is_none());
        if let Some(representation) = own {
            representation.view_original_text = validation.view_validation_text;
        }
    }
}

fn from_sdk_representation(from: glue::ViewRepresentation) -> ViewRepresentation {
    ViewRepresentation {
        dialect: from.dialect.map(|dialect| dialect.as_str().to_owned()),
        dialect_version: from.dialect_version,
        view_original_text: from.view_original_text,
        validation_connection: from.validation_connection,
        view_expanded_text: from.view_expanded_text,
    }
}

pub(super) fn to_sdk_view_definition(from: &ViewDefinition) -> glue::ViewDefinitionInput {
    let representations: Vec<glue::ViewRepresentationInput> = from
        .representations
        .iter()
        .map(to_sdk_representation)
        .collect();
    let statistics: Vec<glue::SubObjectStatistics> = from
        .sub_objects_statistics
        .iter()
        .map(to_sdk_sub_object_statistics)
        .collect();
    let last_refresh = from.last_refresh_type.as_deref();
    glue::ViewDefinitionInput::builder()
        .set_is_protected(from.is_protected)
        .set_is_managed(from.is_managed)
        .set_definer(from.definer.clone())
        .set_representations(to_sdk_list(&representations))
        .view_version_id(from.view_version_id)
        .set_view_version_token(from.view_version_token.clone())
        .set_refresh_seconds(from.refresh_seconds)
        .set_last_refresh_type(last_refresh.map(glue::LastRefreshType::from))
        .set_sub_objects(to_sdk_list(&from.sub_objects))
        .set_sub_object_version_ids(to_sdk_list(&from.sub_object_version_ids))
        .set_sub_objects_statistics(to_sdk_list(&statistics))
        .set_spark_pipeline_info(to_sdk_map(&from.spark_pipeline_info))
        .build()
}

fn to_sdk_representation(from: &ViewRepresentation) -> glue::ViewRepresentationInput {
    glue::ViewRepresentationInput::builder()
        .set_dialect(from.dialect.as_deref().map(glue::ViewDialect::from))
        .set_dialect_version(from.dialect_version.clone())
        .set_view_original_text(from.view_original_text.clone())
        .set_validation_connection(from.validation_connection.clone())
        .set_view_expanded_text(from.view_expanded_text.clone())
        .build()
}

fn to_sdk_sub_object_statistics(from: &SubObjectStatistics) -> glue::SubObjectStatistics {
    let source = from.source_type.as_deref();
    glue::SubObjectStatistics::builder()
        .set_source_type(source.map(glue::SubObjectSourceType::from))
        .set_glue_version_id(from.glue_version_id.clone())
        .set_partition_count(from.partition_count)
        .set_file_count(from.file_count)
        .set_total_file_bytes(from.total_file_bytes)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(state: glue::ResourceState, shown: Option<&str>) -> Option<String> {
        let representation = glue::ViewRepresentation::builder()
            .dialect(glue::ViewDialect::Athena)
            .set_view_original_text(shown.map(str::to_owned));
        let from = glue::ViewDefinition::builder().representations(representation.build());
        let validation = glue::ViewValidation::builder()
            .dialect(glue::ViewDialect::Athena)
            .view_validation_text("select 1")
            .state(state);
        let details = glue::StatusDetails::builder().view_validations(validation.build());
        let status = glue::TableStatus::builder().details(details.build());
        let mut view = from_sdk_view_definition(from.build());
        add_validated_sql(&mut view, Some(status.build()));
        view.representations[0].view_original_text.clone()
    }

    #[test]
    fn the_status_completes_a_view_whose_sql_is_not_shown() {
        let success = || glue::ResourceState::Success;
        assert_eq!(read(success(), None).as_deref(), Some("select 1"));
        assert_eq!(read(success(), Some("shown")).as_deref(), Some("shown"));
        assert_eq!(read(glue::ResourceState::Failed, None), None);
        assert_eq!(read(glue::ResourceState::Queued, None), None);
    }
}
