//! The payment pipeline: payments to the topic, to `/predict` and to its own table, verdicts, and what it should not send.

use std::rc::Rc;

use super::dice::Dice;
use super::kafka::{Kafka, LABELS, PARTITIONS, TRANSACTIONS};
use super::line::Request;
use super::node::Node;
use super::postgres::Postgres;
use super::record::{Message, Payment, Verdict};
use super::tally::Tally;

const CUSTOMERS: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Everything that was made up.
    payments: Vec<Rc<Payment>>,
    /// What was asked of `/predict` and comes by the topic later.
    ahead: Vec<Rc<Payment>>,
    /// Rows that are not written yet.
    rows: Vec<Rc<str>>,
    /// Whether everything is sent in the order of its time, and nothing is changed afterwards.
    pub(super) calm: bool,
}

/// Where the pipeline sends to.
pub(super) struct Pipes<'a> {
    /// Wall time, milliseconds.
    pub(super) now: i64,
    pub(super) kafka: &'a mut Kafka,
    pub(super) postgres: &'a mut Postgres,
    /// Those that are up.
    pub(super) nodes: Vec<&'a mut Node>,
    pub(super) dice: &'a mut Dice,
    pub(super) tally: &'a mut Tally,
}

impl Traffic {
    pub(super) fn new(dice: &mut Dice) -> Self {
        Self { calm: dice.chance(50), ..Self::default() }
    }

    pub(super) fn event(&mut self, pipes: &mut Pipes<'_>) {
        if pipes.kafka.away {
            return self.while_away(pipes);
        }
        match pipes.dice.weighted(&[40, 8, 4, 3, 12, 12, 20, 8, 5]) {
            0 if !self.ahead.is_empty() && pipes.dice.chance(50) => {
                let payment = self.ahead.swap_remove(pipes.dice.below(self.ahead.len()));
                pipes.send(&payment);
            }
            0 => {
                let payment = self.new_payment(pipes);
                pipes.send(&payment);
            }
            1 => {
                let payment = self.earlier(pipes.dice);
                payment.into_iter().for_each(|payment| pipes.send(&payment));
            }
            2 => self.send_changed(pipes),
            3 => {
                let partition = pipes.dice.below(PARTITIONS[TRANSACTIONS]);
                pipes.publish(TRANSACTIONS, partition, Message::Unreadable(pipes.now));
            }
            4 => self.send_verdict(pipes),
            5 => self.write_row(pipes),
            6 => self.ask_one(pipes),
            7 => {
                let payment = self.new_payment(pipes);
                pipes.ask(&payment, usize::MAX);
                self.announce(payment, pipes);
            }
            _ => {
                let payment = self.earlier(pipes.dice);
                payment.into_iter().for_each(|payment| pipes.rescore(&payment));
            }
        }
    }

    /// What was begun is completed: every announced payment is sent, every row written.
    pub(super) fn end(&mut self, pipes: &mut Pipes<'_>) {
        std::mem::take(&mut self.ahead).iter().for_each(|payment| pipes.send(payment));
        while !self.rows.is_empty() {
            self.write_row(pipes);
        }
    }

    /// The pipeline's producer waits; its table and `/predict` are there.
    fn while_away(&mut self, pipes: &mut Pipes<'_>) {
        match self.earlier(pipes.dice) {
            Some(payment) if pipes.dice.chance(50) => pipes.ask(&payment, 1),
            _ => self.write_row(pipes),
        }
    }

    /// An earlier id with other content, by the topic.
    fn send_changed(&self, pipes: &mut Pipes<'_>) {
        if let Some(other) = self.earlier(pipes.dice).and_then(|payment| self.changed(&payment, pipes.dice)) {
            pipes.send(&other);
        }
    }

    fn send_verdict(&self, pipes: &mut Pipes<'_>) {
        let Some(payment) = self.earlier(pipes.dice) else { return };
        let late = if !self.calm && pipes.dice.chance(15) { pipes.dice.below(1_500) as i64 } else { 0 };
        let Payment { id, customer, at, .. } = Payment::clone(&payment);
        let partition = id.len() % PARTITIONS[LABELS];
        let (labelled_at, fraud) = ((pipes.now - late).max(at), pipes.dice.chance(60));
        let verdict = Verdict { id, customer, at, labelled_at, fraud };
        pipes.publish(LABELS, partition, Message::Verdict(Rc::new(verdict)));
    }

    /// Asks one instance about something new, something earlier, or an earlier id with other content.
    fn ask_one(&mut self, pipes: &mut Pipes<'_>) {
        let earlier = self.earlier(pipes.dice).filter(|_| pipes.dice.chance(55));
        if let Some(payment) = earlier {
            let changed = if pipes.dice.chance(10) { self.changed(&payment, pipes.dice) } else { None };
            return pipes.ask(&changed.unwrap_or(payment), 1);
        }
        let payment = self.new_payment(pipes);
        pipes.ask(&payment, 1);
        if self.calm || pipes.dice.chance(70) {
            return self.announce(payment, pipes);
        }
        if pipes.dice.chance(30)
            && let Some(other) = self.changed(&payment, pipes.dice)
        {
            pipes.send(&other);
        }
    }

    /// Sends it by the topic, at once or later.
    fn announce(&mut self, payment: Rc<Payment>, pipes: &mut Pipes<'_>) {
        if self.calm || pipes.dice.chance(50) { pipes.send(&payment) } else { self.ahead.push(payment) }
    }

    fn new_payment(&mut self, pipes: &mut Pipes<'_>) -> Rc<Payment> {
        let dice = &mut *pipes.dice;
        let late = if !self.calm && dice.chance(20) { dice.below(2_000) as i64 } else { 0 };
        let id: Rc<str> = format!("t{}", self.payments.len() * 7919 % 1_000).into();
        let customer = dice.below(CUSTOMERS) as u8;
        let payment = Rc::new(Payment { id, customer, at: pipes.now - late, amount: 1 + dice.below(999) as i64 });
        self.rows.push(Rc::clone(&payment.id));
        self.payments.push(Rc::clone(&payment));
        payment
    }

    /// One of the newest, more often than not.
    fn earlier(&self, dice: &mut Dice) -> Option<Rc<Payment>> {
        let among = if dice.chance(75) { self.payments.len().min(5) } else { self.payments.len() };
        let back = 1 + dice.below(among);
        self.payments.len().checked_sub(back).map(|place| Rc::clone(&self.payments[place]))
    }

    /// The same id with other content.
    fn changed(&self, payment: &Payment, dice: &mut Dice) -> Option<Rc<Payment>> {
        if self.calm {
            return None;
        }
        let mut other = payment.clone();
        other.amount += 1_000;
        if dice.chance(40) {
            other.customer = (other.customer + 1) % CUSTOMERS as u8;
        }
        if dice.chance(40) {
            other.at -= dice.below(300) as i64;
        }
        Some(Rc::new(other))
    }

    /// Somebody mends what could not be read: from now on it has a row to come.
    pub(super) fn expect_row(&mut self, id: &Rc<str>) {
        self.rows.push(Rc::clone(id));
    }

    fn write_row(&mut self, pipes: &mut Pipes<'_>) {
        if !self.rows.is_empty() {
            let id = self.rows.swap_remove(pipes.dice.below(self.rows.len()));
            pipes.postgres.rows.insert(id, None);
        }
    }
}

impl Pipes<'_> {
    /// Asks at most `most` instances.
    fn ask(&mut self, payment: &Rc<Payment>, most: usize) {
        let from = if most == 1 { self.dice.below(self.nodes.len()) } else { 0 };
        for node in self.nodes.iter_mut().skip(from).take(most) {
            remember(payment, self.tally);
            let request = Request { committed: self.dice.chance(60), overloaded: self.dice.chance(12) };
            node.line.predict(payment, request, &mut node.memory, self.tally);
        }
    }

    /// Asks one instance, at times all, for another revision.
    fn rescore(&mut self, payment: &Payment) {
        let most = if self.dice.chance(50) { 1 } else { usize::MAX };
        self.nodes.iter_mut().take(most).for_each(|node| node.line.rescore(&payment.id, &node.memory));
    }

    fn send(&mut self, payment: &Rc<Payment>) {
        remember(payment, self.tally);
        let partition = usize::from(payment.customer) % PARTITIONS[TRANSACTIONS];
        self.publish(TRANSACTIONS, partition, Message::Payment(Rc::clone(payment)));
    }

    /// Now and then it sends twice.
    fn publish(&mut self, topic: usize, partition: usize, message: Message) {
        for _ in 0..1 + usize::from(self.dice.chance(8)) {
            self.kafka.append(topic, partition, message.clone(), self.dice);
        }
    }
}

pub(super) fn remember(payment: &Rc<Payment>, tally: &mut Tally) {
    let contents = tally.payments.entry(Rc::clone(&payment.id)).or_default();
    if !contents.contains(payment) {
        contents.push(Rc::clone(payment));
    }
}
