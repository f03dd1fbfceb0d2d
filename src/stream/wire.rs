//! The messages of `schemas/kafka/decision.v1.proto` as Rust structs. A test compares names, numbers and types.

use bytes::Bytes;
use prost::Message;

pub(super) const KIND_FULL: i32 = 1;
pub(super) const KIND_FALLBACK: i32 = 2;
pub(super) const RATE_FRESH: i32 = 1;
pub(super) const RATE_STALE: i32 = 2;
pub(super) const RATE_MISSING: i32 = 3;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Decision {
    #[prost(fixed64, tag = "1")]
    pub(super) instance: u64,
    #[prost(uint64, tag = "2")]
    pub(super) sequence: u64,
    #[prost(int32, tag = "3")]
    pub(super) kind: i32,
    #[prost(uint32, optional, tag = "4")]
    pub(super) revision: Option<u32>,
    #[prost(string, tag = "5")]
    pub(super) transaction_id: String,
    #[prost(sint64, tag = "6")]
    pub(super) occurred_at: i64,
    #[prost(float, optional, tag = "7")]
    pub(super) score: Option<f32>,
    #[prost(bool, tag = "8")]
    pub(super) flagged: bool,
    #[prost(bool, tag = "9")]
    pub(super) degraded: bool,
    #[prost(float, optional, tag = "10")]
    pub(super) threshold: Option<f32>,
    #[prost(string, tag = "11")]
    pub(super) model: String,
    #[prost(string, tag = "12")]
    pub(super) model_version: String,
    #[prost(string, tag = "13")]
    pub(super) model_sha256: String,
    #[prost(string, tag = "14")]
    pub(super) source: String,
    #[prost(sint64, tag = "15")]
    pub(super) scored_at: i64,
    #[prost(uint64, tag = "16")]
    pub(super) took_micros: u64,
    #[prost(sint64, tag = "17")]
    pub(super) base_minor: i64,
    #[prost(int32, tag = "18")]
    pub(super) rate: i32,
    #[prost(message, optional, tag = "19")]
    pub(super) transaction: Option<Transaction>,
    #[prost(message, repeated, tag = "20")]
    pub(super) reasons: Vec<Reason>,
    #[prost(message, optional, tag = "21")]
    pub(super) explanation: Option<Explanation>,
    /// The message [`Features`], kept as its bytes: most readers do not look at it.
    #[prost(bytes = "bytes", optional, tag = "22")]
    pub(super) features: Option<Bytes>,
    #[prost(sint64, tag = "23")]
    pub(super) received_at: i64,
}

/// The first fields of [`Decision`]: reading them skips the rest.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Head {
    #[prost(fixed64, tag = "1")]
    pub(super) instance: u64,
    #[prost(uint64, tag = "2")]
    pub(super) sequence: u64,
    #[prost(int32, tag = "3")]
    pub(super) kind: i32,
    #[prost(uint32, optional, tag = "4")]
    pub(super) revision: Option<u32>,
    #[prost(string, tag = "5")]
    pub(super) transaction_id: String,
    #[prost(sint64, tag = "6")]
    pub(super) occurred_at: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Transaction {
    #[prost(string, tag = "1")]
    pub(super) customer_id: String,
    #[prost(string, tag = "2")]
    pub(super) terminal_id: String,
    #[prost(int64, tag = "3")]
    pub(super) amount_minor: i64,
    #[prost(string, tag = "4")]
    pub(super) currency: String,
    #[prost(string, optional, tag = "5")]
    pub(super) merchant_id: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub(super) product_id: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub(super) country: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub(super) channel: Option<String>,
    #[prost(string, optional, tag = "9")]
    pub(super) card_id: Option<String>,
    #[prost(string, optional, tag = "10")]
    pub(super) device_id: Option<String>,
    #[prost(message, repeated, tag = "11")]
    pub(super) extra: Vec<Extra>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Extra {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Reason {
    #[prost(string, tag = "1")]
    pub(super) code: String,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(double, optional, tag = "3")]
    pub(super) value: Option<f64>,
    #[prost(double, optional, tag = "4")]
    pub(super) contribution: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Explanation {
    #[prost(string, tag = "1")]
    pub(super) method: String,
    #[prost(double, tag = "2")]
    pub(super) baseline: f64,
    #[prost(double, tag = "3")]
    pub(super) margin: f64,
    #[prost(double, tag = "4")]
    pub(super) other: f64,
}

/// `names` is the message [`FeatureNames`], packed: a model's records all have the same bytes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Features {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) names: Bytes,
    #[prost(double, repeated, tag = "2")]
    pub(super) values: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureNames {
    #[prost(string, repeated, tag = "1")]
    pub(super) name: Vec<String>,
}

/// As small as it gets: a model's names are packed once.
const LEVEL: i32 = 19;

impl FeatureNames {
    /// The message's bytes, compressed by Zstandard.
    pub(super) fn pack<'a>(names: impl Iterator<Item = &'a str>) -> Bytes {
        let message = Self { name: names.map(str::to_owned).collect() }.encode_to_vec();
        #[expect(clippy::expect_used, reason = "compressing what lies in memory cannot fail")]
        zstd::bulk::compress(&message, LEVEL).expect("names are compressed in memory").into()
    }
}
