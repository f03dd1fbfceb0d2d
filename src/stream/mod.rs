//! The stream.

pub mod record;
mod wire;
