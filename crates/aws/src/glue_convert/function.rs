//! Converts user-defined functions.

use super::{from_sdk_time, to_sdk_list, to_sdk_time};
use aws_sdk_glue::types as glue;
use twinlake_core::catalog::{Function, Observed, ResourceUri};
use twinlake_core::{FunctionId, Name};

/// Converts a function as it was read; the id contains its database.
#[must_use]
pub fn from_sdk_function(from: glue::UserDefinedFunction) -> (FunctionId, Observed<Function>) {
    let name = Name::from_service(&from.function_name.unwrap_or_default());
    let database = Name::from_service(&from.database_name.unwrap_or_default());
    let uris = from.resource_uris.unwrap_or_default().into_iter();
    let object = Function {
        name: name.clone(),
        class_name: from.class_name,
        owner_name: from.owner_name,
        function_type: from.function_type.map(|kind| kind.as_str().to_owned()),
        owner_type: from.owner_type.map(|kind| kind.as_str().to_owned()),
        resource_uris: uris
            .map(|uri| ResourceUri {
                resource_type: uri.resource_type.map(|kind| kind.as_str().to_owned()),
                uri: uri.uri,
                last_modified: from_sdk_time(uri.last_modified),
            })
            .collect(),
        artifact_location: from.artifact_location,
        governance_mode: from.governance_mode.map(|mode| mode.as_str().to_owned()),
    };
    let observed = Observed {
        object,
        created: from_sdk_time(from.create_time),
        updated: None,
        version: None,
    };
    (FunctionId::new(database, name), observed)
}

/// Converts a function to the SDK's input type.
#[must_use]
pub fn to_sdk_function(from: &Function) -> glue::UserDefinedFunctionInput {
    let uris: Vec<glue::ResourceUri> = from
        .resource_uris
        .iter()
        .map(|uri| {
            let kind = uri.resource_type.as_deref().map(glue::ResourceType::from);
            glue::ResourceUri::builder()
                .set_resource_type(kind)
                .set_uri(uri.uri.clone())
                .set_last_modified(to_sdk_time(uri.last_modified))
                .build()
        })
        .collect();
    let kind = from.function_type.as_deref().map(glue::FunctionType::from);
    let owner = from.owner_type.as_deref().map(glue::PrincipalType::from);
    let mode = from.governance_mode.as_deref();
    glue::UserDefinedFunctionInput::builder()
        .function_name(from.name.as_listed())
        .set_class_name(from.class_name.clone())
        .set_owner_name(from.owner_name.clone())
        .set_function_type(kind)
        .set_owner_type(owner)
        .set_resource_uris(to_sdk_list(&uris))
        .set_artifact_location(from.artifact_location.clone())
        .set_governance_mode(mode.map(glue::GovernanceMode::from))
        .build()
}
