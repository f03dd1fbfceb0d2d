//! A consumer group with the eager protocol: generations, a session time-out, fenced members, committed offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::Moment;

pub(super) const SESSION: Duration = Duration::from_millis(600);

/// What a member hears when it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is no member, or another process has its name: whatever it held is lost.
    Fenced,
    /// A rebalance has begun: give everything back and join again.
    Rejoin,
    /// Others have not joined yet.
    Wait,
    /// What it holds in this generation.
    Assigned(u64, Vec<i32>),
}

#[derive(Debug)]
struct Member {
    process: u64,
    asked: Moment,
    partitions: Vec<i32>,
}

#[derive(Debug)]
pub(super) struct Group {
    /// Whether a restarted instance takes its old place without a rebalance (static membership).
    keeps_names: bool,
    partitions: usize,
    generation: u64,
    members: BTreeMap<usize, Member>,
    /// Who has joined the next generation; `None`: the group is stable.
    joined: Option<BTreeSet<usize>>,
    pub(super) committed: Vec<i64>,
    pub(super) rebalances: usize,
    pub(super) faults: Vec<String>,
}

impl Group {
    pub(super) fn new(partitions: usize, keeps_names: bool) -> Self {
        Self {
            keeps_names,
            partitions,
            generation: 0,
            members: BTreeMap::new(),
            joined: None,
            committed: vec![0; partitions],
            rebalances: 0,
            faults: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, name: usize, process: u64, now: Moment) -> Heard {
        let Some(member) = self.members.get_mut(&name).filter(|member| member.process == process) else {
            return Heard::Fenced;
        };
        member.asked = now;
        match &self.joined {
            None => Heard::Assigned(self.generation, member.partitions.clone()),
            Some(joined) if joined.contains(&name) => Heard::Wait,
            Some(_) => Heard::Rejoin,
        }
    }

    pub(super) fn join(&mut self, name: usize, process: u64, now: Moment) {
        if let Some(member) = self.members.get_mut(&name) {
            let other = member.process != process;
            (member.process, member.asked) = (process, now);
            if other && self.keeps_names && self.joined.is_none() {
                return;
            }
        } else {
            self.members.insert(name, Member { process, asked: now, partitions: Vec::new() });
        }
        self.joined.get_or_insert_default().insert(name);
        self.complete();
    }

    /// A member says that it goes.
    pub(super) fn leave(&mut self, name: usize, process: u64) {
        if self.members.get(&name).is_some_and(|member| member.process == process) {
            self.remove(name);
        }
    }

    /// Members that have not asked for a session's time are out.
    pub(super) fn tick(&mut self, now: Moment) {
        let silent = |(name, member): (&usize, &Member)| (member.asked + SESSION < now).then_some(*name);
        for name in self.members.iter().filter_map(silent).collect::<Vec<_>>() {
            self.remove(name);
        }
    }

    fn remove(&mut self, name: usize) {
        self.members.remove(&name);
        self.joined.get_or_insert_default().remove(&name);
        self.complete();
    }

    fn complete(&mut self) {
        if !self.joined.as_ref().is_some_and(|joined| self.members.keys().all(|name| joined.contains(name))) {
            return;
        }
        self.joined = None;
        self.generation += 1;
        self.rebalances += 1;
        let count = self.members.len();
        for (place, member) in self.members.values_mut().enumerate() {
            member.partitions = (0..self.partitions).filter(|one| one % count == place).map(|one| one as i32).collect();
        }
    }

    /// Commits within `generation`; without one, whoever asks. False: refused.
    pub(super) fn commit(&mut self, by: (usize, u64), generation: Option<u64>, positions: &[(i32, i64)]) -> bool {
        let member = self.members.get(&by.0).filter(|member| member.process == by.1);
        if generation.is_some_and(|generation| generation != self.generation || member.is_none()) {
            return false;
        }
        for &(partition, position) in positions {
            let committed = &mut self.committed[partition as usize];
            if position < *committed {
                self.faults
                    .push(format!("the committed offset of {partition} went back from {committed} to {position}"));
            }
            if !member.is_some_and(|member| member.partitions.contains(&partition)) {
                self.faults.push(format!("{} committed {partition}, which it does not hold", by.0));
            }
            *committed = position;
        }
        true
    }
}
