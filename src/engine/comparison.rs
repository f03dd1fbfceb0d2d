//! A challenger held against the model that decides: how far their scores are apart, how often they flag alike, and, as
//! labels come, whose flags were right.
//!
//! ```text
//! pairs of scores, from the challenger's threads ─┐
//!                                                 ├─▶ counted under a lock of those threads ─▶ told: one pointer
//! verdicts, from threads that serve ─▶ a queue ───┘
//! ```
//!
//! In: pairs of scores, and verdicts. Out: [`Compared`], and [`Kept`], which a later process goes on with. Invariants: whoever
//! serves waits for no lock here; a transaction is compared once; what is held is bounded (the newest [`PAIRS`] pairs can still
//! be labelled).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use crossbeam_queue::ArrayQueue;
use serde::{Deserialize, Serialize};

use super::tally::Counts;
use crate::base::clock::Millis;
use crate::decision::ModelRef;

/// Pairs that wait for their labels: two months at a payment every thirty seconds, an hour at fifty a second and 100 %.
const PAIRS: usize = 200_000;
/// Verdicts that wait to be counted; more are not heard, and counted as such.
const VERDICTS: usize = 16_384;
/// Verdicts on transactions that are not compared, or not yet: the newest.
const EARLY: usize = 16_384;

/// What both models said of one transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    /// Its id's hash.
    pub(super) id: u128,
    pub(super) decided: f32,
    pub(super) decided_flagged: bool,
    pub(super) challenger: f32,
    pub(super) challenger_flagged: bool,
}

/// A verdict on a transaction.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    id: u128,
    /// The newest counts, and of two of one moment the fraud.
    said: (Millis, bool),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Comparison {
    /// The model that decides.
    champion: ModelRef,
    challenger: ModelRef,
    state: Mutex<State>,
    verdicts: ArrayQueue<Verdict>,
    /// Verdicts that are not counted yet.
    unheard: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    missed: AtomicU64,
    told: ArcSwap<Compared>,
}

#[derive(Debug)]
struct State {
    since: Millis,
    pairs: HashMap<u128, Labelled>,
    order: VecDeque<u128>,
    early: HashMap<u128, (Millis, bool)>,
    early_order: VecDeque<u128>,
    sums: Sums,
    champion_scores: Counts,
    challenger_scores: Counts,
}

#[derive(Debug, Clone, Copy)]
struct Labelled {
    pair: Pair,
    /// The newest verdict and when it was given.
    verdict: Option<(Millis, bool)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Sums {
    compared: u64,
    distance: f64,
    furthest: f64,
    both: u64,
    champion_only: u64,
    challenger_only: u64,
    labels: Labels,
}

/// A comparison as it outlives its process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    champion: ModelRef,
    challenger: ModelRef,
    since: Millis,
    sums: Sums,
    /// Cells of the two distributions of scores.
    scores: [Vec<u64>; 2],
    /// Dropped, failed, missed.
    lost: [u64; 3],
    /// Oldest first.
    pairs: Vec<KeptPair>,
}

/// Id, both scores by their bits, both flags, and the verdict where there is one.
type KeptPair = (String, [u32; 2], [bool; 2], Option<(Millis, bool)>);

/// Labelled transactions, by what each model said.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// All of them.
    pub labelled: u64,
    /// Those that were fraud.
    pub fraud: u64,
    /// Flagged by the champion.
    pub champion_flagged: u64,
    /// Of those, fraud.
    pub champion_caught: u64,
    /// Flagged by the challenger.
    pub challenger_flagged: u64,
    /// Of those, fraud.
    pub challenger_caught: u64,
}

/// A comparison at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The model that decides, `name/version`.
    pub champion: String,
    /// The one that scores besides.
    pub challenger: String,
    /// Since when.
    pub since: Millis,
    /// Transactions that both scored.
    pub compared: u64,
    /// Dropped because too many waited.
    pub dropped: u64,
    /// The challenger gave no score.
    pub failed: u64,
    /// Of those compared the share (0 to 1) that both flag or neither; 1 where there is none.
    pub agreement: f64,
    /// Flagged by both.
    pub both_flagged: u64,
    /// Flagged by the champion alone.
    pub champion_only: u64,
    /// Flagged by the challenger alone.
    pub challenger_only: u64,
    /// Mean of the absolute differences of the scores.
    pub mean_distance: f64,
    /// The largest of them.
    pub largest_distance: f64,
    /// Population stability index of the two distributions of scores.
    pub shift: f64,
    /// What labels say so far.
    pub labels: Labels,
    /// Labels that came faster than they could be counted.
    pub missed_labels: u64,
    /// Of the labelled that the champion flagged the share that was fraud; absent where it flagged none.
    pub champion_precision: Option<f64>,
    /// Likewise of the challenger.
    pub challenger_precision: Option<f64>,
    /// Of the labelled frauds the share that the champion flagged; absent where there is none.
    pub champion_recall: Option<f64>,
    /// Likewise of the challenger.
    pub challenger_recall: Option<f64>,
}

impl Comparison {
    pub(super) fn new(champion: ModelRef, challenger: ModelRef, since: Millis) -> Self {
        let state = State::new(since);
        let told = state.told(&champion, &challenger);
        Self {
            champion,
            challenger,
            state: Mutex::new(state),
            verdicts: ArrayQueue::new(VERDICTS),
            unheard: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            told: ArcSwap::from_pointee(told),
        }
    }

    pub(super) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, rows: u64) {
        self.failed.fetch_add(rows, Ordering::Relaxed);
    }

    /// Lets pairs count, and the verdicts that came meanwhile.
    pub(super) fn add(&self, pairs: impl Iterator<Item = Pair>) {
        let mut state = self.state();
        pairs.for_each(|pair| state.add(pair));
        // No more than a queue full: whoever brings verdicts must not keep the pairs waiting.
        let mut heard = 0;
        for verdict in std::iter::from_fn(|| self.verdicts.pop()).take(VERDICTS) {
            state.label(verdict);
            heard += 1;
        }
        self.told.store(Arc::new(state.told(&self.champion, &self.challenger)));
        self.unheard.fetch_sub(heard, Ordering::Relaxed);
    }

    /// A verdict on a transaction. Returns at once: [`Comparison::settle`] lets it count.
    pub(super) fn label(&self, id: u128, labelled_at: Millis, is_fraud: bool) {
        self.unheard.fetch_add(1, Ordering::Relaxed);
        if self.verdicts.push(Verdict { id, said: (labelled_at, is_fraud) }).is_err() {
            self.unheard.fetch_sub(1, Ordering::Relaxed);
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets the verdicts count that wait.
    pub(super) fn settle(&self) {
        if !self.verdicts.is_empty() {
            self.add(std::iter::empty());
        }
    }

    /// Whether every verdict is counted.
    pub(super) fn is_settled(&self) -> bool {
        self.unheard.load(Ordering::Relaxed) == 0
    }

    /// As it stands. Waits for nobody.
    pub(super) fn read(&self) -> Compared {
        let [dropped, failed, missed] = self.lost();
        Compared { dropped, failed, missed_labels: missed, ..Compared::clone(&self.told.load()) }
    }

    fn lost(&self) -> [u64; 3] {
        [&self.dropped, &self.failed, &self.missed].map(|count| count.load(Ordering::Relaxed))
    }

    /// For a later process. Takes the lock of the challenger's threads: not for a thread that serves.
    pub(super) fn kept(&self) -> Kept {
        let state = self.state();
        let pair = |id: &u128| {
            let Labelled { pair, verdict } = state.pairs.get(id)?;
            let scores = [pair.decided.to_bits(), pair.challenger.to_bits()];
            Some((format!("{id:032x}"), scores, [pair.decided_flagged, pair.challenger_flagged], *verdict))
        };
        Kept {
            champion: self.champion.clone(),
            challenger: self.challenger.clone(),
            since: state.since,
            sums: state.sums,
            scores: [state.champion_scores.cells().to_vec(), state.challenger_scores.cells().to_vec()],
            lost: self.lost(),
            pairs: state.order.iter().filter_map(pair).collect(),
        }
    }

    /// Goes on with what an earlier process kept, where it is of the same two models; whether it is.
    pub(super) fn go_on(&self, kept: &Kept) -> bool {
        if kept.champion != self.champion || kept.challenger != self.challenger {
            return false;
        }
        let mut state = State::new(kept.since);
        for (id, [decided, challenger], [decided_flagged, challenger_flagged], verdict) in &kept.pairs {
            let Ok(id) = u128::from_str_radix(id, 16) else { return false };
            let (decided, challenger) = (f32::from_bits(*decided), f32::from_bits(*challenger));
            let pair = Pair {
                id,
                decided,
                decided_flagged: *decided_flagged,
                challenger,
                challenger_flagged: *challenger_flagged,
            };
            state.enter(Labelled { pair, verdict: *verdict });
        }
        let [champion_scores, challenger_scores] = &kept.scores;
        (state.champion_scores, state.challenger_scores) =
            (Counts::of_cells(champion_scores), Counts::of_cells(challenger_scores));
        state.sums = kept.sums;
        for (count, kept) in [&self.dropped, &self.failed, &self.missed].into_iter().zip(kept.lost) {
            count.fetch_add(kept, Ordering::Relaxed);
        }
        self.told.store(Arc::new(state.told(&self.champion, &self.challenger)));
        *self.state() = state;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts are consistent between any two statements that change them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(since: Millis) -> Self {
        Self {
            since,
            pairs: HashMap::new(),
            order: VecDeque::new(),
            early: HashMap::new(),
            early_order: VecDeque::new(),
            sums: Sums::default(),
            champion_scores: Counts::of_scores(&[]),
            challenger_scores: Counts::of_scores(&[]),
        }
    }

    fn add(&mut self, pair: Pair) {
        if self.pairs.contains_key(&pair.id) {
            return;
        }
        self.champion_scores.add_score(pair.decided);
        self.challenger_scores.add_score(pair.challenger);
        let distance = f64::from((pair.decided - pair.challenger).abs());
        let sums = &mut self.sums;
        sums.compared += 1;
        sums.distance += distance;
        sums.furthest = sums.furthest.max(distance);
        match (pair.decided_flagged, pair.challenger_flagged) {
            (true, true) => sums.both += 1,
            (true, false) => sums.champion_only += 1,
            (false, true) => sums.challenger_only += 1,
            (false, false) => {}
        }
        self.enter(Labelled { pair, verdict: None });
        if let Some(said) = self.early.remove(&pair.id) {
            self.label(Verdict { id: pair.id, said });
        }
    }

    /// Holds a pair for its labels, the oldest one no longer where there are too many: what its label said stays counted.
    fn enter(&mut self, labelled: Labelled) {
        self.order.push_back(labelled.pair.id);
        self.pairs.insert(labelled.pair.id, labelled);
        if self.order.len() > PAIRS
            && let Some(oldest) = self.order.pop_front()
        {
            self.pairs.remove(&oldest);
        }
    }

    fn label(&mut self, Verdict { id, said }: Verdict) {
        let Some(labelled) = self.pairs.get_mut(&id) else { return self.come_early(id, said) };
        if labelled.verdict.is_some_and(|known| known >= said) {
            return;
        }
        let earlier = labelled.verdict.replace(said);
        if let Some((_, was_fraud)) = earlier {
            self.sums.labels.count(&labelled.pair, was_fraud, |count| *count -= 1);
        }
        self.sums.labels.count(&labelled.pair, said.1, |count| *count += 1);
    }

    /// Its transaction is not compared, or not yet.
    fn come_early(&mut self, id: u128, said: (Millis, bool)) {
        let newest = self.early.get(&id).map_or(said, |known| said.max(*known));
        if self.early.insert(id, newest).is_none() {
            self.early_order.push_back(id);
        }
        if self.early_order.len() > EARLY
            && let Some(oldest) = self.early_order.pop_front()
        {
            self.early.remove(&oldest);
        }
    }

    fn told(&self, champion: &ModelRef, challenger: &ModelRef) -> Compared {
        let Sums { compared, distance, furthest, both, champion_only, challenger_only, labels } = self.sums;
        let apart = champion_only + challenger_only;
        Compared {
            champion: named(champion),
            challenger: named(challenger),
            since: self.since,
            compared,
            dropped: 0,
            failed: 0,
            agreement: share(compared - apart, compared).unwrap_or(1.0),
            both_flagged: both,
            champion_only,
            challenger_only,
            mean_distance: if compared == 0 { 0.0 } else { distance / compared as f64 },
            largest_distance: furthest,
            shift: self.champion_scores.shift(&self.challenger_scores),
            labels,
            missed_labels: 0,
            champion_precision: share(labels.champion_caught, labels.champion_flagged),
            challenger_precision: share(labels.challenger_caught, labels.challenger_flagged),
            champion_recall: share(labels.champion_caught, labels.fraud),
            challenger_recall: share(labels.challenger_caught, labels.fraud),
        }
    }
}

impl Labels {
    /// Lets one labelled pair count, or count no more.
    fn count(&mut self, pair: &Pair, is_fraud: bool, change: impl Fn(&mut u64)) {
        let counts = [
            (true, &mut self.labelled),
            (is_fraud, &mut self.fraud),
            (pair.decided_flagged, &mut self.champion_flagged),
            (pair.decided_flagged && is_fraud, &mut self.champion_caught),
            (pair.challenger_flagged, &mut self.challenger_flagged),
            (pair.challenger_flagged && is_fraud, &mut self.challenger_caught),
        ];
        counts.into_iter().filter(|(holds, _)| *holds).for_each(|(_, count)| change(count));
    }
}

fn named(model: &ModelRef) -> String {
    format!("{}/{}", model.name, model.version)
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(version: &str) -> ModelRef {
        ModelRef { name: "fraud".to_owned(), version: version.to_owned(), sha256: "0".repeat(64), threshold: 0.5 }
    }

    fn pair(id: u128, decided: f32, challenger: f32) -> Pair {
        Pair { id, decided, decided_flagged: decided >= 0.5, challenger, challenger_flagged: challenger >= 0.5 }
    }

    fn comparison() -> Comparison {
        Comparison::new(model("1"), model("2"), Millis(7))
    }

    #[test]
    fn pairs_are_counted_by_who_flags() {
        let comparison = comparison();
        let none = comparison.read();
        assert_eq!((none.compared, none.agreement.to_bits()), (0, 1.0_f64.to_bits()));
        comparison
            .add([pair(1, 0.75, 0.75), pair(2, 0.75, 0.25), pair(3, 0.25, 0.75), pair(4, 0.25, 0.25)].into_iter());
        comparison.dropped();
        comparison.failed(3);
        let found = comparison.read();
        assert_eq!((found.champion.as_str(), found.challenger.as_str()), ("fraud/1", "fraud/2"));
        assert_eq!((found.compared, found.dropped, found.failed), (4, 1, 3));
        assert_eq!((found.both_flagged, found.champion_only, found.challenger_only), (1, 1, 1));
        assert_eq!((found.agreement, found.mean_distance, found.largest_distance), (0.5, 0.25, 0.5));
        assert!(found.champion_precision.is_none() && found.champion_recall.is_none());
    }

    #[test]
    fn labels_say_whose_flags_were_right() {
        let comparison = comparison();
        comparison
            .add([pair(1, 0.75, 0.75), pair(2, 0.75, 0.25), pair(3, 0.25, 0.75), pair(4, 0.25, 0.25)].into_iter());
        for (id, is_fraud) in [(1, true), (2, false), (3, true), (4, true), (5, true)] {
            comparison.label(id, Millis(1), is_fraud);
            comparison.label(id, Millis(1), is_fraud);
        }
        assert_eq!(comparison.read().labels.labelled, 0, "not before somebody has time");
        comparison.settle();
        assert!(comparison.is_settled());
        let found = comparison.read();
        assert_eq!(
            (found.labels.labelled, found.labels.fraud),
            (4, 3),
            "an unknown id counts nowhere, a repetition once"
        );
        assert_eq!((found.champion_precision, found.challenger_precision), (Some(0.5), Some(1.0)));
        assert_eq!((found.champion_recall, found.challenger_recall), (Some(1.0 / 3.0), Some(2.0 / 3.0)));
    }

    #[test]
    fn the_newest_verdict_counts_in_whatever_order_they_come() {
        for order in [[(1, false), (2, true)], [(2, true), (1, false)]] {
            let comparison = comparison();
            comparison.add([pair(1, 0.75, 0.25)].into_iter());
            order.into_iter().for_each(|(at, is_fraud)| comparison.label(1, Millis(at), is_fraud));
            comparison.settle();
            let labels = comparison.read().labels;
            assert_eq!((labels.labelled, labels.fraud, labels.champion_caught), (1, 1, 1));
        }
        let comparison = comparison();
        comparison.add([pair(1, 0.75, 0.25)].into_iter());
        [true, false].into_iter().for_each(|is_fraud| comparison.label(1, Millis(1), is_fraud));
        comparison.settle();
        assert_eq!(comparison.read().labels.fraud, 1, "of one moment the fraud stays");
    }

    #[test]
    fn a_verdict_that_comes_before_its_pair_counts_with_it() {
        let comparison = comparison();
        comparison.label(1, Millis(2), true);
        comparison.label(1, Millis(1), false);
        comparison.settle();
        comparison.add([pair(1, 0.75, 0.25), pair(2, 0.75, 0.25), pair(1, 0.75, 0.75)].into_iter());
        let found = comparison.read();
        assert_eq!((found.labels.labelled, found.labels.fraud, found.compared), (1, 1, 2));
        // Of verdicts on what is never compared the newest are held, and no more.
        (0..EARLY as u128 * 3).for_each(|id| {
            comparison.label(id + 9, Millis(1), true);
            comparison.settle();
        });
        assert!(comparison.state().early.len() <= EARLY && comparison.state().early_order.len() <= EARLY);
    }

    #[test]
    fn verdicts_that_nobody_has_time_for_are_counted_as_missed() {
        let comparison = comparison();
        (0..VERDICTS as u128 + 3).for_each(|id| comparison.label(id, Millis(1), true));
        assert_eq!(comparison.read().missed_labels, 3);
        comparison.settle();
        assert!(comparison.is_settled());
    }

    #[test]
    fn a_later_process_goes_on_with_what_was_kept() {
        let earlier = comparison();
        earlier.add([pair(1, 0.75, 0.25), pair(2, 0.1, 0.2), pair(3, 0.3, 0.9)].into_iter());
        earlier.dropped();
        earlier.failed(2);
        earlier.label(1, Millis(5), true);
        earlier.settle();
        let text = serde_json::to_string(&earlier.kept()).unwrap();
        let kept: Kept = serde_json::from_str(&text).unwrap();
        assert_eq!(kept, earlier.kept());
        let later = Comparison::new(model("1"), model("2"), Millis(99));
        assert!(later.go_on(&kept));
        assert_eq!(later.read(), earlier.read());
        for comparison in [&earlier, &later] {
            comparison.label(1, Millis(6), false);
            comparison.label(3, Millis(6), true);
            comparison.add([pair(2, 0.1, 0.2), pair(4, 0.6, 0.6)].into_iter());
        }
        assert_eq!(later.read(), earlier.read());
        assert_eq!(later.read().compared, 4);
        let other = Comparison::new(model("1"), model("3"), Millis(99));
        assert!(!other.go_on(&kept) && other.read().compared == 0, "another challenger begins anew");
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_was_counted_stays() {
        let comparison = comparison();
        comparison.add((0..PAIRS as u128 + 5).map(|id| pair(id, 0.75, 0.25)));
        comparison.label(0, Millis(1), true);
        comparison.label(PAIRS as u128, Millis(1), true);
        comparison.settle();
        let found = comparison.read();
        assert_eq!((found.compared, found.labels.labelled), (PAIRS as u64 + 5, 1));
        assert_eq!(comparison.state().pairs.len(), PAIRS);
    }
}
