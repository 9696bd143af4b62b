//! Dead-letter queues.

use crate::calls::{Counted, Service};
use crate::fault;
use aws_sdk_sqs::types::QueueAttributeName;
use std::collections::BTreeMap;
use twinlake_core::Fault;
use twinlake_engine::ports::Letters;

/// SQS in a Region.
pub(crate) async fn client(region: &str) -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::from_conf(
        aws_sdk_sqs::config::Builder::from(&crate::sdk_config(region).await)
            .interceptor(Counted(Service::Sqs))
            .build(),
    )
}

/// So many messages are read in one call (SQS's limit).
const BATCH: i32 = 10;
/// So long a queue is asked for what not all of its servers know of yet.
const WAIT_SECS: i32 = 1;
/// A message that is being redriven is nobody else's for so long.
const HIDDEN_SECS: i32 = 60;

/// Queues of a Region by their names.
#[derive(Clone, Debug)]
pub struct SqsLetters {
    region: String,
    queues: BTreeMap<String, String>,
    client: aws_sdk_sqs::Client,
}

/// One message in the hand.
#[derive(Clone, Debug)]
pub struct Letter {
    /// What it says.
    pub body: String,
    receipt: String,
}

impl SqsLetters {
    /// Queues by their names, with their URLs.
    pub async fn connect(region: &str, queues: BTreeMap<String, String>) -> Self {
        Self {
            region: region.to_owned(),
            queues,
            client: client(region).await,
        }
    }

    /// The URL of a queue.
    #[must_use]
    pub fn url(&self, queue: &str) -> Option<&str> {
        self.queues.get(queue).map(String::as_str)
    }

    /// Takes some messages of a queue into the hand; for a minute nobody else is given them.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn take(&self, queue: &str) -> Result<Vec<Letter>, Fault> {
        self.receive(queue, HIDDEN_SECS).await
    }

    /// Sends a body to a queue.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn send(&self, url: &str, body: &str) -> Result<(), Fault> {
        let call = self.client.send_message().queue_url(url);
        let answer = call.message_body(body).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("SendMessage", &self.region, &e))
    }

    /// Deletes a message that was taken.
    ///
    /// # Errors
    /// It was not deleted.
    pub async fn drop(&self, queue: &str, letter: &Letter) -> Result<(), Fault> {
        let url = self.url(queue).unwrap_or_default();
        let call = self.client.delete_message().queue_url(url);
        let answer = call.receipt_handle(&letter.receipt).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("DeleteMessage", &self.region, &e))
    }

    async fn receive(&self, queue: &str, hidden: i32) -> Result<Vec<Letter>, Fault> {
        let call = self
            .client
            .receive_message()
            .queue_url(self.url(queue).unwrap_or_default())
            .max_number_of_messages(BATCH)
            .wait_time_seconds(if hidden > 0 { WAIT_SECS } else { 0 })
            .visibility_timeout(hidden);
        let answer = call.send().await;
        let answer = answer.map_err(|e| fault::of("ReceiveMessage", &self.region, &e))?;
        let letters = answer.messages.unwrap_or_default().into_iter();
        let letters = letters.map(|message| Letter {
            body: message.body.unwrap_or_default(),
            receipt: message.receipt_handle.unwrap_or_default(),
        });
        Ok(letters.collect())
    }
}

impl Letters for SqsLetters {
    async fn waiting(&self) -> Result<BTreeMap<String, usize>, Fault> {
        let mut counts = BTreeMap::new();
        for (name, url) in &self.queues {
            // One in the hand of `redrive` still waits.
            let kinds = [
                QueueAttributeName::ApproximateNumberOfMessages,
                QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            ];
            let call = self.client.get_queue_attributes().queue_url(url);
            let call = call.set_attribute_names(Some(kinds.to_vec()));
            let answer = call.send().await;
            let answer = answer.map_err(|e| fault::of("GetQueueAttributes", &self.region, &e))?;
            let held = answer.attributes.unwrap_or_default();
            let counted = kinds
                .iter()
                .filter_map(|kind| held.get(kind)?.parse::<usize>().ok());
            counts.insert(name.clone(), counted.sum());
        }
        Ok(counts)
    }

    async fn peek(&self, queue: &str) -> Result<Vec<Vec<u8>>, Fault> {
        let letters = self.receive(queue, 0).await?.into_iter();
        Ok(letters.map(|letter| letter.body.into_bytes()).collect())
    }
}

/// The URLs of the queues of a Region whose names begin like this (`ListQueues`).
///
/// # Errors
/// They cannot be listed.
pub async fn queues_of(region: &str, start: &str) -> Result<Vec<String>, Fault> {
    let client = client(region).await;
    let mut all = Vec::new();
    let mut token = None;
    loop {
        let call = client.list_queues().queue_name_prefix(start);
        let answer = call.max_results(1000).set_next_token(token).send().await;
        let answer = answer.map_err(|e| fault::of("ListQueues", region, &e))?;
        all.extend(answer.queue_urls.unwrap_or_default());
        token = answer.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(all);
        }
    }
}
