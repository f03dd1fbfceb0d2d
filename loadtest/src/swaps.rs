//! `/predict` while models are swapped beside it.
//!
//! One open loop over spans by turns: calm, then with a swap every so often. A swap holds a version against its gates anew (it is
//! loaded and warmed) and puts it in force. Of the spans with swaps, requests count whose intended time lies inside a swap, from
//! its command to its answer. Every answer must name a version that was in force while it was under way.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use assay::base::span;
use clap::Args;
use serde::Serialize;

use crate::bodies::Bodies;
use crate::client::{Connection, Target, runtime};
use crate::drive::{Answer, drive, version_of};
use crate::report::{Report, say_figures};
use crate::schedule::{Arrivals, schedule};

#[derive(Debug, Args)]
pub(crate) struct Swaps {
    /// Where to post.
    #[arg(long, default_value = "http://127.0.0.1:8080/predict")]
    url: String,
    /// The listener for commands.
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    admin: String,
    /// The versions that are swapped, by turns.
    #[arg(long, num_args = 2, value_names = ["NAME/VERSION", "NAME/VERSION"], required = true)]
    versions: Vec<String>,
    /// Requests a second.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Pairs of a calm span and one with swaps.
    #[arg(long, default_value_t = 5)]
    pairs: u32,
    /// How long a span is.
    #[arg(long, default_value = "10s", value_parser = span::parse)]
    span: Duration,
    /// How often a swap begins.
    #[arg(long, default_value = "500ms", value_parser = span::parse)]
    every: Duration,
    /// Swap nothing: the windows stay, and the ratio is the noise.
    #[arg(long)]
    still: bool,
    /// The server's process: its memory, handles and threads are told.
    #[arg(long)]
    process: Option<u32>,
    /// Then so many rollbacks, each from its command to the first answer.
    #[arg(long, default_value_t = 0)]
    rollbacks: u32,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

/// One swap: the version, and the moments of its command and its answer.
#[derive(Debug, Clone)]
struct Swap {
    version: String,
    begun: Instant,
    asked: Instant,
    answered: Instant,
    process: Option<Process>,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Process {
    resident_kib: u64,
    handles: u64,
    threads: u64,
}

/// The figures of one pair; latencies in microseconds.
#[derive(Debug, Serialize)]
struct Pair {
    calm_p99: u64,
    calm_p999: u64,
    swap_p99: u64,
    swap_p999: u64,
    requests_in_swaps: u64,
}

#[derive(Debug, Serialize)]
struct Figures {
    pairs: Vec<Pair>,
    /// Medians of the pairs' ratios.
    p99_ratio: f64,
    p999_ratio: f64,
    swaps: usize,
    /// Median and longest time of a swap, loading and gates included, milliseconds.
    swap_median_ms: f64,
    swap_max_ms: f64,
    requests: usize,
    /// Requests without a decision of a model.
    failed: usize,
    /// Answers that name a version that was not in force.
    wrong: usize,
    /// p99 of the requests inside the first and the last hundred swaps, microseconds.
    first_hundred_p99: u64,
    last_hundred_p99: u64,
    /// After the 20th swap, and after the last.
    process: Vec<Process>,
    /// From the command to the first answer, milliseconds: median and longest.
    rollback_ms: Option<(f64, f64)>,
}

impl Swaps {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let target = Target::parse(&self.url)?;
        let admin = Target::parse(&format!("{}/models", self.admin))?;
        let spans = self.pairs * 2;
        let times = schedule(Arrivals::Constant, self.rate, self.span * spans, 1);
        let bodies = Bodies::new(1)?.take(times.len() as u64)?;
        runtime()?.block_on(async {
            let mut commands = Connection::open(&admin).await?;
            activate(&mut commands, self.versions.first().context("two versions")?).await
        })?;
        // Somewhat ahead, so that bodies and connections are there.
        let start = Instant::now() + Duration::from_millis(200);
        let swaps = Arc::new(Mutex::new(Vec::new()));
        let swapping = {
            let (swaps, options) = (Arc::clone(&swaps), (self.versions.clone(), self.every, self.still, self.process));
            let windows: Vec<Instant> = (0..self.pairs).map(|pair| start + self.span * (pair * 2 + 1)).collect();
            let span = self.span;
            std::thread::spawn(move || swap(&admin, &windows, span, options, &swaps))
        };
        let local = tokio::task::LocalSet::new();
        let answers = runtime()?.block_on(local.run_until(drive(&target, start, times, bodies, self.connections)))?;
        match swapping.join() {
            Ok(swapped) => swapped?,
            Err(_) => bail!("the thread that swaps failed"),
        }
        let swaps = std::mem::take(&mut *swaps.lock().unwrap_or_else(PoisonError::into_inner));
        let rollbacks = if self.rollbacks > 0 { Some(runtime()?.block_on(self.roll_back(&target))?) } else { None };
        let figures = self.figures(start, &answers, &swaps, rollbacks)?;
        say_figures(&figures, &figures.line(), self.json)
    }

    fn figures(
        &self,
        start: Instant,
        answers: &[Answer],
        swaps: &[Swap],
        rollback_ms: Option<(f64, f64)>,
    ) -> anyhow::Result<Figures> {
        let within = |answer: &Answer, swaps: &[Swap]| {
            swaps.iter().any(|swap| (swap.begun..=swap.answered).contains(&answer.intended))
        };
        let latency = |answer: &&Answer| answer.done.duration_since(answer.intended);
        let report = |answers: &mut dyn Iterator<Item = &Answer>| -> anyhow::Result<_> {
            let mut report = Report::new()?;
            for answer in answers {
                report.add(latency(&answer), Some(200));
            }
            Ok(report.figures(self.span))
        };
        let mut pairs = Vec::new();
        for pair in 0..self.pairs {
            let calm = start + self.span * (pair * 2);
            let (middle, end) = (calm + self.span, calm + self.span * 2);
            let in_calm = report(&mut answers.iter().filter(|answer| (calm..middle).contains(&answer.intended)))?;
            let own: Vec<Swap> = swaps.iter().filter(|swap| (middle..end).contains(&swap.begun)).cloned().collect();
            let in_swaps = report(&mut answers.iter().filter(|answer| within(answer, &own)))?;
            ensure!(in_swaps.requests > 0, "no request lay inside a swap: raise --rate or --span");
            pairs.push(Pair {
                calm_p99: in_calm.p99,
                calm_p999: in_calm.p999,
                swap_p99: in_swaps.p99,
                swap_p999: in_swaps.p999,
                requests_in_swaps: in_swaps.requests,
            });
        }
        let hundred = |swaps: &[Swap]| -> anyhow::Result<u64> {
            Ok(report(&mut answers.iter().filter(|answer| within(answer, swaps)))?.p99)
        };
        let first = swaps.get(..100).unwrap_or(swaps);
        let last = swaps.get(swaps.len().saturating_sub(100)..).unwrap_or(swaps);
        let took = |swap: &Swap| swap.answered.duration_since(swap.begun).as_secs_f64() * 1e3;
        let mut times: Vec<f64> = swaps.iter().map(took).collect();
        times.sort_by(f64::total_cmp);
        let process = [swaps.get(19), swaps.last()].into_iter().flatten().filter_map(|swap| swap.process).collect();
        let ratio = |of: &dyn Fn(&Pair) -> (u64, u64)| {
            let ratio = |pair: &Pair| {
                let (swap, calm) = of(pair);
                swap as f64 / calm.max(1) as f64
            };
            median(pairs.iter().map(ratio).collect())
        };
        Ok(Figures {
            p99_ratio: ratio(&|pair| (pair.swap_p99, pair.calm_p99)),
            p999_ratio: ratio(&|pair| (pair.swap_p999, pair.calm_p999)),
            pairs,
            swaps: swaps.len(),
            swap_median_ms: median(times.clone()),
            swap_max_ms: times.last().copied().unwrap_or_default(),
            requests: answers.len(),
            failed: answers.iter().filter(|answer| answer.version.is_none()).count(),
            wrong: if self.still { 0 } else { answers.iter().filter(|answer| is_wrong(answer, swaps)).count() },
            first_hundred_p99: hundred(first)?,
            last_hundred_p99: hundred(last)?,
            process,
            rollback_ms,
        })
    }

    /// From the command to the first answer of the version before, milliseconds: median and longest.
    async fn roll_back(&self, target: &Target) -> anyhow::Result<(f64, f64)> {
        let mut commands = Connection::open(&Target::parse(&format!("{}/models/rollback", self.admin))?).await?;
        let mut payments = Connection::open(target).await?;
        let mut bodies = Bodies::new(2)?.take(u64::from(self.rollbacks))?;
        let mut times = Vec::new();
        for _ in 0..self.rollbacks {
            for version in &self.versions {
                activate(&mut commands, version).await?;
            }
            let body = bodies.pop().context("a body for each")?;
            let begun = Instant::now();
            let (status, answer) = commands.ask(COMMAND.into()).await?;
            ensure!(status == 200, "the rollback was refused: {}", String::from_utf8_lossy(&answer));
            let (_, answer) = payments.ask(body).await?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            ensure!(version_of(&answer).as_ref() == self.versions.first(), "the answer is not of the version before");
        }
        let longest = times.iter().copied().fold(0.0, f64::max);
        Ok((median(times), longest))
    }
}

impl Figures {
    fn line(&self) -> String {
        let pairs = self.pairs.iter().map(|pair| {
            format!(
                "\n  p99 {} -> {} µs, p99.9 {} -> {} µs, {} requests in swaps",
                pair.calm_p99, pair.swap_p99, pair.calm_p999, pair.swap_p999, pair.requests_in_swaps
            )
        });
        let process = self.process.iter().map(|one| {
            format!("\n  {} KiB resident, {} handles, {} threads", one.resident_kib, one.handles, one.threads)
        });
        let rollback = self.rollback_ms.map(|(median, longest)| {
            format!("\nrollback to the first answer: median {median:.2} ms, longest {longest:.2} ms")
        });
        format!(
            "{} swaps (median {:.0} ms, longest {:.0} ms), {} requests, {} failed, {} of a version not in force: p99 {:.2} x, p99.9 {:.2} x (medians of {} pairs); p99 inside the first hundred swaps {} µs, the last {} µs{}{}{}",
            self.swaps,
            self.swap_median_ms,
            self.swap_max_ms,
            self.requests,
            self.failed,
            self.wrong,
            self.p99_ratio,
            self.p999_ratio,
            self.pairs.len(),
            self.first_hundred_p99,
            self.last_hundred_p99,
            pairs.collect::<String>(),
            process.collect::<String>(),
            rollback.unwrap_or_default(),
        )
    }
}

const COMMAND: &str = r#"{"by": "loadtest", "why": "a measurement"}"#;

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Whether an answer names a version that was in force at no moment while it was under way. A version may be so from its command on,
/// and until the next one's answer.
fn is_wrong(answer: &Answer, swaps: &[Swap]) -> bool {
    let Some(version) = &answer.version else { return false };
    let Some(first) = swaps.first() else { return false };
    if answer.done < first.asked {
        return false;
    }
    let in_force = |(at, swap): (usize, &Swap)| {
        let until = swaps.get(at + 1).map(|next| next.answered);
        swap.version == *version && swap.asked <= answer.done && until.is_none_or(|until| answer.sent <= until)
    };
    // Before the first swap the other version was in force.
    let before = *version != first.version && answer.sent <= first.answered;
    !before && !swaps.iter().enumerate().any(in_force)
}

async fn command(commands: &mut Connection, version: &str, what: &str) -> anyhow::Result<()> {
    let path = format!("/models/{version}/{what}");
    let (status, answer) = commands.post_to(&path, COMMAND.into()).await?;
    ensure!(status == 200, "{what} of {version}: {status} {}", String::from_utf8_lossy(&answer));
    Ok(())
}

async fn activate(commands: &mut Connection, version: &str) -> anyhow::Result<()> {
    command(commands, version, "activate").await
}

type Options = (Vec<String>, Duration, bool, Option<u32>);

/// Swaps inside each window, one after the other.
fn swap(
    admin: &Target,
    windows: &[Instant],
    span: Duration,
    (versions, every, still, process): Options,
    swaps: &Mutex<Vec<Swap>>,
) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let mut turn = 1;
        for window in windows {
            let mut next = *window;
            tokio::time::sleep_until(next.into()).await;
            // Anew: a calm span may be longer than a connection may be silent.
            let mut commands = Connection::open(admin).await?;
            while next + every <= *window + span {
                tokio::time::sleep_until(next.into()).await;
                let version = versions.get(turn % versions.len()).context("two versions")?;
                let begun = Instant::now();
                if still {
                    tokio::time::sleep(every / 2).await;
                } else {
                    command(&mut commands, version, "verify").await?;
                }
                let asked = Instant::now();
                if !still {
                    activate(&mut commands, version).await?;
                }
                let answered = Instant::now();
                let process = process.map(Process::read).transpose()?;
                let swap = Swap { version: version.clone(), begun, asked, answered, process };
                swaps.lock().unwrap_or_else(PoisonError::into_inner).push(swap);
                turn += 1;
                next = (next + every).max(Instant::now());
            }
        }
        Ok(())
    })
}

impl Process {
    fn read(process: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).context("the process is not there")?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next()?.parse().ok())
        };
        let handles = fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64;
        let (Some(resident_kib), Some(threads)) = (number("VmRSS"), number("Threads")) else {
            bail!("/proc/{process}/status says not what it holds");
        };
        Ok(Self { resident_kib, handles, threads })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swap(version: &str, begin: Instant, at: u64) -> Swap {
        let ms = |ms| begin + Duration::from_millis(ms);
        Swap { version: version.into(), begun: ms(at), asked: ms(at + 5), answered: ms(at + 10), process: None }
    }

    #[test]
    fn an_answer_names_a_version_that_was_in_force() {
        let begin = Instant::now();
        let swaps = [swap("f/2", begin, 100), swap("f/1", begin, 200)];
        let answer = |version: &str, sent: u64, done: u64| {
            let ms = |ms| begin + Duration::from_millis(ms);
            Answer { intended: ms(sent), sent: ms(sent), done: ms(done), version: Some(version.into()) }
        };
        for (version, sent, done, wrong) in [
            ("f/1", 10, 20, false),
            ("f/1", 100, 107, false),
            ("f/2", 100, 107, false),
            ("f/1", 120, 130, true),
            ("f/2", 120, 130, false),
            ("f/2", 204, 300, false),
            ("f/2", 220, 300, true),
            ("f/1", 220, 300, false),
            ("f/3", 150, 160, true),
        ] {
            assert_eq!(is_wrong(&answer(version, sent, done), &swaps), wrong, "{version} {sent}..{done}");
        }
    }
}
