//! Tells an EventBridge endpoint of every change, in order.

use crate::events::Emitted;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use twinlake_core::Timestamp;

/// Where the events go.
#[derive(Clone, Debug)]
pub struct Sink {
    events: UnboundedSender<(Emitted, u64)>,
    ways: Arc<Mutex<BTreeMap<Way, Passage>>>,
}

/// By what AWS tells of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// The service's own events.
    Native,
    /// CloudTrail's.
    Trail,
}

impl Way {
    fn of(emitted: &Emitted) -> Self {
        let kind = emitted.event.get("detail-type").and_then(Value::as_str);
        match kind == Some("AWS API Call via CloudTrail") {
            true => Self::Trail,
            false => Self::Native,
        }
    }
}

/// What becomes of the events that go one way.
#[derive(Clone, Copy, Debug, Default)]
struct Passage {
    /// They are lost.
    is_closed: bool,
    /// They come so many milliseconds late.
    late: u64,
}

impl Sink {
    /// A sink that puts events on the default bus at an endpoint, on behalf of an
    /// account; runs until the sink is dropped.
    #[must_use]
    pub fn to_event_bridge(endpoint: &str, account: &str) -> Self {
        let (events, inbox) = unbounded_channel();
        tokio::spawn(deliver(inbox, endpoint.to_owned(), account.to_owned()));
        Self {
            events,
            ways: Arc::default(),
        }
    }

    /// What becomes of events from now on: of both ways, if the order names none.
    pub fn steer(&self, order: &Value) {
        let passage = Passage {
            is_closed: order.get("forward").and_then(Value::as_bool) == Some(false),
            late: order
                .get("late")
                .and_then(Value::as_u64)
                .unwrap_or_default(),
        };
        let named = order.get("way").and_then(Value::as_str);
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if named != Some("trail") {
            ways.insert(Way::Native, passage);
        }
        if named != Some("native") {
            ways.insert(Way::Trail, passage);
        }
    }

    /// Tells of events, or loses them. They happened now.
    pub fn tell(&self, events: Vec<Emitted>) {
        let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        for mut event in events {
            let passage = ways.get(&Way::of(&event)).copied().unwrap_or_default();
            if !passage.is_closed {
                stamp(&mut event.event);
                // The receiver lives as long as the process does.
                let _ = self.events.send((event, passage.late));
            }
        }
    }
}

/// Gives an event the time of the machine: the world's own is a counter.
fn stamp(event: &mut Value) {
    #[expect(
        clippy::disallowed_methods,
        reason = "who is served over HTTP lives by the machine's clock"
    )]
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    let now = Timestamp(i64::try_from(millis).unwrap_or_default()).to_string();
    if let Some(time) = event.get_mut("time") {
        *time = now.as_str().into();
    }
    if let Some(time) = event.pointer_mut("/detail/eventTime") {
        *time = now.into();
    }
}

async fn deliver(mut inbox: UnboundedReceiver<(Emitted, u64)>, endpoint: String, account: String) {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    while let Some((emitted, late)) = inbox.recv().await {
        let Some(request) = put_events(&emitted, &endpoint, &account) else {
            continue;
        };
        if late > 0 {
            let client = client.clone();
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(late)).await;
                let _ = client.request(request).await;
            });
            continue;
        }
        // Events are best effort, as AWS's own are: the resync finds what is lost.
        let _ = client.request(request).await;
    }
}

fn put_events(emitted: &Emitted, endpoint: &str, account: &str) -> Option<Request<Full<Bytes>>> {
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
