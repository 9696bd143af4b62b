//! The simulator behind AWS's wire protocol.
//!
//! Glue and the Redshift Data API use awsJson1.1 (`POST /`, `X-Amz-Target: AWSGlue.GetTable`), Lake Formation restJson1
//! (`POST /GrantPermissions`). The Region is taken from the credential scope of the signature.
//! Signatures are not verified: every request is accepted, so the server listens on 127.0.0.1 only.
//!
//! The sandbox is this simulator behind HTTP. The paths below `/_sandbox/` control it. Each takes a JSON object:
//!
//! - `health`: returns `ok`.
//! - `event-delivery` with `{"enabled": false, "source": "cloudtrail", "delay_milliseconds": 0}`:
//!   drops later events, or delays them. Without `source` (`glue` or `cloudtrail`) it applies to
//!   both.
//! - `outage` with `{"region": "us-east-1", "enabled": true}`: closes every connection to a Region.
//! - `throttle` with `{"calls_per_second": 20, "shared": false}`: throttles Twinlake's calls to each
//!   Region above this rate, or with `shared` the calls of all callers together; 0 removes the limit.
//! - `bulk-create` with `{"region": ..., "database": ..., "tables": 10, "partitions_per_table": 5,
//!   "grants_per_table": 2, "location": "s3://b"}`: creates the tables `t0`, `t1`, ... with partitions, and grants to
//!   the roles `R0`, `R1`, ... Emits no events.
//! - `latency` with `{"milliseconds": 10, "region": "us-east-1"}`: delays every call of Twinlake to a
//!   Region; without `region` to each.
//! - `remove-access` with `{"region": ..., "principal": ...}`: removes all permissions of a
//!   principal. The catalog then looks empty to it.
//! - `statement-fate` with `{"region": ..., "containing": "GRANT", "fate": "ABORTED", "takes_effect": true}`: decides what
//!   becomes of the next statement in a warehouse of Redshift that has a text (`StatementFate`): it stays `SUBMITTED`,
//!   `PICKED` or `STARTED`, is `ABORTED`, `FAILED` with an `error`, `INEFFECTIVE`, `SLOW`, `LATE`, or its `ANSWER_LOST`
//!   as many `times`.
//! - `finish-late-statements` with `{"region": ...}`: lets the `LATE` statements take effect.
//! - `statement-pages` with `{"region": ..., "rows": 100}`: the rows of a page of a statement's result.
//! - `calls`: returns the calls since the last request to this path.

mod event_sink;

pub use event_sink::EventSink;

use crate::error::ApiError;
use crate::glue::BulkSize;
use crate::ports::Sim;
use crate::redshift::StatementFate;
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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// The maximum size of a request body, in bytes.
const MAX_BODY_BYTES: usize = 8 << 20;

/// The principals that requests run as: `twinlake` if the user agent names the app `twinlake`, else `other`.
#[derive(Clone, Debug)]
pub struct CallerPrincipals {
    /// The principal of Twinlake, recognized by the app name in the user agent.
    pub twinlake: String,
    /// The principal of every other caller.
    pub other: String,
}

/// Serves a simulator over HTTP.
#[derive(Clone, Debug)]
pub struct Server {
    sim: Sim,
    callers: CallerPrincipals,
    sink: Option<EventSink>,
    regions_in_outage: Arc<Mutex<BTreeSet<String>>>,
    throttle: Arc<Mutex<Throttle>>,
    latencies: Arc<Mutex<Latencies>>,
}

/// The delays of Twinlake's calls.
#[derive(Debug, Default)]
struct Latencies {
    /// By Region.
    by_region: BTreeMap<String, Duration>,
    /// In every other Region.
    elsewhere: Duration,
}

impl Latencies {
    fn of(&self, region: &str) -> Duration {
        *self.by_region.get(region).unwrap_or(&self.elsewhere)
    }

    fn set(&mut self, region: Option<&str>, latency: Duration) {
        match region {
            Some(region) => drop(self.by_region.insert(region.to_owned(), latency)),
            None => {
                self.by_region.clear();
                self.elsewhere = latency;
            }
        }
    }
}

/// Limits the calls per second to each Region, with a burst of one second. A limit of 0 is no limit.
#[derive(Debug, Default)]
struct Throttle {
    calls_per_second: u32,
    /// Whether the calls of all callers count, and not only those of Twinlake.
    is_shared: bool,
    /// The calls that are free in each Region, and since when.
    free: BTreeMap<String, (f64, Instant)>,
}

impl Throttle {
    fn from_json(json: &Value) -> Self {
        let calls_per_second = json.get("calls_per_second").and_then(Value::as_u64);
        let calls_per_second = u32::try_from(calls_per_second.unwrap_or_default());
        let is_shared = json.get("shared").and_then(Value::as_bool);
        Self {
            calls_per_second: calls_per_second.unwrap_or(u32::MAX),
            is_shared: is_shared.unwrap_or_default(),
            free: BTreeMap::new(),
        }
    }

    fn is_allowed(&mut self, region: &str) -> bool {
        if self.calls_per_second == 0 {
            return true;
        }
        let (rate, now) = (f64::from(self.calls_per_second), Instant::now());
        let (free, since) = self.free.entry(region.to_owned()).or_insert((rate, now));
        *free = (*free + now.duration_since(*since).as_secs_f64() * rate).min(rate);
        *since = now;
        let is_allowed = *free >= 1.0;
        if is_allowed {
            *free -= 1.0;
        }
        is_allowed
    }
}

/// Why a request gets no response.
#[derive(Debug, thiserror::Error)]
enum NoResponse {
    #[error("the Region is in outage: the connection is closed")]
    RegionOutage,
    #[error("the request body cannot be read")]
    UnreadableBody,
    #[error(transparent)]
    Http(#[from] hyper::http::Error),
}

type Reply = Response<Full<Bytes>>;

impl Server {
    /// Creates a server for a simulator. The sink receives the events of every change.
    #[must_use]
    pub fn new(sim: Sim, callers: CallerPrincipals, sink: Option<EventSink>) -> Self {
        Self {
            sim,
            callers,
            sink,
            regions_in_outage: Arc::default(),
            throttle: Arc::default(),
            latencies: Arc::default(),
        }
    }

    /// Listens on 127.0.0.1. Port 0 selects a free port.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn listen(port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    /// Serves requests until the future is dropped.
    pub async fn serve(self, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let server = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { server.read_and_respond(request).await }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // An error here means that the client closed the connection; it needs no handling.
                let _ = connection.await;
            });
        }
    }

    async fn read_and_respond(&self, request: Request<Incoming>) -> Result<Reply, NoResponse> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
        let body = body.map_err(|_| NoResponse::UnreadableBody)?.to_bytes();
        let latency = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .of(&signed_region(&head.headers));
        if !latency.is_zero() && self.caller(&head.headers) == self.callers.twinlake {
            tokio::time::sleep(latency).await;
        }
        self.respond(&head, &body)
    }

    /// Handles a request whose body is already read. Returns `None` if the connection is to be
    /// closed without a response.
    #[must_use]
    pub fn handle(&self, request: Request<Bytes>) -> Option<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        self.respond(&head, &body).ok()
    }

    fn respond(&self, head: &Parts, body: &Bytes) -> Result<Reply, NoResponse> {
        let path = head.uri.path().trim_matches('/').to_owned();
        if let Some(command) = path.strip_prefix("_sandbox/") {
            return self.control(command, body);
        }
        let region = signed_region(&head.headers);
        let regions_in_outage = self
            .regions_in_outage
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if regions_in_outage.contains(&region) {
            return Err(NoResponse::RegionOutage);
        }
        drop(regions_in_outage);
        let target = head.headers.get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok());
        // No Region of the simulator has the ledger of a deployment.
        if target.is_some_and(|target| target.starts_with("DynamoDB_")) {
            return error_reply(&ApiError::new(
                twinlake_core::CallErrorKind::NotFound,
                "ResourceNotFoundException",
                "Requested resource not found",
            ));
        }
        let call = match target.and_then(|target| target.split_once('.')) {
            Some((_, call)) => call.to_owned(),
            None => path,
        };
        let json: Value = match body.is_empty() {
            true => json!({}),
            false => match serde_json::from_slice(body) {
                Ok(json) => json,
                Err(e) => {
                    return error_reply(&ApiError::invalid(format!(
                        "the request body is not JSON: {e}"
                    )));
                }
            },
        };
        let caller = self.caller(&head.headers);
        let throttle = self.throttle.lock();
        let mut throttle = throttle.unwrap_or_else(PoisonError::into_inner);
        let counts = throttle.is_shared || caller == self.callers.twinlake;
        if counts && !throttle.is_allowed(&region) {
            return error_reply(&ApiError::throttled());
        }
        drop(throttle);
        let answer = {
            let mut state = self.sim.state();
            let answer = state.call(&region, &caller, &call, &json);
            if let Some(sink) = &self.sink {
                sink.send(state.take_events());
            } else {
                drop(state.take_events());
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
        let is_twinlake = |agent: &str| agent.contains("app/twinlake");
        if agent.is_some_and(is_twinlake) || extra.is_some_and(is_twinlake) {
            self.callers.twinlake.clone()
        } else {
            self.callers.other.clone()
        }
    }

    fn control(&self, command: &str, body: &[u8]) -> Result<Reply, NoResponse> {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
        let flag = |key: &str| json.get(key).and_then(Value::as_bool).unwrap_or(true);
        let done = json!({"done": true});
        match command {
            "health" => reply(StatusCode::OK, &json!("ok")),
            "event-delivery" => {
                if let Some(sink) = &self.sink {
                    sink.configure(&json);
                }
                reply(StatusCode::OK, &done)
            }
            "outage" => {
                let mut regions_in_outage = self
                    .regions_in_outage
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                match flag("enabled") {
                    true => regions_in_outage.insert(text("region").to_owned()),
                    false => regions_in_outage.remove(text("region")),
                };
                reply(StatusCode::OK, &done)
            }
            "bulk-create" => self.bulk_create(&json),
            "latency" => {
                let milliseconds = json.get("milliseconds").and_then(Value::as_u64);
                let latency = Duration::from_millis(milliseconds.unwrap_or_default());
                let region = json.get("region").and_then(Value::as_str);
                let mut latencies = self
                    .latencies
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                latencies.set(region, latency);
                reply(StatusCode::OK, &done)
            }
            "throttle" => {
                let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
                *throttle = Throttle::from_json(&json);
                reply(StatusCode::OK, &done)
            }
            "remove-access" => {
                let mut state = self.sim.state();
                state.remove_read_access(text("region"), text("principal"));
                reply(StatusCode::OK, &done)
            }
            "statement-fate" | "finish-late-statements" | "statement-pages" => {
                self.control_warehouses(command, &json)
            }
            "calls" => {
                let calls = self.sim.state().take_calls();
                let calls: Vec<Value> = calls
                    .iter()
                    .map(|call| json!({"region": call.region, "call": call.name, "caller": call.principal}))
                    .collect();
                reply(StatusCode::OK, &json!(calls))
            }
            _ => reply(
                StatusCode::NOT_FOUND,
                &json!({"message": "no such control path; the documentation of the sandbox lists them"}),
            ),
        }
    }
}

impl Server {
    /// Creates many objects at once.
    fn bulk_create(&self, json: &Value) -> Result<Reply, NoResponse> {
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
        let count = |key: &str| {
            let count = json.get(key).and_then(Value::as_u64).unwrap_or_default();
            usize::try_from(count).unwrap_or_default()
        };
        let size = BulkSize {
            tables: count("tables"),
            partitions_per_table: count("partitions_per_table"),
            grants_per_table: count("grants_per_table"),
        };
        let (region, database, location) = (text("region"), text("database"), text("location"));
        let created = self
            .sim
            .state()
            .bulk_create(region, database, location, size);
        match created {
            Ok(()) => reply(StatusCode::OK, &json!({"done": true})),
            Err(error) => error_reply(&error),
        }
    }

    /// Handles the control paths of warehouses of Redshift.
    fn control_warehouses(&self, command: &str, json: &Value) -> Result<Reply, NoResponse> {
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut state = self.sim.state();
        let redshift = match state.region_mut(text("region")) {
            Ok(region) => &mut region.redshift,
            Err(error) => return error_reply(&error),
        };
        match command {
            "statement-fate" => match StatementFate::from_json(json) {
                Some(fate) => redshift.decide(text("containing"), fate),
                None => return error_reply(&ApiError::invalid("no such fate")),
            },
            "statement-pages" => {
                let rows = json.get("rows").and_then(Value::as_u64);
                let rows = usize::try_from(rows.unwrap_or_default());
                redshift.set_page_rows(rows.unwrap_or(usize::MAX).max(1));
            }
            _ => redshift.finish_late(),
        }
        reply(StatusCode::OK, &json!({"done": true}))
    }
}

/// Returns the Region of the credential scope: `Credential=KEY/DATE/REGION/SERVICE/...`.
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

fn reply(status: StatusCode, json: &Value) -> Result<Reply, NoResponse> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.1")
        .body(Full::new(Bytes::from(json.to_string())))?;
    Ok(response)
}

fn error_reply(error: &ApiError) -> Result<Reply, NoResponse> {
    let status = match error.kind {
        twinlake_core::CallErrorKind::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
        twinlake_core::CallErrorKind::NotFound
        | twinlake_core::CallErrorKind::AlreadyInState
        | twinlake_core::CallErrorKind::Contended
        | twinlake_core::CallErrorKind::NotPropagated
        | twinlake_core::CallErrorKind::Denied
        | twinlake_core::CallErrorKind::Invalid
        | twinlake_core::CallErrorKind::Unsupported => StatusCode::BAD_REQUEST,
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
    use crate::SimState;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(5),
            ..ProptestConfig::default()
        })]

        #[test]
        fn arbitrary_requests_never_cause_a_server_error(
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
            let state = SimState::new("111122223333", &["us-east-1"]);
            let callers = CallerPrincipals {
                twinlake: "twinlake".to_owned(),
                other: "other".to_owned(),
            };
            let server = Server::new(Sim::new(state), callers, None);
            let request = Request::builder().uri("/").header("x-amz-target", format!("X.{call}"));
            let answer = server.handle(request.body(Bytes::from(body)).unwrap());
            prop_assert!(answer.is_some_and(|answer| answer.status().as_u16() < 500));
        }
    }

    #[test]
    fn region_comes_from_the_credential_scope() {
        let mut headers = HeaderMap::new();
        let signed = "AWS4-HMAC-SHA256 Credential=AKID/20261124/ap-south-1/glue/aws4_request, \
                      SignedHeaders=host, Signature=0";
        headers.insert(AUTHORIZATION, signed.parse().unwrap());
        assert_eq!(signed_region(&headers), "ap-south-1");
        headers.insert(AUTHORIZATION, "Credential=".parse().unwrap());
        assert_eq!(signed_region(&headers), "us-east-1");
    }
}
