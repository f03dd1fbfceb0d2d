//! What implements the ports: logs (the engine's [`Log`](crate::engine::ports::Log) port), and files.
//!
//! `sqlite` is the embedded set-up's; `memory` keeps everything until the process ends, for tests and trials. One
//! conformance test runs on both.

#[cfg(test)]
mod conformance;
pub mod files;
pub mod memory;
pub mod sqlite;

pub use memory::MemoryLog;
pub use sqlite::{SqliteLog, SqliteOptions, StoreError};

use crate::base::money::RateQuality;
use crate::transaction::{Channel, Transaction};

/// Fills the optional fields that `stored` lacks; whether there was one.
fn fill(stored: &mut Transaction, copy: &Transaction) -> bool {
    let mut filled = false;
    let pairs = [
        (&mut stored.merchant_id, &copy.merchant_id),
        (&mut stored.product_id, &copy.product_id),
        (&mut stored.country, &copy.country),
        (&mut stored.card_id, &copy.card_id),
        (&mut stored.device_id, &copy.device_id),
    ];
    for (own, other) in pairs {
        if own.is_none() && other.is_some() {
            own.clone_from(other);
            filled = true;
        }
    }
    if stored.channel.is_none() && copy.channel.is_some() {
        stored.channel = copy.channel;
        filled = true;
    }
    filled
}

const CHANNELS: [(Channel, &str); 5] = [
    (Channel::CardPresent, "card_present"),
    (Channel::Online, "online"),
    (Channel::Transfer, "transfer"),
    (Channel::Withdrawal, "withdrawal"),
    (Channel::Other, "other"),
];

fn channel_text(channel: Channel) -> &'static str {
    CHANNELS.iter().find(|(known, _)| *known == channel).map_or("other", |(_, text)| text)
}

fn channel_of(text: &str) -> Option<Channel> {
    CHANNELS.iter().find(|(_, known)| *known == text).map(|(channel, _)| *channel)
}

const QUALITIES: [(RateQuality, i64); 3] =
    [(RateQuality::Fresh, 0), (RateQuality::Stale, 1), (RateQuality::Missing, 2)];

fn quality_number(quality: RateQuality) -> i64 {
    QUALITIES.iter().find(|(known, _)| *known == quality).map_or(2, |(_, number)| *number)
}

fn quality_of(number: i64) -> RateQuality {
    QUALITIES.iter().find(|(_, known)| *known == number).map_or(RateQuality::Missing, |(quality, _)| *quality)
}
