//! Reads and writes registered data locations. Each is an [`Attachment`] of the data locations as a
//! whole: an attachment belongs to a subject and has API calls of its own.

use super::may_be_duplicate;
use crate::pages::all_pages;
use crate::region::{AwsRegion, missing_object};
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
        let registrations = listed.into_iter().map(|listed| {
            let registration = lakeformation_convert::from_sdk_registration(listed);
            registration.map_err(|reason| self.unreadable_entry_error(CALL, reason))
        });
        registrations
            .map(|registration| registration.map(Attachment::Registration))
            .collect()
    }

    /// Registers a location. A location that is registered differently, and may be replaced, is updated where
    /// `UpdateResource` can make the change; otherwise it is deregistered and registered again
    /// (LF-27).
    pub(super) async fn put_registration(
        &self,
        registration: &Registration,
        may_replace: bool,
    ) -> Result<(), CallError> {
        const REGISTER: &str = "RegisterResource";
        let refused = match self.register_resource(registration).await {
            Err(error) if may_be_duplicate(&error) => error,
            registered => return registered,
        };
        let current = match self.registration(&registration.arn).await {
            // The location is not registered: the registration failed for another reason.
            Err(error) if error.kind == CallErrorKind::NotFound => return Err(refused),
            current => current?,
        };
        if !may_replace {
            return self.result_of_duplicate(REGISTER, current == *registration);
        }
        let can_update =
            current.role.is_some() && current.privileged_access == registration.privileged_access;
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
        let registered = self.register_resource(registration).await;
        if let Err(error) = &registered
            && !error.kind.is_transient()
        {
            // The change is refused for good: the location gets its former registration back.
            self.register_resource(&current).await?;
        }
        registered
    }

    /// Reads the registration of a location.
    async fn registration(&self, arn: &str) -> Result<Registration, CallError> {
        const CALL: &str = "DescribeResource";
        let described = self.lakeformation.describe_resource().resource_arn(arn);
        let described = described.send().await;
        let described = described.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let found = described
            .resource_info
            .ok_or_else(|| missing_object(CALL, &self.region))?;
        lakeformation_convert::from_sdk_registration(found)
            .map_err(|reason| self.unreadable_entry_error(CALL, reason))
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
