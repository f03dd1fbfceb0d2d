//! The topic of labels read as a whole: for who needs every verdict that was given, and not the stream of them.
//!
//! In: the topic, from its beginning to the end it has now. Out: labels, and since when the topic has them all. What cannot be
//! read is passed over and counted: the stream sends it to the dead letters.

use rdkafka::message::Message as _;

use super::kafka::{KafkaOptions, StreamError};
use super::whole;
use crate::base::clock::Millis;
use crate::engine::Label;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdicts {
    /// Labels.
    pub labels: u64,
    /// Messages that are no labels.
    pub unreadable: u64,
    /// When the oldest message that is still there was taken, where the topic has let earlier ones go.
    pub since: Option<Millis>,
}

/// Gives every label there is to `each`, until that says no. Blocking.
///
/// # Errors
/// See [`StreamError`].
pub fn read(options: &KafkaOptions, mut each: impl FnMut(Label) -> bool) -> Result<Verdicts, StreamError> {
    let mut read = Verdicts::default();
    whole::read(options, &options.topics.labels, |kept| {
        if kept.is_first_of_the_rest {
            read.since = read.since.max(kept.message.timestamp().to_millis().map(Millis));
        }
        let Ok(label) = Label::read(kept.message.payload().unwrap_or_default()) else {
            read.unreadable += 1;
            return true;
        };
        read.labels += 1;
        each(label)
    })?;
    Ok(read)
}
