//! Reads and writes the data lake settings.

use crate::region::{AwsRegion, missing_object};
use crate::{call_error, lakeformation_convert};
use aws_sdk_lakeformation::types as lakeformation;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::SettingsChange;

impl AwsRegion {
    /// Reads the settings as the SDK has them: a write starts from them, so that it keeps fields that
    /// the core does not have.
    ///
    /// # Errors
    /// The call failed, or its response has no settings or no list of administrators: those are not the same as
    /// empty ones, because a write replaces everything.
    pub(in crate::region) async fn read_data_lake_settings(
        &self,
    ) -> Result<lakeformation::DataLakeSettings, CallError> {
        const CALL: &str = "GetDataLakeSettings";
        let response = self.lakeformation.get_data_lake_settings().send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let settings = response.data_lake_settings;
        settings
            .filter(|settings| settings.data_lake_admins.is_some())
            .ok_or_else(|| missing_object(CALL, &self.region))
    }

    /// Reads, changes, writes and reads back the settings. Only the last read shows whether another
    /// writer changed them in between.
    pub(in crate::region) async fn write_data_lake_settings(
        &self,
        change: &SettingsChange,
    ) -> Result<(), CallError> {
        const CALL: &str = "PutDataLakeSettings";
        let current = self.read_data_lake_settings().await?;
        let known = lakeformation_convert::from_sdk_settings(current.clone());
        change.check_current(&known, &self.region)?;
        let desired = change.applied_to(&known);
        let settings =
            lakeformation_convert::to_sdk_settings(&desired, current, change.default_permissions);
        let put = self
            .lakeformation
            .put_data_lake_settings()
            .data_lake_settings(settings);
        put.send()
            .await
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let read_back =
            lakeformation_convert::from_sdk_settings(self.read_data_lake_settings().await?);
        match read_back == desired {
            true => Ok(()),
            false => {
                let message = "the settings read back differ from the settings written";
                Err(CallError::new(
                    CallErrorKind::Contended,
                    CALL,
                    &self.region,
                    message,
                ))
            }
        }
    }
}
