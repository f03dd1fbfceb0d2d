use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::{Kind, Merge, MergeOptions, Next, Popped, Timed};
use crate::base::clock::Millis;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Item(i64, Kind, &'static str);

impl Timed for Item {
    fn at(&self) -> Millis {
        Millis(self.0)
    }

    fn kind(&self) -> Kind {
        self.1
    }

    fn id(&self) -> &str {
        self.2
    }
}

const IDS: [&str; 3] = ["a", "b", "c"];
const KINDS: [Kind; 3] = [Kind::Label, Kind::Decision, Kind::Transaction];

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn options(settle: u64, patience: u64) -> MergeOptions {
    MergeOptions { settle: ms(settle), patience: ms(patience) }
}

fn at(time: i64) -> Item {
    Item(time, Kind::Transaction, "a")
}

fn item(lane: usize, item: Item) -> Next<Item> {
    Next::Item(Popped { lane, item, late: false })
}

fn late(lane: usize, item: Item) -> Next<Item> {
    Next::Item(Popped { lane, item, late: true })
}

#[test]
fn labels_then_decisions_then_transactions_by_id() {
    let mut merge = Merge::new(5, options(0, 100));
    let (label, decision) = (Item(5, Kind::Label, "c"), Item(5, Kind::Decision, "b"));
    let (first, second, earlier) =
        (Item(5, Kind::Transaction, "a"), Item(5, Kind::Transaction, "b"), Item(4, Kind::Transaction, "c"));
    for (lane, pushed) in [&second, &first, &decision, &label, &earlier].into_iter().enumerate() {
        merge.push(lane, ms(1), pushed.clone());
        merge.at_end(lane, ms(1));
    }
    assert_eq!((merge.len(), merge.queued(0), merge.queued(9)), (5, 1, 0));
    for (lane, expected) in [(4, earlier), (3, label), (2, decision), (1, first), (0, second)] {
        assert_eq!(merge.pop(ms(1)), item(lane, expected));
    }
    assert_eq!(merge.pop(ms(1)), Next::Wait(None));
    assert!(merge.is_empty());
}

#[test]
fn a_lane_keeps_its_order_and_only_its_head_competes() {
    let mut merge = Merge::new(2, options(0, 100));
    for time in [7, 1] {
        merge.push(0, ms(0), at(time));
    }
    merge.push(1, ms(0), at(5));
    merge.at_end(0, ms(0));
    merge.at_end(1, ms(0));
    let popped: Vec<_> = std::iter::from_fn(|| match merge.pop(ms(0)) {
        Next::Item(popped) => Some((popped.lane, popped.item.0)),
        Next::Wait(_) => None,
    })
    .collect();
    assert_eq!(popped, [(1, 5), (0, 7), (0, 1)]);
}

#[test]
fn a_lane_that_should_have_more_is_waited_for_and_then_absent() {
    let mut merge = Merge::new(2, options(0, 100));
    merge.push(0, ms(10), at(1));
    merge.push(0, ms(10), at(2));
    merge.push(0, ms(10), at(4));
    assert_eq!(merge.pop(ms(20)), Next::Wait(Some(ms(110))));
    assert_eq!(merge.pop(ms(109)), Next::Wait(Some(ms(110))));
    assert_eq!(merge.pop(ms(110)), late(0, at(1)));
    assert_eq!((merge.pop(ms(110)), merge.absent()), (late(0, at(2)), 1), "still absent: nobody waits again");
    merge.push(1, ms(120), at(3));
    assert_eq!(merge.pop(ms(120)), item(1, at(3)));
    assert_eq!(merge.pop(ms(121)), Next::Wait(Some(ms(220))), "lane 1 is empty since 120 and should have more");
    merge.at_end(1, ms(130));
    assert_eq!(merge.pop(ms(130)), item(0, at(4)));
}

#[test]
fn ever_smaller_candidates_do_not_prolong_patience() {
    let mut merge = Merge::new(3, options(0, 100));
    merge.push(0, ms(0), at(9));
    merge.at_end(1, ms(0));
    assert_eq!(merge.pop(ms(0)), Next::Wait(Some(ms(100))));
    merge.push(1, ms(90), at(8));
    assert_eq!(merge.pop(ms(90)), Next::Wait(Some(ms(100))));
    assert_eq!(merge.pop(ms(100)), late(1, at(8)));
}

#[test]
fn a_push_ends_the_end() {
    let mut merge = Merge::new(2, options(0, 100));
    merge.push(0, ms(0), at(5));
    merge.at_end(1, ms(0));
    merge.push(1, ms(1), at(3));
    assert_eq!(merge.pop(ms(1)), item(1, at(3)));
    assert_eq!(merge.pop(ms(1)), Next::Wait(Some(ms(101))));
}

#[test]
fn a_lane_in_doubt_is_waited_for() {
    let mut merge = Merge::new(2, options(0, 100));
    merge.at_end(1, ms(0));
    merge.doubt(1, ms(40));
    merge.push(0, ms(10), at(5));
    merge.doubt(0, ms(40));
    assert_eq!(merge.pop(ms(50)), Next::Wait(Some(ms(140))));
    merge.at_end(1, ms(60));
    assert_eq!(merge.pop(ms(60)), item(0, at(5)));
}

#[test]
fn while_a_lane_is_empty_a_candidate_settles() {
    let mut merge = Merge::new(2, options(200, 1_000));
    merge.at_end(1, ms(0));
    merge.push(0, ms(10), at(5));
    assert_eq!(merge.pop(ms(10)), Next::Wait(Some(ms(210))));
    merge.push(1, ms(100), at(4));
    merge.push(1, ms(100), at(6));
    assert_eq!(merge.pop(ms(100)), item(1, at(4)), "every lane has a head: nothing can come before");
    assert_eq!(merge.pop(ms(100)), item(0, at(5)));
    assert_eq!(merge.pop(ms(100)), Next::Wait(Some(ms(300))));
    merge.at_end(0, ms(150));
    assert_eq!(merge.pop(ms(150)), Next::Wait(Some(ms(300))));
    assert_eq!(merge.pop(ms(300)), Next::Wait(Some(ms(1_300))), "its end was seen before the candidate had settled");
    merge.at_end(0, ms(310));
    assert_eq!(merge.pop(ms(310)), item(1, at(6)));
}

#[test]
fn a_lane_beyond_the_last_is_added() {
    let mut merge = Merge::new(1, options(0, 100));
    merge.push(0, ms(0), at(2));
    merge.push(3, ms(0), at(1));
    for lane in 1..3 {
        merge.at_end(lane, ms(0));
    }
    assert_eq!(merge.pop(ms(0)), item(3, at(1)));
    assert_eq!(merge.pop(ms(0)), Next::Wait(Some(ms(100))), "lane 3 should have more");
    merge.at_end(3, ms(1));
    assert_eq!(merge.pop(ms(1)), item(0, at(2)));
}

/// The rules by scanning every lane at every step.
struct Naive {
    options: MergeOptions,
    lanes: Vec<NaiveLane>,
}

#[derive(Clone, Default)]
struct NaiveLane {
    queue: VecDeque<(Duration, Item)>,
    at_end: Option<Duration>,
    absent: bool,
    empty_since: Duration,
    holding_since: Option<Duration>,
}

impl Naive {
    fn push(&mut self, lane: usize, read_at: Duration, item: Item) {
        let lane = &mut self.lanes[lane];
        lane.queue.push_back((read_at, item));
        (lane.at_end, lane.absent, lane.holding_since) = (None, false, None);
    }

    fn doubt(&mut self, lane: usize, since: Duration) {
        let lane = &mut self.lanes[lane];
        if lane.at_end.take().is_some() && lane.queue.is_empty() {
            lane.empty_since = since;
        }
    }

    fn at_end(&mut self, lane: usize, seen_at: Duration) {
        let lane = &mut self.lanes[lane];
        (lane.at_end, lane.absent, lane.holding_since) = (Some(seen_at), false, None);
    }

    fn pop(&mut self, now: Duration) -> Next<Item> {
        let heads = self.lanes.iter().enumerate().filter_map(|(place, lane)| Some((lane.queue.front()?, place)));
        let Some(((read_at, _), place)) = heads.min_by_key(|((_, item), place)| (item.clone(), *place)) else {
            return Next::Wait(None);
        };
        let read_at = *read_at;
        let mut until = now;
        let empty = self.lanes.iter().any(|lane| lane.queue.is_empty());
        if empty && self.options.settle > Duration::ZERO {
            let settled = read_at + self.options.settle;
            if now < settled {
                return Next::Wait(Some(settled));
            }
            let old =
                |lane: &&mut NaiveLane| lane.queue.is_empty() && lane.at_end.is_some_and(|seen_at| seen_at < settled);
            for lane in self.lanes.iter_mut().filter(old) {
                (lane.at_end, lane.empty_since) = (None, now);
            }
        }
        let awaited = |lane: &&mut NaiveLane| lane.queue.is_empty() && lane.at_end.is_none() && !lane.absent;
        for lane in self.lanes.iter_mut().filter(awaited) {
            let begun = lane.empty_since.max(read_at);
            let since = lane.holding_since.map_or(begun, |since| since.min(begun));
            lane.holding_since = Some(since);
            lane.absent = since + self.options.patience <= now;
            until = until.max(since + self.options.patience);
        }
        if until > now {
            return Next::Wait(Some(until));
        }
        let late = self.lanes.iter().any(|lane| lane.absent);
        let (_, item) = self.lanes[place].queue.pop_front().unwrap();
        if self.lanes[place].queue.is_empty() {
            self.lanes[place].empty_since = now;
        }
        Next::Item(Popped { lane: place, item, late })
    }
}

#[derive(Debug, Clone)]
enum Act {
    Push(usize, i64, usize, usize),
    End(usize),
    Doubt(usize),
    Pop,
    Pass(u64),
}

fn act(lanes: usize) -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..lanes, 0_i64..12, 0_usize..3, 0_usize..3).prop_map(|(lane, at, kind, id)| Act::Push(lane, at, kind, id)),
        2 => (0..lanes).prop_map(Act::End),
        1 => (0..lanes).prop_map(Act::Doubt),
        5 => Just(Act::Pop),
        2 => (0_u64..15).prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn it_is_what_scanning_every_lane_gives(
        (lanes, acts) in (1_usize..9).prop_flat_map(|lanes| (Just(lanes), prop::collection::vec(act(lanes), 0..250))),
        settle in prop_oneof![Just(0_u64), 1_u64..10],
        patience in 0_u64..20,
    ) {
        let mut merge = Merge::new(lanes, options(settle, patience));
        let mut naive = Naive { options: options(settle, patience), lanes: vec![NaiveLane::default(); lanes] };
        let mut now = Duration::ZERO;
        for act in acts {
            match act {
                Act::Push(lane, at, kind, id) => {
                    merge.push(lane, now, Item(at, KINDS[kind], IDS[id]));
                    naive.push(lane, now, Item(at, KINDS[kind], IDS[id]));
                }
                Act::End(lane) => {
                    merge.at_end(lane, now);
                    naive.at_end(lane, now);
                }
                Act::Doubt(lane) => {
                    merge.doubt(lane, now);
                    naive.doubt(lane, now);
                }
                Act::Pass(time) => now += ms(time),
                Act::Pop => prop_assert_eq!(merge.pop(now), naive.pop(now)),
            }
            let queued: Vec<usize> = naive.lanes.iter().map(|lane| lane.queue.len()).collect();
            prop_assert_eq!((0..lanes).map(|lane| merge.queued(lane)).collect::<Vec<_>>(), queued.clone());
            prop_assert_eq!(merge.len(), queued.iter().sum::<usize>());
        }
    }
}
