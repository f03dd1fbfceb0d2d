//! A trial while the servers are away, one after the other, and the network between them and assay is bad.
//!
//! A server is away in one of two ways: ended and started again by the project's scripts, which inherit the environment
//! (ASSAY_KAFKA_PORT, ASSAY_KAFKA_DATA, the same of ASSAY_POSTGRES_ and ASSAY_FERRETDB_), or with `--pause` held still by a
//! signal, so that its connections stay open and nothing answers. A node of a Kafka of three is killed with no warning; meanwhile the other two
//! have to carry the stream, so rows must be completed while it is away. With `--mongodb` both destinations are looked at all
//! the time: one that is away must hold back no other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::cpu::tree;
use super::lag::{Behind, MONGODB, Outage, POSTGRES, Watch};
use super::proxy::{Chaos, Proxy, parse_link};
use super::servers::turn;
use super::table::Table;
use super::trial::{Outcome, Scene, Trial};
use crate::client::runtime;
use crate::report::say_figures;

#[derive(Debug, Args)]
pub(crate) struct Faults {
    #[command(flatten)]
    trial: Trial,
    /// Which servers are away, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "postgres,kafka")]
    outages: Vec<Server>,
    /// How long each is away.
    #[arg(long, default_value = "30s", value_parser = assay::base::span::parse)]
    away: Duration,
    /// How long all are there before, between and after.
    #[arg(long, default_value = "20s", value_parser = assay::base::span::parse)]
    there: Duration,
    /// Hold them still instead of ending them; their processes are needed.
    #[arg(long)]
    pause: bool,
    /// Process of Kafka.
    #[arg(long)]
    kafka_pid: Option<u32>,
    /// Process of PostgreSQL.
    #[arg(long)]
    postgres_pid: Option<u32>,
    /// Process of what keeps documents.
    #[arg(long)]
    mongodb_pid: Option<u32>,
    /// What starts and stops it, as the project's script does.
    #[arg(long, default_value = "scripts/ferretdb.sh")]
    mongodb_script: String,
    /// A proxy between assay and a server, as often as needed: 127.0.0.1:19340=127.0.0.1:19112. The instances'
    /// environment must lead them through it; Kafka's second listener (ASSAY_KAFKA_PROXY_PORT) keeps its clients there.
    #[arg(long = "proxy", value_name = "LISTEN=TARGET", value_parser = parse_link)]
    proxies: Vec<(SocketAddr, SocketAddr)>,
    #[command(flatten)]
    chaos: Chaos,
}

/// What can be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Server {
    /// Kafka.
    Kafka,
    /// PostgreSQL.
    Postgres,
    /// What keeps documents.
    Mongodb,
    /// A node of a Kafka of three (`scripts/kafka.sh start --nodes 3`, with every node in --kafka).
    #[value(name = "node-1")]
    Node1,
    /// The second one.
    #[value(name = "node-2")]
    Node2,
    /// The third one.
    #[value(name = "node-3")]
    Node3,
    /// Nothing, for comparison.
    None,
}

impl Server {
    /// The number of a node.
    fn node(self) -> Option<&'static str> {
        match self {
            Self::Node1 => Some("1"),
            Self::Node2 => Some("2"),
            Self::Node3 => Some("3"),
            Self::Kafka | Self::Postgres | Self::Mongodb | Self::None => None,
        }
    }

    /// The destination that it is.
    const fn destination(self) -> Option<&'static str> {
        match self {
            Self::Postgres => Some(POSTGRES),
            Self::Mongodb => Some(MONGODB),
            _ => None,
        }
    }
}

/// How it went.
#[derive(Debug, Serialize)]
struct Course {
    /// How far behind the destinations were, where both are looked at.
    behind: Vec<Behind>,
    #[serde(flatten)]
    trial: Outcome,
}

impl Faults {
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        let outages = u32::try_from(self.outages.iter().filter(|server| **server != Server::None).count())?;
        self.trial.lasting(self.there + (self.away + self.there) * outages);
        runtime()?.block_on(async {
            let mut proxies = Vec::new();
            for (listen, target) in &self.proxies {
                proxies.push(Proxy::start(*listen, *target, self.chaos.clone()).await?);
            }
            let mut behind = Vec::new();
            let mut trial = self.trial.run(|scene| self.watched(scene, &mut behind)).await?;
            trial.disturbances.extend(proxies.iter().map(Proxy::line));
            let course = Course { behind, trial };
            say_figures(&course, &course.line(), self.trial.json)?;
            ensure!(course.trial.verdict.is_clean(), "what was decided is not what it must be");
            let done = course.trial.disturbances.len() - proxies.len();
            ensure!(done == outages as usize, "{done} of {outages} outages fell into the run: send more payments");
            Ok(())
        })
    }

    /// The disturbance, and how far behind the destinations are meanwhile.
    async fn watched(&self, scene: Scene, behind: &mut Vec<Behind>) -> anyhow::Result<Vec<String>> {
        let mut outages = Vec::new();
        let watch = Watch::start(&self.trial.servers, &self.trial.documents, &scene).await?;
        let done = self.disturb(scene, &mut outages).await?;
        if let Some(watch) = watch {
            *behind = watch.end(&outages).await?;
        }
        Ok(done)
    }

    async fn disturb(&self, mut scene: Scene, outages: &mut Vec<Outage>) -> anyhow::Result<Vec<String>> {
        let (begun, mut done) = (Instant::now(), Vec::new());
        for server in &self.outages {
            if *server == Server::None || !scene.sleep(self.there).await {
                continue;
            }
            close(outages);
            let from = begun.elapsed().as_secs_f64();
            if let Some(of) = server.destination() {
                outages.push(Outage { of, from: Instant::now(), until: None });
            }
            self.turn(*server, false).await?;
            let rows = match server.node() {
                Some(_) => Some(self.rows_while_away(&scene).await?),
                None => {
                    tokio::time::sleep(self.away).await;
                    None
                }
            };
            self.turn(*server, true).await?;
            let mut line = format!("{from:.1} s: {server:?} away until {:.1} s", begun.elapsed().as_secs_f64());
            if let Some(rows) = rows {
                ensure!(rows > 0, "no row was completed in the second half of the time in which {server:?} was away");
                line.push_str(&format!(", {rows} rows completed in the second half of that"));
            }
            done.push(line);
        }
        scene.sleep(self.there).await;
        close(outages);
        Ok(done)
    }

    /// Waits while a node is away; how many rows are completed in the second half of that: what the first one needs until
    /// others lead in its place is not held against anybody.
    async fn rows_while_away(&self, scene: &Scene) -> anyhow::Result<u64> {
        let table = Table::open(&self.trial.servers).await?;
        let ids: Vec<String> = scene.payments.iter().map(|payment| payment.transaction_id.to_string()).collect();
        tokio::time::sleep(self.away / 2).await;
        let before = table.completed_of(&ids).await?;
        tokio::time::sleep(self.away / 2).await;
        Ok(table.completed_of(&ids).await?.saturating_sub(before))
    }

    /// Takes a server away, or brings it back.
    async fn turn(&self, server: Server, back: bool) -> anyhow::Result<()> {
        let (script, pid) = match server {
            Server::Kafka | Server::Node1 | Server::Node2 | Server::Node3 => ("scripts/kafka.sh", self.kafka_pid),
            Server::Postgres => ("scripts/postgres.sh", self.postgres_pid),
            Server::Mongodb => (self.mongodb_script.as_str(), self.mongodb_pid),
            Server::None => return Ok(()),
        };
        if let Some(node) = server.node() {
            turn(script, &[if back { "start" } else { "kill" }, "--node", node]).await
        } else if self.pause {
            let root =
                pid.context("--pause needs the processes of what is away: --kafka-pid, --postgres-pid, --mongodb-pid")?;
            let processes: Vec<String> = tree(root)?.iter().map(u32::to_string).collect();
            let signal = std::iter::once(if back { "-CONT" } else { "-STOP" });
            turn("kill", &signal.chain(processes.iter().map(String::as_str)).collect::<Vec<_>>()).await
        } else {
            turn(script, &[if back { "start" } else { "stop" }]).await
        }
    }
}

/// What follows counts for another outage.
fn close(outages: &mut [Outage]) {
    if let Some(last) = outages.last_mut() {
        last.until.get_or_insert_with(Instant::now);
    }
}

impl Course {
    fn line(&self) -> String {
        let behind = self.behind.iter().map(Behind::line);
        let lines: Vec<String> = self.trial.disturbances.iter().cloned().chain(behind).collect();
        format!("{}\n  {}", self.trial.line(), lines.join("\n  "))
    }
}
