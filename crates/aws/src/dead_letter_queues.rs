//! Dead-letter queues in SQS.

use crate::call_error;
use crate::clients::Clients;
use crate::pages::all_pages;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use std::collections::BTreeMap;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::event_batch::REDRIVEN_ATTRIBUTE;
use twinlake_engine::ports::DeadLetterQueues;

/// Messages per `ReceiveMessage` call (SQS's limit).
const MAX_MESSAGES_PER_RECEIVE: i32 = 10;
/// `WaitTimeSeconds` of a read for redrive: long polling asks all of SQS's servers, so that a
/// message which only some of them hold is found.
const LONG_POLL_SECS: i32 = 1;
/// How long a message that is being redriven is invisible to other readers.
const REDRIVE_VISIBILITY_TIMEOUT_SECS: i32 = 60;

/// The counts of a queue. A message that `redrive` has received and not yet deleted still counts as waiting.
const COUNTS: [QueueAttributeName; 2] = [
    QueueAttributeName::ApproximateNumberOfMessages,
    QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
];

/// The dead-letter queues of a Region, by name.
#[derive(Clone, Debug)]
pub struct SqsDeadLetterQueues {
    region: String,
    /// The URL of each queue, by its name.
    queues: BTreeMap<String, String>,
    client: aws_sdk_sqs::Client,
}

/// One message that was received and not yet deleted.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The message body.
    pub body: String,
    /// What SQS knows this receive of the message by.
    pub receipt_handle: String,
}

impl SqsDeadLetterQueues {
    /// The queues of a Region, given as name and URL.
    #[must_use]
    pub fn new(clients: &Clients, queues: BTreeMap<String, String>) -> Self {
        Self {
            region: clients.region().to_owned(),
            queues,
            client: clients.sqs(),
        }
    }

    /// The URL of a queue, by its name; `None` if it is none of these queues.
    #[must_use]
    pub fn queue_url(&self, queue: &str) -> Option<&str> {
        self.queues.get(queue).map(String::as_str)
    }

    /// Receives up to 10 messages of a queue and hides them from other readers for a minute. Those
    /// that are not deleted meanwhile become visible again.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn receive(&self, queue: &str) -> Result<Vec<DeadLetter>, CallError> {
        self.receive_messages(queue, REDRIVE_VISIBILITY_TIMEOUT_SECS)
            .await
    }

    /// Sends a message body to the queue with this URL, marked as [`REDRIVEN_ATTRIBUTE`]. It need not be one of
    /// these queues: a redrive sends to the queue that the message came from.
    ///
    /// # Errors
    /// The message was not sent.
    pub async fn send(&self, url: &str, body: &str) -> Result<(), CallError> {
        let mark = MessageAttributeValue::builder()
            .data_type("String")
            .string_value("true")
            .build()
            .map_err(|error| {
                let kind = CallErrorKind::Invalid;
                CallError::new(kind, "SendMessage", &self.region, error.to_string())
            })?;
        let call = self.client.send_message().queue_url(url);
        let call = call.message_attributes(REDRIVEN_ATTRIBUTE, mark);
        let response = call.message_body(body).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("SendMessage", &self.region, &e))
    }

    /// Deletes a received message from its queue.
    ///
    /// # Errors
    /// The message was not deleted.
    pub async fn delete(&self, queue: &str, dead_letter: &DeadLetter) -> Result<(), CallError> {
        let url = self.queue_url(queue).unwrap_or_default();
        let call = self.client.delete_message().queue_url(url);
        let response = call
            .receipt_handle(&dead_letter.receipt_handle)
            .send()
            .await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("DeleteMessage", &self.region, &e))
    }

    /// Receives messages of a queue. With a visibility timeout of 0 they stay visible to other
    /// readers, and the call does not wait for messages.
    async fn receive_messages(
        &self,
        queue: &str,
        visibility_timeout_secs: i32,
    ) -> Result<Vec<DeadLetter>, CallError> {
        let call = self
            .client
            .receive_message()
            .queue_url(self.queue_url(queue).unwrap_or_default())
            .max_number_of_messages(MAX_MESSAGES_PER_RECEIVE)
            .wait_time_seconds(if visibility_timeout_secs > 0 {
                LONG_POLL_SECS
            } else {
                0
            })
            .visibility_timeout(visibility_timeout_secs);
        let response = call.send().await;
        let response =
            response.map_err(|e| call_error::from_sdk("ReceiveMessage", &self.region, &e))?;
        let dead_letters = response.messages.unwrap_or_default().into_iter();
        let dead_letters = dead_letters.map(|message| DeadLetter {
            body: message.body.unwrap_or_default(),
            receipt_handle: message.receipt_handle.unwrap_or_default(),
        });
        Ok(dead_letters.collect())
    }
}

impl DeadLetterQueues for SqsDeadLetterQueues {
    async fn message_counts(&self) -> Result<BTreeMap<String, usize>, CallError> {
        let mut counts = BTreeMap::new();
        for (name, url) in &self.queues {
            let call = self.client.get_queue_attributes().queue_url(url);
            let call = call.set_attribute_names(Some(COUNTS.to_vec()));
            let response = call.send().await;
            let response = response
                .map_err(|e| call_error::from_sdk("GetQueueAttributes", &self.region, &e))?;
            let attributes = response.attributes.unwrap_or_default();
            let count = message_count((&self.region, name), |kind| {
                attributes.get(kind).map(String::as_str)
            })?;
            counts.insert(name.clone(), count);
        }
        Ok(counts)
    }

    async fn peek(&self, queue: &str) -> Result<Vec<Vec<u8>>, CallError> {
        let dead_letters = self.receive_messages(queue, 0).await?.into_iter();
        Ok(dead_letters
            .map(|dead_letter| dead_letter.body.into_bytes())
            .collect())
    }
}

/// The sum of the counts of a queue.
///
/// # Errors
/// The answer lacks one, or it is no number: nothing says then that the queue is empty.
fn message_count<'a>(
    (region, queue): (&str, &str),
    attribute: impl Fn(&QueueAttributeName) -> Option<&'a str>,
) -> Result<usize, CallError> {
    let mut sum = 0;
    for kind in &COUNTS {
        let count = attribute(kind).and_then(|text| text.parse::<usize>().ok());
        sum += count.ok_or_else(|| {
            let message = format!("the answer has no number {kind} of the queue {queue}");
            CallError::new(
                CallErrorKind::Unavailable,
                "GetQueueAttributes",
                region,
                message,
            )
        })?;
    }
    Ok(sum)
}

/// Lists the URLs of the queues of a Region whose names start with a prefix (`ListQueues`).
///
/// # Errors
/// The call failed.
pub async fn list_queue_urls(region: &str, name_prefix: &str) -> Result<Vec<String>, CallError> {
    let client = Clients::connect(region).await.sqs();
    all_pages(("ListQueues", region), |token| async {
        let call = client.list_queues().queue_name_prefix(name_prefix);
        let response = call.max_results(1000).set_next_token(token).send().await;
        let response = response.map_err(|e| call_error::from_sdk("ListQueues", region, &e))?;
        Ok((response.queue_urls.unwrap_or_default(), response.next_token))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_is_missing_is_no_zero() {
        let count = |visible: Option<&'static str>| {
            message_count(("us-east-1", "Catalog"), |kind| {
                let is_visible = *kind == QueueAttributeName::ApproximateNumberOfMessages;
                if is_visible { visible } else { Some("2") }
            })
        };
        assert_eq!(count(Some("3")), Ok(5));
        for unread in [None, Some(""), Some("many")] {
            assert!(
                count(unread).unwrap_err().to_string().contains("Catalog"),
                "{unread:?}"
            );
        }
    }
}
