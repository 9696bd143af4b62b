//! The same world behind AWS's wire protocol.
//!
//! Glue speaks awsJson1.1 (`POST /`, `X-Amz-Target: AWSGlue.GetTable`), Lake
//! Formation restJson1 (`POST /GrantPermissions`). The Region is the one that the
//! caller signed for. Nothing is verified: whoever reaches the port is let in, so
//! it listens on 127.0.0.1 only.
//!
//! Below `/_sandbox/` the world itself is steered:
//!
//! | path | body | does |
//! |---|---|---|
//! | `health` | | answers `ok` |
//! | `sink` | `{"forward": false, "way": "trail", "late": 0}` | loses the events from now on, or tells them so many milliseconds late; of both ways (`native`, `trail`) if none is named |
//! | `refuse` | `{"region": "us-east-1", "on": true}` | closes every connection to a Region |
//! | `throttle` | `{"per_second": 20}` | answers no more calls to a Region than that; 0 is any number |
//! | `fill` | `{"region": ..., "database": ..., "tables": 10, "partitions": 5, "root": "s3://b"}` | makes many tables `t0`, `t1`, ... with many partitions each at once |
//! | `latency` | `{"milliseconds": 10}` | lets every call of Twinlake take so long |
//! | `take-rights` | `{"region": ..., "principal": ...}` | blinds a caller |
//! | `calls` | | tells the calls since they were last asked for |

mod sink;

pub use sink::Sink;

use crate::error::ApiError;
use crate::port::Sim;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, USER_AGENT};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// The largest request that is read.
const MAX_BODY: usize = 8 << 20;

/// Who callers are taken for.
#[derive(Clone, Debug)]
pub struct Callers {
    /// Twinlake, told by the app name in the user agent.
    pub twinlake: String,
    /// Everybody else.
    pub person: String,
}

/// A world that is served over HTTP.
#[derive(Clone, Debug)]
pub struct Server {
    sim: Sim,
    callers: Callers,
    sink: Option<Sink>,
    refused: Arc<Mutex<BTreeSet<String>>>,
    throttle: Arc<Mutex<Throttle>>,
    latency: Arc<AtomicU64>,
}

/// How many calls each Region answers in a second.
#[derive(Debug, Default)]
struct Throttle {
    per_second: u64,
    /// When each Region's present second began, and its calls.
    seconds: BTreeMap<String, (Option<Instant>, u64)>,
}

impl Throttle {
    fn lets_through(&mut self, region: &str) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let (began, calls) = self.seconds.entry(region.to_owned()).or_default();
        if began.is_none_or(|began| began.elapsed() >= Duration::from_secs(1)) {
            *began = Some(Instant::now());
            *calls = 0;
        }
        *calls += 1;
        *calls <= self.per_second
    }
}

/// Why a request gets no answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("this Region refuses connections")]
    Refused,
    #[error("the request could not be read")]
    Unread,
    #[error(transparent)]
    Http(#[from] hyper::http::Error),
}

type Reply = Response<Full<Bytes>>;

impl Server {
    /// A server for a world; the sink is told of every change.
    #[must_use]
    pub fn new(sim: Sim, callers: Callers, sink: Option<Sink>) -> Self {
        Self {
            sim,
            callers,
            sink,
            refused: Arc::default(),
            throttle: Arc::default(),
            latency: Arc::default(),
        }
    }

    /// Listens on 127.0.0.1; a port of 0 takes a free one.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn listen(port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    /// Serves until the future is dropped.
    pub async fn serve(self, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let server = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { server.answer(request).await }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // A caller that hangs up in the middle is its own business.
                let _ = connection.await;
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Reply, Refusal> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|_| Refusal::Unread)?.to_bytes();
        let latency = self.latency.load(Ordering::Relaxed);
        if latency > 0 && self.caller(&head.headers) == self.callers.twinlake {
            tokio::time::sleep(Duration::from_millis(latency)).await;
        }
        self.respond(&head, &body)
    }

    /// Answers a request whose body was read; `None` where the connection is closed.
    #[must_use]
    pub fn take(&self, request: Request<Bytes>) -> Option<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        self.respond(&head, &body).ok()
    }

    fn respond(&self, head: &Parts, body: &Bytes) -> Result<Reply, Refusal> {
        let path = head.uri.path().trim_matches('/').to_owned();
        if let Some(order) = path.strip_prefix("_sandbox/") {
            return self.steer(order, body);
        }
        let region = signed_region(&head.headers);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.contains(&region) {
            return Err(Refusal::Refused);
        }
        drop(refused);
        let target = head.headers.get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok());
        let call = match target.and_then(|target| target.split_once('.')) {
            Some((_, call)) => call.to_owned(),
            None => path,
        };
        let json: Value = match body.is_empty() {
            true => json!({}),
            false => match serde_json::from_slice(body) {
                Ok(json) => json,
                Err(e) => return error_reply(&ApiError::invalid(e.to_string())),
            },
        };
        let caller = self.caller(&head.headers);
        let throttle = self.throttle.lock();
        let mut throttle = throttle.unwrap_or_else(PoisonError::into_inner);
        if caller == self.callers.twinlake && !throttle.lets_through(&region) {
            return error_reply(&ApiError::throttled());
        }
        drop(throttle);
        let answer = {
            let mut world = self.sim.world();
            let answer = world.call(&region, &caller, &call, &json);
            if let Some(sink) = &self.sink {
                sink.tell(world.take_events());
            } else {
                drop(world.take_events());
            }
            answer
        };
        match answer {
            Ok(answer) => reply(StatusCode::OK, &answer),
            Err(error) => error_reply(&error),
        }
    }

    fn caller(&self, headers: &HeaderMap) -> String {
        let agent = headers
            .get(USER_AGENT)
            .and_then(|agent| agent.to_str().ok());
        let extra = headers
            .get("x-amz-user-agent")
            .and_then(|agent| agent.to_str().ok());
        let is_ours = |agent: &str| agent.contains("app/twinlake");
        if agent.is_some_and(is_ours) || extra.is_some_and(is_ours) {
            self.callers.twinlake.clone()
        } else {
            self.callers.person.clone()
        }
    }

    fn steer(&self, order: &str, body: &[u8]) -> Result<Reply, Refusal> {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
        let flag = |key: &str| json.get(key).and_then(Value::as_bool).unwrap_or(true);
        let done = json!({"done": true});
        match order {
            "health" => reply(StatusCode::OK, &json!("ok")),
            "sink" => {
                if let Some(sink) = &self.sink {
                    sink.steer(&json);
                }
                reply(StatusCode::OK, &done)
            }
            "refuse" => {
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                match flag("on") {
                    true => refused.insert(text("region").to_owned()),
                    false => refused.remove(text("region")),
                };
                reply(StatusCode::OK, &done)
            }
            "fill" => {
                let count = |key: &str| {
                    let count = json.get(key).and_then(Value::as_u64).unwrap_or_default();
                    usize::try_from(count).unwrap_or_default()
                };
                let (region, database, root) = (text("region"), text("database"), text("root"));
                let mut world = self.sim.world();
                match world.fill(
                    region,
                    database,
                    root,
                    (count("tables"), count("partitions")),
                ) {
                    Ok(()) => reply(StatusCode::OK, &done),
                    Err(error) => error_reply(&error),
                }
            }
            "latency" => {
                let milliseconds = json.get("milliseconds").and_then(Value::as_u64);
                let milliseconds = milliseconds.unwrap_or_default();
                self.latency.store(milliseconds, Ordering::Relaxed);
                reply(StatusCode::OK, &done)
            }
            "throttle" => {
                let per_second = json.get("per_second").and_then(Value::as_u64);
                let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
                throttle.per_second = per_second.unwrap_or_default();
                reply(StatusCode::OK, &done)
            }
            "take-rights" => {
                let mut world = self.sim.world();
                world.take_rights(text("region"), text("principal"));
                reply(StatusCode::OK, &done)
            }
            "calls" => {
                let calls = self.sim.world().take_calls();
                let calls: Vec<Value> = calls
                    .iter()
                    .map(|call| json!({"region": call.region, "call": call.name, "caller": call.principal}))
                    .collect();
                reply(StatusCode::OK, &json!(calls))
            }
            _ => reply(StatusCode::NOT_FOUND, &json!({"message": "no such order"})),
        }
    }
}

/// The Region of the credential scope: `Credential=KEY/DATE/REGION/SERVICE/...`.
fn signed_region(headers: &HeaderMap) -> String {
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let scope = header
        .and_then(|header| header.split_once("Credential="))
        .map(|(_, s)| s);
    let region = scope.and_then(|scope| scope.split('/').nth(2));
    region.unwrap_or("us-east-1").to_owned()
}

fn reply(status: StatusCode, json: &Value) -> Result<Reply, Refusal> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.1")
        .body(Full::new(Bytes::from(json.to_string())))?;
    Ok(response)
}

fn error_reply(error: &ApiError) -> Result<Reply, Refusal> {
    let status = match error.kind {
        twinlake_core::FaultKind::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
        twinlake_core::FaultKind::Absent
        | twinlake_core::FaultKind::AlreadyDone
        | twinlake_core::FaultKind::Busy
        | twinlake_core::FaultKind::NotYet
        | twinlake_core::FaultKind::Denied
        | twinlake_core::FaultKind::Invalid
        | twinlake_core::FaultKind::Unsupported => StatusCode::BAD_REQUEST,
    };
    let body = json!({"__type": error.code, "Message": error.message, "message": error.message});
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amzn-errortype", &error.code)
        .body(Full::new(Bytes::from(body.to_string())))?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(5),
            ..ProptestConfig::default()
        })]

        #[test]
        fn whatever_is_sent_is_answered(
            call in prop::sample::select(vec![
                "CreateTable", "UpdateTable", "BatchCreatePartition", "GetPartitions",
                "TagResource", "UpdateColumnStatisticsForTable", "GrantPermissions", "none",
            ]),
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "\\{\"(DatabaseName|TableInput|Resource)\": [\\[\\]{}\"a-z0-9:,]{0,60}\\}"
                    .prop_map(String::into_bytes),
            ],
        ) {
            let world = World::new("111122223333", &["us-east-1"]);
            let callers = Callers {
                twinlake: "twinlake".to_owned(),
                person: "person".to_owned(),
            };
            let server = Server::new(Sim::new(world), callers, None);
            let request = Request::builder().uri("/").header("x-amz-target", format!("X.{call}"));
            let answer = server.take(request.body(Bytes::from(body)).unwrap());
            prop_assert!(answer.is_some_and(|answer| answer.status().as_u16() < 500));
        }
    }

    #[test]
    fn the_region_is_the_one_that_was_signed_for() {
        let mut headers = HeaderMap::new();
        let signed = "AWS4-HMAC-SHA256 Credential=AKID/20261124/ap-south-1/glue/aws4_request, \
                      SignedHeaders=host, Signature=0";
        headers.insert(AUTHORIZATION, signed.parse().unwrap());
        assert_eq!(signed_region(&headers), "ap-south-1");
        headers.insert(AUTHORIZATION, "Credential=".parse().unwrap());
        assert_eq!(signed_region(&headers), "us-east-1");
    }
}
