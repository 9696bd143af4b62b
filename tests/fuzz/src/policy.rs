//! Fuzzes the policy parser: a valid policy has the same digest when its text is parsed again, and
//! an error names a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinlake_core::Policy;

fuzz_target!(|text: &str| {
    match Policy::parse(text) {
        Ok(policy) => {
            let reparsed = Policy::parse(policy.text()).expect("the text was parsed before");
            assert_eq!(policy.digest(), reparsed.digest());
        }
        Err(error) => assert!(error.line >= 1 && !error.problem.is_empty()),
    }
});
