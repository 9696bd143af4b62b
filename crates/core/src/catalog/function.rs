//! User-defined functions (`UserDefinedFunctionInput`).

use crate::name::Name;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// `UserDefinedFunctionInput`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Function {
    /// `FunctionName`.
    #[serde(rename = "FunctionName")]
    pub name: Name,
    /// `ClassName`: the Java class that implements the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// `OwnerName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_name: Option<String>,
    /// `FunctionType`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_type: Option<String>,
    /// `OwnerType`: USER, ROLE or GROUP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_type: Option<String>,
    /// `ResourceUris`: the locations of the code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_uris: Vec<ResourceUri>,
    /// `ArtifactLocation`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_location: Option<String>,
    /// `GovernanceMode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governance_mode: Option<String>,
}

/// `ResourceUri`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceUri {
    /// `ResourceType`: JAR, FILE or ARCHIVE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// `Uri`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// `LastModified`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<Timestamp>,
}
