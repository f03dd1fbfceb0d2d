//! Snapshots while the service runs: one now and then, in the background; and the start from the newest one.
//!
//! In: the engine and where its reader is. Out: files. Why a start may pass over one: it is damaged, of another catalogue,
//! or the topics no longer hold what came after it; each is told by name, and the history comes from the topics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::base::clock::{Clock as _, Millis, SystemClock};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::snapshot::ReadFrom;
use crate::ops::metrics::Metrics;
use crate::store::Snapshots;
use crate::store::snapshots::{Expected, Opened};
use crate::stream::{Positioned, Watermarks};

/// How often the age of the newest one is told.
const TICK: Duration = Duration::from_secs(1);

/// The folder, where snapshots are kept at all.
pub(super) fn folder(config: &Config) -> Option<Snapshots> {
    let folder = config.stream.snapshot_directory.clone()?;
    Some(Snapshots::new(folder, config.stream.snapshots_kept))
}

/// Restores the newest snapshot that can be used; where the reader has to begin then. Blocking.
pub(super) fn restore(snapshots: &Snapshots, engine: &Engine, marks: &Watermarks) -> anyhow::Result<Option<ReadFrom>> {
    let expected = Expected { state: engine.state(), not_before: Millis(i64::MIN) };
    let newest = snapshots.newest(&expected)?;
    for refused in &newest.refused {
        tracing::warn!(%refused, "a snapshot of the history is not used");
    }
    let Some(mut opened) = newest.opened else { return Ok(None) };
    let header = opened.header().clone();
    if let ReadFrom::Offsets(offsets) = &header.read_from
        && let Some(why) = too_old(offsets, marks)
    {
        tracing::warn!(file = %opened.path().display(), why, "a snapshot of the history is too old: it is not used");
        return Ok(None);
    }
    let path = opened.path().to_owned();
    let restored = engine.restore(&header, |shard| Opened::next_shard(&mut opened, shard))?;
    tracing::info!(file = %path.display(), ?restored, "the history was read from a snapshot");
    Ok(Some(header.read_from))
}

/// Why the topics do not go on where a snapshot ends, if they do not.
fn too_old(offsets: &BTreeMap<String, Vec<i64>>, marks: &Watermarks) -> Option<String> {
    for (topic, ends) in &marks.end {
        let Some(known) = offsets.get(topic).filter(|known| known.len() == ends.len()) else {
            return Some(format!("it does not know the {} partitions of {topic}", ends.len()));
        };
        let begins = marks.begin.get(topic).map(Vec::as_slice).unwrap_or_default();
        for (partition, ((known, begin), end)) in known.iter().zip(begins).zip(ends).enumerate() {
            if known < begin {
                return Some(format!("{topic} {partition} begins at {begin}, it ends at {known}"));
            }
            if known > end {
                return Some(format!(
                    "{topic} {partition} ends at {end} and it knows {known}: another topic of this name"
                ));
            }
        }
    }
    None
}

/// Writes snapshots as often as the configuration says, until it is aborted.
pub(super) fn start(
    config: &Config,
    snapshots: Snapshots,
    engine: Engine,
    positioned: Positioned,
    metrics: Arc<Metrics>,
) -> JoinHandle<()> {
    let every = config.stream.snapshot_every;
    tokio::spawn(async move {
        let mut newest: Option<Instant> = None;
        let mut due = Instant::now() + every;
        loop {
            tokio::time::sleep(TICK.min(every)).await;
            let age = newest.map_or(-1, |newest| i64::try_from(newest.elapsed().as_secs()).unwrap_or(i64::MAX));
            metrics.snapshot_age.set((), age);
            if Instant::now() < due {
                continue;
            }
            due = Instant::now() + every;
            let (snapshots, engine, positioned) = (snapshots.clone(), engine.clone(), positioned.clone());
            // Blocking: disk.
            let writing = tokio::task::spawn_blocking(move || write(&snapshots, &engine, &positioned));
            match writing.await {
                Ok(Ok(())) => newest = Some(Instant::now()),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the snapshot of the history was not written; the earlier ones stay")
                }
                Err(error) => tracing::error!(%error, "the snapshot of the history ended badly"),
            }
        }
    })
}

/// Writes one.
pub(super) fn write(snapshots: &Snapshots, engine: &Engine, positioned: &Positioned) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut snapshot = engine.snapshot(SystemClock.now(), None, || ReadFrom::Offsets(positioned.positions()))?;
    let written = snapshots.write(&mut snapshot)?;
    let (longest_hold, took) = (snapshot.longest_hold(), begun.elapsed());
    tracing::info!(file = %written.path.display(), bytes = written.bytes, counts = ?written.counts, ?took, ?longest_hold, "wrote a snapshot of the history");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_topic(offsets: &[i64]) -> BTreeMap<String, Vec<i64>> {
        BTreeMap::from([("transactions".to_owned(), offsets.to_vec())])
    }

    #[test]
    fn a_snapshot_must_go_on_where_the_topics_are() {
        let marks = Watermarks { begin: by_topic(&[5, 0]), end: by_topic(&[9, 4]) };
        assert_eq!(too_old(&by_topic(&[5, 4]), &marks), None);
        for (known, why) in [(&[4, 0][..], "begins at 5"), (&[9, 5], "another topic"), (&[9], "2 partitions")] {
            assert!(too_old(&by_topic(known), &marks).unwrap().contains(why), "{known:?}");
        }
        assert!(too_old(&BTreeMap::new(), &marks).is_some());
    }
}
