//! KMS keys, which are found by their alias.

use super::{LakeSetup, if_found};
use crate::call_error;
use crate::pages::{all_pages, next_token};
use serde_json::Value;
use twinlake_core::CallError;
use twinlake_core::lake_setup::SetupState;

/// A key that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupKey {
    /// The ARN.
    pub arn: String,
    /// Whether the alias names it.
    pub has_alias: bool,
    /// `Equal`, or how it differs.
    pub state: SetupState,
}

impl LakeSetup {
    /// The key that an alias names, or else an enabled key of this Region with this description: one that
    /// was made and got no alias. `None` if there is neither.
    ///
    /// # Errors
    /// A call failed.
    pub async fn key(
        &self,
        alias: &str,
        description: &str,
        policy: &Value,
    ) -> Result<Option<SetupKey>, CallError> {
        if let Some((arn, found, is_enabled)) = self.describe(alias).await? {
            let state = match (found == description, is_enabled) {
                (false, _) => SetupState::Different(format!(
                    "{alias} names the key {arn}, whose description is {found:?} and not {description:?}"
                )),
                (true, false) => SetupState::Different(format!("the key {arn} is not enabled")),
                (true, true) => self.key_policy(&arn, policy).await?,
            };
            return Ok(Some(SetupKey {
                arn,
                has_alias: true,
                state,
            }));
        }
        let listing = ("ListKeys", self.region.as_str());
        let keys = all_pages(listing, |marker: Option<String>| async {
            let page = self.kms.list_keys().set_marker(marker).send().await;
            let page = page.map_err(|e| call_error::from_sdk(listing.0, &self.region, &e))?;
            let next = next_token(listing, page.truncated, page.next_marker)?;
            Ok((page.keys.unwrap_or_default(), next))
        });
        for key in keys.await? {
            let id = key.key_id().unwrap_or_default();
            if let Some((arn, found, true)) = self.describe(id).await?
                && found == description
            {
                let state = self.key_policy(&arn, policy).await?;
                return Ok(Some(SetupKey {
                    arn,
                    has_alias: false,
                    state,
                }));
            }
        }
        Ok(None)
    }

    /// The ARN and the description of a key, and whether it is enabled.
    async fn describe(&self, key: &str) -> Result<Option<(String, String, bool)>, CallError> {
        let found = self.kms.describe_key().key_id(key).send().await;
        let found = found.map_err(|e| call_error::from_sdk("DescribeKey", &self.region, &e));
        let metadata = if_found(found)?.and_then(|found| found.key_metadata);
        Ok(metadata.map(|metadata| {
            let arn = metadata.arn.unwrap_or_default();
            let description = metadata.description.unwrap_or_default();
            (arn, description, metadata.enabled)
        }))
    }

    async fn key_policy(&self, arn: &str, wanted: &Value) -> Result<SetupState, CallError> {
        const CALL: &str = "GetKeyPolicy";
        let found = self.kms.get_key_policy().key_id(arn).policy_name("default");
        let found = found.send().await;
        let found = found.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let state = SetupState::of_document(found.policy(), wanted);
        state.map_err(|problem| self.invalid(CALL, problem))
    }

    /// Creates a key of this Region (`CreateKey`), and returns its ARN.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_key(&self, description: &str, policy: &Value) -> Result<String, CallError> {
        const CALL: &str = "CreateKey";
        let call = self.kms.create_key().description(description);
        let created = call.policy(policy.to_string()).send().await;
        let created = created.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let arn = created.key_metadata.and_then(|metadata| metadata.arn);
        arn.ok_or_else(|| self.invalid(CALL, "the response has no ARN"))
    }

    /// The aliases of a key (`ListAliases`), sorted by name.
    ///
    /// # Errors
    /// The call failed.
    pub async fn key_aliases(&self, key: &str) -> Result<Vec<String>, CallError> {
        let listing = ("ListAliases", self.region.as_str());
        let aliases = all_pages(listing, |marker: Option<String>| async {
            let call = self.kms.list_aliases().key_id(key).set_marker(marker);
            let page = call.send().await;
            let page = page.map_err(|e| call_error::from_sdk(listing.0, &self.region, &e))?;
            let next = next_token(listing, page.truncated, page.next_marker)?;
            Ok((page.aliases.unwrap_or_default(), next))
        });
        let aliases = aliases.await?.into_iter();
        let mut names: Vec<String> = aliases.filter_map(|alias| alias.alias_name).collect();
        names.sort();
        Ok(names)
    }

    /// Names a key (`CreateAlias`).
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_alias(&self, alias: &str, key: &str) -> Result<(), CallError> {
        let call = self.kms.create_alias().alias_name(alias);
        let created = call.target_key_id(key).send().await;
        created
            .map(drop)
            .map_err(|e| call_error::from_sdk("CreateAlias", &self.region, &e))
    }

    /// Whether KMS rotates a key each year.
    ///
    /// # Errors
    /// The call failed.
    pub async fn key_rotation(&self, key: &str) -> Result<SetupState, CallError> {
        let found = self.kms.get_key_rotation_status().key_id(key).send().await;
        let found =
            found.map_err(|e| call_error::from_sdk("GetKeyRotationStatus", &self.region, &e))?;
        Ok(match found.key_rotation_enabled {
            true => SetupState::Equal,
            false => SetupState::Missing,
        })
    }

    /// Lets KMS rotate a key (`EnableKeyRotation`).
    ///
    /// # Errors
    /// The call failed.
    pub async fn enable_key_rotation(&self, key: &str) -> Result<(), CallError> {
        let enabled = self.kms.enable_key_rotation().key_id(key).send().await;
        enabled
            .map(drop)
            .map_err(|e| call_error::from_sdk("EnableKeyRotation", &self.region, &e))
    }
}
