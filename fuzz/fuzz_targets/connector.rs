#![no_main]
//! The reader `connector` on any bytes.

#[path = "../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::connector(bytes, &mut readers::Outcomes::default()));
