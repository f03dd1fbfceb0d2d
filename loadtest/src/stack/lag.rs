//! How far behind each destination is, asked of the destinations themselves a few times a second, whatever is away.
//!
//! In: when payments left, every so many of them, and what a destination answers when it is asked for one. Out: looks: a
//! moment, and the age that the oldest payment asked for had then and was not there; zero where all were.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinHandle;

use super::documents::{DocumentOptions, Documents};
use super::servers::Servers;
use super::table::Table;
use super::trial::Scene;

/// The time between two looks, and between two payments that are asked for.
const LOOK: Duration = Duration::from_millis(50);
/// One that does not answer within it is away for this look.
const PATIENCE: Duration = Duration::from_secs(2);
/// What comes before counts for nothing: groups settle, code and caches are cold.
const COLD: Duration = Duration::from_secs(5);

/// When payments left, every so many of them.
#[derive(Debug)]
pub(crate) struct Departures {
    every: usize,
    left: Vec<OnceLock<Instant>>,
}

impl Departures {
    pub(crate) fn new(payments: usize, rate: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are bounded")]
        let every = (rate * LOOK.as_secs_f64()).ceil().max(1.0) as usize;
        Self { every, left: (0..payments.div_ceil(every)).map(|_| OnceLock::new()).collect() }
    }

    /// This payment leaves now.
    pub(crate) fn note(&self, number: usize) {
        if number.is_multiple_of(self.every)
            && let Some(left) = self.left.get(number / self.every)
        {
            // Each leaves once.
            let _ = left.set(Instant::now());
        }
    }

    /// The number of the payment that is asked for in this place, and when it left.
    fn at(&self, place: usize) -> Option<(usize, Instant)> {
        self.left.get(place)?.get().map(|left| (place * self.every, *left))
    }
}

/// A destination at a moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    behind: Duration,
}

/// Looks at the destinations until it is told to end.
pub(crate) struct Watch {
    ending: Arc<AtomicBool>,
    tasks: BTreeMap<&'static str, JoinHandle<Vec<Look>>>,
}

/// The destinations that can be away alone, by their names in the metrics.
pub(crate) const POSTGRES: &str = "postgres";
pub(crate) const MONGODB: &str = "mongodb";

impl Watch {
    /// `None` where there is no second destination.
    pub(crate) async fn start(
        servers: &Servers,
        documents: &DocumentOptions,
        scene: &Scene,
    ) -> anyhow::Result<Option<Self>> {
        let Some(documents) = Documents::open(documents).await? else { return Ok(None) };
        let ending = Arc::new(AtomicBool::new(false));
        let mut tasks = BTreeMap::new();
        let asked = [
            (POSTGRES, Asked::Rows { servers: Box::new(servers.clone()), table: None }),
            (MONGODB, Asked::Documents(documents)),
        ];
        for (destination, asked) in asked {
            tasks.insert(destination, tokio::spawn(follow(asked, scene.clone(), Arc::clone(&ending))));
        }
        Ok(Some(Self { ending, tasks }))
    }

    /// Ends; how far behind each was before the first outage, and beside each outage of another.
    pub(crate) async fn end(self, outages: &[Outage]) -> anyhow::Result<Vec<Behind>> {
        self.ending.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for (destination, task) in self.tasks {
            all.push(behind(destination, &task.await?, outages));
        }
        Ok(all)
    }
}

/// Who is asked.
enum Asked {
    /// A connection that broke is made anew with the next question.
    Rows {
        servers: Box<Servers>,
        table: Option<Box<Table>>,
    },
    Documents(Documents),
}

impl Asked {
    async fn has(&mut self, id: &str) -> anyhow::Result<bool> {
        match self {
            Self::Documents(documents) => documents.has(id).await,
            Self::Rows { servers, table } => {
                let known = match table.take() {
                    Some(known) => known,
                    None => Box::new(Table::open(servers).await?),
                };
                let there = known.completed_of(&[id.to_owned()]).await? > 0;
                *table = Some(known);
                Ok(there)
            }
        }
    }
}

async fn follow(mut asked: Asked, scene: Scene, ending: Arc<AtomicBool>) -> Vec<Look> {
    let (mut place, mut looks) = (0, Vec::new());
    while !ending.load(Ordering::Relaxed) {
        let mut behind = Duration::ZERO;
        while !ending.load(Ordering::Relaxed)
            && let Some((number, left)) = scene.departures.at(place)
        {
            let Some(payment) = scene.payments.get(number) else { break };
            let answer = tokio::time::timeout(PATIENCE, asked.has(&payment.transaction_id)).await;
            if !matches!(answer, Ok(Ok(true))) {
                behind = left.elapsed();
                break;
            }
            place += 1;
            // A destination that answers slowly is looked at all the same: what was there by now is at most so far behind.
            if looks.last().is_none_or(|look: &Look| look.at.elapsed() >= LOOK) {
                looks.push(Look { at: Instant::now(), behind: left.elapsed() });
            }
        }
        looks.push(Look { at: Instant::now(), behind });
        tokio::time::sleep(LOOK).await;
    }
    looks
}

/// A destination that was away from a moment on, and until when the others are looked at for its sake: the next outage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outage {
    pub(crate) of: &'static str,
    pub(crate) from: Instant,
    pub(crate) until: Option<Instant>,
}

/// How far behind a destination was, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Behind {
    pub(crate) destination: &'static str,
    /// Before the first outage: the median and the most.
    pub(crate) normally: u128,
    pub(crate) normally_most: u128,
    /// While others were away and until the next outage, the most; `None` where no other was.
    pub(crate) beside: Option<u128>,
}

fn behind(destination: &'static str, looks: &[Look], outages: &[Outage]) -> Behind {
    let from = looks.first().map(|look| look.at + COLD);
    let first = outages.iter().map(|outage| outage.from).min();
    let is_before = |look: &&Look| from.is_none_or(|from| look.at >= from) && first.is_none_or(|first| look.at < first);
    let mut before: Vec<u128> = looks.iter().filter(is_before).map(|look| look.behind.as_millis()).collect();
    before.sort_unstable();
    let others = outages.iter().filter(|outage| outage.of != destination);
    let beside = |outage: &Outage| {
        let is_during = |look: &&Look| look.at >= outage.from && outage.until.is_none_or(|until| look.at < until);
        let during = looks.iter().filter(is_during);
        during.map(|look| look.behind.as_millis()).max()
    };
    Behind {
        destination,
        normally: before.get(before.len() / 2).copied().unwrap_or_default(),
        normally_most: before.last().copied().unwrap_or_default(),
        beside: others.filter_map(beside).max(),
    }
}

impl Behind {
    pub(crate) fn line(&self) -> String {
        let Self { destination, normally, normally_most, beside } = self;
        let beside = beside.map_or_else(
            || "no other was away".to_owned(),
            |most| format!("at most {most} ms while another was away and afterwards"),
        );
        format!("{destination}: normally {normally} ms behind, at most {normally_most} ms; {beside}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_so_many_payments_are_asked_for() {
        let departures = Departures::new(101, 500.0);
        assert!(departures.at(0).is_none());
        for number in 0..60 {
            departures.note(number);
        }
        let asked: Vec<usize> = (0..10).filter_map(|place| departures.at(place)).map(|(number, _)| number).collect();
        assert_eq!(asked, [0, 25, 50]);
        assert_eq!((departures.left.len(), Departures::new(7, 1.0).every), (5, 1));
    }

    #[test]
    fn an_outage_counts_for_the_others_alone_and_not_for_what_was_before() {
        let start = Instant::now();
        let second = |second: u64| start + Duration::from_secs(second);
        let behind_at = |second_at: u64| match second_at {
            0..5 => 9_000,
            5..20 => 40 + second_at,
            30 => 700,
            _ => 50,
        };
        let looks: Vec<Look> =
            (0..60).map(|at| Look { at: second(at), behind: Duration::from_millis(behind_at(at)) }).collect();
        let outages = [
            Outage { of: MONGODB, from: second(20), until: Some(second(40)) },
            Outage { of: POSTGRES, from: second(40), until: None },
        ];
        let expected = |destination, beside| Behind { destination, normally: 52, normally_most: 59, beside };
        assert_eq!(behind(POSTGRES, &looks, &outages), expected(POSTGRES, Some(700)));
        assert_eq!(behind(MONGODB, &looks, &outages), expected(MONGODB, Some(50)));
        assert_eq!(behind(MONGODB, &looks, &outages[..1]).beside, None);
    }
}
