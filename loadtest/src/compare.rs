//! assay against the empty handler, by turns: slow spells of the machine meet both.

use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::bodies::{Bodies, MOST};
use crate::client::{Connection, Target, runtime};
use crate::closed::rounds;
use crate::empty::EmptyProcess;
use crate::report::{Figures, Report, say, say_figures};

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Where to post.
    #[arg(long, default_value = "http://127.0.0.1:8080/predict")]
    url: String,
    /// Rounds; the result is the median of their differences.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rounds: u64,
    /// Requests to each of the three in a round.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=MOST))]
    requests: u64,
    /// Requests to one before it is the next one's turn.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    batch: u64,
    /// Processors of the empty handler, as `taskset -c` takes them: put it where the server is.
    #[arg(long)]
    servers_on: Option<String>,
    /// Of the simulated payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

/// One round: the empty handler, assay, and the empty handler on a second connection.
#[derive(Debug, Serialize)]
struct Round {
    empty: Figures,
    assay: Figures,
    again: Figures,
}

/// Differences to the empty handler, µs: medians over the rounds. `noise` is the empty handler against itself.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    p50: i64,
    p99: i64,
    noise_p50: i64,
    noise_p99: i64,
}

#[derive(Debug, Serialize)]
struct Outcome<'a> {
    rounds: &'a [Round],
    difference: Difference,
}

impl Compare {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let target = Target::parse(&self.url)?;
        let process = EmptyProcess::start(self.servers_on.as_deref())?;
        let empty = Target::parse(&process.url)?;
        let mut bodies = Bodies::new(self.seed)?;
        runtime()?.block_on(async {
            let mut connections =
                [Connection::open(&empty).await?, Connection::open(&target).await?, Connection::open(&empty).await?];
            for connection in &mut connections {
                rounds(connection, bodies.take(500)?, &mut Report::new()?).await?;
            }
            let mut done = Vec::new();
            for number in 1..=self.rounds {
                let [mut first, mut second, mut third] = [Report::new()?, Report::new()?, Report::new()?];
                let begun = Instant::now();
                let mut rest = self.requests;
                while rest > 0 {
                    let count = rest.min(self.batch);
                    rest -= count;
                    for (connection, report) in connections.iter_mut().zip([&mut first, &mut second, &mut third]) {
                        rounds(connection, bodies.take(count)?, report).await?;
                    }
                }
                let span = begun.elapsed();
                let round =
                    Round { empty: first.figures(span), assay: second.figures(span), again: third.figures(span) };
                if !self.json {
                    say(&round.line(number))?;
                }
                done.push(round);
            }
            let difference = Difference::of(&done);
            let line = format!(
                "median difference: p50 {:+} µs, p99 {:+} µs (empty against empty: p50 {:+} µs, p99 {:+} µs)",
                difference.p50, difference.p99, difference.noise_p50, difference.noise_p99
            );
            say_figures(&Outcome { rounds: &done, difference }, &line, self.json)
        })
    }
}

impl Round {
    fn line(&self, number: u64) -> String {
        let (empty, assay, again) = (&self.empty, &self.assay, &self.again);
        format!(
            "round {number}: p50 empty {} µs, assay {} µs ({:+}), empty again {} µs ({:+}); p99 {} / {} / {} µs; answers {:?}",
            empty.p50,
            assay.p50,
            assay.p50.cast_signed() - empty.p50.cast_signed(),
            again.p50,
            again.p50.cast_signed() - empty.p50.cast_signed(),
            empty.p99,
            assay.p99,
            again.p99,
            assay.answers
        )
    }
}

impl Difference {
    fn of(rounds: &[Round]) -> Self {
        let over = |difference: fn(&Round) -> i64| median(rounds.iter().map(difference).collect());
        Self {
            p50: over(|round| round.assay.p50.cast_signed() - round.empty.p50.cast_signed()),
            p99: over(|round| round.assay.p99.cast_signed() - round.empty.p99.cast_signed()),
            noise_p50: over(|round| round.again.p50.cast_signed() - round.empty.p50.cast_signed()),
            noise_p99: over(|round| round.again.p99.cast_signed() - round.empty.p99.cast_signed()),
        }
    }
}

/// The middle value, the upper one of two; 0 of none.
fn median(mut values: Vec<i64>) -> i64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_the_median_of_the_differences_of_rounds() {
        let figures = |micros: u64| {
            let mut report = Report::new().unwrap();
            (0..100).for_each(|_| report.add(std::time::Duration::from_micros(micros), Some(200)));
            report.figures(std::time::Duration::from_secs(1))
        };
        let round = |empty, assay, again| Round { empty: figures(empty), assay: figures(assay), again: figures(again) };
        // One round in a slow spell does not move it.
        let rounds = [round(50, 80, 51), round(60, 95, 59), round(500, 1_500, 700)];
        assert_eq!(Difference::of(&rounds), Difference { p50: 35, p99: 35, noise_p50: 1, noise_p99: 1 });
        assert!(rounds[0].line(1).contains("assay 80 µs (+30)"));
        assert_eq!(median(Vec::new()), 0);
    }
}
