//! assay scores payment transactions for fraud while they happen.
//!
//! The line, which every mouth (HTTP, files, later Kafka and gRPC) shares:
//!
//! ```text
//! bytes ─▶ Transaction ─▶ +History ─▶ Row ─▶ Score ─▶ Decision ─▶ effects
//!         read, validate    observe    encode   infer     judge      commit
//! ```
//!
//! Modules stand in the order of the line and import only what stands above them in this list
//! (`tests/architecture.rs` reads the `use` lines): `base`, `ops`, `transaction`, `features`, `model`,
//! `decision`, `evaluation`, `engine`, `store`, `stream`, `api`, and last the wiring: `config`, `app`, `cli`.

pub mod api;
pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod decision;
pub mod engine;
pub mod evaluation;
pub mod features;
pub mod model;
pub mod ops;
pub mod simulate;
pub mod store;
pub mod stream;
pub mod transaction;
