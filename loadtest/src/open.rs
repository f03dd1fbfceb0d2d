//! Open loop.
//!
//! A thread waits for each intended time and hands the request's number to whichever connection is free. It sleeps until a tenth of
//! a millisecond before and then looks at the clock, so that requests leave on time without a core being burnt.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use assay::base::span;
use clap::{Args, ValueEnum};
use hyper::body::Bytes;
use tokio::sync::{Mutex, mpsc};

use crate::bodies::Bodies;
use crate::client::{Connection, Target, runtime};
use crate::report::{Report, say_figures};
use crate::schedule::{Arrivals, schedule};

#[derive(Debug, Args)]
pub(crate) struct Predict {
    /// Where to post.
    #[arg(long, default_value = "http://127.0.0.1:8080/predict")]
    url: String,
    /// Requests a second.
    #[arg(long, default_value_t = 500.0, value_parser = parse_rate)]
    rate: f64,
    /// How long, after the warm-up.
    #[arg(long, default_value = "30s", value_parser = span::parse)]
    duration: Duration,
    /// Sent before, at the same rate, and not counted.
    #[arg(long, default_value = "3s", value_parser = span::parse)]
    warmup: Duration,
    /// Keep-alive connections: the most requests under way at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    connections: u32,
    /// Evenly, or independently of each other.
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    arrivals: Arrivals,
    /// What is posted.
    #[arg(long, value_enum, default_value_t = Body::Simulated)]
    body: Body,
    /// Of the simulated payments and of Poisson arrivals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

/// What is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Body {
    /// Simulated payments that happen now, with ids of their own.
    Simulated,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.001..=1_000_000.0).contains(rate));
    rate.ok_or_else(|| format!("{text:?} is not a rate of 0.001 to 1000000 a second"))
}

impl Predict {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let target = Target::parse(&self.url)?;
        let times = schedule(self.arrivals, self.rate, self.warmup + self.duration, self.seed);
        let Body::Simulated = self.body;
        let bodies = Bodies::new(self.seed)?.take(times.len() as u64)?;
        let load = Load { times, bodies, connections: self.connections, warmup: self.warmup };
        runtime()?.block_on(tokio::task::LocalSet::new().run_until(async {
            let begun = Instant::now();
            let Seen { report, lag } = drive(&target, load, Seen::new()?).await?;
            let span = begun.elapsed().saturating_sub(self.warmup);
            let (figures, lag) = (report.figures(span), lag.figures(span));
            let line = format!("{}; left after its time by p50 {} µs  p99 {} µs", figures.line(), lag.p50, lag.p99);
            say_figures(&figures, &line, self.json)
        }))
    }
}

/// What is sent, and when.
pub(crate) struct Load {
    /// Of each body, from the start.
    pub(crate) times: Vec<Duration>,
    pub(crate) bodies: Vec<Bytes>,
    /// The most requests under way at once.
    pub(crate) connections: u32,
    /// Requests whose time is before it do not count.
    pub(crate) warmup: Duration,
}

/// What was seen of a load.
pub(crate) struct Seen {
    /// From the intended time to the answer.
    pub(crate) report: Report,
    /// From the intended time to the request.
    pub(crate) lag: Report,
}

impl Seen {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { report: Report::new()?, lag: Report::new()? })
    }
}

/// Sends a load and adds what it sees to `seen`. Within a `LocalSet`.
pub(crate) async fn drive(target: &Target, load: Load, seen: Seen) -> anyhow::Result<Seen> {
    let Load { times, bodies, connections: count, warmup } = load;
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(Connection::open(target).await?);
    }
    let start = Instant::now() + Duration::from_millis(10);
    let due: Rc<Vec<Instant>> = Rc::new(times.iter().map(|time| start + *time).collect());
    let seen = Rc::new(RefCell::new(seen));
    let (receiver, bodies) = (Rc::new(Mutex::new(receiver)), Rc::new(bodies));
    // Ends with the schedule. The channel holds at most its numbers.
    let pacer = std::thread::spawn(move || pace(start, &times, &sender));
    let mut tasks = tokio::task::JoinSet::new();
    for mut connection in connections {
        let (due, bodies, receiver) = (Rc::clone(&due), Rc::clone(&bodies), Rc::clone(&receiver));
        let (seen, target) = (Rc::clone(&seen), target.clone());
        let counted = start + warmup;
        tasks.spawn_local(async move {
            loop {
                let next = receiver.lock().await.recv().await;
                let Some((intended, body)) = next.and_then(|number: usize| due.get(number).zip(bodies.get(number)))
                else {
                    return anyhow::Ok(());
                };
                let left = intended.elapsed();
                let status = connection.post(body.clone()).await;
                if *intended >= counted {
                    let mut seen = seen.borrow_mut();
                    seen.report.add(intended.elapsed(), status.as_ref().ok().copied());
                    seen.lag.add(left, None);
                }
                if status.is_err() {
                    connection = Connection::open(&target).await?;
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    if pacer.join().is_err() {
        anyhow::bail!("the pacing thread failed");
    }
    // The tasks that shared it have ended.
    Rc::into_inner(seen).map(RefCell::into_inner).context("a request is still under way")
}

/// Sends each number at its time.
pub(crate) fn pace(start: Instant, times: &[Duration], sender: &mpsc::UnboundedSender<usize>) {
    const LOOK: Duration = Duration::from_micros(100);
    for (number, time) in times.iter().enumerate() {
        let due = start + *time;
        loop {
            let rest = due.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            if rest > LOOK { std::thread::sleep(rest - LOOK) } else { std::hint::spin_loop() }
        }
        if sender.send(number).is_err() {
            return;
        }
    }
}
