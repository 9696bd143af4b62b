//! Fuzzes the event parsers: any bytes are parsed, or rejected with a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinlake_core::event::{EventContext, parse, parse_replication};
use twinlake_core::grant::GrantMapping;
use twinlake_core::{OwnRoles, Timestamp};

fuzz_target!(|bytes: &[u8]| {
    let event_context = EventContext {
        region: "us-east-1".to_owned(),
        account: "111122223333".to_owned(),
        own_roles: OwnRoles::default(),
        grant_mapping: GrantMapping::default(),
        now: Timestamp::default(),
    };
    if let Err(error) = parse(bytes, &event_context) {
        assert!(!error.0.is_empty());
    }
    let _ = parse_replication(bytes, Timestamp::default());
});
