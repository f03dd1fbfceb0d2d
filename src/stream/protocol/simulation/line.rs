//! The line of an instance: what is being decided, what was sent, what was answered. One decision an id at a time; whoever
//! else wants it waits for it.
//!
//! A copy with other content than the one that is being decided waits too, and becomes a dead letter when that one is
//! acknowledged: a conflict is judged against what is in the log, never against what may be lost.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::bug::Bug;
use super::dice::Dice;
use super::kafka::{DECISIONS, Kafka, REJECTED, partition_of};
use super::memory::Memory;
use super::record::{Code, Features, Made, Message, Payment, Record, Rejected};
use super::tally::{Answer, Tally};

/// An offset that waits for its effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) epoch: u64,
}

#[derive(Debug)]
struct Open {
    payment: Rc<Payment>,
    state: State,
    /// Offsets that are done when it is acknowledged, and those that are in conflict with it then.
    slots: Vec<Slot>,
    contested: Vec<(Slot, Rc<Payment>)>,
    /// Requests that wait for the acknowledgement.
    waiters: usize,
    /// Requests that do not.
    hurried: usize,
}

#[derive(Debug)]
enum State {
    Observed(Features, Made),
    Sent(Rc<Record>),
    /// In the log, and not yet read back.
    Acknowledged(Rc<Record>),
}

#[derive(Debug)]
struct Send {
    message: Message,
    /// Offset that is done with the acknowledgement of a dead letter.
    slot: Option<Slot>,
    appended: bool,
}

/// What `/predict` was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// Whether the answer waits for the acknowledgement.
    pub(super) committed: bool,
    /// Whether there is no worker for it in time.
    pub(super) overloaded: bool,
}

#[derive(Debug)]
pub(super) struct Line {
    process: u64,
    bug: Option<Bug>,
    sequence: u64,
    open: BTreeMap<Rc<str>, Open>,
    sends: Vec<Send>,
    /// Own records that were acknowledged.
    own: BTreeMap<Rc<str>, Rc<Record>>,
    /// Slots that became done.
    pub(super) done: Vec<Slot>,
    /// What is sent does not leave, for a while.
    pub(super) stuck: bool,
    /// The ends that the decisions had when ownership began.
    pub(super) ends: Rc<[i64]>,
}

impl Line {
    pub(super) fn new(process: u64, bug: Option<Bug>) -> Self {
        let (open, own, ends) = (BTreeMap::new(), BTreeMap::new(), Rc::from([]));
        Self { process, bug, sequence: 0, open, sends: Vec::new(), own, done: Vec::new(), stuck: false, ends }
    }

    /// A transaction of the stream that this instance has begun.
    pub(super) fn take(&mut self, payment: &Rc<Payment>, slot: Slot, memory: &Memory, exact: bool) {
        if let Some(first) = memory.first(&payment.id) {
            return if first.payment == *payment { self.done.push(slot) } else { self.conflict(slot, payment) };
        }
        if let Some(open) = self.open.get_mut(&payment.id) {
            let same = open.payment == *payment;
            match (&open.state, same) {
                (State::Acknowledged(_), true) => self.done.push(slot),
                (State::Acknowledged(_), false) => self.conflict(slot, payment),
                (_, true) => open.slots.push(slot),
                (_, false) => open.contested.push((slot, Rc::clone(payment))),
            }
            return;
        }
        let made = Made::Stream { exact, ends: Rc::clone(&self.ends) };
        let open = Open::new(payment, State::Observed(memory.history.read(payment), made));
        self.open.entry(Rc::clone(&payment.id)).or_insert(open).slots.push(slot);
    }

    /// A request of `/predict`.
    pub(super) fn predict(&mut self, payment: &Rc<Payment>, request: Request, memory: &mut Memory, tally: &mut Tally) {
        if let Some(first) = memory.first(&payment.id) {
            if first.payment == *payment {
                let own = self.own.get(&payment.id).filter(|_| self.bug == Some(Bug::AnswersWithItsOwn));
                let record = Rc::clone(own.unwrap_or(first));
                tally.answers.push(Answer { record, committed: true, after_first: true });
            }
            return;
        }
        if let Some(open) = self.open.get_mut(&payment.id) {
            if open.payment == *payment {
                open.ask(request, tally);
            }
            return;
        }
        let features = memory.history.read(payment);
        if self.bug == Some(Bug::AskedMovesHistory) {
            memory.observe(payment, None);
        }
        if request.overloaded {
            let record = self.record(payment, Features::default(), None, Made::Predict);
            tally.answers.push(Answer { record: Rc::clone(&record), committed: false, after_first: false });
            return self.publish(record);
        }
        let mut open = Open::new(payment, State::Observed(features, Made::Predict));
        open.ask(request, tally);
        self.open.insert(Rc::clone(&payment.id), open);
    }

    /// An explicit rescore of what is decided.
    pub(super) fn rescore(&mut self, id: &str, memory: &Memory) {
        if let Some(first) = memory.first(id) {
            let record = self.record(&first.payment, memory.history.read(&first.payment), Some(1), Made::Predict);
            self.publish(record);
        }
    }

    /// Makes decisions of at most `most` open transactions.
    pub(super) fn score(&mut self, most: usize, tally: &mut Tally) {
        let observed = |open: &&Open| matches!(open.state, State::Observed(..));
        let due: Vec<_> = self.open.values().filter(observed).take(most).map(|open| Rc::clone(&open.payment)).collect();
        for payment in due {
            let Some(State::Observed(features, made)) = self.open.get(&payment.id).map(|open| &open.state) else {
                continue;
            };
            let (features, made) = (*features, made.clone());
            let record = self.record(&payment, features, Some(0), made);
            tally.made.entry((self.process, Rc::clone(&payment.id))).or_default().push(record.record);
            let Some(open) = self.open.get_mut(&payment.id) else { continue };
            for _ in 0..std::mem::take(&mut open.hurried) {
                tally.answers.push(Answer { record: Rc::clone(&record), committed: false, after_first: false });
            }
            if self.bug == Some(Bug::CommitBeforeAcknowledgement) {
                self.done.append(&mut open.slots);
            }
            open.state = State::Sent(Rc::clone(&record));
            self.publish(record);
        }
    }

    /// The first record of an id was merged: whoever waits for a decision of it has one.
    pub(super) fn settle(&mut self, first: &Rc<Record>, tally: &mut Tally) {
        let Some(open) = self.open.remove(&first.payment.id) else { return };
        if open.payment == first.payment {
            for _ in 0..open.waiters + open.hurried {
                tally.answers.push(Answer { record: Rc::clone(first), committed: true, after_first: true });
            }
        }
        let own = open.slots.into_iter().map(|slot| (slot, Rc::clone(&open.payment)));
        for (slot, payment) in own.chain(open.contested) {
            if payment == first.payment { self.done.push(slot) } else { self.conflict(slot, &payment) }
        }
    }

    fn conflict(&mut self, slot: Slot, payment: &Payment) {
        self.reject(slot, Code::Conflict, payment.at);
    }

    /// Publishes a dead letter; the offset is done when it is acknowledged.
    pub(super) fn reject(&mut self, slot: Slot, code: Code, at: i64) {
        if code == Code::Unreadable && self.bug == Some(Bug::UnreadableSkipped) {
            return self.done.push(slot);
        }
        let message = Message::Rejected(Rejected { partition: slot.partition, offset: slot.offset, code, at });
        self.sends.push(Send { message, slot: Some(slot), appended: false });
    }

    /// Each send is appended, lost, or appended without a word; what was appended is acknowledged the next time. What was
    /// not acknowledged is sent again as it is.
    pub(super) fn send(
        &mut self,
        kafka: &mut Kafka,
        dice: &mut Dice,
        faultless: bool,
        memory: &Memory,
        tally: &mut Tally,
    ) {
        if kafka.away || self.stuck {
            return;
        }
        for mut send in std::mem::take(&mut self.sends) {
            if send.appended {
                self.acknowledge(&send, memory, tally);
                continue;
            }
            let fate = if faultless { 0 } else { dice.weighted(&[50, 15, 15, 20]) };
            if fate < 2 {
                append(&send.message, kafka, dice);
            }
            send.appended = fate == 0;
            if fate == 1 {
                tally.count("sends that are ambiguous", 1);
                self.score_again(&mut send, memory, tally);
            }
            self.sends.push(send);
        }
    }

    /// The planted fault of [`Bug::AmbiguousScoredAgain`].
    fn score_again(&mut self, send: &mut Send, memory: &Memory, tally: &mut Tally) {
        let Message::Decision(record) = &send.message else { return };
        if self.bug != Some(Bug::AmbiguousScoredAgain) || record.revision != Some(0) {
            return;
        }
        let again = self.record(&record.payment, memory.history.read(&record.payment), Some(0), record.made.clone());
        tally.made.entry((self.process, Rc::clone(&again.payment.id))).or_default().push(again.record);
        if let Some(open) = self.open.get_mut(&again.payment.id) {
            open.state = State::Sent(Rc::clone(&again));
        }
        send.message = Message::Decision(again);
    }

    /// What was on the wire when the process died may arrive.
    pub(super) fn die(&mut self, kafka: &mut Kafka, dice: &mut Dice) {
        for send in self.sends.drain(..).filter(|send| !send.appended) {
            if !kafka.away && dice.chance(40) {
                append(&send.message, kafka, dice);
            }
        }
    }

    /// Between which steps its transactions are, in words.
    pub(super) fn points(&self) -> Vec<&'static str> {
        let letter = |send: &Send| matches!(send.message, Message::Rejected(_));
        let points = [
            (self.open.values().any(|open| matches!(open.state, State::Observed(..))), "crashes before scoring"),
            (self.sends.iter().any(|send| !letter(send) && !send.appended), "crashes before a record arrives"),
            (self.sends.iter().any(|send| !letter(send) && send.appended), "crashes before a record is acknowledged"),
            (self.sends.iter().any(|send| letter(send) && !send.appended), "crashes before a dead letter arrives"),
            (
                self.sends.iter().any(|send| letter(send) && send.appended),
                "crashes before a dead letter is acknowledged",
            ),
        ];
        points.into_iter().filter(|(is_there, _)| *is_there).map(|(_, point)| point).collect()
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.sends.is_empty() && self.open.is_empty()
    }

    fn acknowledge(&mut self, send: &Send, memory: &Memory, tally: &mut Tally) {
        self.done.extend(send.slot);
        let Message::Decision(record) = &send.message else { return };
        if record.revision != Some(0) {
            return;
        }
        self.own.insert(Rc::clone(&record.payment.id), Rc::clone(record));
        let Some(open) = self.open.get_mut(&record.payment.id) else { return };
        let State::Sent(sent) = &open.state else { return };
        if sent.record != record.record {
            return;
        }
        open.state = State::Acknowledged(Rc::clone(record));
        self.done.append(&mut open.slots);
        let after_first = memory.first(&record.payment.id).is_some();
        for _ in 0..std::mem::take(&mut open.waiters) {
            tally.answers.push(Answer { record: Rc::clone(record), committed: true, after_first });
        }
        let contested = std::mem::take(&mut open.contested);
        contested.into_iter().for_each(|(slot, payment)| self.conflict(slot, &payment));
    }

    fn record(&mut self, payment: &Rc<Payment>, features: Features, revision: Option<u32>, made: Made) -> Rc<Record> {
        self.sequence += 1;
        let record = (self.process, self.sequence);
        Rc::new(Record { record, payment: Rc::clone(payment), features, revision, made })
    }

    fn publish(&mut self, record: Rc<Record>) {
        self.sends.push(Send { message: Message::Decision(record), slot: None, appended: false });
    }
}

impl Open {
    fn new(payment: &Rc<Payment>, state: State) -> Self {
        let payment = Rc::clone(payment);
        Self { payment, state, slots: Vec::new(), contested: Vec::new(), waiters: 0, hurried: 0 }
    }

    fn ask(&mut self, request: Request, tally: &mut Tally) {
        match &self.state {
            State::Acknowledged(record) => {
                tally.answers.push(Answer { record: Rc::clone(record), committed: true, after_first: false });
            }
            State::Sent(record) if !request.committed => {
                tally.answers.push(Answer { record: Rc::clone(record), committed: false, after_first: false });
            }
            State::Observed(..) if !request.committed => self.hurried += 1,
            State::Sent(_) | State::Observed(..) => self.waiters += 1,
        }
    }
}

fn append(message: &Message, kafka: &mut Kafka, dice: &mut Dice) {
    let (topic, partition) = match message {
        Message::Decision(record) => (DECISIONS, partition_of(&record.payment.id)),
        _ => (REJECTED, 0),
    };
    kafka.append(topic, partition, message.clone(), dice);
}

#[test]
fn a_conflict_is_judged_against_what_is_in_the_log() {
    let (mut line, mut kafka, mut dice) = (Line::new(1, None), Kafka::new(false), Dice::new(1));
    let (mut memory, mut tally) = (Memory::default(), Tally::default());
    let asked = Rc::new(Payment { id: "t1".into(), customer: 0, at: 5, amount: 10 });
    let streamed = Rc::new(Payment { amount: 11, ..Payment::clone(&asked) });
    line.predict(&asked, Request { committed: true, overloaded: false }, &mut memory, &mut tally);
    line.take(&streamed, Slot { partition: 0, offset: 3, epoch: 1 }, &memory, true);
    line.score(1, &mut tally);
    line.send(&mut kafka, &mut dice, true, &memory, &mut tally);
    let rejected = |kafka: &Kafka| kafka.entries(REJECTED).count();
    assert_eq!((line.sends.len(), line.done.len(), rejected(&kafka)), (1, 0, 0), "the decision may still be lost");
    for _ in 0..3 {
        line.send(&mut kafka, &mut dice, true, &memory, &mut tally);
    }
    assert_eq!((kafka.entries(DECISIONS).count(), line.done.len(), rejected(&kafka)), (1, 1, 1));
}
