//! The memory of an instance while PostgreSQL is away, and how long it takes afterwards to catch up.
//!
//! ```text
//! payments:   ──────────────────────────────────────────────▶
//! PostgreSQL:  there ─▶ away ──────────────▶ there
//! rows:        before their events           in bulk, while decisions are delivered already
//! ```
//!
//! Rows cannot be written while PostgreSQL is away. Those of payments from its end on come after it is back: until then assay
//! keeps the decisions that wait for a row. `--in-peace` leaves PostgreSQL be and writes every row before its event: what
//! memory grows by then is history, not the outage.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use assay::ops::process::Process;
use clap::Args;
use serde::Serialize;

use super::progress;
use super::servers::turn;
use super::table::Table;
use super::trial::{Outcome, Scene, Trial, payments_in};
use crate::client::runtime;
use crate::report::{say, say_figures};

#[derive(Debug, Args)]
pub(crate) struct Away {
    #[command(flatten)]
    trial: Trial,
    /// How long PostgreSQL is away; ended and started by the project's script, which inherits the environment
    /// (ASSAY_POSTGRES_PORT, ASSAY_POSTGRES_DATA).
    #[arg(long, default_value = "10m", value_parser = assay::base::span::parse)]
    duration: Duration,
    /// How long payments flow before and after.
    #[arg(long, default_value = "30s", value_parser = assay::base::span::parse)]
    there: Duration,
    /// Leaves PostgreSQL be, for comparison.
    #[arg(long)]
    in_peace: bool,
}

/// Memory in MB (a million bytes) that the instance had in use, as the kernel counts it.
#[derive(Debug, Clone, Default, Serialize)]
struct Memory {
    at_stop: f64,
    most: f64,
    at_end: f64,
    /// The most above that at the stop.
    growth: f64,
    /// When all rows were completed.
    afterwards: f64,
    /// From PostgreSQL's return until the rows of all payments sent before it were completed, in seconds; the writing
    /// of rows lies in it.
    caught_up_after: f64,
    /// Rows that were written after PostgreSQL was back, and for how many seconds.
    rows_later: usize,
    writing: f64,
}

#[derive(Debug, Serialize)]
struct Course {
    memory: Memory,
    #[serde(flatten)]
    trial: Outcome,
}

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_secs(1);
/// The time between two lines that tell it.
const TOLD: Duration = Duration::from_secs(60);
/// Gives up when no row was completed for this long.
const SILENCE: Duration = Duration::from_secs(120);

impl Away {
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        ensure!(self.trial.fleet.instances == 1, "--instances 1: the memory of one is looked at");
        self.trial.lasting(self.duration + self.there * 2);
        runtime()?.block_on(async {
            let rows = if self.in_peace { usize::MAX } else { self.payments_after(self.there)? };
            let mut memory = Memory::default();
            let trial = self.trial.run_with_rows(rows, |scene| self.away(scene, rows, &mut memory)).await?;
            let course = Course { memory, trial };
            say_figures(&course, &course.line(), self.trial.json)?;
            ensure!(course.trial.verdict.is_clean(), "what was decided is not what it must be");
            Ok(())
        })
    }

    /// How many payments were sent after so long.
    fn payments_after(&self, span: Duration) -> anyhow::Result<usize> {
        Ok(usize::try_from(payments_in(span, self.trial.rate))?)
    }

    async fn away(&self, mut scene: Scene, rows: usize, memory: &mut Memory) -> anyhow::Result<Vec<String>> {
        let pid = scene.fleet.lock().await.pid(0).context("no instance runs")?;
        let begun = Instant::now();
        ensure!(scene.sleep(self.there).await, "the payments ended before PostgreSQL did: send more");
        memory.at_stop = megabytes(pid)?;
        if !self.in_peace {
            turn("scripts/postgres.sh", &["stop"]).await?;
        }
        let (stopped, mut told) = (Instant::now(), Duration::ZERO);
        while stopped.elapsed() < self.duration {
            tokio::time::sleep(LOOK.min(self.duration.saturating_sub(stopped.elapsed()))).await;
            memory.at_end = megabytes(pid)?;
            memory.most = memory.most.max(memory.at_end);
            if stopped.elapsed() >= told + TOLD {
                told = stopped.elapsed();
                say(&format!("{} s away: {:.1} MB", told.as_secs(), memory.at_end))?;
            }
        }
        memory.growth = memory.most - memory.at_stop;
        ensure!(!*scene.ended.borrow(), "the payments ended before PostgreSQL was back: send more");
        if !self.in_peace {
            turn("scripts/postgres.sh", &["start"]).await?;
        }

        let back = Instant::now();
        let mut table = Table::open(&self.trial.servers).await?;
        let later = scene.payments.get(rows..).unwrap_or_default();
        table.insert(later).await?;
        (memory.rows_later, memory.writing) = (later.len(), back.elapsed().as_secs_f64());
        let before = self.payments_after(back - begun)?.min(scene.payments.len());
        let before = scene.payments.get(..before).unwrap_or_default();
        let ids: Vec<String> = before.iter().map(|payment| payment.transaction_id.to_string()).collect();
        let open = progress::wait(&table, &ids, SILENCE).await?;
        ensure!(open == 0, "{open} rows are open although nothing is away");
        memory.caught_up_after = back.elapsed().as_secs_f64();
        memory.afterwards = megabytes(pid)?;
        Ok(vec![format!(
            "{:.1} s: PostgreSQL away until {:.1} s",
            (stopped - begun).as_secs_f64(),
            (back - begun).as_secs_f64()
        )])
    }
}

fn megabytes(pid: u32) -> anyhow::Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
    Ok(Process::resident_of(pid).with_context(|| format!("process {pid} does not tell its memory"))? as f64 / 1e6)
}

impl Course {
    fn line(&self) -> String {
        let Memory { at_stop, most, at_end, growth, afterwards, caught_up_after, rows_later, writing } = &self.memory;
        format!(
            "memory {at_stop:.1} MB at the stop, at most {most:.1} MB, {at_end:.1} MB at the end: grown by {growth:.1} MB; {afterwards:.1} MB afterwards\n\
             all rows completed {caught_up_after:.1} s after PostgreSQL was back; {rows_later} rows were written then, for {writing:.1} s\n{}",
            self.trial.line()
        )
    }
}
