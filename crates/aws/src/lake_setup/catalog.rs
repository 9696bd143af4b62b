//! Registered locations, and the workgroup of Athena.

use super::LakeSetup;
use crate::pages::all_pages;
use crate::{call_error, lakeformation_convert};
use aws_sdk_athena::types::{
    EncryptionConfiguration, EncryptionOption, ResultConfiguration, WorkGroupConfiguration,
};
use twinlake_core::CallError;
use twinlake_core::catalog::Registration;
use twinlake_core::lake_setup::SetupState;

impl LakeSetup {
    /// The state of a location that is to be registered with Lake Formation.
    ///
    /// # Errors
    /// A call failed.
    pub async fn registration(&self, wanted: &Registration) -> Result<SetupState, CallError> {
        let listed = all_pages(("ListResources", &self.region), |token| async {
            let call = self.lakeformation.list_resources().set_next_token(token);
            let page = call.send().await;
            let page = page.map_err(|e| call_error::from_sdk("ListResources", &self.region, &e))?;
            let listed = page.resource_info_list.unwrap_or_default();
            Ok((listed, page.next_token))
        })
        .await?;
        let listed: Result<Vec<Registration>, String> = listed
            .into_iter()
            .map(lakeformation_convert::from_sdk_registration)
            .collect();
        let listed = listed.map_err(|problem| self.invalid("ListResources", problem))?;
        let found = listed.into_iter().find(|found| found.arn == wanted.arn);
        // The owner is not among what the template sets.
        let found = found.map(|found| Registration {
            owner: None,
            ..found
        });
        Ok(SetupState::of(found.as_ref(), wanted, |found| {
            let role = found.role.as_deref().unwrap_or("the service-linked role");
            let hybrid = match found.hybrid_access {
                true => ", in hybrid access mode",
                false => "",
            };
            format!("it is registered with {role}{hybrid}")
        }))
    }

    /// Registers a location with a role (`RegisterResource`).
    ///
    /// # Errors
    /// The call failed.
    pub async fn register(&self, registration: &Registration) -> Result<(), CallError> {
        let call = self.lakeformation.register_resource();
        let call = call.resource_arn(&registration.arn);
        let call = call.set_role_arn(registration.role.clone());
        let registered = call.use_service_linked_role(false).send().await;
        registered
            .map(drop)
            .map_err(|e| call_error::from_sdk("RegisterResource", &self.region, &e))
    }

    /// The state of a workgroup. `GetWorkGroup` has the same error for one that does not exist as for other
    /// mistakes, so it is looked for in the listing.
    ///
    /// # Errors
    /// A call failed.
    pub async fn workgroup(
        &self,
        name: &str,
        result_location: &str,
        key: &str,
    ) -> Result<SetupState, CallError> {
        if !self.has_workgroup(name).await? {
            return Ok(SetupState::Missing);
        }
        let found = self.athena.get_work_group().work_group(name).send().await;
        let found = found.map_err(|e| call_error::from_sdk("GetWorkGroup", &self.region, &e))?;
        let found = found.work_group.and_then(|found| found.configuration);
        let is_enforced = found
            .as_ref()
            .and_then(|found| found.enforce_work_group_configuration);
        let results = found.and_then(|found| found.result_configuration);
        let wanted = self.result_configuration(result_location, key)?;
        Ok(match (is_enforced, results) {
            (Some(false), Some(results)) if results == wanted => SetupState::Equal,
            (Some(true) | None, _) => {
                SetupState::Different("it enforces its configuration".to_owned())
            }
            (Some(false), _) => SetupState::Different(
                "it puts results in another place, or encrypts them with another key".to_owned(),
            ),
        })
    }

    async fn has_workgroup(&self, name: &str) -> Result<bool, CallError> {
        let groups = all_pages(("ListWorkGroups", &self.region), |token| async {
            let page = self.athena.list_work_groups().set_next_token(token);
            let page = page.send().await;
            let page =
                page.map_err(|e| call_error::from_sdk("ListWorkGroups", &self.region, &e))?;
            Ok((page.work_groups.unwrap_or_default(), page.next_token))
        })
        .await?;
        Ok(groups.iter().any(|group| group.name() == Some(name)))
    }

    /// Creates a workgroup (`CreateWorkGroup`). In one that enforces its configuration, CREATE TABLE AS
    /// SELECT writes to the result location only.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_workgroup(
        &self,
        name: &str,
        description: &str,
        result_location: &str,
        key: &str,
    ) -> Result<(), CallError> {
        let configuration = WorkGroupConfiguration::builder()
            .enforce_work_group_configuration(false)
            .result_configuration(self.result_configuration(result_location, key)?)
            .build();
        let call = self.athena.create_work_group().name(name);
        let call = call.description(description).configuration(configuration);
        let created = call.send().await;
        created
            .map(drop)
            .map_err(|e| call_error::from_sdk("CreateWorkGroup", &self.region, &e))
    }

    fn result_configuration(
        &self,
        location: &str,
        key: &str,
    ) -> Result<ResultConfiguration, CallError> {
        let encryption = EncryptionConfiguration::builder()
            .encryption_option(EncryptionOption::SseKms)
            .kms_key(key)
            .build()
            .map_err(|error| self.build_error("CreateWorkGroup", &error))?;
        Ok(ResultConfiguration::builder()
            .output_location(location)
            .expected_bucket_owner(&self.account)
            .encryption_configuration(encryption)
            .build())
    }
}
