//! The trail of a Region.

use super::{LakeSetup, if_found};
use crate::call_error;
use aws_sdk_cloudtrail::types::{EventSelector, ReadWriteType};
use twinlake_core::CallError;
use twinlake_core::lake_setup::SetupState;

impl LakeSetup {
    /// The state of a trail, without its event selectors.
    ///
    /// # Errors
    /// The call failed.
    pub async fn trail(
        &self,
        name: &str,
        bucket: &str,
        key: &str,
    ) -> Result<SetupState, CallError> {
        let found = self.cloudtrail.get_trail().name(name).send().await;
        let found = found.map_err(|e| call_error::from_sdk("GetTrail", &self.region, &e));
        let Some(trail) = if_found(found)?.and_then(|found| found.trail) else {
            return Ok(SetupState::Missing);
        };
        let is_equal = trail.s3_bucket_name() == Some(bucket)
            && trail.kms_key_id() == Some(key)
            && trail.is_multi_region_trail() == Some(false)
            && trail.include_global_service_events() == Some(false)
            && trail.log_file_validation_enabled() == Some(true);
        Ok(match is_equal {
            true => SetupState::Equal,
            false => SetupState::Different(
                "it has another bucket or key, is of several Regions, or has no log validation"
                    .to_owned(),
            ),
        })
    }

    /// Creates a trail of this Region with log validation (`CreateTrail`). It logs nothing yet.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_trail(&self, name: &str, bucket: &str, key: &str) -> Result<(), CallError> {
        let call = self.cloudtrail.create_trail().name(name);
        let call = call.s3_bucket_name(bucket).kms_key_id(key);
        let call = call
            .is_multi_region_trail(false)
            .include_global_service_events(false)
            .enable_log_file_validation(true);
        let created = call.send().await;
        created
            .map(drop)
            .map_err(|e| call_error::from_sdk("CreateTrail", &self.region, &e))
    }

    /// Whether a trail selects all management events, and nothing else.
    ///
    /// # Errors
    /// The call failed.
    pub async fn event_selectors(&self, trail: &str) -> Result<SetupState, CallError> {
        let found = self.cloudtrail.get_event_selectors().trail_name(trail);
        let found = found.send().await;
        let found =
            found.map_err(|e| call_error::from_sdk("GetEventSelectors", &self.region, &e))?;
        // A trail without selectors has the default one, which selects all management events.
        let is_equal = match found.event_selectors() {
            [] => found.advanced_event_selectors().is_empty(),
            [selector] => {
                selector.include_management_events() == Some(true)
                    && selector.read_write_type() == Some(&ReadWriteType::All)
                    && selector.data_resources().is_empty()
                    && selector.exclude_management_event_sources().is_empty()
            }
            _ => false,
        };
        Ok(match is_equal {
            true => SetupState::Equal,
            false => SetupState::Different("it has other event selectors".to_owned()),
        })
    }

    /// Lets a trail that was just created log all management events (`PutEventSelectors`): the call replaces
    /// whatever a trail selects. Twinlake's alerts on denied reads need the read-only events too.
    ///
    /// # Errors
    /// The call failed.
    pub async fn select_management_events(&self, trail: &str) -> Result<(), CallError> {
        let selector = EventSelector::builder()
            .include_management_events(true)
            .read_write_type(ReadWriteType::All)
            .build();
        let call = self.cloudtrail.put_event_selectors().trail_name(trail);
        let put = call.event_selectors(selector).send().await;
        put.map(drop)
            .map_err(|e| call_error::from_sdk("PutEventSelectors", &self.region, &e))
    }

    /// Lets a trail log (`StartLogging`).
    ///
    /// # Errors
    /// The call failed.
    pub async fn start_logging(&self, trail: &str) -> Result<(), CallError> {
        let started = self.cloudtrail.start_logging().name(trail).send().await;
        started
            .map(drop)
            .map_err(|e| call_error::from_sdk("StartLogging", &self.region, &e))
    }

    /// Whether a trail logs. A trail that was stopped is one that a break left, or that somebody stopped:
    /// both are `Missing`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn logging(&self, trail: &str) -> Result<SetupState, CallError> {
        let found = self.cloudtrail.get_trail_status().name(trail).send().await;
        let found = found.map_err(|e| call_error::from_sdk("GetTrailStatus", &self.region, &e))?;
        Ok(match found.is_logging {
            Some(true) => SetupState::Equal,
            Some(false) | None => SetupState::Missing,
        })
    }
}
