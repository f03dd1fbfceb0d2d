//! A proxy that does to connections what networks do: it delays, cuts and resets them, drawn from a seed.
//!
//! In: a connection to the address it listens on. Out: one to the server behind it, and the bytes of both ways, whole and
//! in order until the moment at which the connection is cut (both sides are closed) or reset (both see an error).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::client::runtime;
use crate::report::say;

/// How bad the network is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct Chaos {
    /// How long a connection lives on average before it is cut or reset; "0s": for ever.
    #[arg(long, default_value = "10s", value_parser = assay::base::span::parse)]
    pub(crate) lives: Duration,
    /// Of 1,000 pieces that are passed on, how many are delayed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub(crate) delayed: u32,
    /// The longest delay.
    #[arg(long, default_value = "200ms", value_parser = assay::base::span::parse)]
    pub(crate) delay: Duration,
    /// Of everything drawn.
    #[arg(long, default_value_t = 1)]
    pub(crate) chaos_seed: u64,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Cut,
    Reset,
}

impl Chaos {
    /// How long connection `number` lives, exponentially, and how it ends; `None`: as long as its ends want.
    fn fate(&self, number: u64) -> Option<(Duration, Ending)> {
        if self.lives.is_zero() {
            return None;
        }
        let mut dice = self.dice(number, 0);
        let unit: f64 = dice.random();
        let ending = if dice.random::<bool>() { Ending::Cut } else { Ending::Reset };
        Some((self.lives.mul_f64(-(1.0 - unit).max(1e-12).ln()), ending))
    }

    fn dice(&self, number: u64, way: u64) -> Pcg64Mcg {
        Pcg64Mcg::seed_from_u64(self.chaos_seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (way << 62))
    }

    /// How long the next piece waits.
    fn next_delay(&self, dice: &mut Pcg64Mcg) -> Duration {
        if dice.random_range(0..1_000) < self.delayed { self.delay.mul_f64(dice.random()) } else { Duration::ZERO }
    }
}

/// A proxy that runs on this runtime until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    task: JoinHandle<()>,
    counts: Arc<Counts>,
    pub(crate) address: SocketAddr,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    cut: AtomicU64,
    reset: AtomicU64,
    delayed: AtomicU64,
}

impl Proxy {
    /// Listens at `listen` and passes on to `target`; both of this machine.
    pub(crate) async fn start(listen: SocketAddr, target: SocketAddr, chaos: Chaos) -> anyhow::Result<Self> {
        anyhow::ensure!(listen.ip().is_loopback() && target.ip().is_loopback(), "a proxy stays on this machine");
        let listener = TcpListener::bind(listen).await.with_context(|| format!("{listen} is in use"))?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let (chaos, counted) = (Arc::new(chaos), Arc::clone(&counts));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                let number = counted.connections.fetch_add(1, Ordering::Relaxed);
                // A server that is not there closes the connection, as its machine would.
                connections.spawn(pass(from, target, Arc::clone(&chaos), Arc::clone(&counted), number));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { task, counts, address })
    }

    /// What it did so far, in words.
    pub(crate) fn line(&self) -> String {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { connections, cut, reset, delayed } = self.counts.as_ref();
        format!(
            "proxy {}: {} connections, {} cut, {} reset, {} pieces delayed",
            self.address,
            count(connections),
            count(cut),
            count(reset),
            count(delayed)
        )
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(from: TcpStream, target: SocketAddr, chaos: Arc<Chaos>, counts: Arc<Counts>, number: u64) {
    let Ok(to) = TcpStream::connect(target).await else { return };
    // Without it small pieces wait for each other: slower, not wrong.
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let fate = chaos.fate(number);
    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
    let mut there = Way { read: from_read, write: to_write, dice: chaos.dice(number, 1) };
    let mut back = Way { read: to_read, write: from_write, dice: chaos.dice(number, 2) };
    let both = async { tokio::join!(there.pass(&chaos, &counts), back.pass(&chaos, &counts)) };
    let Some((lives, ending)) = fate else {
        both.await;
        return;
    };
    if tokio::time::timeout(lives, both).await.is_ok() {
        return;
    }
    match ending {
        Ending::Cut => counts.cut.fetch_add(1, Ordering::Relaxed),
        Ending::Reset => {
            // A socket that does not linger is closed with a reset; one that is shut down first is not.
            for way in [there, back] {
                let _ = way.write.as_ref().set_zero_linger();
                way.write.forget();
            }
            counts.reset.fetch_add(1, Ordering::Relaxed)
        }
    };
}

/// One way of a connection.
struct Way {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    dice: Pcg64Mcg,
}

impl Way {
    /// Passes on what comes until this way ends, and tells the other side so.
    async fn pass(&mut self, chaos: &Chaos, counts: &Counts) {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = self.read.read(&mut piece).await {
            let delay = chaos.next_delay(&mut self.dice);
            if !delay.is_zero() {
                counts.delayed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(delay).await;
            }
            if self.write.write_all(piece.get(..length).unwrap_or_default()).await.is_err() {
                return;
            }
        }
        let _ = self.write.shutdown().await;
    }
}

/// An address to listen on and the one behind it.
pub(crate) fn parse_link(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let link = text.split_once('=').and_then(|(listen, target)| Some((listen.parse().ok()?, target.parse().ok()?)));
    link.ok_or_else(|| format!("{text:?} must be like 127.0.0.1:19340=127.0.0.1:19112"))
}

/// Proxies alone, until they are stopped.
#[derive(Debug, Args)]
pub(crate) struct Proxies {
    /// Where to listen and where to pass on to, as often as needed: 127.0.0.1:19340=127.0.0.1:19112.
    #[arg(long = "link", required = true, value_name = "LISTEN=TARGET", value_parser = parse_link)]
    links: Vec<(SocketAddr, SocketAddr)>,
    #[command(flatten)]
    chaos: Chaos,
    /// Ends by itself after this long.
    #[arg(long, default_value = "10m", value_parser = assay::base::span::parse)]
    duration: Duration,
}

impl Proxies {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            let mut running = Vec::new();
            for (listen, target) in &self.links {
                running.push(Proxy::start(*listen, *target, self.chaos.clone()).await?);
            }
            tokio::select! {
                () = tokio::time::sleep(self.duration) => {}
                signal = tokio::signal::ctrl_c() => signal?,
            }
            running.iter().try_for_each(|proxy| say(&proxy.line()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "127.0.0.1:0";

    fn chaos(lives: u64, delayed: u32) -> Chaos {
        Chaos { lives: Duration::from_millis(lives), delayed, delay: Duration::from_millis(2), chaos_seed: 7 }
    }

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(HERE).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    #[test]
    fn fates_are_drawn_from_the_seed() {
        let fates = |chaos: &Chaos| (0..1_000).map(|number| chaos.fate(number).unwrap()).collect::<Vec<_>>();
        let all = fates(&chaos(100, 0));
        let mean = all.iter().map(|(lives, _)| lives.as_secs_f64()).sum::<f64>() / 1_000.0;
        assert!((0.09..0.11).contains(&mean), "{mean}");
        let resets = all.iter().filter(|(_, ending)| *ending == Ending::Reset).count();
        assert!((430..570).contains(&resets), "{resets}");
        assert_eq!(all, fates(&chaos(100, 0)));
        assert_ne!(all, fates(&Chaos { chaos_seed: 8, ..chaos(100, 0) }));
        assert_eq!(chaos(0, 0).fate(1), None);
        let mut dice = chaos(0, 500).dice(1, 1);
        let delays = (0..1_000).filter(|_| !chaos(0, 500).next_delay(&mut dice).is_zero()).count();
        assert!((430..570).contains(&delays), "{delays}");
    }

    #[test]
    fn bytes_pass_whole_and_in_order_whatever_is_delayed() {
        runtime().unwrap().block_on(async {
            let proxy = Proxy::start(HERE.parse().unwrap(), echo().await, chaos(0, 500)).await.unwrap();
            let stream = TcpStream::connect(proxy.address).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let sent: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
            let all = sent.clone();
            let writing = tokio::spawn(async move {
                write.write_all(&all).await.unwrap();
                write.shutdown().await.unwrap();
            });
            let mut back = Vec::new();
            read.read_to_end(&mut back).await.unwrap();
            writing.await.unwrap();
            assert!(back == sent && proxy.counts.delayed.load(Ordering::Relaxed) > 0, "{}", proxy.line());
        });
    }

    #[test]
    fn connections_are_cut_and_reset() {
        runtime().unwrap().block_on(async {
            let proxy = Proxy::start(HERE.parse().unwrap(), echo().await, chaos(5, 0)).await.unwrap();
            let (mut closed, mut errors) = (0, 0);
            for _ in 0..40 {
                let mut stream = TcpStream::connect(proxy.address).await.unwrap();
                match stream.read(&mut [0; 1]).await {
                    Ok(0) => closed += 1,
                    Ok(_) => unreachable!("nobody wrote"),
                    Err(_) => errors += 1,
                }
            }
            assert!(closed > 5 && errors > 5, "{closed} closed, {errors} reset; {}", proxy.line());
        });
    }

    #[test]
    fn a_proxy_stays_on_this_machine() {
        let away = "10.0.0.1:1".parse().unwrap();
        let here: SocketAddr = HERE.parse().unwrap();
        runtime().unwrap().block_on(async {
            assert!(Proxy::start(here, away, chaos(0, 0)).await.is_err());
            assert!(Proxy::start(away, here, chaos(0, 0)).await.is_err());
        });
        assert!(parse_link("127.0.0.1:1=127.0.0.1:2").is_ok() && parse_link("127.0.0.1:1").is_err());
    }
}
