#![no_main]
//! The reader `json` on any bytes.

#[path = "../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::json(bytes, &mut readers::Outcomes::default()));
