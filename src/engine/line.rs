//! The line as one function: [`decide`] is resolve and observe → encode → infer → judge → commit.
//!
//! In: a validated transaction and what the mouth knows of the request. Out: the one decision of its id, or an error of
//! a class. What a caller waits for is bounded by its deadline; a part of it is kept back so that a fallback, too,
//! can be recorded in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use compact_str::CompactString;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::timeout;

use super::core::{Claim, Core, Settled, of_log, overloaded, unavailable};
use super::explain::{explain, explain_later, single};
use super::ledger::{Arrival, Asked, Found, Marked};
use super::ports::{LogError, Record, Scorer, Step};
use super::recall::{Recalled, earlier, repeat};
use super::{Answer, EngineError, Received, SetUp, TimeSource};
use crate::base::clock::Millis;
use crate::decision::{Circumstances, Decision, DegradedCause, FallbackCause, Source, fall_back, judge};
use crate::features::Marks;
use crate::model::InferError;
use crate::transaction::{Rejection, Transaction};

/// The most of a deadline that is kept back for the commit.
const MOST_RESERVE: Duration = Duration::from_millis(10);

/// Decides one transaction; an earlier decision is explained where that is asked for.
pub(super) async fn decide<S: Scorer>(
    core: &Arc<Core<S>>,
    transaction: Transaction,
    received: Received,
) -> Result<Answer, EngineError> {
    let _flight = core.accepting()?;
    let Answer { decision, repeated } = answer(core, transaction, received).await?;
    if !(received.explain && repeated) {
        return Ok(Answer { decision, repeated });
    }
    Ok(Answer { decision: explain_later(core, decision, before_commit(&received)).await, repeated })
}

async fn answer<S: Scorer>(
    core: &Arc<Core<S>>,
    transaction: Transaction,
    received: Received,
) -> Result<Answer, EngineError> {
    let arrival = admit(core, transaction, &received)?;
    let claim = match resolve_and_observe(core, &arrival, &received).await? {
        Resolved::Earlier(decision) => return Ok(Answer { decision, repeated: true }),
        Resolved::Uncommitted(record) => return commit(core, record, &received).await,
        Resolved::Claimed(claim) => claim,
    };
    let row = encode(core, &claim);
    let score = infer(core, &claim, row.clone(), before_commit(&received)).await;
    match judged(core, claim, row, score, &received).await? {
        Judged::Full(record) => commit(core, record, &received).await,
        Judged::Fallback(claim, decision) => commit_fallback(core, claim, decision, &received).await,
    }
}

/// Checks what needs no lock.
fn admit<S>(core: &Core<S>, transaction: Transaction, received: &Received) -> Result<Arrival, EngineError> {
    let limit = i64::try_from(core.limits.too_far_ahead.as_millis()).unwrap_or(i64::MAX);
    let ahead = transaction.occurred_at.0 > received.now.0.saturating_add(limit);
    if ahead && core.limits.time == TimeSource::Wall {
        return Err(rejected(core, Rejection::too_far_ahead(transaction.occurred_at, received.now, limit)));
    }
    let base = core.rates.to_base(transaction.amount_minor, transaction.currency, transaction.occurred_at);
    Ok(Arrival { marked: Marked::new(&transaction, core.key), transaction: Arc::new(transaction), base })
}

enum Resolved<S> {
    Earlier(Arc<Decision>),
    Uncommitted(Record),
    Claimed(Claim<S>),
}

/// Finds the earlier decision, or claims the transaction; a new one has moved history then.
async fn resolve_and_observe<S: Scorer>(
    core: &Arc<Core<S>>,
    arrival: &Arrival,
    received: &Received,
) -> Result<Resolved<S>, EngineError> {
    let mut asked = Asked::Not;
    loop {
        match observe(core, arrival, asked)? {
            (Found::New(observed), base) | (Found::Undecided(base, observed), _) => {
                let claim = Claim::new(core, Arc::clone(&arrival.transaction), base, observed);
                return Ok(Resolved::Claimed(claim));
            }
            (Found::Uncommitted(record), _) => return Ok(Resolved::Uncommitted(record)),
            (Found::GivenOut(decision), _) => return Ok(Resolved::Earlier(repeat(core, arrival, decision))),
            (Found::Deciding(receiver), _) => {
                let wait = remaining(received);
                match timeout(wait, receiver).await {
                    Ok(Ok(decision)) => return Ok(Resolved::Earlier(repeat(core, arrival, decision))),
                    // Whoever decided gave it up: look again.
                    Ok(Err(_)) => {}
                    Err(_) => return Err(EngineError::Deadline(received.deadline)),
                }
            }
            (Found::Seen(seen), _) => match earlier(core, arrival, Some(seen), received).await? {
                Recalled::Decision(decision) => return Ok(Resolved::Earlier(repeat(core, arrival, decision))),
                Recalled::Not(now) => asked = now,
            },
            (Found::Beyond, _) => match earlier(core, arrival, None, received).await? {
                Recalled::Decision(decision) => return Ok(Resolved::Earlier(repeat(core, arrival, decision))),
                Recalled::Not(now) => asked = now,
            },
            (Found::TooOld(stream_time, lateness), _) => {
                let too_old = Rejection::too_old(arrival.transaction.occurred_at, stream_time, lateness);
                return Err(rejected(core, too_old));
            }
            (Found::Conflict, _) => return Err(rejected(core, Rejection::conflict(&arrival.transaction))),
            (Found::Crowded(reason), _) => return Err(overloaded(reason)),
        }
    }
}

/// Asks the ledger, which observes what is new.
fn observe<S: Scorer>(
    core: &Core<S>,
    arrival: &Arrival,
    asked: Asked,
) -> Result<(Found<S>, crate::base::money::BaseAmount), EngineError> {
    let active = core.active.load_full();
    // Nothing is observed that the log could not take at once.
    let room = core.log.has_room();
    let started = Instant::now();
    let (found, given_up) = {
        let mut ledger = core.ledger();
        if !room && ledger.ids.get(arrival.marked.id).is_none() {
            return Err(overloaded("the log's queue is full"));
        }
        let found = ledger.resolve(arrival, &active, asked);
        let newest = ledger.newest;
        (found, newest.map_or(0, |newest| ledger.waiting.give_up(newest)))
    };
    if matches!(found, Found::New(_)) {
        core.observer.step(Step::Observe, started.elapsed());
    }
    if given_up > 0 {
        core.observer.unmatched(given_up);
    }
    Ok((found, arrival.base))
}

/// Values of 64 bits to the model's 32, held to the finite range.
pub(super) fn encode<S>(core: &Core<S>, claim: &Claim<S>) -> Vec<f32> {
    let started = Instant::now();
    let values = claim.observed().map_or(&[][..], |observed| &observed.values);
    let row = single(values);
    core.observer.step(Step::Encode, started.elapsed());
    row
}

/// The model's score, or the cause why there is none.
pub(super) async fn infer<S: Scorer>(
    core: &Core<S>,
    claim: &Claim<S>,
    row: Vec<f32>,
    wait: Duration,
) -> Result<f32, FallbackCause> {
    let chosen = claim.observed().and_then(|observed| observed.chosen.as_ref()).ok_or(FallbackCause::NoModel)?;
    let started = Instant::now();
    let score = match timeout(wait, chosen.model.infer(row, wait)).await {
        Err(_) | Ok(Err(InferError::Deadline)) => Err(FallbackCause::Deadline),
        Ok(Err(InferError::Overloaded(_))) => Err(FallbackCause::Overload),
        Ok(Err(InferError::Failed(reason))) => {
            tracing::warn!(model = chosen.reference.version, reason, "a row got no score");
            Err(FallbackCause::NoModel)
        }
        Ok(Ok(score)) if score.is_finite() => Ok(score.clamp(0.0, 1.0)),
        Ok(Ok(_)) => Err(FallbackCause::NoModel),
    };
    let took = started.elapsed();
    match score {
        Ok(score) => chosen.tally.scored(score),
        Err(_) => chosen.tally.failed(1),
    }
    // A row that is turned away at once says nothing of how long one takes.
    if !matches!(score, Err(FallbackCause::Overload)) {
        chosen.tally.took(took);
    }
    core.observer.step(Step::Infer, took);
    score
}

pub(super) enum Judged<S> {
    Full(Record),
    Fallback(Claim<S>, Arc<Decision>),
}

/// The decision: by the model's threshold, or by the policy. A refused claim goes to the background queue.
pub(super) async fn judged<S: Scorer>(
    core: &Core<S>,
    claim: Claim<S>,
    row: Vec<f32>,
    score: Result<f32, FallbackCause>,
    received: &Received,
) -> Result<Judged<S>, EngineError> {
    let started = Instant::now();
    let transaction = Arc::clone(&claim.transaction);
    let circumstances = || circumstances(&transaction.transaction_id, received.source, received.now, received.at);
    let chosen = claim.observed().and_then(|observed| observed.chosen.clone());
    let judged = match (score, chosen) {
        (Ok(score), Some(chosen)) => {
            let flagged = score >= chosen.reference.threshold;
            let mut causes =
                claim.observed().map_or_else(Vec::new, |seen| causes_of(seen.marks, core.lacks(seen.incomplete)));
            let wanted = (flagged || received.explain) && !core.limits.explain_wait.is_zero();
            let explained = if wanted {
                let values = claim.observed().map_or(&[][..], |observed| &observed.values);
                let explained =
                    explain(core, &chosen, values, row, core.limits.explain_wait.min(before_commit(received) / 2))
                        .await;
                explained.map_err(|cause| causes.push(cause)).ok()
            } else {
                None
            };
            let decision = judge(circumstances(), &chosen.reference, score, explained, &causes);
            Judged::Full(core.record_of(claim, &chosen, decision, received.now))
        }
        (score, chosen) => {
            let cause = score.err().unwrap_or(FallbackCause::NoModel);
            let policy = claim.observed().map_or_else(|| core.active.load().policy, |observed| observed.active.policy);
            let Some(flagged) = policy.flags(cause) else { return Err(refused(cause, received)) };
            let model = chosen.as_ref().map(|chosen| &*chosen.reference);
            let decision = Arc::new(fall_back(circumstances(), model, cause, flagged));
            Judged::Fallback(claim, decision)
        }
    };
    core.observer.step(Step::Judge, started.elapsed());
    Ok(judged)
}

pub(super) fn causes_of(marks: Marks, lacks: Lacks) -> Vec<DegradedCause> {
    let all = [
        (lacks.history, DegradedCause::HistoryIncomplete),
        (lacks.recent, DegradedCause::ReaderBehind),
        (lacks.partition, DegradedCause::MergeTimeout),
        (marks.stale_rate, DegradedCause::StaleRate),
        (marks.missing_rate, DegradedCause::MissingRate),
        (marks.stale_reference, DegradedCause::ReferenceStale),
        (marks.missing_reference, DegradedCause::ReferenceMissing),
        (marks.approximate, DegradedCause::ApproximateWindow),
        (marks.new_customer, DegradedCause::NewCustomer),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, cause)| cause).collect()
}

/// What history may lack at a reading.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lacks {
    /// Some of what the windows look back on.
    pub(super) history: bool,
    /// The newest events: the reader of the topics is behind.
    pub(super) recent: bool,
    /// Events of a partition that was not waited for.
    pub(super) partition: bool,
}

/// Of a decision that is made now of what `source` took at `now`, the wall clock's name for the moment `at`.
pub(super) fn circumstances(transaction_id: &str, source: Source, now: Millis, at: Instant) -> Circumstances<'_> {
    let took = at.elapsed();
    let millis = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    Circumstances {
        transaction_id,
        source,
        scored_at: Millis(now.0.saturating_add(millis)),
        took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    }
}

/// Records a full decision as the durability asks, then answers with it; with the first one where another was first.
pub(super) async fn commit<S: Scorer>(
    core: &Arc<Core<S>>,
    record: Record,
    received: &Received,
) -> Result<Answer, EngineError> {
    let (decision, transaction) = (Arc::clone(&record.decision), Arc::clone(&record.transaction));
    let started = Instant::now();
    let settled = settled(core.record(record), received, core.limits.unrecorded).await;
    core.observer.step(Step::Commit, started.elapsed());
    let settled = match (settled, core.set_up) {
        (Err(EngineError::Deadline(_)), SetUp::Stack) => {
            return unrecorded(core, &transaction.transaction_id, &decision);
        }
        (settled, _) => settled?,
    };
    match settled {
        Settled::First => Ok(Answer { decision, repeated: false }),
        Settled::Superseded => {
            if let Some(first) = core.cache.get(&transaction.transaction_id) {
                return Ok(Answer { decision: first, repeated: true });
            }
            let wait = core.limits.store_wait;
            let found = timeout(wait, core.log.find(&transaction.transaction_id)).await;
            let stored = found.unwrap_or(Err(LogError::Late(wait))).map_err(of_log)?;
            let mut first =
                stored.and_then(|stored| stored.decision).ok_or_else(|| unavailable("the first record is away"))?;
            core.reasons.redact(&mut first);
            Ok(Answer { decision: Arc::new(first), repeated: true })
        }
    }
}

/// What is answered when the shared log did not acknowledge in time: the record is on its way, the log away.
fn unrecorded<S: Scorer>(
    core: &Arc<Core<S>>,
    transaction_id: &CompactString,
    decision: &Arc<Decision>,
) -> Result<Answer, EngineError> {
    if core.limits.unrecorded.is_none() {
        return Err(unavailable("the log of decisions did not acknowledge in time"));
    }
    let mut told = (**decision).clone();
    told.reasons.push(DegradedCause::NotRecorded.reason());
    told.degraded = true;
    let told = Arc::new(told);
    core.give_out(transaction_id, &told);
    Ok(Answer { decision: told, repeated: false })
}

/// Records a fallback likewise.
async fn commit_fallback<S: Scorer>(
    core: &Arc<Core<S>>,
    claim: Claim<S>,
    decision: Arc<Decision>,
    received: &Received,
) -> Result<Answer, EngineError> {
    let started = Instant::now();
    settled(core.record_fallback(claim, Arc::clone(&decision)), received, None).await?;
    core.observer.step(Step::Commit, started.elapsed());
    Ok(Answer { decision, repeated: false })
}

/// Waits for the log's answer until the deadline, or as long as `patience` says. Cancel safety: the log settles the record without the waiter.
async fn settled(
    mut receiver: oneshot::Receiver<Result<Settled, LogError>>,
    received: &Received,
    patience: Option<Duration>,
) -> Result<Settled, EngineError> {
    match receiver.try_recv() {
        Ok(known) => return known.map_err(of_log),
        // To wait for it after that would be a panic.
        Err(TryRecvError::Closed) => return Err(of_log(LogError::Closed)),
        Err(TryRecvError::Empty) => {}
    }
    let left = remaining(received);
    match timeout(patience.map_or(left, |patience| patience.min(left)), receiver).await {
        Ok(answered) => answered.unwrap_or(Err(LogError::Closed)).map_err(of_log),
        Err(_) => Err(EngineError::Deadline(received.deadline)),
    }
}

/// What is left of the deadline.
fn remaining(received: &Received) -> Duration {
    received.deadline.saturating_sub(received.at.elapsed())
}

/// What is left of it for the model.
pub(super) fn before_commit(received: &Received) -> Duration {
    remaining(received).saturating_sub(MOST_RESERVE.min(received.deadline / 5))
}

fn refused(cause: FallbackCause, received: &Received) -> EngineError {
    match cause {
        FallbackCause::Deadline => EngineError::Deadline(received.deadline),
        FallbackCause::Overload => overloaded("the model's queue is full"),
        FallbackCause::NoModel => unavailable("no model could score the transaction"),
    }
}

pub(super) fn rejected<S>(core: &Core<S>, rejection: Rejection) -> EngineError {
    core.observer.rejected(rejection.code);
    EngineError::Rejected(rejection)
}
