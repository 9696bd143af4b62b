//! Sends the events of every change to an EventBridge endpoint, in order.

use crate::state::EmittedEvent;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use twinlake_core::Timestamp;

/// Delivers events to an EventBridge endpoint.
#[derive(Clone, Debug)]
pub struct EventSink {
    events: UnboundedSender<(EmittedEvent, u64)>,
    deliveries: Arc<Mutex<BTreeMap<EventSource, Delivery>>>,
}

/// The AWS source of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum EventSource {
    /// Glue Data Catalog events.
    Glue,
    /// CloudTrail records.
    CloudTrail,
}

impl EventSource {
    fn of(emitted: &EmittedEvent) -> Self {
        let kind = emitted.event.get("detail-type").and_then(Value::as_str);
        match kind == Some("AWS API Call via CloudTrail") {
            true => Self::CloudTrail,
            false => Self::Glue,
        }
    }
}

/// How the events of one source are delivered.
#[derive(Clone, Copy, Debug, Default)]
struct Delivery {
    /// Whether the events are dropped.
    is_disabled: bool,
    /// The delay of each event, in milliseconds.
    delay_millis: u64,
}

impl EventSink {
    /// Creates a sink that puts events on the default bus at an endpoint, on behalf of an account.
    /// Delivery runs until the sink is dropped.
    #[must_use]
    pub fn to_event_bridge(endpoint: &str, account: &str) -> Self {
        let (events, inbox) = unbounded_channel();
        tokio::spawn(deliver(inbox, endpoint.to_owned(), account.to_owned()));
        Self {
            events,
            deliveries: Arc::default(),
        }
    }

    /// Sets the delivery of later events from the body of an `event-delivery` request. Without a
    /// source it applies to all sources.
    pub fn configure(&self, request: &Value) {
        let delivery = Delivery {
            is_disabled: request.get("enabled").and_then(Value::as_bool) == Some(false),
            delay_millis: request
                .get("delay_milliseconds")
                .and_then(Value::as_u64)
                .unwrap_or_default(),
        };
        let source = request.get("source").and_then(Value::as_str);
        let mut deliveries = self
            .deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if source != Some("cloudtrail") {
            deliveries.insert(EventSource::Glue, delivery);
        }
        if source != Some("glue") {
            deliveries.insert(EventSource::CloudTrail, delivery);
        }
    }

    /// Sends events with the current time, or drops them if delivery is off.
    pub fn send(&self, events: Vec<EmittedEvent>) {
        let deliveries = self
            .deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for mut event in events {
            let delivery = deliveries
                .get(&EventSource::of(&event))
                .copied()
                .unwrap_or_default();
            if !delivery.is_disabled {
                set_current_time(&mut event.event);
                // Sending cannot fail: the receiver lives as long as the process.
                let _ = self.events.send((event, delivery.delay_millis));
            }
        }
    }
}

/// Sets the time of an event to the machine's clock: the simulated time is a counter.
fn set_current_time(event: &mut Value) {
    #[expect(
        clippy::disallowed_methods,
        reason = "HTTP clients compare event times with the machine's clock"
    )]
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since_epoch.map_or(0, |since_epoch| since_epoch.as_millis());
    let now = Timestamp::from_millis(i64::try_from(millis).unwrap_or_default()).to_string();
    if let Some(time) = event.get_mut("time") {
        *time = now.as_str().into();
    }
    if let Some(time) = event.pointer_mut("/detail/eventTime") {
        *time = now.into();
    }
}

async fn deliver(
    mut inbox: UnboundedReceiver<(EmittedEvent, u64)>,
    endpoint: String,
    account: String,
) {
    let client: EventClient = Client::builder(TokioExecutor::new()).build_http();
    while let Some((emitted, delay_millis)) = inbox.recv().await {
        if put_events(&emitted, &endpoint, &account).is_none() {
            continue;
        }
        if delay_millis > 0 {
            let (client, endpoint, account) = (client.clone(), endpoint.clone(), account.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(delay_millis)).await;
                put(&client, &emitted, (&endpoint, &account)).await;
            });
            continue;
        }
        put(&client, &emitted, (&endpoint, &account)).await;
    }
}

type EventClient = Client<HttpConnector, Full<Bytes>>;

/// How often an event is sent at most.
const MAX_ATTEMPTS: u32 = 5;
/// The pause before the first repetition; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Sends an event. The receiver closes idle connections, and a request on one that it is closing is lost; so it is sent
/// again. Nobody is told of an event that does not arrive after some attempts, as of AWS: the resync finds the change.
async fn put(client: &EventClient, emitted: &EmittedEvent, (endpoint, account): (&str, &str)) {
    for attempt in 0..MAX_ATTEMPTS {
        let Some(request) = put_events(emitted, endpoint, account) else {
            return;
        };
        let answer = client.request(request).await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt)).await;
    }
}

fn put_events(
    emitted: &EmittedEvent,
    endpoint: &str,
    account: &str,
) -> Option<Request<Full<Bytes>>> {
    let text = |key: &str| {
        emitted
            .event
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let detail = emitted.event.get("detail").map(Value::to_string);
    let entries = json!({"Entries": [{
        "Source": text("source"), "DetailType": text("detail-type"), "Detail": detail,
        "Time": text("time"),
    }]});
    let region = &emitted.region;
    let scope = format!("Credential={account}/20260101/{region}/events/aws4_request");
    let signature = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
    Request::post(endpoint)
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "AWSEvents.PutEvents")
        .header("authorization", signature)
        .body(Full::new(Bytes::from(entries.to_string())))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A receiver that closes a connection without an answer gets the event on the next one, and so does one that answers
    /// with an error.
    #[tokio::test]
    async fn an_event_is_sent_again_if_the_connection_is_closed_or_the_answer_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let sink = EventSink::to_event_bridge(&endpoint, "111122223333");
        sink.send(vec![EmittedEvent {
            region: "us-east-1".to_owned(),
            event: json!({"source": "aws.glue", "detail-type": "x", "detail": {"mark": 7}}),
        }]);
        let answers: [Option<&[u8]>; 3] = [
            None,
            Some(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"),
        ];
        for answer in answers {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            while !String::from_utf8_lossy(&received).contains("mark") {
                assert!(connection.read_buf(&mut received).await.unwrap() > 0);
            }
            if let Some(answer) = answer {
                connection.write_all(answer).await.unwrap();
            }
        }
    }
}
