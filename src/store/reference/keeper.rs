//! The thread that keeps reference data: reads the sources in turn, tells the age of what is known.
//!
//! ```text
//! open: the copy ─▶ first round (faults end the start; a source that is away does not)
//! run:  every tick: keys that were asked for ─▶ fetched; a table too old ─▶ marked; a round when it is due
//! ```
//!
//! A table that fails keeps its last good rows and delays no other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::copy::Copy;
use super::rates::Freezing;
use super::{ReadTable, ReferenceError, ReferenceOptions, SourceError, Sources};
use crate::base::clock::{Clock, Millis};
use crate::base::money::Rates;
use crate::features::Reference;
use crate::features::reference::{Content, Keyed, RATES, ReferenceSchema, Table, TableSchema};
use crate::ops::metrics::{Metrics, Refresh};

/// How often keys that were asked for are fetched, and ages told.
const TICK: Duration = Duration::from_millis(200);
/// The longest until a round that failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Keys that are fetched by one statement.
const KEYS: usize = 1_000;

/// See the module.
pub struct Keeper {
    options: ReferenceOptions,
    sources: Sources,
    schema: ReferenceSchema,
    reference: Arc<Reference>,
    /// By place in the schema; `None` where a table is not configured.
    tables: Vec<Option<Held>>,
    rates: Option<(Freezing, State)>,
    copy: Option<Copy>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// One table as it is kept.
#[derive(Debug, Default)]
struct Held {
    content: Content,
    stale: bool,
    state: State,
}

/// How it goes with one source of rows.
#[derive(Debug, Default)]
struct State {
    confirmed_at: Option<Millis>,
    /// Why the last round failed.
    trouble: Option<SourceError>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keeper").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Takes the copy, then reads every source once. Blocking.
    ///
    /// # Errors
    /// Everything that a person has to mend. A source that is away is no error: what the copy has is served, or defaults.
    pub fn open(
        options: ReferenceOptions,
        sources: Sources,
        rates: Arc<Rates>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ReferenceError> {
        let schema = ReferenceSchema::shipped().map_err(|error| ReferenceError::Faults(vec![error.to_string()]))?;
        let copy = options.copy.as_deref().map(Copy::open).transpose()?;
        let mut keeper = Self {
            reference: Arc::new(Reference::new(Vec::new())),
            tables: Vec::new(),
            rates: None,
            options,
            sources,
            schema,
            copy,
            clock,
            metrics,
        };
        keeper.take_copy(rates)?;
        keeper.refresh();
        let faults = keeper.faults();
        if faults.is_empty() { Ok(keeper) } else { Err(ReferenceError::Faults(faults)) }
    }

    /// What features read.
    #[must_use]
    pub fn reference(&self) -> Arc<Reference> {
        Arc::clone(&self.reference)
    }

    /// Why a source could not be read in the last round, one of them.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.states().find_map(|(state, _)| state.trouble.as_ref().map(ToString::to_string))
    }

    /// The rates that count.
    #[cfg(test)]
    pub(super) fn rates(&self) -> Arc<Rates> {
        self.rates.as_ref().map(|(freezing, _)| Arc::clone(&freezing.rates)).unwrap()
    }

    /// Keeps everything up to date until `stop` is dropped.
    pub fn run(mut self, stop: &Receiver<()>) {
        let mut last = Instant::now();
        loop {
            if stop.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            self.fetch();
            let pause = if self.is_troubled() { self.options.refresh.min(AGAIN) } else { self.options.refresh };
            if last.elapsed() >= pause {
                self.refresh();
                last = Instant::now();
            }
            self.tell();
        }
    }

    /// Reads every source once; what fails keeps what it had.
    pub fn refresh(&mut self) {
        for place in 0..self.tables.len() {
            let (Some(Some(held)), Some(schema)) = (self.tables.get_mut(place), self.schema.tables().get(place)) else {
                continue;
            };
            let read = read(&self.options, &mut self.sources, schema, &held.content);
            let now = self.clock.now();
            let outcome = read.map(|read| held.take(read, schema, self.copy.as_ref(), now));
            held.state.end(&schema.name, outcome, now, &self.metrics);
        }
        if let Some((freezing, state)) = &mut self.rates {
            let (before, round) = (freezing.rates.len(), freezing.round(&mut self.sources, self.copy.as_mut()));
            self.metrics.rate_corrections.add((), *round.as_ref().unwrap_or(&0));
            let outcome = round.map(|_| if freezing.rates.len() > before { Refresh::Changed } else { Refresh::Same });
            state.end(RATES, outcome, self.clock.now(), &self.metrics);
        }
        self.publish();
        self.tell();
    }

    /// Fetches the keys that were asked for and are not here.
    pub fn fetch(&mut self) {
        for (held, schema) in self.tables.iter_mut().zip(self.schema.tables()) {
            let Some(Held { content: Content::Keyed(cache), state, .. }) = held else { continue };
            let wanted = cache.take_wanted();
            if wanted.is_empty() {
                continue;
            }
            if let Err(error) = fetch(&mut self.sources, schema, cache, &wanted) {
                state.end(&schema.name, Err(error), self.clock.now(), &self.metrics);
            }
        }
    }

    /// Tells ages and sizes, and marks what was not confirmed for too long.
    pub fn tell(&mut self) {
        let now = self.clock.now();
        let limit = i64::try_from(self.options.stale_after.as_millis()).unwrap_or(i64::MAX);
        let mut changed = false;
        for (held, schema) in self.tables.iter_mut().zip(self.schema.tables()) {
            let Some(held) = held else { continue };
            let stale = held.state.age(now).is_none_or(|age| age > limit);
            changed |= stale != held.stale;
            held.stale = stale;
            self.metrics.reference_age.set(&schema.name, seconds(held.state.age(now)));
            self.metrics.reference_rows.set(&schema.name, held.rows());
        }
        if let Some((freezing, state)) = &self.rates {
            self.metrics.reference_age.set(RATES, seconds(state.age(now)));
            self.metrics.reference_rows.set(RATES, i64::try_from(freezing.rates.len()).unwrap_or(i64::MAX));
        }
        if changed {
            self.publish();
        }
    }

    /// What is configured, with what the copy has of it.
    fn take_copy(&mut self, rates: Arc<Rates>) -> Result<(), ReferenceError> {
        let path = self.options.copy.clone().unwrap_or_default();
        let failed = |source| ReferenceError::Copy { path: path.clone(), source };
        for schema in self.schema.tables() {
            let kept = self.copy.as_ref().map(|copy| copy.table(schema)).transpose().map_err(failed)?.flatten();
            let in_files = self.sources.files.as_ref().is_some_and(|files| files.has(&schema.name) || kept.is_some());
            let in_postgres = self.sources.postgres.as_ref().is_some_and(|(tables, _)| tables.has(&schema.name));
            let held = kept.map_or_else(Held::default, |(rows, at)| Held {
                content: Content::Whole(Arc::new(rows)),
                state: State { confirmed_at: Some(at), trouble: None },
                stale: false,
            });
            self.tables.push((in_files || in_postgres).then_some(held));
        }
        self.reference = Arc::new(Reference::new(self.tables.iter().map(Option::is_some).collect()));
        let kept = self.copy.as_ref().map(Copy::rates).transpose().map_err(failed)?.unwrap_or_default();
        let has_rates = self.sources.rates.is_some()
            || self.sources.files.as_ref().is_some_and(|files| files.rates().is_some() || !kept.is_empty())
            || self.sources.postgres.as_ref().is_some_and(|(tables, _)| tables.has_rates());
        if has_rates {
            let mut freezing = Freezing::new(rates);
            // Of rates that are shared, those of PostgreSQL come first: the copy may be of another place.
            freezing.begin(&mut self.sources, &kept);
            self.rates = Some((freezing, State::default()));
        }
        Ok(())
    }

    fn publish(&self) {
        let table = |held: &Option<Held>| {
            held.as_ref().map_or_else(Table::default, |held| Table { content: held.content.clone(), stale: held.stale })
        };
        self.reference.put(self.tables.iter().map(table).collect());
    }

    fn states(&self) -> impl Iterator<Item = (&State, bool)> {
        let tables = self.tables.iter().flatten().map(|held| (&held.state, !matches!(held.content, Content::Unknown)));
        let rates = self.rates.iter().map(|(freezing, state)| (state, !freezing.rates.is_empty()));
        tables.chain(rates)
    }

    fn is_troubled(&self) -> bool {
        self.states().any(|(state, _)| state.trouble.is_some())
    }

    /// What a person has to mend: what is wrong, and files that are not there and of which nothing is known.
    fn faults(&self) -> Vec<String> {
        let remote = self.sources.postgres.is_some();
        let fault = |(state, known): (&State, bool)| match &state.trouble {
            Some(SourceError::Wrong(sentence)) => Some(sentence.clone()),
            Some(SourceError::Away(sentence)) if !known && !remote => Some(sentence.clone()),
            _ => None,
        };
        let mut faults: Vec<String> = self.states().filter_map(fault).collect();
        let nothing = self.tables.iter().all(Option::is_none) && self.rates.is_none();
        if let (Some(files), true) = (&self.sources.files, nothing) {
            let names: Vec<_> = self.schema.tables().iter().map(|table| table.name.as_str()).collect();
            let folder = files.folder().display();
            faults.push(format!("reference.directory {folder} has no file of {}, {RATES}", names.join(", ")));
        }
        faults
    }
}

impl Held {
    /// Takes what was read; whether it is other than before.
    fn take(&mut self, read: Option<Content>, schema: &TableSchema, copy: Option<&Copy>, now: Millis) -> Refresh {
        let same = match (&self.content, &read) {
            (_, None) => true,
            (Content::Whole(old), Some(Content::Whole(new))) => old == new,
            _ => false,
        };
        let kept = match (copy, &read) {
            (Some(copy), _) if same => copy.confirm(schema, now),
            (Some(copy), Some(Content::Whole(rows))) => copy.put(schema, rows, now),
            _ => Ok(()),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, table = schema.name, "reference.copy cannot be written; a start without the source begins with older rows");
        }
        if let Some(content) = read.filter(|_| !same) {
            self.content = content;
        }
        if same { Refresh::Same } else { Refresh::Changed }
    }

    fn rows(&self) -> i64 {
        match &self.content {
            Content::Unknown => 0,
            Content::Whole(rows) => i64::try_from(rows.len()).unwrap_or(i64::MAX),
            Content::Keyed(cache) => i64::try_from(cache.len()).unwrap_or(i64::MAX),
        }
    }
}

impl State {
    /// Notes how a round ended; tells of trouble once, and of its end.
    fn end(&mut self, name: &str, outcome: Result<Refresh, SourceError>, now: Millis, metrics: &Metrics) {
        match outcome {
            Ok(outcome) => {
                metrics.reference_refreshes.up(outcome);
                if self.trouble.take().is_some() {
                    tracing::info!(table = name, "reference data is read again");
                }
                self.confirmed_at = Some(now);
            }
            Err(error) => {
                metrics.reference_refreshes.up(Refresh::Failed);
                if self.trouble.is_none() {
                    tracing::warn!(%error, table = name, "reference data cannot be read; the last good value is served");
                }
                self.trouble = Some(error);
            }
        }
    }

    /// Milliseconds since the source confirmed it.
    fn age(&self, now: Millis) -> Option<i64> {
        self.confirmed_at.map(|at| now.0.saturating_sub(at.0).max(0))
    }
}

/// Seconds of an age; -1 where nothing was ever confirmed.
fn seconds(age: Option<i64>) -> i64 {
    age.map_or(-1, |age| age / 1_000)
}

/// What a table's source has now; `None`: what is held.
fn read(
    options: &ReferenceOptions,
    sources: &mut Sources,
    schema: &TableSchema,
    held: &Content,
) -> Result<Option<Content>, SourceError> {
    if let Content::Keyed(cache) = held {
        let keys = cache.keys();
        return fetch(sources, schema, cache, &keys).map(|()| None);
    }
    let read = if let Some((tables, runtime)) = sources.postgres.as_mut().filter(|(tables, _)| tables.has(&schema.name))
    {
        let rows = runtime.block_on(tables.rows(schema, options.whole_rows))?;
        rows.map_or(ReadTable::TooMany, ReadTable::Rows)
    } else if let Some(files) = &mut sources.files {
        files.table(schema, options.whole_rows)?
    } else {
        ReadTable::Same
    };
    Ok(match read {
        ReadTable::Same => None,
        ReadTable::Rows(rows) => Some(Content::Whole(Arc::new(rows))),
        ReadTable::TooMany => {
            tracing::info!(
                table = schema.name,
                rows = options.whole_rows,
                "more rows than are held whole: read by key"
            );
            Some(Content::Keyed(Arc::new(Keyed::new(options.cached_rows))))
        }
    })
}

/// Fetches these keys into the cache, those without a row as such.
fn fetch(
    sources: &mut Sources,
    schema: &TableSchema,
    cache: &Keyed,
    keys: &[compact_str::CompactString],
) -> Result<(), SourceError> {
    let Some((tables, runtime)) = &mut sources.postgres else { return Ok(()) };
    for keys in keys.chunks(KEYS) {
        let rows = runtime.block_on(tables.rows_of(schema, keys))?;
        let mut found: std::collections::HashMap<_, _> = rows.into_iter().collect();
        for key in keys {
            cache.put(key.clone(), found.remove(key).map(Arc::from));
        }
    }
    Ok(())
}
