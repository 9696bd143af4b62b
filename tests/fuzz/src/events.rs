//! Whatever bytes an event has: it is understood, or refused with a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinlake_core::event::{Listener, parse, parse_replication};
use twinlake_core::grant::Terms;
use twinlake_core::{OwnRoles, Timestamp};

fuzz_target!(|bytes: &[u8]| {
    let listener = Listener {
        region: "us-east-1".to_owned(),
        account: "111122223333".to_owned(),
        ours: OwnRoles::default(),
        terms: Terms::default(),
        now: Timestamp::default(),
    };
    if let Err(refused) = parse(bytes, &listener) {
        assert!(!refused.0.is_empty());
    }
    let _ = parse_replication(bytes, Timestamp::default());
});
