//! Fuzzes the HTTP interface of the sandbox: no request causes a server error.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use twinlake_sim::http::{CallerPrincipals, Server};
use twinlake_sim::{Sim, SimState};

const CALLS: [&str; 12] = [
    "AWSGlue.CreateDatabase",
    "AWSGlue.CreateTable",
    "AWSGlue.UpdateTable",
    "AWSGlue.GetTables",
    "AWSGlue.BatchCreatePartition",
    "AWSGlue.BatchUpdatePartition",
    "AWSGlue.GetPartitions",
    "AWSGlue.CreateUserDefinedFunction",
    "AWSGlue.UpdateColumnStatisticsForTable",
    "AWSGlue.TagResource",
    "GrantPermissions",
    "ListPermissions",
];

// Each line of the input is one call: its first byte selects the operation, the rest is the body.
fuzz_target!(|bytes: &[u8]| {
    let state = SimState::new("111122223333", &["us-east-1", "ap-south-1"]);
    let callers = CallerPrincipals {
        twinlake: "twinlake".to_owned(),
        other: "person".to_owned(),
    };
    let server = Server::new(Sim::new(state), callers, None);
    for line in bytes.split(|byte| *byte == b'\n').take(8) {
        let Some((first, body)) = line.split_first() else {
            continue;
        };
        let call = CALLS[usize::from(*first) % CALLS.len()];
        let (path, target) = match call.split_once('.') {
            Some(_) => ("/".to_owned(), call),
            None => (format!("/{call}"), ""),
        };
        let mut request = http::Request::builder().method("POST").uri(path);
        if !target.is_empty() {
            request = request.header("x-amz-target", target);
        }
        let request = request
            .body(Bytes::copy_from_slice(body))
            .expect("the request is valid");
        let response = server.handle(request).expect("the server responds");
        assert!(response.status().as_u16() < 500, "{response:?}");
    }
});
