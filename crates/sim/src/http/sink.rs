//! Tells an EventBridge endpoint of every change, in order.

use crate::events::Emitted;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Where the events go.
#[derive(Clone, Debug)]
pub struct Sink {
    events: UnboundedSender<Emitted>,
    forwards: Arc<AtomicBool>,
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
            forwards: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Whether events are told from now on, or lost.
    pub fn forward(&self, forwards: bool) {
        self.forwards.store(forwards, Ordering::Relaxed);
    }

    /// Tells of events, or loses them.
    pub fn tell(&self, events: Vec<Emitted>) {
        if !self.forwards.load(Ordering::Relaxed) {
            return;
        }
        for event in events {
            // The receiver lives as long as the process does.
            let _ = self.events.send(event);
        }
    }
}

async fn deliver(mut inbox: UnboundedReceiver<Emitted>, endpoint: String, account: String) {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    while let Some(emitted) = inbox.recv().await {
        let Some(request) = put_events(&emitted, &endpoint, &account) else {
            continue;
        };
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
