#![no_main]
//! The reader `arrow` on any bytes.

#[path = "../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::columns(bytes, &mut readers::Outcomes::default()));
