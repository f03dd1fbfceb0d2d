//! `/predict` while a challenger scores every transaction besides.
//!
//! One open loop over spans by turns: without the challenger, then with it. A second before each span, in which the challenger comes or
//! goes, does not count. After each span with it the server says how many transactions were compared, dropped and failed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use assay::base::span;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::bodies::Bodies;
use crate::client::{Connection, Target, runtime};
use crate::drive::{Answer, drive};
use crate::report::{Report, say_figures};
use crate::schedule::{Arrivals, schedule};
use crate::swaps::median;

/// What does not count at the beginning of a span.
const LEAD: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct Shadow {
    /// Where to post.
    #[arg(long, default_value = "http://127.0.0.1:8080/predict")]
    url: String,
    /// The listener for commands.
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    admin: String,
    /// The challenger.
    #[arg(long, value_name = "NAME/VERSION")]
    version: String,
    /// Requests a second.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Pairs of a span without the challenger and one with it.
    #[arg(long, default_value_t = 5)]
    pairs: u32,
    /// How long a span is, a second of which does not count.
    #[arg(long, default_value = "11s", value_parser = span::parse)]
    span: Duration,
    /// Start no challenger: the ratio is the noise.
    #[arg(long)]
    still: bool,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

/// Of what `GET /models/compare` answers.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Compared {
    compared: u64,
    dropped: u64,
    failed: u64,
}

/// The figures of one pair; latencies in microseconds.
#[derive(Debug, Serialize)]
struct Pair {
    alone_p50: u64,
    alone_p99: u64,
    beside_p50: u64,
    beside_p99: u64,
    compared: Compared,
}

#[derive(Debug, Serialize)]
struct Figures {
    pairs: Vec<Pair>,
    /// Medians of the pairs' ratios.
    p50_ratio: f64,
    p99_ratio: f64,
    /// Of all that was handed over, 0 to 1.
    compared_share: f64,
    requests: usize,
    /// Requests without a decision of a model.
    failed: usize,
}

impl Shadow {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let target = Target::parse(&self.url)?;
        let admin = Target::parse(&format!("{}/models", self.admin))?;
        let times = schedule(Arrivals::Constant, self.rate, self.span * self.pairs * 2, 1);
        let bodies = Bodies::new(1)?.take(times.len() as u64)?;
        // Somewhat ahead, so that bodies and connections are there.
        let start = Instant::now() + Duration::from_millis(200);
        let local = tokio::task::LocalSet::new();
        let (answers, compared) = std::thread::scope(|scope| {
            let turns = scope.spawn(|| runtime()?.block_on(self.take_turns(&admin, start)));
            let answers =
                runtime()?.block_on(local.run_until(drive(&target, start, times, bodies, self.connections)))?;
            match turns.join() {
                Ok(compared) => anyhow::Ok((answers, compared?)),
                Err(_) => bail!("the thread of the challenger failed"),
            }
        })?;
        let figures = self.figures(start, &answers, &compared)?;
        say_figures(&figures, &figures.line(), self.json)
    }

    /// Lets the challenger come and go; what was compared in each span with it.
    async fn take_turns(&self, admin: &Target, start: Instant) -> anyhow::Result<Vec<Compared>> {
        let mut all = Vec::new();
        for pair in 0..self.pairs {
            let begins = start + self.span * (pair * 2 + 1);
            tokio::time::sleep_until(begins.into()).await;
            if self.still {
                all.push(Compared::default());
                continue;
            }
            self.share(admin, 10_000).await?;
            tokio::time::sleep_until((begins + self.span).into()).await;
            let mut commands = Connection::open(admin).await?;
            let (status, answer) = commands.get("/models/compare").await?;
            ensure!(status == 200, "no comparison: {status} {}", String::from_utf8_lossy(&answer));
            all.push(serde_json::from_slice(&answer).context("the comparison is not assay's")?);
            self.share(admin, 0).await?;
        }
        Ok(all)
    }

    async fn share(&self, admin: &Target, basis_points: u16) -> anyhow::Result<()> {
        // Anew: a span is longer than a connection may be silent.
        let mut commands = Connection::open(admin).await?;
        let body = serde_json::json!({"by": "loadtest", "why": "a measurement", "basis_points": basis_points});
        let path = format!("/models/{}/shadow", self.version);
        let (status, answer) = commands.post_to(&path, body.to_string().into()).await?;
        ensure!(status == 200, "{}: {status} {}", self.version, String::from_utf8_lossy(&answer));
        Ok(())
    }

    fn figures(&self, start: Instant, answers: &[Answer], compared: &[Compared]) -> anyhow::Result<Figures> {
        let report = |begins: Instant| -> anyhow::Result<_> {
            let mut report = Report::new()?;
            let span = begins + LEAD..begins + self.span;
            for answer in answers.iter().filter(|answer| span.contains(&answer.intended)) {
                report.add(answer.done.duration_since(answer.intended), Some(200));
            }
            Ok(report.figures(self.span - LEAD))
        };
        let mut pairs = Vec::new();
        for (pair, compared) in (0..self.pairs).zip(compared) {
            let (alone, beside) =
                (report(start + self.span * (pair * 2))?, report(start + self.span * (pair * 2 + 1))?);
            pairs.push(Pair {
                alone_p50: alone.p50,
                alone_p99: alone.p99,
                beside_p50: beside.p50,
                beside_p99: beside.p99,
                compared: *compared,
            });
        }
        let ratio = |of: &dyn Fn(&Pair) -> (u64, u64)| {
            let ratios = pairs.iter().map(of).map(|(beside, alone)| beside as f64 / alone.max(1) as f64);
            median(ratios.collect())
        };
        let sum = |of: &dyn Fn(&Compared) -> u64| pairs.iter().map(|pair| of(&pair.compared)).sum::<u64>();
        let done = sum(&|compared| compared.compared);
        let all = sum(&|compared| compared.compared + compared.dropped + compared.failed);
        Ok(Figures {
            p50_ratio: ratio(&|pair| (pair.beside_p50, pair.alone_p50)),
            p99_ratio: ratio(&|pair| (pair.beside_p99, pair.alone_p99)),
            compared_share: done as f64 / all.max(1) as f64,
            requests: answers.len(),
            failed: answers.iter().filter(|answer| answer.version.is_none()).count(),
            pairs,
        })
    }
}

impl Figures {
    fn line(&self) -> String {
        let pairs = self.pairs.iter().map(|pair| {
            let Compared { compared, dropped, failed } = pair.compared;
            format!(
                "\n  p50 {} -> {} µs, p99 {} -> {} µs, {compared} compared, {dropped} dropped, {failed} failed",
                pair.alone_p50, pair.beside_p50, pair.alone_p99, pair.beside_p99
            )
        });
        format!(
            "{} requests, {} failed; beside the challenger p50 {:.2} x, p99 {:.2} x (medians of {} pairs), {:.1} % compared{}",
            self.requests,
            self.failed,
            self.p50_ratio,
            self.p99_ratio,
            self.pairs.len(),
            self.compared_share * 100.0,
            pairs.collect::<String>(),
        )
    }
}
