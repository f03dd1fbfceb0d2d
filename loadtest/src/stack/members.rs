//! Members that join, leave and are killed while payments flow and one instance that stays is asked.
//!
//! ```text
//! all are there ─▶ [the last one leaves ─▶ joins ─▶ is killed ─▶ joins] × rounds
//! ```
//!
//! How long scoring rests is told by the payments: from the moment at which Kafka's client took the event, which stands in
//! the record, to the UPDATE of the row. A payment belongs to the phase in which its row was completed, so one that waited
//! for a new owner counts against the event that took away the old one.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use assay::base::clock::{Clock as _, SystemClock};
use clap::Args;
use hyper::body::Bytes;
use rdkafka::Message as _;
use serde::{Deserialize, Serialize};

use super::pace::{micros_now, parse_rate};
use super::payments::{Payments, body, moments};
use super::table::Table;
use super::topics;
use super::trial::{Outcome, Scene, Trial, payments_in};
use crate::client::{Target, runtime};
use crate::open::{Load, Seen, drive};
use crate::report::{Figures, Report, say_figures};
use crate::schedule::{Arrivals, schedule};

#[derive(Debug, Args)]
pub(crate) struct Members {
    #[command(flatten)]
    trial: Trial,
    /// How long each phase lasts: longer than the group's session time-out, so that each ends in peace.
    #[arg(long, default_value = "20s", value_parser = assay::base::span::parse)]
    phase: Duration,
    /// How often the last instance leaves, joins, is killed and joins again.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Questions a second to the first instance, which stays.
    #[arg(long, default_value_t = 100.0, value_parser = parse_rate)]
    ask_rate: f64,
}

/// What happens at the beginning of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Calm,
    Leaves,
    Joins,
    Killed,
}

const ROUND: [Event; 4] = [Event::Leaves, Event::Joins, Event::Killed, Event::Joins];

/// A phase while it is measured.
struct Phase {
    event: Event,
    /// Microseconds since 1970.
    from: i64,
    /// Until the instance was ready, had ended, or was dead.
    took: Duration,
    asked: Report,
    span: Duration,
}

/// What a phase showed; times in microseconds.
#[derive(Debug, Serialize)]
struct Shown {
    event: Event,
    event_seconds: f64,
    /// Event to row, of the rows that were completed in the phase; the most is how long scoring rested.
    rows: Figures,
    /// `/predict` on the instance that stays.
    predict: Figures,
}

#[derive(Debug, Serialize)]
struct Course {
    phases: Vec<Shown>,
    #[serde(flatten)]
    trial: Outcome,
}

impl Members {
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        ensure!(self.trial.fleet.instances >= 2, "--instances 2 or more: one stays, another comes and goes");
        let phases = 1 + self.rounds * u32::try_from(ROUND.len())?;
        self.trial.lasting(self.phase * phases);
        let set = tokio::task::LocalSet::new();
        runtime()?.block_on(set.run_until(async {
            let servers = &self.trial.servers;
            let table = Table::open(servers).await?;
            table.stamp().await?;
            let from = topics::ends(servers, &servers.transactions)?;
            let mut phases = Vec::new();
            let outcome = self.trial.run(|scene| self.come_and_go(scene, &mut phases)).await;
            table.stamp_no_more().await?;
            let trial = outcome?;

            let mut sent = HashMap::new();
            topics::read(servers, &servers.transactions, &from, |message| {
                let id: Id = serde_json::from_slice(message.payload().unwrap_or_default())?;
                let at = message.timestamp().to_millis().context("a record has no time")?;
                sent.entry(id.transaction_id).or_insert(at * 1_000);
                Ok(())
            })?;
            let ids: Vec<String> = sent.keys().cloned().collect();
            let rows = of_phases(&phases, &sent, &table.stamps(&ids).await?)?;
            let phases = phases.into_iter().zip(rows).map(|(phase, rows)| phase.shown(&rows)).collect();
            let result = Course { phases, trial };
            say_figures(&result, &result.line(), self.trial.json)?;
            ensure!(result.trial.verdict.is_clean(), "what was decided is not what it must be");
            Ok(())
        }))
    }

    async fn come_and_go(&self, scene: Scene, phases: &mut Vec<Phase>) -> anyhow::Result<Vec<String>> {
        let mut table = Table::open(&self.trial.servers).await?;
        let mut payments = Payments::new(self.trial.seed.wrapping_add(1))?;
        let rounds = (0..self.rounds).flat_map(|_| ROUND);
        for event in std::iter::once(Event::Calm).chain(rounds) {
            let some = payments.take_at(moments(SystemClock.now(), self.phase, payments_in(self.phase, self.ask_rate)));
            table.insert(&some).await?;
            let load = Load {
                times: schedule(Arrivals::Constant, self.ask_rate, self.phase, self.trial.seed),
                bodies: some.iter().map(|one| body(one).map(Bytes::from)).collect::<anyhow::Result<_>>()?,
                connections: 16,
                warmup: Duration::ZERO,
            };
            let target = Target::parse(&format!("{}/predict", scene.fleet.lock().await.url(0)))?;
            let (from, begun) = (micros_now(), std::time::Instant::now());
            let (asked, took) = tokio::try_join!(drive(&target, load, Seen::new()?), happen(event, &scene))?;
            ensure!(!*scene.ended.borrow(), "the payments ended before the phases: send more");
            phases.push(Phase { event, from, took, asked: asked.report, span: begun.elapsed() });
        }
        Ok(phases.iter().filter(|phase| phase.event != Event::Calm).map(|phase| phase.event.line(phase.took)).collect())
    }
}

/// Lets it happen to the last instance; how long it took.
async fn happen(event: Event, scene: &Scene) -> anyhow::Result<Duration> {
    let begun = std::time::Instant::now();
    let mut fleet = scene.fleet.lock().await;
    let last = fleet.len() - 1;
    match event {
        Event::Calm => {}
        Event::Leaves => fleet.end(last).await?,
        Event::Joins => fleet.begin(last).await?,
        Event::Killed => fleet.kill(last).await?,
    }
    Ok(begun.elapsed())
}

/// What is read of a payment on the topic.
#[derive(Deserialize)]
struct Id {
    transaction_id: String,
}

/// Event to row by phase: that of the row's moment. Rows before the first phase are left out.
fn of_phases(phases: &[Phase], sent: &HashMap<String, i64>, rows: &[(String, i64)]) -> anyhow::Result<Vec<Report>> {
    let mut reports = phases.iter().map(|_| Report::new()).collect::<anyhow::Result<Vec<_>>>()?;
    for (id, completed) in rows {
        let number = phases.partition_point(|phase| phase.from <= *completed);
        let report = number.checked_sub(1).and_then(|number| reports.get_mut(number));
        if let (Some(report), Some(sent)) = (report, sent.get(id)) {
            report.add(Duration::from_micros((completed - sent).max(0).cast_unsigned()), None);
        }
    }
    Ok(reports)
}

impl Event {
    fn line(self, took: Duration) -> String {
        let seconds = took.as_secs_f64();
        match self {
            Self::Calm => "all are there".to_owned(),
            Self::Leaves => format!("one leaves, within {seconds:.1} s"),
            Self::Joins => format!("one joins, ready after {seconds:.1} s"),
            Self::Killed => "one is killed".to_owned(),
        }
    }
}

impl Phase {
    fn shown(&self, rows: &Report) -> Shown {
        Shown {
            event: self.event,
            event_seconds: self.took.as_secs_f64(),
            rows: rows.figures(self.span),
            predict: self.asked.figures(self.span),
        }
    }
}

impl Course {
    fn line(&self) -> String {
        let mut lines = Vec::new();
        for Shown { event, event_seconds, rows, predict } in &self.phases {
            #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
            let millis = |micros: u64| micros as f64 / 1_000.0;
            lines.push(format!(
                "{}: event to row p50 {:.1} ms  p99 {:.1} ms  max {:.1} ms of {}; /predict p50 {:.1} ms  p99 {:.1} ms  max {:.1} ms  {:?}",
                event.line(Duration::from_secs_f64(*event_seconds)),
                millis(rows.p50),
                millis(rows.p99),
                millis(rows.max),
                rows.requests,
                millis(predict.p50),
                millis(predict.p99),
                millis(predict.max),
                predict.answers
            ));
        }
        lines.push(self.trial.line());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_belongs_to_the_phase_in_which_its_row_was_completed() {
        let phase = |from| Phase {
            event: Event::Calm,
            from,
            took: Duration::ZERO,
            asked: Report::new().unwrap(),
            span: Duration::from_secs(1),
        };
        let sent: HashMap<String, i64> = ["a", "b", "c", "d"].map(|id| (id.to_owned(), 900)).into();
        let rows = [("a", 950), ("b", 1_100), ("c", 2_000), ("d", 2_700), ("foreign", 1_500)];
        let rows = rows.map(|(id, at)| (id.to_owned(), at));
        let reports = of_phases(&[phase(1_000), phase(2_000)], &sent, &rows).unwrap();
        let figures: Vec<Figures> = reports.iter().map(|report| report.figures(Duration::from_secs(1))).collect();
        assert_eq!(figures.iter().map(|figures| figures.requests).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(figures.iter().map(|figures| figures.max).collect::<Vec<_>>(), [200, 1_800]);
    }
}
