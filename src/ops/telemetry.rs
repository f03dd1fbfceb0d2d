//! Logs to standard error: for people, or one JSON object a line. Standard output belongs to what a command answers.
//!
//! WARN is something unexpected that lost nothing; ERROR is something lost, or a person is needed.
//! No identifier of a payment, a customer, a card or a device is ever logged: below INFO libraries print what they are given
//! (tokio-postgres every parameter of a statement), so there assay alone is heard, whatever the level.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt, registry};

/// Targets of this program.
const OURS: &str = "assay";

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for a person.
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the whole process. `level` is `error`, `warn`, `info`, `debug`, `trace` or a filter
/// such as `info,assay::engine=debug`. A second call changes nothing.
///
/// # Errors
/// What is wrong with `level`, in one sentence.
pub fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(level).map_err(|error| format!("the log level {level:?} is not a filter: {error}"))?;
    let heard = registry().with(filter).with(filter_fn(is_ours));
    let lines = fmt::layer().with_writer(std::io::stderr);
    // A refusal means that a subscriber is there already, as in a test: its lines do as well.
    let _already = match format {
        LogFormat::Human => heard.with(lines.with_target(false).with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => heard.with(lines.json().flatten_event(true)).try_init(),
    };
    Ok(())
}

/// Whether a line may be written at all.
fn is_ours(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::INFO || line.target() == OURS || line.target().starts_with("assay::")
}

/// Whether `level` is one that [`start`] takes.
#[must_use]
pub fn is_level(level: &str) -> bool {
    !level.trim().is_empty() && EnvFilter::try_new(level).is_ok()
}
