//! The state of one pass over a file.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;

use super::{Chunk, Offline, Read, Summary};
use crate::base::clock::Millis;
use crate::base::hash::HashKey;
use crate::base::money::{BaseAmount, RateQuality};
use crate::engine::{Copies, Label, event_label};
use crate::features::{Event, History, HistoryOptions, Rows};
use crate::store::files::{Rejected, read_labels};
use crate::transaction::{Rejection, Transaction};

/// A transaction with its amount in the base currency.
type Accepted = (Transaction, BaseAmount);

pub(super) struct Pass {
    offline: Offline,
    history: History,
    copies: Copies,
    verdicts: HashMap<String, Vec<Label>>,
    rejected: Option<(PathBuf, BufWriter<File>)>,
    /// Rows that wait for the stream's time to pass them (complete features).
    pending: VecDeque<Accepted>,
    /// Rows that were written, for their memory.
    spare: Receiver<Rows>,
    /// The newest time accepted.
    stream_time: Option<Millis>,
    summary: Summary,
}

impl Pass {
    pub(super) fn new(offline: Offline, spare: Receiver<Rows>) -> Result<Self> {
        // A file's history lives as long as the pass and is never kept: any key does.
        let key = HashKey::new(*b"assay, one file.");
        let options = HistoryOptions { key, lateness: offline.allowed_lateness, exact_events: offline.exact_events };
        let history = History::new(&offline.catalogue, options);
        let mut verdicts: HashMap<String, Vec<Label>> = HashMap::new();
        if let Some(path) = &offline.labels {
            for label in read_labels(path)? {
                verdicts.entry(label.transaction_id.clone()).or_default().push(label);
            }
        }
        let rejected = match &offline.rejected {
            Some(path) => {
                let file = File::create(path).with_context(|| path.display().to_string())?;
                Some((path.clone(), BufWriter::new(file)))
            }
            None => None,
        };
        let copies = Copies::new(key, offline.allowed_lateness);
        Ok(Self {
            offline,
            history,
            copies,
            verdicts,
            rejected,
            pending: VecDeque::new(),
            spare,
            stream_time: None,
            summary: Summary::default(),
        })
    }

    pub(super) fn observe_all(
        &mut self,
        read: Receiver<Read>,
        to_finish: SyncSender<Chunk>,
        bar: &ProgressBar,
    ) -> Result<Summary> {
        for chunk in read {
            let chunk = chunk?;
            bar.inc(chunk.len() as u64);
            let accepted = self.accept(chunk)?;
            let done = match self.offline.complete_after {
                None => self.observe(accepted),
                Some(after) => self.observe_late(accepted, after),
            };
            self.hand_on(done, &to_finish)?;
        }
        let rest = self.complete(|_| true);
        self.hand_on(rest, &to_finish)?;
        if let Some((path, file)) = &mut self.rejected {
            file.flush().with_context(|| path.display().to_string())?;
        }
        Ok(self.summary)
    }

    fn hand_on(&mut self, chunk: Chunk, to_finish: &SyncSender<Chunk>) -> Result<()> {
        if chunk.transactions.is_empty() {
            return Ok(());
        }
        self.summary.rows += chunk.transactions.len() as u64;
        let missing = (0..chunk.rows.len()).filter_map(|index| chunk.rows.row(index));
        self.summary.missing_reference += missing.filter(|(_, marks)| marks.missing_reference).count() as u64;
        to_finish.send(chunk).map_err(|_| anyhow::anyhow!("the writing thread stopped"))
    }

    /// The rows that are transactions, with their base amounts; their verdicts go into history.
    fn accept(&mut self, chunk: Vec<std::result::Result<Transaction, Rejected>>) -> Result<Vec<Accepted>> {
        let mut accepted = Vec::with_capacity(chunk.len());
        for outcome in chunk {
            let checked = outcome.and_then(|transaction| match self.check(&transaction) {
                Ok(()) => Ok(transaction),
                Err(rejection) => Err(Rejected { row: self.summary.rows + self.summary.rejected + 1, rejection }),
            });
            match checked {
                Ok(transaction) => {
                    self.stream_time = self.stream_time.max(Some(transaction.occurred_at));
                    let at = transaction.occurred_at;
                    let base = self.offline.rates.to_base(transaction.amount_minor, transaction.currency, at);
                    self.summary.missing_rate += u64::from(base.rate == RateQuality::Missing);
                    self.summary.stale_rate += u64::from(base.rate == RateQuality::Stale);
                    self.label(&transaction, base);
                    accepted.push((transaction, base));
                }
                Err(rejected) => self.reject(&rejected)?,
            }
        }
        Ok(accepted)
    }

    /// What the engine would refuse: too old for the deduplication horizon, or another payment under a known id.
    fn check(&mut self, transaction: &Transaction) -> std::result::Result<(), Rejection> {
        let stream_time = self.stream_time.unwrap_or(transaction.occurred_at);
        self.copies.check(transaction, stream_time)
    }

    fn label(&mut self, transaction: &Transaction, base: BaseAmount) {
        if self.offline.labels.is_some() {
            for label in self.verdicts.remove(transaction.transaction_id.as_str()).unwrap_or_default() {
                self.history.label(&event_label(transaction, base, &label));
            }
        } else if transaction.is_fraud == Some(true) {
            // Known at occurred_at + the feature's delay: a window with that delay reaches no later event, so the
            // moment of the event itself says the same. "Not fraud" at that moment is what absence means.
            let label = Label {
                transaction_id: transaction.transaction_id.to_string(),
                is_fraud: true,
                labelled_at: transaction.occurred_at,
                source: "file".to_owned(),
            };
            self.history.label(&event_label(transaction, base, &label));
        }
    }

    fn reject(&mut self, rejected: &Rejected) -> Result<()> {
        self.summary.rejected += 1;
        let Some((path, file)) = &mut self.rejected else {
            bail!("row {}: {} (--rejected FILE collects such rows and goes on)", rejected.row, rejected.rejection)
        };
        let mut line = serde_json::to_value(&rejected.rejection)?;
        if let Some(line) = line.as_object_mut() {
            line.insert("row".to_owned(), rejected.row.into());
        }
        writeln!(file, "{line}").with_context(|| path.display().to_string())
    }

    fn rows(&self) -> Rows {
        let mut rows = self.spare.try_recv().unwrap_or_default();
        rows.reset(self.offline.plan.width());
        rows
    }

    fn observe(&mut self, accepted: Vec<Accepted>) -> Chunk {
        let mut rows = self.rows();
        self.history.observe(&events(&accepted), &self.offline.plan, &mut rows);
        Chunk { transactions: accepted.into_iter().map(|(transaction, _)| transaction).collect(), rows }
    }

    fn observe_late(&mut self, accepted: Vec<Accepted>, after: i64) -> Chunk {
        self.history.insert_all(&events(&accepted));
        self.pending.extend(accepted);
        let stream_time = self.stream_time.unwrap_or_default();
        self.complete(|at| at.0.saturating_add(after) < stream_time.0)
    }

    /// The first of the pending rows that are complete, in the file's order.
    fn complete(&mut self, is_complete: impl Fn(Millis) -> bool) -> Chunk {
        let count = self.pending.iter().take_while(|(transaction, _)| is_complete(transaction.occurred_at)).count();
        let done: Vec<_> = self.pending.drain(..count).collect();
        let mut rows = self.rows();
        self.history.read(&events(&done), &self.offline.plan, &mut rows);
        Chunk { transactions: done.into_iter().map(|(transaction, _)| transaction).collect(), rows }
    }
}

fn events(accepted: &[Accepted]) -> Vec<Event<'_>> {
    accepted.iter().map(|(transaction, base)| Event { transaction, base: *base }).collect()
}
