//! SNS, SQS and the clock.

use crate::calls::{Counted, Service};
use crate::fault;
use twinlake_core::{Alert, Fault, Timestamp};
use twinlake_engine::ports::Peer;
use twinlake_engine::{Alerts, Clock, Message, Outbox};

/// Publishes alerts to an SNS topic.
#[derive(Clone, Debug)]
pub struct SnsAlerts {
    region: String,
    topic: String,
    client: aws_sdk_sns::Client,
}

impl SnsAlerts {
    /// A topic by its ARN.
    pub async fn connect(region: &str, topic: &str) -> Self {
        Self {
            region: region.to_owned(),
            topic: topic.to_owned(),
            client: aws_sdk_sns::Client::from_conf(
                aws_sdk_sns::config::Builder::from(&crate::sdk_config(region).await)
                    .interceptor(Counted(Service::Sns))
                    .build(),
            ),
        }
    }
}

impl Alerts for SnsAlerts {
    /// Text for people, JSON for programs, attributes for filter policies.
    async fn publish(&self, alert: &Alert) -> Result<(), Fault> {
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
                .map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
            call = call.message_attributes(name, attribute);
        }
        let answer = call.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of(CALL, &self.region, &e))
    }
}

/// Sends leftovers to an SQS queue.
#[derive(Clone, Debug)]
pub struct SqsOutbox {
    region: String,
    queue: String,
    client: aws_sdk_sqs::Client,
}

impl SqsOutbox {
    /// A queue by its URL.
    pub async fn connect(region: &str, queue: &str) -> Self {
        Self {
            region: region.to_owned(),
            queue: queue.to_owned(),
            client: crate::letters::client(region).await,
        }
    }
}

impl Outbox for SqsOutbox {
    async fn send(&self, message: &Message, delay_secs: u16) -> Result<(), Fault> {
        let call = self
            .client
            .send_message()
            .queue_url(&self.queue)
            .message_body(message.body())
            .delay_seconds(i32::from(delay_secs));
        let answer = call.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("SendMessage", &self.region, &e))
    }
}

/// The default bus of a Region, a rule of which forwards our own events to the peer's bus.
#[derive(Clone, Debug)]
pub struct BusPeer {
    region: String,
    client: aws_sdk_eventbridge::Client,
}

impl BusPeer {
    /// The default bus of a Region.
    pub async fn connect(region: &str) -> Self {
        Self {
            region: region.to_owned(),
            client: aws_sdk_eventbridge::Client::from_conf(
                aws_sdk_eventbridge::config::Builder::from(&crate::sdk_config(region).await)
                    .interceptor(Counted(Service::EventBridge))
                    .build(),
            ),
        }
    }
}

impl Peer for BusPeer {
    async fn tell(&self, kind: &str, detail: &str) -> Result<(), Fault> {
        const CALL: &str = "PutEvents";
        let entry = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder()
            .source(twinlake_core::event::OWN_SOURCE)
            .detail_type(kind)
            .detail(detail)
            .build();
        let answer = self.client.put_events().entries(entry).send().await;
        let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
        // An entry that was not taken is told in the answer alone.
        let failed = answer.entries.unwrap_or_default().into_iter();
        let mut failed = failed.filter_map(|entry| entry.error_code.zip(entry.error_message));
        match failed.next() {
            Some((code, message)) => Err(fault::of_code(CALL, &self.region, &code, &message)),
            None => Ok(()),
        }
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the Clock port's one implementation over the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        Timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}
