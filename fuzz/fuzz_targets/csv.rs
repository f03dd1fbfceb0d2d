#![no_main]
//! The reader `csv` on any bytes.

#[path = "../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::table(bytes, &mut readers::Outcomes::default()));
