//! Dead letters, judged: each bad message in them once for a reader that deduplicates by (topic, partition, offset), with
//! its bytes, its key, its headers and its code.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rdkafka::Message;
use rdkafka::message::Headers as _;
use serde::Serialize;

use super::bad::Bad;
use super::poison::HEADER;
use super::servers::Servers;
use super::topics::{self, Offsets};

/// What was found in the dead letters.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Bad messages that were sent.
    pub(crate) sent: u64,
    /// Of those, the ones that are there.
    pub(crate) found: u64,
    /// Letters of a message that has one already.
    pub(crate) repeated: u64,
    /// Letters of other messages.
    pub(crate) foreign: u64,
    /// With another code.
    pub(crate) codes_differ: u64,
    /// With other bytes, another key or without the message's own headers.
    pub(crate) bytes_differ: u64,
    /// Without a header that every letter has.
    pub(crate) headers_missing: u64,
    /// The first of what is wrong, in words.
    pub(crate) told: Vec<String>,
}

/// Bad messages by where they stand, and what their letters say so far.
pub(crate) struct Letters {
    topic: String,
    sent: HashMap<(i32, i64), (usize, Bad, bool)>,
    tally: Tally,
}

/// The parts of a letter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letter {
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) headers: HashMap<String, String>,
}

impl Letter {
    fn of(message: &impl Message) -> Self {
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let headers = message.headers().map(|headers| headers.iter().collect::<Vec<_>>()).unwrap_or_default();
        Self {
            key: message.key().unwrap_or_default().to_vec(),
            payload: message.payload().unwrap_or_default().to_vec(),
            headers: headers.into_iter().map(|header| (header.key.to_owned(), text(header.value))).collect(),
        }
    }
}

impl Letters {
    /// Of messages sent to `topic`; `places` are their (number from 1, partition, offset).
    pub(crate) fn new(topic: &str, sent: Vec<Bad>, places: &[(u64, i32, i64)]) -> Self {
        let tally = Tally { sent: sent.len() as u64, ..Tally::default() };
        let mut sent: HashMap<usize, Bad> = sent.into_iter().enumerate().collect();
        let place = |(number, partition, offset): &(u64, i32, i64)| {
            let number = usize::try_from(*number).ok()?.checked_sub(1)?;
            Some(((*partition, *offset), (number, sent.remove(&number)?, false)))
        };
        let sent = places.iter().filter_map(place).collect();
        Self { topic: topic.to_owned(), sent, tally }
    }

    /// Reads the topic of dead letters until all are found, or none came for `silence`.
    pub(crate) fn read(
        &mut self,
        servers: &Servers,
        rejected: &str,
        from: &Offsets,
        silence: Duration,
    ) -> anyhow::Result<()> {
        let (mut from, mut last) = (from.clone(), Instant::now());
        while last.elapsed() < silence {
            let to = topics::ends(servers, rejected)?;
            if topics::between(&from, &to) > 0 {
                let mut next = from.clone();
                topics::read(servers, rejected, &from, |message| {
                    next.insert(message.partition(), message.offset() + 1);
                    self.judge(&Letter::of(message));
                    Ok(())
                })?;
                (from, last) = (next, Instant::now());
            }
            if self.tally.found == self.tally.sent {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        ensure!(self.tally.sent > 0, "nothing bad was sent");
        Ok(())
    }

    fn judge(&mut self, letter: &Letter) {
        let header = |name: &str| letter.headers.get(name).map(String::as_str).unwrap_or_default();
        let missing = ["assay-code", "assay-message", "assay-topic", "assay-partition", "assay-offset", "assay-time"]
            .into_iter()
            .find(|name| header(name).is_empty());
        if let Some(missing) = missing {
            self.tally.headers_missing += 1;
            self.tell(format!("a letter has no header {missing}"));
            return;
        }
        let place = (header("assay-partition").parse::<i32>(), header("assay-offset").parse::<i64>());
        let found = match place {
            (Ok(partition), Ok(offset)) if header("assay-topic") == self.topic => {
                self.sent.get_mut(&(partition, offset))
            }
            _ => None,
        };
        let Some((number, bad, seen)) = found else {
            self.tally.foreign += 1;
            let text = format!("a letter of {} {}", header("assay-partition"), header("assay-offset"));
            self.tell(text);
            return;
        };
        if std::mem::replace(seen, true) {
            self.tally.repeated += 1;
            return;
        }
        self.tally.found += 1;
        let mut wrong = Vec::new();
        if header("assay-code") != bad.code.as_ref() {
            self.tally.codes_differ += 1;
            wrong.push(format!(
                "{} should have code {}, has {}",
                header("assay-offset"),
                bad.code,
                header("assay-code")
            ));
        }
        let own = header(HEADER).parse() == Ok(*number);
        if letter.payload != bad.payload || letter.key != bad.key.as_bytes() || !own {
            self.tally.bytes_differ += 1;
            wrong.push(format!("{} has other bytes, key or headers", header("assay-offset")));
        }
        wrong.into_iter().for_each(|text| self.tell(text));
    }

    fn tell(&mut self, text: String) {
        if self.tally.told.len() < 20 {
            self.tally.told.push(text);
        }
    }

    /// What was found so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.clone()
    }
}

impl Tally {
    /// Each is there, with its code and its bytes; repeated ones are for the reader to drop.
    pub(crate) fn is_clean(&self) -> bool {
        let wrong = [self.foreign, self.codes_differ, self.bytes_differ, self.headers_missing];
        self.sent == self.found && wrong.iter().all(|count| *count == 0)
    }

    pub(crate) fn line(&self) -> String {
        let Self { sent, found, repeated, foreign, codes_differ, bytes_differ, headers_missing, told } = self;
        let mut line = format!(
            "{sent} bad messages, {found} dead letters; repeated {repeated}, foreign {foreign}, other code {codes_differ}, other bytes {bytes_differ}, headers missing {headers_missing}"
        );
        for told in told {
            line.push_str("\n  ");
            line.push_str(told);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(number: usize, code: &str) -> Bad {
        Bad { key: format!("k{number}"), payload: format!("p{number}").into(), code: code.into() }
    }

    fn letter(number: usize, code: &str, offset: i64) -> Letter {
        let headers = [
            (HEADER, number.to_string()),
            ("assay-code", code.to_owned()),
            ("assay-message", "x".to_owned()),
            ("assay-topic", "transactions".to_owned()),
            ("assay-partition", "3".to_owned()),
            ("assay-offset", offset.to_string()),
            ("assay-time", "2026-01-01T00:00:00.000Z".to_owned()),
        ];
        Letter {
            key: format!("k{number}").into_bytes(),
            payload: format!("p{number}").into_bytes(),
            headers: headers.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        }
    }

    fn letters() -> Letters {
        Letters::new("transactions", vec![bad(0, "not_json"), bad(1, "too_old")], &[(1, 3, 10), (2, 3, 11)])
    }

    #[test]
    fn each_is_there_once_for_a_reader_that_deduplicates() {
        let mut letters = letters();
        for one in [letter(0, "not_json", 10), letter(1, "too_old", 11), letter(0, "not_json", 10)] {
            letters.judge(&one);
        }
        let tally = letters.tally();
        assert!(tally.is_clean() && tally.repeated == 1, "{}", tally.line());
    }

    #[test]
    fn every_fault_of_a_letter_is_found() {
        let after = |one: Letter| {
            let mut letters = letters();
            letters.judge(&letter(1, "too_old", 11));
            letters.judge(&one);
            assert!(!letters.tally().is_clean());
            letters.tally()
        };
        assert_eq!(after(letter(0, "too_old", 10)).codes_differ, 1);
        assert_eq!(after(letter(0, "not_json", 12)).foreign, 1);
        assert_eq!(after(letter(1, "not_json", 10)).bytes_differ, 1);
        let mut bare = letter(0, "not_json", 10);
        bare.headers.remove("assay-time");
        assert_eq!(after(bare).headers_missing, 1);
        let mut other = letter(0, "not_json", 10);
        other.headers.insert("assay-topic".to_owned(), "labels".to_owned());
        assert_eq!(after(other).foreign, 1);
        let mut without = letter(0, "not_json", 10);
        without.headers.remove(HEADER);
        assert_eq!(after(without).bytes_differ, 1);
    }
}
