//! Sends messages: alerts to an SNS topic, retry messages to an SQS queue, and events to the peer
//! Region over EventBridge.

use crate::call_error;
use crate::clients::Clients;
use aws_sdk_eventbridge::types::PutEventsResultEntry;
use twinlake_core::{Alert, CallError};
use twinlake_engine::ports::EventBus;
use twinlake_engine::{AlertTopic, RetryMessage, RetryQueue};

/// Publishes alerts to an SNS topic.
#[derive(Clone, Debug)]
pub struct SnsAlerts {
    region: String,
    topic: String,
    client: aws_sdk_sns::Client,
}

impl SnsAlerts {
    /// Publishes to the topic with this ARN.
    #[must_use]
    pub fn new(clients: &Clients, topic: &str) -> Self {
        Self {
            region: clients.region().to_owned(),
            topic: topic.to_owned(),
            client: clients.sns(),
        }
    }
}

impl AlertTopic for SnsAlerts {
    /// Publishes text for readers, JSON for programs and message attributes for filter policies.
    async fn publish(&self, alert: &Alert) -> Result<(), CallError> {
        const CALL: &str = "Publish";
        let mut call = self
            .client
            .publish()
            .topic_arn(&self.topic)
            .subject(alert.subject_line())
            .message_structure("json")
            .message(alert.message());
        let strings = alert.attributes().into_iter();
        let strings = strings.map(|(name, value)| (name, "String", value));
        let databases = alert.database_attribute().into_iter();
        let databases = databases.map(|names| ("database", "String.Array", names));
        for (name, kind, value) in strings.chain(databases) {
            let attribute = aws_sdk_sns::types::MessageAttributeValue::builder()
                .data_type(kind)
                .string_value(value)
                .build()
                .map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
            call = call.message_attributes(name, attribute);
        }
        let response = call.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
    }
}

/// Sends retry messages, which name subjects to reconcile again, to an SQS queue.
#[derive(Clone, Debug)]
pub struct SqsRetryQueue {
    region: String,
    queue: String,
    client: aws_sdk_sqs::Client,
}

impl SqsRetryQueue {
    /// Sends to the queue with this URL.
    #[must_use]
    pub fn new(clients: &Clients, queue: &str) -> Self {
        Self {
            region: clients.region().to_owned(),
            queue: queue.to_owned(),
            client: clients.sqs(),
        }
    }
}

impl RetryQueue for SqsRetryQueue {
    async fn send(&self, message: &RetryMessage, delay_secs: u16) -> Result<(), CallError> {
        let call = self
            .client
            .send_message()
            .queue_url(&self.queue)
            .message_body(message.body())
            .delay_seconds(i32::from(delay_secs));
        let response = call.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("SendMessage", &self.region, &e))
    }
}

/// The default event bus of a Region. A rule on it forwards Twinlake's S3 notifications and alerts to the bus of
/// the peer Region.
#[derive(Clone, Debug)]
pub struct DefaultEventBus {
    region: String,
    client: aws_sdk_eventbridge::Client,
}

impl DefaultEventBus {
    /// The default event bus of a Region.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            region: clients.region().to_owned(),
            client: clients.eventbridge(),
        }
    }
}

impl EventBus for DefaultEventBus {
    async fn send(&self, kind: &str, detail: &str) -> Result<(), CallError> {
        const CALL: &str = "PutEvents";
        let entry = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder()
            .source(twinlake_core::event::TWINLAKE_SOURCE)
            .detail_type(kind)
            .detail(detail)
            .build();
        let response = self.client.put_events().entries(entry).send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        check_accepted(&self.region, response.entries())
    }
}

/// Checks the answer to one event. The call succeeds even if the event was rejected: only one that has an ID was
/// accepted.
fn check_accepted(region: &str, entries: &[PutEventsResultEntry]) -> Result<(), CallError> {
    let (code, message) = match entries {
        [entry] if entry.event_id().is_some() && entry.error_code().is_none() => return Ok(()),
        [entry, ..] => (
            entry.error_code().unwrap_or_default(),
            entry
                .error_message()
                .unwrap_or("the event was not accepted"),
        ),
        [] => ("", "the answer does not say whether the event was accepted"),
    };
    Err(call_error::from_code("PutEvents", region, code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_event_with_an_id_was_accepted() {
        let entry = PutEventsResultEntry::builder;
        let accepted = [entry().event_id("e1").build()];
        assert_eq!(check_accepted("us-east-1", &accepted), Ok(()));
        let throttled = entry().error_code("X");
        for refused in [
            vec![],
            vec![entry().build()],
            vec![throttled.clone().build()],
            vec![throttled.event_id("e1").error_message("slow down").build()],
        ] {
            assert!(
                check_accepted("us-east-1", &refused).is_err(),
                "{refused:?}"
            );
        }
    }
}
