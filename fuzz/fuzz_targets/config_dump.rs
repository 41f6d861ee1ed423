//! `entry_points::config_dump` under libFuzzer.
#![no_main]

#[path = "../entry_points.rs"]
#[expect(dead_code, reason = "a target runs one entry point of them all")]
mod entry_points;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entry_points::config_dump(input));
