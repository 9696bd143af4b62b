//! Fuzzes Iceberg metadata.json: see `crates/iceberg/tests/support/any_file.rs`.
#![no_main]

#[allow(dead_code, reason = "each target uses a part of it")]
#[path = "../../../crates/iceberg/tests/support/any_file.rs"]
mod any_file;
#[allow(dead_code, reason = "each target uses a part of it")]
#[path = "../../../crates/iceberg/tests/support/mod.rs"]
mod support;
mod table_file;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    table_file::run(input, any_file::sound_metadata, |file| {
        let _ = any_file::check_metadata(file);
    });
});
