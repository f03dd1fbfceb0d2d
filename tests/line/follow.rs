//! The line behind the topics: what their reader brings is scored, settled once, and gives way to the first record.

use assay::base::money::{BaseAmount, RateQuality};
use assay::engine::completeness::Completeness;
use assay::engine::delivery::{Published, RecordId};
use assay::engine::follow::{Followed, FollowedDecision, FollowedTransaction, Follower, Original, Place, Settlement};
use assay::engine::lineup::Lineup;
use assay::engine::ports::{Log as _, LogError, Reading, Sink, Stored};
use assay::engine::{ChallengerOptions, Share};
use assay::features::catalogue::SHIPPED;
use assay::transaction::Rejection;
use tokio::runtime::Handle;

use super::*;

const DAY: i64 = 24 * HOUR;

/// How transactions ended, by their offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Decided,
    Refused(RejectionCode),
    Again,
}

#[derive(Debug, Default)]
struct Ends(Mutex<Vec<(i64, End)>>);

impl Ends {
    fn push(&self, offset: i64, end: End) {
        self.0.lock().unwrap().push((offset, end));
    }

    fn take(&self) -> Vec<(i64, End)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Settlement for Ends {
    fn decided(&self, place: Place) {
        self.push(place.offset, End::Decided);
    }

    fn refused(&self, place: Place, original: Arc<Original>, rejection: Rejection, _at: Millis) {
        assert_eq!(original.payload, place.offset.to_le_bytes());
        self.push(place.offset, End::Refused(rejection.code));
    }

    fn again(&self, transaction: FollowedTransaction) {
        self.push(transaction.place.unwrap().0.offset, End::Again);
    }
}

struct Stream {
    house: House,
    follower: Arc<Follower<Scored, Ends>>,
    ends: Arc<Ends>,
    offset: i64,
}

impl Stream {
    async fn new(change: impl FnOnce(&mut EngineParts<Scored>)) -> Self {
        let house = house_of(|parts| {
            parts.set_up = SetUp::Stack;
            change(parts);
        });
        Self::of(house.await)
    }

    fn of(house: House) -> Self {
        let ends: Arc<Ends> = Arc::default();
        let follower = Arc::new(house.engine.follower(Arc::clone(&ends), Handle::current()));
        Self { house, follower, ends, offset: 0 }
    }

    /// A transaction that this instance owns, at the next offset.
    fn owned(&mut self, transaction: Transaction) -> Followed {
        let place = Place { partition: 0, offset: self.offset, epoch: 1 };
        let original = Original { payload: self.offset.to_le_bytes().to_vec(), ..Original::default() };
        self.offset += 1;
        Followed::Transaction(FollowedTransaction {
            transaction: Arc::new(transaction),
            place: Some((place, Arc::new(original))),
            taken_at: Millis(START),
            again: false,
            late: false,
        })
    }

    /// Follows a batch; how what it settles ended.
    async fn follow(&self, batch: Vec<Followed>) -> Vec<(i64, End)> {
        let follower = Arc::clone(&self.follower);
        tokio::task::spawn_blocking(move || follower.follow(batch, Millis(START))).await.unwrap();
        self.house.log.flush().await.unwrap();
        self.ends.take()
    }

    async fn decision(&self, id: &str) -> Arc<Decision> {
        self.house.engine.decision(id, None).await.unwrap().unwrap()
    }
}

/// The record of another process, with this score.
fn record_of_another(transaction: &Transaction, like: &Decision, score: f32) -> Followed {
    let record = RecordId { instance: 99, sequence: 1 };
    let decision = Decision { score: Some(score), ..like.clone() };
    let published = Published {
        record,
        received_at: Millis(START),
        transaction: Arc::new(transaction.clone()),
        base: BaseAmount { minor: transaction.amount_minor, rate: RateQuality::Fresh },
        decision: Arc::new(decision),
        features: None,
    };
    Followed::Decision(FollowedDecision {
        record,
        kind: DecisionKind::Full,
        revision: Some(0),
        transaction_id: transaction.transaction_id.clone(),
        published: Some(Box::new(published)),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owned_is_scored_once_a_copy_is_decided_and_another_content_refused() {
    let mut stream = Stream::new(|_| {}).await;
    let batch = vec![stream.owned(transaction("a", 0, 700)), stream.owned(transaction("b", 1, 90_000))];
    assert_eq!(stream.follow(batch).await, [(0, End::Decided), (1, End::Decided)]);
    let decision = stream.decision("b").await;
    assert_eq!((decision.score, decision.flagged, decision.source), (Some(0.9), true, Source::Stream));
    let batch = vec![stream.owned(transaction("a", 0, 700)), stream.owned(transaction("a", 0, 701))];
    let conflict = End::Refused(RejectionCode::Conflict);
    let mut ends = stream.follow(batch).await;
    ends.sort_by_key(|(offset, _)| *offset);
    assert_eq!((ends, stream.house.log.len()), (vec![(2, End::Decided), (3, conflict)], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_instance_recorded_first_is_not_scored_and_counts_once() {
    let mut stream = Stream::new(|_| {}).await;
    let batch = vec![stream.owned(transaction("a", 0, 700))];
    stream.follow(batch).await;
    let theirs = transaction("b", 1, 500);
    let like = stream.decision("a").await;
    let batch = vec![record_of_another(&theirs, &like, 0.75), stream.owned(theirs)];
    assert_eq!(stream.follow(batch).await, [(1, End::Decided)]);
    assert_eq!(stream.house.log.len(), 1, "nothing was recorded for it here");
    let batch = vec![stream.owned(transaction("c", 2, 100))];
    stream.follow(batch).await;
    let used = stream.house.engine.features("c", None).await.unwrap().unwrap();
    assert_eq!(used["customer_tx_count_1d"], 3, "a, b and c itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_score_holds_up_no_other() {
    let mut stream = Stream::new(|_| {}).await;
    let unscorable = (UNSCORABLE * 100.0) as i64;
    let batch = [700, unscorable, 800].map(|amount| stream.owned(transaction(&amount.to_string(), 0, amount)));
    let mut ends = stream.follow(batch.into()).await;
    ends.sort_by_key(|(offset, _)| *offset);
    assert_eq!(ends, [(0, End::Decided), (1, End::Again), (2, End::Decided)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_the_stream_names_the_canary_the_champion_and_is_compared_with_the_challenger() {
    let mut stream = Stream::new(|_| {}).await;
    let engine = stream.house.engine.clone();
    let version = |version, factor| {
        engine.prepare(Arc::new(Scored { version, factor, ..Arc::into_inner(model()).unwrap() })).unwrap()
    };
    let (share, all) = (Share::new("fraud/2".to_owned(), 4_000), Share::new("fraud/3".to_owned(), 10_000));
    let champion = version("1", 1.0);
    let options = ChallengerOptions { workers: 1, queue: 1_000 };
    let challenger = engine.challenge(&version("3", 1.0), &champion, all, options).unwrap();
    let canary = Some((version("2", 2.0), share.clone()));
    engine.line_up(Lineup { champion: Some(champion), canary, challenger: Some(challenger) });
    let payments: Vec<_> = (0..60)
        .map(|number| Transaction {
            customer_id: format!("customer-{number}").into(),
            ..transaction(&format!("tx{number}"), 0, 10_000)
        })
        .collect();
    let batch = payments.iter().map(|one| stream.owned(one.clone())).collect();
    assert_eq!(stream.follow(batch).await.len(), 60);
    let mut canaried = 0;
    for payment in &payments {
        let decision = stream.decision(&payment.transaction_id).await;
        let wanted = if share.takes(&payment.customer_id) { ("2", Some(0.2)) } else { ("1", Some(0.1)) };
        assert_eq!((decision.model_version.as_str(), decision.score), wanted, "{}", payment.customer_id);
        canaried += u64::from(wanted.0 == "2");
    }
    assert!((10..40).contains(&canaried), "{canaried}");
    let challenger = engine.lineup().challenger.unwrap();
    while !challenger.is_idle() {
        tokio::task::yield_now().await;
    }
    assert_eq!(challenger.compared().compared, 60 - canaried, "what the canary decided says nothing of the champion");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_begin_midway_are_told_until_the_windows_are_full() {
    let reach = Catalogue::parse(SHIPPED, Currency::parse("EUR").unwrap()).unwrap().reach();
    let mut stream = Stream::new(|_| {}).await;
    stream.house.engine.begin_midway();
    let full = DAY + reach + LATENESS;
    // The windows are full so long after the first event that was followed, not after the start.
    for (id, at, incomplete) in [("a", DAY, true), ("b", full - 1, true), ("c", full, false)] {
        let batch = vec![stream.owned(transaction(id, at, 700))];
        assert_eq!(stream.follow(batch).await.len(), 1);
        let told = stream.decision(id).await.reasons.iter().any(|reason| reason.code == "history_incomplete");
        assert_eq!(told, incomplete, "{id}");
    }
}

/// What a restart does to a record that was acknowledged and not read back: it is another process's then.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_comes_back_after_a_restart_counts_its_transaction_once_however_late() {
    let names = ["merchant_tx_count_1d", "merchant_distinct_customers_1h", "customer_tx_count_1d"];
    let counting = |parts: &mut EngineParts<Scored>| {
        parts.set_up = SetUp::Stack;
        parts.history.lateness = HOUR;
        let model = Scored { features: names.map(String::from).to_vec(), ..Arc::into_inner(model()).unwrap() };
        parts.model = Some(Arc::new(model));
    };
    let at_merchant = |id: &str, at, merchant: &str| Transaction {
        merchant_id: Some(merchant.into()),
        customer_id: format!("{id}'s").into(),
        ..transaction(id, at, 700)
    };
    let mut before = Stream::new(counting).await;
    let x = at_merchant("late", 0, "m");
    let batch = vec![before.owned(x.clone())];
    assert_eq!(before.follow(batch).await, [(0, End::Decided)]);
    let record = record_of_another(&x, &*before.decision("late").await, 0.007);
    // The stream goes on by more than the lateness, and the merchant is swept; the index, which is swept shard by shard, still
    // knows the id.
    for number in 0..24 {
        let batch = vec![before.owned(at_merchant(&format!("o{number}"), HOUR + MINUTE + number, "other"))];
        before.follow(batch).await;
    }
    let mut snapshot = snapshots::begin(&before.house);
    let shards = snapshots::rest(&mut snapshot);
    let header = assay::engine::snapshot::Shards::header(&snapshot).clone();

    let house = snapshots::fresh(Arc::new(MemoryLog::new()), counting);
    snapshots::restore(&house, &header, &shards).unwrap();
    let mut after = Stream::of(house);
    let batch = vec![record, after.owned(at_merchant("y", HOUR + 2 * MINUTE, "m"))];
    assert_eq!(after.follow(batch).await, [(0, End::Decided)]);
    let used = after.house.engine.features("y", None).await.unwrap().unwrap();
    assert_eq!(used["merchant_tx_count_1d"], 2, "x and y itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_holds_up_nobody_but_who_asks_it() {
    let mut stream = Stream::new(|parts| parts.limits.store_wait = Duration::from_secs(600)).await;
    let batch = vec![stream.owned(transaction("a", LATENESS + HOUR, 700))];
    assert_eq!(stream.follow(batch).await, [(0, End::Decided)]);
    stream.house.log.set_mood(Mood::Silent);
    // Older than the index: only the store could know it.
    let old = stream.owned(transaction("old", 0, 700));
    let follower = Arc::clone(&stream.follower);
    tokio::task::spawn_blocking(move || follower.follow(vec![old], Millis(START))).await.unwrap();
    // Not any question: the background queue asks too.
    while !stream.house.log.was_sought("old") {
        tokio::task::yield_now().await;
    }
    assert_eq!(stream.ends.take(), []);
    stream.house.log.set_mood(Mood::Well);
    let batch = vec![stream.owned(transaction("b", LATENESS + HOUR, 700)), stream.owned(transaction("older", 1, 700))];
    let mut ends = stream.follow(batch).await;
    while ends.len() < 2 {
        tokio::task::yield_now().await;
        ends.extend(stream.ends.take());
    }
    ends.sort_by_key(|(offset, _)| *offset);
    assert_eq!(ends, [(2, End::Decided), (3, End::Refused(RejectionCode::TooOld))]);
}

/// A store that PostgreSQL stands for: the first decision for repetitions, any revision for who asks.
#[derive(Debug, Default)]
struct Revisions {
    memory: MemoryLog,
    later: Mutex<Vec<Decision>>,
}

impl assay::engine::ports::Log for Revisions {
    fn append(
        &self,
        entry: assay::engine::ports::Entry,
        done: Option<assay::engine::ports::Done>,
    ) -> Result<(), LogError> {
        self.memory.append(entry, done)
    }

    fn has_room(&self) -> bool {
        true
    }

    fn find<'a>(&'a self, id: &'a str) -> Reading<'a, Option<Stored>> {
        self.memory.find(id)
    }

    fn decision<'a>(&'a self, id: &'a str, revision: Option<u32>) -> Reading<'a, Option<Decision>> {
        let later = self.later.lock().unwrap();
        let wanted = |one: &&Decision| one.transaction_id == id && (revision.is_none() || one.revision == revision);
        match later.iter().rev().find(wanted).cloned() {
            Some(found) => Box::pin(std::future::ready(Ok(Some(found)))),
            None => self.memory.decision(id, revision),
        }
    }

    fn features<'a>(&'a self, id: &'a str, revision: Option<u32>) -> Reading<'a, Option<Value>> {
        self.memory.features(id, revision)
    }

    fn undecided(&self, limit: usize) -> Reading<'_, Vec<(Transaction, BaseAmount)>> {
        self.memory.undecided(limit)
    }

    fn completeness(&self, upto: Millis) -> Reading<'_, Completeness> {
        self.memory.completeness(upto)
    }

    fn changes(&self, most: usize) -> Reading<'_, Vec<assay::engine::models::Change>> {
        self.memory.changes(most)
    }

    fn flush(&self) -> Reading<'_, ()> {
        self.memory.flush()
    }

    fn close(&self) -> Reading<'_, ()> {
        self.memory.close()
    }

    fn newest(&self) -> Result<Option<Millis>, LogError> {
        self.memory.newest()
    }

    fn replay(&self, since: Millis, sink: &mut dyn Sink) -> Result<(), LogError> {
        self.memory.replay(since, sink)
    }

    fn health(&self) -> Result<(), String> {
        self.memory.health()
    }

    fn depth(&self) -> usize {
        self.memory.depth()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_revision_moves_nothing_and_answers_who_asks_for_it_and_no_repetition() {
    let log = Arc::new(Revisions::default());
    let stream = Stream::new(|parts| parts.log = log.clone()).await;
    let engine = &stream.house.engine;
    let first = engine.decide(transaction("a", 0, 70_000), received(Duration::from_secs(5))).await.unwrap().decision;
    assert_eq!((first.revision, first.score), (Some(0), Some(0.7)));
    // What a rescore recorded: followed here, and written by the destination.
    let decision = Decision { revision: Some(1), source: Source::Rescore, ..(*first).clone() };
    let Followed::Decision(followed) = record_of_another(&transaction("a", 0, 70_000), &decision, 0.2) else {
        panic!("a record is a decision")
    };
    let later = (*followed.published.as_ref().unwrap().decision).clone();
    stream.follow(vec![Followed::Decision(FollowedDecision { revision: Some(1), ..followed })]).await;
    log.later.lock().unwrap().push(later);
    let of = async |revision| engine.decision("a", revision).await.unwrap().map(|one| (one.revision, one.score));
    assert_eq!(of(None).await, Some((Some(1), Some(0.2))));
    assert_eq!(of(Some(1)).await, Some((Some(1), Some(0.2))));
    assert_eq!(of(Some(0)).await, Some((Some(0), Some(0.7))));
    assert_eq!(of(Some(2)).await, None);
    let again = engine.decide(transaction("a", 0, 70_000), received(Duration::from_secs(5))).await.unwrap();
    assert_eq!((again.repeated, again.decision.revision, again.decision.score), (true, Some(0), Some(0.7)));
    // Its features are of its own revision or of none.
    assert!(engine.features("a", Some(0)).await.unwrap().is_some());
    assert!(engine.features("a", Some(1)).await.unwrap().is_none());
    let next = engine.decide(transaction("b", 1, 100), received(Duration::from_secs(5))).await.unwrap();
    assert_eq!(next.decision.revision, Some(0));
    let used = engine.features("b", None).await.unwrap().unwrap();
    assert_eq!(used["customer_tx_count_1d"], 2, "a once, and b itself");
}
