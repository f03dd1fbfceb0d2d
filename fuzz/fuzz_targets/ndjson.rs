#![no_main]
//! The reader `ndjson` on any bytes.

#[path = "../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::lines(bytes, &mut readers::Outcomes::default()));
