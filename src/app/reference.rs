//! Wiring of reference data and rates: where they come from, and the thread that keeps them up to date.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::runtime::Handle;

use super::stack::postgres_options;
use crate::base::clock::SystemClock;
use crate::base::money::Rates;
use crate::config::Config;
use crate::features::Catalogue;
use crate::ops::metrics::Metrics;
use crate::store::postgres::PostgresTables;
use crate::store::reference::{Files, Keeper, ReferenceOptions, Sources, frozen_rates};

/// How long the end waits for a reading that is under way; it writes nothing that has to be whole.
const LAST_READING: Duration = Duration::from_secs(1);
/// Rows of a table that a command reads whole: more than a memory of tens of gigabytes holds.
const MOST_ROWS: usize = 1 << 30;

/// The thread; dropping this ends it.
#[derive(Debug)]
pub(super) struct Keeping {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        drop(self.stop.take());
        let begun = Instant::now();
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && begun.elapsed() < LAST_READING {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Reads what is configured once and keeps it up to date from then on: the catalogue with its reference data, the rates.
/// Blocking; `runtime` speaks with PostgreSQL.
pub(super) fn keep(
    config: &Config,
    catalogue: Catalogue,
    runtime: Handle,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(Catalogue, Arc<Rates>, Option<Keeping>)> {
    let rates = Arc::new(Rates::of_base(config.money.base_currency));
    let Some(sources) = sources(config, runtime)? else { return Ok((catalogue, rates, None)) };
    let options = options(config)?;
    let keeper = Keeper::open(options, sources, Arc::clone(&rates), Arc::new(SystemClock), metrics)?;
    let catalogue = catalogue.with_reference(keeper.reference());
    let (stop, stopped) = channel();
    let thread = std::thread::Builder::new()
        .name("reference".to_owned())
        .spawn(move || keeper.run(&stopped))
        .context("the thread of the reference data cannot be started")?;
    Ok((catalogue, rates, Some(Keeping { stop: Some(stop), thread: Some(thread) })))
}

/// The catalogue and the rates for a command that computes features once, as of now. Every table is read whole and has to
/// be there: a default would go into a decision for good. Blocking; `runtime` speaks with PostgreSQL.
pub(crate) fn once(config: &Config, catalogue: Catalogue, runtime: Handle) -> anyhow::Result<(Catalogue, Arc<Rates>)> {
    let rates = Arc::new(Rates::of_base(config.money.base_currency));
    let Some(sources) = sources(config, runtime)? else { return Ok((catalogue, rates)) };
    let options = ReferenceOptions { whole_rows: MOST_ROWS, ..options(config)? };
    let metrics = Arc::new(Metrics::new().context("the table of metrics is wrong")?);
    let keeper = Keeper::open(options, sources, Arc::clone(&rates), Arc::new(SystemClock), metrics)?;
    if let Some(trouble) = keeper.trouble() {
        anyhow::bail!("reference data cannot be read: {trouble}");
    }
    Ok((catalogue.with_reference(keeper.reference()), rates))
}

/// Rates for a command that makes a history: those that count by the copy, then those of the configured files.
pub(crate) fn rates(config: &Config) -> anyhow::Result<Rates> {
    let rates = Rates::of_base(config.money.base_currency);
    let reference = &config.reference;
    let configured = config.money.rates.is_some() || reference.directory.is_some() || !reference.tables.is_empty();
    if let Some(copy) = reference.copy.as_ref().filter(|copy| configured && copy.is_file()) {
        rates.publish(&frozen_rates(copy)?);
    }
    let folder = reference.directory.clone().map(Files::new);
    let file = config.money.rates.clone().or_else(|| folder.as_ref().and_then(Files::rates));
    if let Some(file) = file {
        let text = std::fs::read_to_string(&file).with_context(|| format!("the rates {}", file.display()))?;
        let published = crate::base::rates::parse(&text).with_context(|| format!("the rates {}", file.display()))?;
        rates.publish(&published);
    }
    Ok(rates)
}

fn options(config: &Config) -> anyhow::Result<ReferenceOptions> {
    let reference = &config.reference;
    Ok(ReferenceOptions {
        refresh: reference.refresh,
        stale_after: reference.stale_after,
        whole_rows: reference.whole_rows,
        cached_rows: u64::try_from(reference.cached_rows)?,
        copy: reference.copy.clone(),
    })
}

/// What is configured; none where nothing is.
fn sources(config: &Config, runtime: Handle) -> anyhow::Result<Option<Sources>> {
    let reference = &config.reference;
    let named = reference.named();
    let rates: Option<PathBuf> = config.money.rates.clone();
    if rates.is_none() && reference.directory.is_none() && named.is_empty() {
        return Ok(None);
    }
    let postgres =
        if named.is_empty() { None } else { Some((PostgresTables::new(&postgres_options(config)?, &named)?, runtime)) };
    Ok(Some(Sources { files: reference.directory.clone().map(Files::new), postgres, rates }))
}
