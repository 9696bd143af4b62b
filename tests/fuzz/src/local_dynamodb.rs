//! A DynamoDB for one client, on 127.0.0.1: it returns the items that it is given to every read,
//! accepts every write, and keeps the requests.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use tokio::runtime::Runtime;
use twinlake_aws::{Clients, DynamoLedger};

static ITEMS: Mutex<Vec<Value>> = Mutex::new(Vec::new());
static REQUESTS: Mutex<Vec<Value>> = Mutex::new(Vec::new());

thread_local! {
    static CONNECTED: (Runtime, DynamoLedger) = connect();
}

/// Runs calls of a ledger whose table has these items, in DynamoDB's JSON. Returns their result and
/// the bodies of their requests.
pub fn with_items<T>(
    items: Vec<Value>,
    calls: impl AsyncFnOnce(&DynamoLedger) -> T,
) -> (T, Vec<Value>) {
    *ITEMS.lock().expect("no holder panics") = items;
    REQUESTS.lock().expect("no holder panics").clear();
    let result = CONNECTED.with(|(runtime, ledger)| runtime.block_on(calls(ledger)));
    let requests = std::mem::take(&mut *REQUESTS.lock().expect("no holder panics"));
    (result, requests)
}

fn connect() -> (Runtime, DynamoLedger) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener has an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    let variables = [
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ("AWS_ACCESS_KEY_ID", "fuzz".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "fuzz".to_owned()),
    ];
    for (name, value) in variables {
        // SAFETY: the other thread does not read the environment.
        unsafe { std::env::set_var(name, value) };
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("the runtime starts");
    let clients = runtime.block_on(Clients::connect("us-east-1"));
    let ledger = DynamoLedger::new(&clients, "ledger");
    (runtime, ledger)
}

/// Answers the requests of one connection until it is closed.
fn serve(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let Ok(mut writer) = stream.try_clone() else {
        return;
    };
    let mut reader = BufReader::new(stream);
    while let Some((call, request)) = read_request(&mut reader) {
        let body = response(&call).to_string();
        REQUESTS.lock().expect("no holder panics").push(request);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\n";
        let whole = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        if writer.write_all(whole.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads the name of the call and the body.
fn read_request(reader: &mut impl BufRead) -> Option<(String, Value)> {
    let (mut call, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "x-amz-target" => call = value.rsplit('.').next()?.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((call, serde_json::from_slice(&body).ok()?))
}

fn response(call: &str) -> Value {
    let items = ITEMS.lock().expect("no holder panics").clone();
    match call {
        "GetItem" => items
            .first()
            .map_or(json!({}), |item| json!({ "Item": item })),
        "Query" => json!({ "Count": items.len(), "Items": items }),
        "BatchGetItem" => json!({ "Responses": { "ledger": items } }),
        "UpdateItem" => items
            .first()
            .map_or(json!({}), |item| json!({ "Attributes": item })),
        _ => json!({}),
    }
}
