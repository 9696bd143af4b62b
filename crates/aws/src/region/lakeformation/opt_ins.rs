//! Reads and writes Lake Formation opt-ins.

use super::may_be_duplicate;
use crate::pages::all_pages;
use crate::region::AwsRegion;
use crate::{call_error, lakeformation_convert, permission_convert};
use aws_sdk_lakeformation::types as lakeformation;
use twinlake_core::CallError;
use twinlake_core::catalog::OptIn;

impl AwsRegion {
    pub(in crate::region) async fn read_opt_ins(&self) -> Result<Vec<OptIn>, CallError> {
        const CALL: &str = "ListLakeFormationOptIns";
        let listed = all_pages((CALL, &self.region), |token| async {
            let call = self
                .lakeformation
                .list_lake_formation_opt_ins()
                .max_results(1000);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            let listed = page.lake_formation_opt_ins_info_list.unwrap_or_default();
            Ok((listed, page.next_token))
        })
        .await?;
        let opt_ins = listed.into_iter();
        Ok(opt_ins
            .map(|opt_in| lakeformation_convert::from_sdk_opt_in(opt_in, &self.account))
            .collect())
    }

    /// Creates an opt-in, unless it exists.
    pub(super) async fn create_opt_in(&self, opt_in: &OptIn) -> Result<(), CallError> {
        const CALL: &str = "CreateLakeFormationOptIn";
        let (principal, resource, condition) = self.opt_in_fields(CALL, opt_in)?;
        let create = self.lakeformation.create_lake_formation_opt_in();
        let create = create.principal(principal).resource(resource);
        let response = create.set_condition(condition).send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e));
        match response {
            // All fields of an opt-in identify it: if it is listed, there is nothing to create.
            Err(error) if may_be_duplicate(&error) => {
                match self.read_opt_ins().await?.contains(opt_in) {
                    true => Ok(()),
                    false => Err(error),
                }
            }
            response => response.map(drop),
        }
    }

    /// Deletes an opt-in.
    pub(super) async fn delete_opt_in(&self, opt_in: &OptIn) -> Result<(), CallError> {
        const CALL: &str = "DeleteLakeFormationOptIn";
        let (principal, resource, condition) = self.opt_in_fields(CALL, opt_in)?;
        let delete = self.lakeformation.delete_lake_formation_opt_in();
        let delete = delete.principal(principal).resource(resource);
        let response = delete.set_condition(condition).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
    }

    /// The principal, the resource and the condition of an opt-in, as both calls take them.
    fn opt_in_fields(&self, call: &str, opt_in: &OptIn) -> Result<OptInFields, CallError> {
        let resource = self.build_result(
            call,
            permission_convert::to_sdk_resource(&opt_in.resource, &self.account),
        )?;
        let principal = lakeformation::DataLakePrincipal::builder()
            .data_lake_principal_identifier(&opt_in.principal.0)
            .build();
        let condition = opt_in.condition.as_ref();
        let condition =
            condition.map(|text| lakeformation::Condition::builder().expression(text).build());
        Ok((principal, resource, condition))
    }
}

/// The fields of an opt-in in the SDK's types.
type OptInFields = (
    lakeformation::DataLakePrincipal,
    lakeformation::Resource,
    Option<lakeformation::Condition>,
);
