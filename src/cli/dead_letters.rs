//! `assay dead-letters`: look at messages that were refused, send them again, or say that they need no decision.
//!
//! Where PostgreSQL is configured, what is done with a letter is kept there: an open one holds completeness.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::letter_book::{Book, Dismissal, person};
use crate::app::kafka_options;
use crate::config::Config;
use crate::engine::completeness::Mark;
use crate::engine::follow::Original;
use crate::stream::KafkaOptions;
use crate::stream::letters::{Letter, read, retry};

/// Looks at the topic of dead letters: messages that were refused, as they came, with the reason.
///
/// A letter is named by its place in that topic, PARTITION:OFFSET. Its bytes are shown by `show` alone: they may name
/// persons.
#[derive(Debug, Args)]
pub(super) struct DeadLetters {
    /// The TOML file; without it, defaults and environment (ASSAY__SECTION__KEY) alone.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One line a letter: place, time, state, where it came from, the reason. The state is open, retried (sent again, not
    /// known to be decided yet), settled, dismissed, or - where PostgreSQL does not say.
    List {
        /// Only letters with this code.
        #[arg(long)]
        code: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// One letter with its headers and its bytes.
    Show {
        /// PARTITION:OFFSET.
        place: String,
    },
    /// Sends letters to the topic they came from, as they came. They stay in the dead letters, and hold completeness until
    /// what was sent is decided.
    Retry {
        /// PARTITION:OFFSET, one or more.
        #[arg(required_unless_present = "code")]
        places: Vec<String>,
        /// Every letter with this code.
        #[arg(long, conflicts_with = "places")]
        code: Option<String>,
        /// Who does it; the user of the system without it.
        #[arg(long)]
        by: Option<String>,
    },
    /// Says of letters, or of transactions that were only ever answered by a fallback, that they need no decision: they hold
    /// completeness no longer.
    Dismiss(Dismissal),
}

impl DeadLetters {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = match Config::load(self.config.as_deref()) {
            Ok(config) => config,
            Err(faults) => return Ok(super::tell_faults(&faults)),
        };
        if !config.kafka.is_there() {
            bail!("kafka.brokers is empty: dead letters are in Kafka; name a configuration of the stack with --config");
        }
        let options = kafka_options(&config)?;
        match self.what {
            What::List { code, limit } => list(&options, &Book::open(&config)?, code.as_deref(), limit)?,
            What::Show { place } => show(&options, &place)?,
            What::Retry { places, code, by } => {
                again(&options, &Book::open(&config)?, (&places, code.as_deref()), by.as_deref())?;
            }
            What::Dismiss(dismissal) => dismissal.run(&options, &Book::open(&config)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(options: &KafkaOptions, book: &Book, code: Option<&str>, limit: usize) -> anyhow::Result<()> {
    let mut letters = Vec::new();
    read(options, |letter| {
        if code.is_none_or(|code| letter.code == code) && letters.len() < limit {
            letters.push(Letter { original: Original::default(), ..letter });
        }
        letters.len() < limit
    })?;
    let states = book.states(&letters);
    let mut out = BufWriter::new(std::io::stdout().lock());
    for letter in &letters {
        let Letter { partition, offset, time, topic, source_partition, source_offset, message, .. } = letter;
        let state = states.get(&(*partition, *offset)).map_or("-", String::as_str);
        writeln!(out, "{partition}:{offset}\t{time}\t{state}\t{topic} {source_partition}:{source_offset}\t{message}")?;
    }
    out.flush()?;
    super::say(&format!("{} dead letters", letters.len()));
    Ok(())
}

fn show(options: &KafkaOptions, place: &str) -> anyhow::Result<()> {
    let letter = found(options, std::slice::from_ref(&place.to_owned()))?.pop().context("no such letter")?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    writeln!(out, "from     {} {}:{}", letter.topic, letter.source_partition, letter.source_offset)?;
    writeln!(out, "refused  {}  {}", letter.time, letter.message)?;
    let text = |bytes: Option<&[u8]>| {
        bytes.map_or_else(|| "-".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    writeln!(out, "key      {}", text(letter.original.key.as_deref()))?;
    for (key, value) in &letter.original.headers {
        writeln!(out, "header   {key}: {}", text(value.as_deref()))?;
    }
    writeln!(out)?;
    out.write_all(&letter.original.payload)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

fn again(
    options: &KafkaOptions,
    book: &Book,
    (places, code): (&[String], Option<&str>),
    by: Option<&str>,
) -> anyhow::Result<()> {
    let by = if book.is_there() { person(by)? } else { String::new() };
    let letters = chosen(options, places, |letter| Some(letter.code.as_str()) == code)?;
    let sent = retry(options, &letters)?;
    super::say(&format!("sent {} of {} again", sent.len(), letters.len()));
    let marked = sent
        .iter()
        .filter_map(|(place, (partition, offset))| Some((letters.get(*place)?, Mark::Retried(*partition, *offset))));
    book.mark(options, marked, &by)
        .context("they are sent, and not marked so: they hold completeness until `assay dead-letters dismiss`")?;
    if sent.len() < letters.len() {
        bail!("Kafka did not acknowledge every letter in time; sending them again changes nothing for those that were");
    }
    Ok(())
}

/// The letters at these places; without any, those of all that are `wanted`.
pub(super) fn chosen(
    options: &KafkaOptions,
    places: &[String],
    wanted: impl Fn(&Letter) -> bool,
) -> anyhow::Result<Vec<Letter>> {
    if !places.is_empty() {
        return found(options, places);
    }
    let mut letters = Vec::new();
    read(options, |letter| {
        if wanted(&letter) {
            letters.push(letter);
        }
        true
    })?;
    Ok(letters)
}

/// The letters at these places.
fn found(options: &KafkaOptions, places: &[String]) -> anyhow::Result<Vec<Letter>> {
    let wanted = places.iter().map(|place| parse(place)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut letters = Vec::new();
    read(options, |letter| {
        if wanted.contains(&(letter.partition, letter.offset)) {
            letters.push(letter);
        }
        letters.len() < wanted.len()
    })?;
    for (partition, offset) in wanted {
        if !letters.iter().any(|letter| (letter.partition, letter.offset) == (partition, offset)) {
            bail!("there is no letter {partition}:{offset}; `assay dead-letters list` names them");
        }
    }
    Ok(letters)
}

pub(super) fn parse(place: &str) -> anyhow::Result<(i32, i64)> {
    let parts =
        place.split_once(':').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    parts.with_context(|| format!("{place:?} is no place: PARTITION:OFFSET, such as 0:17"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_a_partition_and_an_offset() {
        assert_eq!(parse("3:17").unwrap(), (3, 17));
        for wrong in ["", "3", "3:", ":17", "a:b", "3:17:1"] {
            assert!(parse(wrong).unwrap_err().to_string().contains("PARTITION:OFFSET"), "{wrong}");
        }
    }
}
