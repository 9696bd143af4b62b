//! Reads and writes registered data locations. Each is an [`Attachment`] of the data locations as a
//! whole: an attachment belongs to a subject and has API calls of its own.

use super::may_be_duplicate;
use crate::pages::all_pages;
use crate::region::AwsRegion;
use crate::{call_error, lakeformation_convert};
use twinlake_core::catalog::{Attachment, Registration};
use twinlake_core::{CallError, CallErrorKind};

impl AwsRegion {
    pub(super) async fn read_registrations(&self) -> Result<Vec<Attachment>, CallError> {
        const CALL: &str = "ListResources";
        let listed = all_pages((CALL, &self.region), |token| async {
            let call = self.lakeformation.list_resources().max_results(1000);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            let listed = page.resource_info_list.unwrap_or_default();
            Ok((listed, page.next_token))
        })
        .await?;
        let registrations = listed
            .into_iter()
            .map(lakeformation_convert::from_sdk_registration);
        Ok(registrations.map(Attachment::Registration).collect())
    }

    /// Registers a location. A location that is registered differently is updated where
    /// `UpdateResource` can make the change; otherwise it is deregistered and registered again
    /// (LF-27).
    pub(super) async fn put_registration(
        &self,
        registration: &Registration,
    ) -> Result<(), CallError> {
        let refused = match self.register_resource(registration).await {
            Err(error) if may_be_duplicate(&error) => error,
            registered => return registered,
        };
        const DESCRIBE: &str = "DescribeResource";
        let current = self
            .lakeformation
            .describe_resource()
            .resource_arn(&registration.arn);
        let current = current.send().await;
        let current = match current.map_err(|e| call_error::from_sdk(DESCRIBE, &self.region, &e)) {
            // The location is not registered: the registration failed for another reason.
            Err(error) if error.kind == CallErrorKind::NotFound => return Err(refused),
            current => current?,
        };
        let current = current
            .resource_info
            .map(lakeformation_convert::from_sdk_registration);
        let can_update = current.as_ref().is_some_and(|current| {
            current.role.is_some() && current.privileged_access == registration.privileged_access
        });
        if let (Some(role), true) = (&registration.role, can_update) {
            let update = self
                .lakeformation
                .update_resource()
                .resource_arn(&registration.arn);
            let update = update
                .role_arn(role)
                .with_federation(registration.with_federation)
                .hybrid_access_enabled(registration.hybrid_access)
                .set_expected_resource_owner_account(registration.owner.clone());
            let response = update.send().await;
            return response
                .map(drop)
                .map_err(|e| call_error::from_sdk("UpdateResource", &self.region, &e));
        }
        self.deregister_resource(&registration.arn).await?;
        self.register_resource(registration).await
    }

    async fn register_resource(&self, registration: &Registration) -> Result<(), CallError> {
        let register = self
            .lakeformation
            .register_resource()
            .resource_arn(&registration.arn);
        let register = match &registration.role {
            Some(role) => register.role_arn(role),
            None => register.use_service_linked_role(true),
        };
        let register = register
            .with_federation(registration.with_federation)
            .hybrid_access_enabled(registration.hybrid_access)
            .with_privileged_access(registration.privileged_access)
            .set_expected_resource_owner_account(registration.owner.clone());
        let response = register.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("RegisterResource", &self.region, &e))
    }

    pub(super) async fn deregister_resource(&self, arn: &str) -> Result<(), CallError> {
        let deregister = self
            .lakeformation
            .deregister_resource()
            .resource_arn(arn)
            .send()
            .await;
        deregister
            .map(drop)
            .map_err(|e| call_error::from_sdk("DeregisterResource", &self.region, &e))
    }
}
