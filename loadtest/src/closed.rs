//! Closed loop.

use std::time::Instant;

use clap::Args;
use hyper::body::Bytes;

use crate::bodies::{Bodies, MOST};
use crate::client::{Connection, Target, runtime};
use crate::report::{Report, say_figures};

#[derive(Debug, Args)]
pub(crate) struct Closed {
    /// Where to post.
    #[arg(long, default_value = "http://127.0.0.1:8080/predict")]
    url: String,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    connections: u32,
    /// Requests in all, after the warm-up.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    requests: u64,
    /// Sent before on each connection and not counted.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(0..=MOST))]
    warmup: u64,
    /// Of the simulated payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

impl Closed {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let target = Target::parse(&self.url)?;
        let mut bodies = Bodies::new(self.seed)?;
        let connections = u64::from(self.connections);
        let share = self.requests.div_ceil(connections);
        let mut sets = Vec::new();
        for _ in 0..connections {
            sets.push((bodies.take(self.warmup)?, bodies.take(share)?));
        }
        runtime()?.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            let begun = Instant::now();
            for (warmup, counted) in sets {
                let mut connection = Connection::open(&target).await?;
                tasks.spawn(async move {
                    rounds(&mut connection, warmup, &mut Report::new()?).await?;
                    let mut answers = Vec::with_capacity(counted.len());
                    for body in counted {
                        answers.push(round(&mut connection, body).await?);
                    }
                    anyhow::Ok(answers)
                });
            }
            let mut report = Report::new()?;
            while let Some(ended) = tasks.join_next().await {
                for (latency, status) in ended?? {
                    report.add(latency, Some(status));
                }
            }
            let figures = report.figures(begun.elapsed());
            say_figures(&figures, &figures.line(), self.json)
        })
    }
}

/// Posts the bodies one after the other.
pub(crate) async fn rounds(connection: &mut Connection, bodies: Vec<Bytes>, report: &mut Report) -> anyhow::Result<()> {
    for body in bodies {
        let (latency, status) = round(connection, body).await?;
        report.add(latency, Some(status));
    }
    Ok(())
}

async fn round(connection: &mut Connection, body: Bytes) -> anyhow::Result<(std::time::Duration, u16)> {
    let begun = Instant::now();
    let status = connection.post(body).await?;
    Ok((begun.elapsed(), status))
}
