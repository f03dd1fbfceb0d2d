//! What a run of `assay rescore` works with: the view, the lock's session, the topic of decisions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::runtime::Handle;

use super::pace::Pace;
use crate::base::clock::{Clock as _, Millis, SystemClock};
use crate::cli::rejects::Rejects;
use crate::cli::say;
use crate::cli::verdicts::Verdicts;
use crate::cli::view::ordered::Ordered;
use crate::engine::ports::{Entry, Log as _, LogError, Record};
use crate::engine::rescore::{Decided, Outside, Payment, Position, StoredRow, Tally};
use crate::store::MongoStore;
use crate::store::postgres::rescore::RescoreSession;
use crate::stream::KafkaLog;

/// How often the position is saved, and how often a line says where the run is.
const SAVE_EVERY: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long Kafka may take to acknowledge a batch.
const ACKNOWLEDGE: Duration = Duration::from_secs(60);

/// The payments of the view, in order.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) runtime: Handle,
    pub(super) view: Ordered,
    pub(super) verdicts: Verdicts,
    pub(super) rejects: Rejects,
    pub(super) pace: Pace,
}

impl Rows {
    /// When the view begins.
    pub(super) fn begins(&self) -> Result<Option<Millis>> {
        self.runtime.block_on(self.view.begins())
    }

    pub(super) fn seek(&mut self, from: Millis, until: Millis) {
        self.view.seek(from, until);
    }

    /// The next ones; none at the end.
    fn next(&mut self) -> Result<Vec<Payment>> {
        loop {
            let page = self.runtime.block_on(self.view.next())?;
            for refused in &page.rejected {
                self.rejects.put(refused.row, &refused.rejection)?;
            }
            let read = page.transactions.len() + page.rejected.len();
            if read > 0 {
                self.pace.wait(read);
            }
            if !page.transactions.is_empty() || page.ended {
                let verdicts = &mut self.verdicts;
                let payment = |transaction| Payment { labels: verdicts.take(&transaction), transaction };
                return Ok(page.transactions.into_iter().map(payment).collect());
            }
        }
    }
}

/// The way to the topic of decisions.
#[derive(Debug)]
pub(super) struct Sending {
    log: KafkaLog,
}

impl Sending {
    pub(super) const fn new(log: KafkaLog) -> Self {
        Self { log }
    }

    /// Sends records; returns when each is acknowledged.
    fn send(&self, records: Vec<Record>) -> Result<()> {
        let begun = Instant::now();
        let (told, answers) = channel();
        let mut left: VecDeque<Record> = records.into();
        let mut waiting = 0;
        while let Some(record) = left.pop_front() {
            let told = told.clone();
            let done = Box::new(move |result: Result<_, _>| drop(told.send(result.map(drop))));
            match self.log.append(Entry::Full(record.clone()), Some(done)) {
                Ok(()) => waiting += 1,
                Err(LogError::Full(_)) if begun.elapsed() < ACKNOWLEDGE => {
                    left.push_front(record);
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error.into()),
            }
        }
        for _ in 0..waiting {
            match answers.recv_timeout(ACKNOWLEDGE.saturating_sub(begun.elapsed())) {
                Ok(result) => result?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    bail!(
                        "Kafka did not acknowledge {waiting} decisions within {ACKNOWLEDGE:?}: the same command again takes the run up"
                    )
                }
            }
        }
        Ok(())
    }
}

/// What is told meanwhile.
#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    told: Instant,
    range: (Millis, Millis),
    /// Scored when the run was taken up, and when it was told last.
    before: Option<u64>,
    last: u64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), told: Instant::now(), range: Default::default(), before: None, last: 0 }
    }

    /// The span that is still to be done.
    pub(super) fn begin(&mut self, from: Millis, to: Millis) {
        self.range = (from, to);
    }

    fn filled(&mut self, at: Millis) {
        if at < self.range.0 && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            say(&format!("filling the windows: at {at}"));
        }
    }

    fn noted(&mut self, at: Millis, tally: &Tally) {
        if self.before.is_none() {
            (self.begun, self.told) = (Instant::now(), Instant::now());
            (self.before, self.last) = (Some(tally.scored()), tally.scored());
        }
        let since = self.told.elapsed();
        if since < TELL_EVERY {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
        let rate = (tally.scored() - self.last) as f64 / since.as_secs_f64();
        (self.told, self.last) = (Instant::now(), tally.scored());
        say(&format!("{}, {rate:.0}/s, at {at}{}", Told(tally), self.left(at)));
    }

    /// How long the rest of the span takes if it goes on like this.
    fn left(&self, at: Millis) -> String {
        let (from, to) = self.range;
        let (done, all) = (at.0.saturating_sub(from.0), to.0.saturating_sub(from.0));
        if done <= 0 || all <= 0 {
            return String::new();
        }
        #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
        let seconds = self.begun.elapsed().as_secs_f64() * (all - done).max(0) as f64 / done as f64;
        format!(", about {seconds:.0} s left")
    }
}

/// A tally for a person.
struct Told<'t>(&'t Tally);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { looked, first, replaced, decided, done, conflicts, repeated, unscored, lacking } = *self.0;
        write!(
            formatter,
            "{looked} payments: {first} scored for the first time, {replaced} again, {decided} kept theirs"
        )?;
        for (count, what) in [
            (done, "were done before the run was taken up"),
            (conflicts, "IN CONFLICT with what was decided under their id"),
            (repeated, "stand twice"),
            (unscored, "WITHOUT A SCORE"),
            (lacking, "have no stored features"),
        ] {
            if count > 0 {
                write!(formatter, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) runtime: Handle,
    pub(super) rows: Rows,
    pub(super) session: RescoreSession,
    pub(super) sending: Sending,
    /// Where features are kept.
    pub(super) mongodb: Option<Arc<MongoStore>>,
    /// Names the run.
    pub(super) run: u64,
    pub(super) saved: Instant,
    pub(super) pace: Pace,
    pub(super) progress: Progress,
}

impl Desk {
    /// Notes that the run is through.
    pub(super) fn end(mut self, tally: &Tally) -> Result<()> {
        self.rows.rejects.end()?;
        self.runtime.block_on(self.session.end(self.run, tally))?;
        say(&format!("done: {}", Told(tally)));
        Ok(())
    }
}

impl Outside for Desk {
    type Error = anyhow::Error;

    fn payments(&mut self) -> Result<Vec<Payment>> {
        let payments = self.rows.next()?;
        if let Some(last) = payments.last() {
            self.progress.filled(last.transaction.occurred_at);
        }
        Ok(payments)
    }

    /// By the lock's own session: where that is lost, this fails.
    fn decided(&mut self, ids: &[&str]) -> Result<Vec<Option<Decided>>> {
        Ok(self.runtime.block_on(self.session.decided(ids))?)
    }

    fn features(&mut self, of: &[(&str, u32)], names: &[String]) -> Result<Vec<Option<StoredRow>>> {
        let store = self.mongodb.as_ref().context("no features are stored without [mongodb]")?;
        Ok(self.runtime.block_on(store.features_of_many(of, names))?)
    }

    fn append(&mut self, records: Vec<Record>) -> Result<()> {
        self.sending.send(records)
    }

    fn note(&mut self, position: &Position, tally: &Tally) -> Result<()> {
        if self.saved.elapsed() >= SAVE_EVERY {
            self.runtime.block_on(self.session.save(self.run, position, tally))?;
            self.saved = Instant::now();
        }
        self.progress.noted(position.occurred_at, tally);
        Ok(())
    }

    fn pace(&mut self, records: usize) {
        if records > 0 {
            self.pace.wait(records);
        }
    }

    fn now(&self) -> Millis {
        SystemClock.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_it_should_be_is_told_and_only_then() {
        let calm = Tally { looked: 10, first: 3, replaced: 4, decided: 3, ..Tally::default() };
        assert_eq!(Told(&calm).to_string(), "10 payments: 3 scored for the first time, 4 again, 3 kept theirs");
        let told = Told(&Tally { unscored: 2, conflicts: 1, ..calm }).to_string();
        assert!(told.ends_with("1 IN CONFLICT with what was decided under their id, 2 WITHOUT A SCORE"), "{told}");
    }
}
