//! Counts who reads data in a Region, by the event history of CloudTrail.

use crate::call_error;
use crate::clients::Clients;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use twinlake_core::event::DataReaders;
use twinlake_core::{CallError, CallErrorKind, Timestamp};
use twinlake_engine::ports::PageTokens;

/// The pages of 50 records that are read at most: CloudTrail answers two calls a second.
const MAX_PAGES: usize = 20;

/// The event history of one Region.
#[derive(Clone, Debug)]
pub struct DataAccessEvents {
    cloudtrail: aws_sdk_cloudtrail::Client,
    region: String,
}

impl DataAccessEvents {
    /// The Region of some clients.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            cloudtrail: clients.cloudtrail(),
            region: clients.region().to_owned(),
        }
    }

    /// The requests for data since a time: `LookupEvents` by the name `GetDataAccess`, the newest first.
    ///
    /// # Errors
    /// A page failed.
    pub async fn since(&self, from: Timestamp) -> Result<DataReaders, CallError> {
        const CALL: &str = "LookupEvents";
        let by_name = LookupAttribute::builder()
            .attribute_key(LookupAttributeKey::EventName)
            .attribute_value("GetDataAccess")
            .build()
            .map_err(|error| {
                let kind = CallErrorKind::Invalid;
                CallError::new(kind, CALL, &self.region, error.to_string())
            })?;
        let mut readers = DataReaders::default();
        let (mut tokens, mut token) = (PageTokens::default(), None);
        for _ in 0..MAX_PAGES {
            let call = self.cloudtrail.lookup_events();
            let call = call
                .lookup_attributes(by_name.clone())
                .start_time(aws_smithy_types::DateTime::from_secs(from.secs()))
                .max_results(50)
                .set_next_token(token);
            let page = call
                .send()
                .await
                .map_err(|error| call_error::from_sdk(CALL, &self.region, &error))?;
            for event in page.events() {
                readers.add(event.cloud_trail_event().unwrap_or_default());
            }
            token = tokens.next(page.next_token, (CALL, &self.region))?;
            if token.is_none() {
                return Ok(readers);
            }
        }
        readers.has_more = true;
        Ok(readers)
    }
}
