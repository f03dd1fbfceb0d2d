//! The background queue: transactions without a full decision get one when a model and the log can.
//!
//! In: what a fallback, a refusal, a caller that went away or a failed commit left open, and, when that is done, what
//! the log still holds undecided. Out: revision 0. It yields to requests: one transaction at a time, and a pause after
//! a failure.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::core::{Claim, Core};
use super::ledger::Found;
use super::line::{Judged, commit, encode, infer, judged};
use super::ports::Scorer;
use super::{EngineError, Received, unavailable};
use crate::decision::Source;

/// How long it sleeps when nothing wakes it.
const TICK: Duration = Duration::from_secs(1);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a transaction may take here.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the queue; it ends with the engine.
pub(super) fn start<S: Scorer>(core: &Arc<Core<S>>) -> JoinHandle<()> {
    let (due, core) = (Arc::clone(&core.due), Arc::downgrade(core));
    tokio::spawn(async move {
        while let Some(outcome) = work(&core).await {
            match outcome {
                Ok(true) => {}
                Ok(false) => drop(timeout(TICK, due.notified()).await),
                Err(error) => {
                    tracing::debug!(%error, "a transaction stays without its full decision for now");
                    sleep(PAUSE).await;
                }
            }
        }
    })
}

/// Does one thing; whether there was one. `None` when the engine is gone.
async fn work<S: Scorer>(core: &Weak<Core<S>>) -> Option<Result<bool, EngineError>> {
    let core = core.upgrade()?;
    let active = core.active.load_full();
    let next = core.ledger().next_due(&active);
    let Some((transaction, found)) = next else {
        return Some(refill(&core).await);
    };
    let received = Received {
        now: core.clock.now(),
        at: Instant::now(),
        deadline: PATIENCE,
        source: Source::Background,
        explain: false,
    };
    let decided = match found {
        Found::Uncommitted(record) => commit(&core, record, &received).await.map(drop),
        Found::Undecided(base, observed) => {
            decide(&core, Claim::new(&core, transaction, base, observed), &received).await
        }
        _ => Ok(()),
    };
    Some(decided.map(|()| true))
}

async fn decide<S: Scorer>(core: &Arc<Core<S>>, claim: Claim<S>, received: &Received) -> Result<(), EngineError> {
    let row = encode(core, &claim);
    let score = infer(core, &claim, row.clone(), PATIENCE).await;
    if score.is_err() {
        return Err(unavailable("the model gave no score"));
    }
    match judged(core, claim, row, score, received).await? {
        Judged::Full(record) => commit(core, record, received).await.map(drop),
        Judged::Fallback(..) => Err(unavailable("the model gave no score")),
    }
}

/// Takes from the log what is undecided there and not open; whether there was anything.
async fn refill<S: Scorer>(core: &Arc<Core<S>>) -> Result<bool, EngineError> {
    let room = {
        let ledger = core.ledger();
        let most = core.limits.max_background.min(core.limits.max_open.saturating_sub(ledger.open.len()));
        if ledger.overflowed && ledger.due.is_empty() { most } else { 0 }
    };
    if room == 0 {
        return Ok(false);
    }
    // What is queued may decide what would be read as undecided.
    core.log.flush().await.map_err(super::core::of_log)?;
    let undecided = core.log.undecided(room).await.map_err(super::core::of_log)?;
    let mut ledger = core.ledger();
    ledger.overflowed = undecided.len() >= room;
    let before = ledger.due.len();
    for (transaction, base) in undecided {
        ledger.refill(transaction, base);
    }
    Ok(ledger.due.len() > before && core.active.load().chosen.is_some())
}
