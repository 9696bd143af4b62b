//! Whatever is sent to the sandbox: it answers, and the world goes on.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use twinlake_sim::http::{Callers, Server};
use twinlake_sim::{Sim, World};

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

// The first byte says which call, each line is the body of one more.
fuzz_target!(|bytes: &[u8]| {
    let world = World::new("111122223333", &["us-east-1", "ap-south-1"]);
    let callers = Callers {
        twinlake: "twinlake".to_owned(),
        person: "person".to_owned(),
    };
    let server = Server::new(Sim::new(world), callers, None);
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
            .expect("the head is valid");
        let answer = server.take(request).expect("no Region refuses");
        assert!(answer.status().as_u16() < 500, "{answer:?}");
    }
});
