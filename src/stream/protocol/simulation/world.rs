//! The world of one schedule: the logs, the destination, the instances, and what happens to them, event by event.

use std::time::Duration;

use super::super::Moment;
use super::super::merge::MergeOptions;
use super::audit::{Seen, View};
use super::bug::Bug;
use super::complete::{self, Operator};
use super::dice::Dice;
use super::judge;
use super::kafka::{Kafka, TRANSACTIONS};
use super::memory::Snapshot;
use super::node::Node;
use super::postgres::Postgres;
use super::tally::Tally;
use super::traffic::{Pipes, Traffic};

/// Rounds in which a healed world must come to rest.
const MOST_ROUNDS: usize = 300;

#[derive(Debug)]
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) now: Moment,
    pub(super) bug: Option<Bug>,
    pub(super) options: MergeOptions,
    pub(super) kafka: Kafka,
    pub(super) postgres: Postgres,
    /// `None`: down.
    pub(super) nodes: Vec<Option<Node>>,
    snapshots: Vec<Option<Snapshot>>,
    processes: u64,
    pub(super) traffic: Traffic,
    pub(super) tally: Tally,
    /// Committed offsets that were found to be acknowledged.
    pub(super) judged: Vec<i64>,
    pub(super) operator: Operator,
    /// What was shown last, and had been seen for it.
    pub(super) told: Option<(View, Seen)>,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut dice = Dice::new(seed);
        let settle = if dice.chance(75) { Duration::from_millis(60) } else { Duration::ZERO };
        let count = 2 + dice.below(2);
        let mut world = Self {
            now: Moment::from_millis(1_000),
            bug,
            options: MergeOptions { settle, patience: Duration::from_millis(1_500) },
            kafka: Kafka::new(dice.chance(50)),
            postgres: Postgres::default(),
            nodes: (0..count).map(|_| None).collect(),
            snapshots: vec![None; count],
            processes: 0,
            traffic: Traffic::new(&mut dice),
            tally: Tally::default(),
            judged: Vec::new(),
            operator: Operator::new(seed),
            told: None,
            dice,
        };
        for name in 0..count {
            world.start(name);
        }
        world
    }

    /// A process with this name; from its snapshot, if it has one and luck.
    fn start(&mut self, name: usize) {
        self.processes += 1;
        let from = self.snapshots[name].clone().filter(|_| self.dice.chance(70));
        self.tally.count(if from.is_some() { "starts from a snapshot" } else { "starts from the beginning" }, 1);
        self.nodes[name] = Some(Node::start((name, self.processes), self.options, from, self.bug));
    }

    fn crash(&mut self, name: usize) {
        if let Some(mut node) = self.nodes[name].take() {
            for point in node.points() {
                self.tally.count(point, 1);
            }
            node.line.die(&mut self.kafka, &mut self.dice);
            self.tally.count("crashes", 1);
        }
    }

    /// Ends a process in order, as far as it gets: what is acknowledged is committed and the groups are left.
    fn stop(&mut self, name: usize) {
        let Some(mut node) = self.nodes[name].take() else { return };
        node.commit(&mut self.kafka, &mut self.dice, &mut self.tally);
        node.line.die(&mut self.kafka, &mut self.dice);
        if !self.kafka.away && !node.cut_off {
            self.kafka.scoring.leave(node.me.0, node.me.1);
            self.kafka.writing.leave(node.me.0, node.me.1);
        }
    }

    /// One event.
    pub(super) fn event(&mut self) {
        let pause = if self.dice.chance(4) { self.dice.below(400) } else { self.dice.below(25) };
        self.now += Duration::from_millis(pause as u64);
        self.kafka.scoring.tick(self.now);
        self.kafka.writing.tick(self.now);
        match self.dice.weighted(&[40, 5, 55]) {
            0 => self.traffic(),
            1 => self.misfortune(),
            _ => {}
        }
        for name in 0..self.nodes.len() {
            self.recover(name);
            for _ in 0..self.dice.below(5) {
                self.work(name);
            }
        }
        judge::commits(self);
        complete::event(self);
    }

    fn traffic(&mut self) {
        let (traffic, mut pipes) = self.pipes();
        traffic.event(&mut pipes);
    }

    fn pipes(&mut self) -> (&mut Traffic, Pipes<'_>) {
        let Self { dice, now, kafka, postgres, nodes, traffic, tally, .. } = self;
        let nodes = nodes.iter_mut().flatten().collect();
        (traffic, Pipes { now: now.as_millis() as i64, kafka, postgres, nodes, dice, tally })
    }

    /// An instance does a part of its work.
    fn work(&mut self, name: usize) {
        let Self { dice, now, kafka, postgres, tally, .. } = self;
        let Some(node) = &mut self.nodes[name] else { return };
        match dice.weighted(&[25, 25, 10, 8, 14, 22, 14, 8, 12, 1]) {
            0 => node.reader.poll(kafka, *now, dice),
            1 => drop(node.read(1 + dice.below(20), kafka, *now, tally)),
            2 => node.advance(dice.chance(70), tally),
            3 => node.reread(1 + dice.below(4), kafka),
            4 => node.score(1 + dice.below(4), tally),
            5 => node.send(kafka, dice, false, tally),
            6 => {
                node.ask(kafka, *now, dice, tally);
                if !node.cut_off && !kafka.away {
                    node.writer.ask(kafka, *now);
                }
            }
            7 => node.commit(kafka, dice, tally),
            8 => node.writer.step(kafka, postgres, dice),
            _ => {
                postgres.look_after_if_there();
                self.snapshots[name] = Some(node.snapshot());
            }
        }
    }

    /// Something fails.
    fn misfortune(&mut self) {
        let name = self.dice.below(self.nodes.len());
        match self.dice.weighted(&[40, 20, 8, 12, 20, 10, 20]) {
            0 => self.crash(name),
            5 => self.stop(name),
            2 => {
                self.kafka.away = true;
                self.tally.count("outages of the logs", 1);
            }
            3 => {
                self.postgres.away = true;
                self.tally.count("outages of the destination", 1);
            }
            what => {
                let Some(node) = &mut self.nodes[name] else { return };
                let lane = self.dice.below(node.reader.lanes.len());
                match what {
                    1 => node.cut_off = true,
                    4 => node.reader.lanes[lane].stalled = true,
                    _ => node.line.stuck = true,
                }
            }
        }
    }

    /// What failed is well again, with luck; what hangs may be killed.
    fn recover(&mut self, name: usize) {
        self.kafka.away &= !self.dice.chance(5);
        self.postgres.away &= !self.dice.chance(3);
        match &mut self.nodes[name] {
            Some(node) if node.line.stuck && self.dice.chance(4) => self.crash(name),
            Some(node) => {
                node.cut_off &= !self.dice.chance(3);
                node.line.stuck &= !self.dice.chance(5);
                let lane = self.dice.below(node.reader.lanes.len());
                node.reader.lanes[lane].stalled &= !self.dice.chance(20);
            }
            None if self.dice.chance(8) => self.start(name),
            None => {}
        }
    }

    /// Everything is well again and runs until nothing moves. What still moves after many rounds, if anything.
    pub(super) fn rest(&mut self) -> Option<&'static str> {
        (self.kafka.away, self.postgres.away) = (false, false);
        for name in 0..self.nodes.len() {
            match &mut self.nodes[name] {
                None => self.start(name),
                Some(node) => {
                    (node.cut_off, node.line.stuck) = (false, false);
                    node.reader.lanes.iter_mut().for_each(|lane| lane.stalled = false);
                }
            }
        }
        let (traffic, mut pipes) = self.pipes();
        traffic.end(&mut pipes);
        let mut unrest = None;
        for _ in 0..MOST_ROUNDS {
            self.now += Duration::from_millis(70);
            self.kafka.scoring.tick(self.now);
            self.kafka.writing.tick(self.now);
            for node in self.nodes.iter_mut().flatten() {
                let Self { dice, now, kafka, postgres, tally, .. } = self;
                node.ask(kafka, *now, dice, tally);
                node.writer.ask(kafka, *now);
                while node.read(100, kafka, *now, tally) {}
                node.advance(true, tally);
                node.reread(100, kafka);
                node.score(100, tally);
                node.send(kafka, dice, true, tally);
                node.commit(kafka, dice, tally);
                node.writer.step(kafka, postgres, dice);
                postgres.look_after_if_there();
            }
            judge::commits(self);
            unrest = self.nodes.iter().flatten().find_map(|node| node.unrest(&self.kafka));
            if unrest.is_none() && self.kafka.scoring.committed == self.kafka.ends(TRANSACTIONS) {
                return None;
            }
        }
        unrest.or(Some("the committed offsets are not those of the last transactions"))
    }

    /// Everybody who is up.
    pub(super) fn up(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }
}
