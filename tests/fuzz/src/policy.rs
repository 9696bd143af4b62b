//! Whatever a policy file holds: it is a policy that reads back as itself, or an error
//! that names a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinlake_core::Policy;

fuzz_target!(|text: &str| {
    match Policy::parse(text) {
        Ok(policy) => {
            let again = Policy::parse(policy.text()).expect("it was read before");
            assert_eq!(policy.digest(), again.digest());
        }
        Err(error) => assert!(error.line >= 1 && !error.problem.is_empty()),
    }
});
