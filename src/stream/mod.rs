//! The stream: transactions, labels and decisions through topics. `protocol` decides, what stands beside it reads and
//! writes.

pub mod protocol;
pub mod record;
mod wire;
