//! Payments for a live server: one after the other, at the moments the caller gives.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::day::{Payment, Spent, live_id};
use super::dice::{Dice, Purpose};
use super::fraud::{FraudKind, milliseconds};
use super::world::World;
use crate::base::clock::{MINUTE, Millis, SECOND};
use crate::transaction::Transaction;

/// An endless stream of payments. Fraud is shorter than in the files: a campaign runs for minutes, so that it can be
/// watched, with the same shares and amounts.
#[derive(Debug)]
pub struct Stream {
    world: Arc<World>,
    start: Millis,
    number: u64,
    dice: Dice,
    /// Fraudulent payments to come, the earliest first.
    planned: BinaryHeap<Reverse<Planned>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Planned {
    at: Millis,
    kind: FraudKind,
    customer: u32,
    terminal: u32,
    device: u32,
    last: bool,
}

/// More are not planned ahead.
const MOST_PLANNED: usize = 100_000;

impl Stream {
    /// A stream that begins at `start`, which also makes its ids its own.
    #[must_use]
    pub fn new(world: Arc<World>, start: Millis) -> Self {
        let dice = Dice::of(world.seed, Purpose::Live, start.0.cast_unsigned(), 0);
        Self { world, start, number: 0, dice, planned: BinaryHeap::new() }
    }

    /// The next payment, which happens at `now`: a planned fraud that is due, else a genuine one. The transaction's `is_fraud` is
    /// the truth.
    pub fn next_at(&mut self, now: Millis) -> Transaction {
        loop {
            let payment = self.payment(now);
            let id = live_id(self.start, self.number);
            self.number += 1;
            // A payment's terminal is always one of the world's; the loop is never taken twice.
            if let Some(transaction) = self.world.transaction(&payment, id) {
                return transaction;
            }
        }
    }

    fn payment(&mut self, now: Millis) -> Payment {
        for kind in FraudKind::ALL {
            if self.planned.len() < MOST_PLANNED && self.dice.chance(kind.share() / kind.payments()) {
                self.plan(kind, now);
            }
        }
        let due = self.planned.peek().is_some_and(|Reverse(planned)| planned.at <= now);
        let planned = if due { self.planned.pop() } else { None };
        match planned {
            Some(Reverse(planned)) => self.fraud(planned, now),
            None => {
                let customer = self.world.anyone(&mut self.dice);
                self.world.genuine(&mut self.dice, customer, now)
            }
        }
    }

    fn plan(&mut self, kind: FraudKind, now: Millis) {
        let Self { world, dice, planned, .. } = self;
        let (customer, shop, device) = world.tested(dice);
        let (payments, terminal, span) = match kind {
            FraudKind::CompromisedTerminal => (dice.count(9, 63), world.anywhere(dice), 10 * MINUTE),
            FraudKind::StolenCard => (dice.count(4, 10), 0, 3 * MINUTE),
            FraudKind::CardTesting => (dice.count(9, 25), shop, MINUTE),
        };
        #[expect(clippy::cast_precision_loss, reason = "minutes in milliseconds")]
        let gap = (span as f64 / f64::from(payments)).max(SECOND as f64 / 10.0);
        let mut at = now.0;
        for number in 1..=payments {
            let last = number == payments;
            planned.push(Reverse(Planned { at: Millis(at), kind, customer, terminal, device, last }));
            at += milliseconds(dice.wait(gap).min(10.0 * gap));
        }
    }

    fn fraud(&mut self, planned: Planned, now: Millis) -> Payment {
        let Self { world, dice, .. } = self;
        let Planned { kind, customer, terminal, device, .. } = planned;
        match kind {
            FraudKind::CompromisedTerminal => world.copied_card(dice, terminal, now),
            FraudKind::StolenCard => world.stolen_card(dice, customer, now),
            FraudKind::CardTesting => {
                let amount = world.tested_amount(dice, customer, planned.last);
                world.payment(dice, customer, terminal, now, Spent { amount, device, fraud: Some(kind) })
            }
        }
    }
}
