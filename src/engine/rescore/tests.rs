//! A run that is killed at every step of it and taken up again leaves what one leaves that nobody disturbs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::*;
use crate::base::clock::HOUR;
use crate::base::hash::HashKey;
use crate::base::money::{Currency, Rates};
use crate::decision::{By, ModelRef, ReasonRules, Source};
use crate::engine::ports::Scorer;
use crate::features::{Catalogue, Event, History, HistoryOptions, Rows};
use crate::model::{Explanation, InferError};

const RUN: u64 = 0xabc;
const OTHER: u64 = 1;
const START: i64 = 1_767_225_600_000;
const GAP: i64 = 12 * HOUR;
const PAYMENTS: i64 = 90;

pub(super) fn transaction(id: &str, minutes: i64) -> Transaction {
    Transaction {
        transaction_id: id.into(),
        occurred_at: Millis(START + minutes * 60_000),
        customer_id: "c1".into(),
        terminal_id: "t1".into(),
        amount_minor: 1_000,
        currency: Currency::parse("EUR").unwrap(),
        merchant_id: None,
        product_id: None,
        country: None,
        channel: None,
        card_id: None,
        device_id: None,
        is_fraud: None,
        extra: Vec::new(),
    }
}

/// Payment `number`: three a moment, so that the order by id counts.
fn payment(number: i64) -> Payment {
    let mut transaction = transaction(&format!("tx-{number:03}"), number / 3 * GAP / 60_000);
    transaction.customer_id = format!("c{}", number % 4).into();
    transaction.terminal_id = format!("t{}", number % 3).into();
    transaction.amount_minor = 500 + number * 7;
    let label = Label {
        transaction_id: transaction.transaction_id.to_string(),
        is_fraud: true,
        labelled_at: Millis(transaction.occurred_at.0 + HOUR),
        source: "review".to_owned(),
    };
    Payment { transaction, labels: if number % 5 == 0 { vec![label] } else { Vec::new() } }
}

fn all() -> Vec<Payment> {
    (0..PAYMENTS).map(payment).collect()
}

/// Scores a row by its first value, and has none for a certain amount.
#[derive(Debug)]
struct First(Vec<String>);

impl Scorer for First {
    fn reference(&self) -> ModelRef {
        ModelRef { name: "fraud".into(), version: "2".into(), sha256: "cd".into(), threshold: 0.9 }
    }

    fn features(&self) -> &[String] {
        &self.0
    }

    async fn infer(&self, _row: Vec<f32>, _wait: Duration) -> Result<f32, InferError> {
        Err(InferError::Overloaded(1))
    }

    fn infer_rows(&self, rows: &[f32]) -> Result<Vec<f32>, InferError> {
        Ok(rows.chunks(self.0.len()).map(|row| row[0] / 10.0).collect())
    }

    fn explain_rows(&self, _rows: &[f32]) -> Result<Vec<Explanation>, InferError> {
        Err(InferError::Overloaded(1))
    }

    async fn explain(&self, _row: Vec<f32>, _wait: Duration) -> Result<Explanation, InferError> {
        Err(InferError::Overloaded(1))
    }
}

fn catalogue() -> Catalogue {
    static SHIPPED: LazyLock<Catalogue> =
        LazyLock::new(|| Catalogue::shipped(Currency::parse("EUR").unwrap()).unwrap());
    SHIPPED.clone()
}

fn names() -> Vec<String> {
    ["amount", "customer_tx_count_1d", "terminal_tx_count_7d", "terminal_fraud_share_7d"].map(str::to_owned).to_vec()
}

fn history() -> HistoryOptions {
    HistoryOptions { key: HashKey::new([3; 16]), lateness: HOUR, exact_events: 64 }
}

fn parts(wanted: Wanted) -> RescoreParts<First> {
    RescoreParts {
        run: RUN,
        wanted,
        done: None,
        tally: Tally::default(),
        model: Arc::new(First(names())),
        inputs: Inputs::Scratch,
        catalogue: catalogue(),
        history: history(),
        rates: Arc::new(Rates::of_base(Currency::parse("EUR").unwrap())),
        reasons: ReasonRules { most: 3, by: By::Feature, hidden: BTreeSet::new() },
        batch: 4,
    }
}

/// The record that stands for an id and revision, and its features.
type Kept = BTreeMap<(String, u32), (RecordId, Vec<f64>)>;

/// What lasts: the log of decisions, and how far the run had said it was.
#[derive(Debug, Default, Clone)]
struct Lasting {
    /// (id, revision, record, features), in the log's order.
    log: Vec<(String, u32, RecordId, Vec<f64>)>,
    noted: Option<(Position, Tally)>,
}

impl Lasting {
    /// Every other payment has the decision of another process; every sixth one two of them.
    fn of(payments: &[Payment]) -> Self {
        let mut lasting = Self::default();
        for (number, payment) in payments.iter().enumerate() {
            for revision in 0..match number % 6 {
                0 => 2,
                2 | 4 => 1,
                _ => 0,
            } {
                let record = RecordId { instance: OTHER, sequence: (number * 10) as u64 + u64::from(revision) };
                lasting.log.push((payment.transaction.transaction_id.to_string(), revision, record, Vec::new()));
            }
        }
        lasting
    }

    /// What a destination keeps: the first record of each revision, and those that lost against it.
    fn kept(&self) -> (Kept, usize) {
        let (mut kept, mut superseded) = (BTreeMap::new(), 0);
        for (id, revision, record, features) in &self.log {
            let first = kept.entry((id.clone(), *revision)).or_insert((*record, features.clone()));
            superseded += usize::from(first.0 != *record);
        }
        (kept, superseded)
    }
}

/// A process: it dies at the step that is named, with a part of that step's effect.
struct Process<'l> {
    lasting: &'l mut Lasting,
    source: std::vec::IntoIter<Vec<Payment>>,
    payments: BTreeMap<String, Transaction>,
    /// What the destination had kept when the process began, and what it acknowledged since.
    steps: usize,
    dies_at: usize,
    /// How many of a batch's records reach the log before the process dies in the midst of it.
    survive: usize,
}

#[derive(Debug, PartialEq)]
struct Died;

impl<'l> Process<'l> {
    fn new(lasting: &'l mut Lasting, payments: &[Payment], dies_at: usize, survive: usize) -> Self {
        let chunks: Vec<Vec<Payment>> = payments.chunks(7).map(<[Payment]>::to_vec).collect();
        let by_id = payments.iter().map(|one| (one.transaction.transaction_id.to_string(), one.transaction.clone()));
        Self { lasting, source: chunks.into_iter(), payments: by_id.collect(), steps: 0, dies_at, survive }
    }

    fn step(&mut self) -> Result<(), Died> {
        self.steps += 1;
        if self.steps >= self.dies_at { Err(Died) } else { Ok(()) }
    }
}

impl Outside for Process<'_> {
    type Error = Died;

    fn payments(&mut self) -> Result<Vec<Payment>, Died> {
        self.step()?;
        Ok(self.source.next().unwrap_or_default())
    }

    fn decided(&mut self, ids: &[&str]) -> Result<Vec<Option<Decided>>, Died> {
        self.step()?;
        let (kept, _) = self.lasting.kept();
        let newest = |id: &&str| {
            let ((_, revision), (record, _)) =
                kept.range(((*id).to_owned(), 0)..=((*id).to_owned(), u32::MAX)).next_back()?;
            Some(Decided { revision: *revision, record: *record, transaction: self.payments[*id].clone() })
        };
        Ok(ids.iter().map(newest).collect())
    }

    /// Every third payment has none, and every value is its number.
    fn features(&mut self, of: &[(&str, u32)], names: &[String]) -> Result<Vec<Option<StoredRow>>, Died> {
        self.step()?;
        let number = |id: &str| id.trim_start_matches("tx-").parse::<u32>().unwrap();
        let row = |(id, revision): &(&str, u32)| {
            let value =
                |place: usize| Some(f64::from(number(id)) + f64::from(*revision) / 10.0 + place as f64 * 1_000.0);
            (!number(id).is_multiple_of(3)).then(|| (0..names.len()).map(value).collect())
        };
        Ok(of.iter().map(row).collect())
    }

    fn append(&mut self, records: Vec<Record>) -> Result<(), Died> {
        let died = self.step();
        let reach = if died.is_err() { self.survive } else { records.len() };
        for record in records.iter().take(reach) {
            let (id, revision) = (record.transaction.transaction_id.to_string(), record.decision.revision.unwrap());
            assert_eq!(record.decision.source, Source::Rescore);
            self.lasting.log.push((id, revision, record.id, record.features.values.clone()));
        }
        died
    }

    fn note(&mut self, position: &Position, tally: &Tally) -> Result<(), Died> {
        self.step()?;
        // Noted now and then: a position that is behind what was done.
        if self.steps.is_multiple_of(3) {
            self.lasting.noted = Some((position.clone(), *tally));
        }
        Ok(())
    }

    fn pace(&mut self, _records: usize) {}

    fn now(&self) -> Millis {
        Millis(START)
    }
}

fn range(replace: bool) -> Wanted {
    Wanted { from: Millis(START + 8 * GAP), to: Millis(START + 26 * GAP), replace }
}

/// Runs until it is through, dying at the steps that `dies` names in turn.
fn through(wanted: Wanted, lasting: &mut Lasting, dies: &[(usize, usize)]) -> Tally {
    let payments = all();
    for (dies_at, survive) in dies.iter().copied().chain([(usize::MAX, 0)]) {
        let (done, tally) = lasting.noted.clone().map_or((None, Tally::default()), |(done, tally)| (Some(done), tally));
        let run = Rescore::new(RescoreParts { done, tally, ..parts(wanted) }).unwrap();
        if let Ok(tally) = run.run(&mut Process::new(lasting, &payments, dies_at, survive)) {
            return tally;
        }
    }
    unreachable!("the last one does not die");
}

#[test]
fn each_payment_of_the_range_gets_one_revision_more_and_no_other_gets_any() {
    let before = Lasting::of(&all());
    for replace in [false, true] {
        let mut lasting = before.clone();
        let tally = through(range(replace), &mut lasting, &[]);
        let (kept, superseded) = lasting.kept();
        assert_eq!(superseded, 0);
        let (mut first, mut replaced, mut left) = (0, 0, 0);
        for payment in all() {
            let (id, at) = (payment.transaction.transaction_id.as_str(), payment.transaction.occurred_at);
            let had = before.log.iter().filter(|(known, ..)| known == id).count() as u32;
            let has: Vec<u32> = kept.keys().filter(|(known, _)| known == id).map(|(_, revision)| *revision).collect();
            let within = at >= range(replace).from && at < range(replace).to;
            let more = u32::from(within && (replace || had == 0));
            assert_eq!(has, (0..had + more).collect::<Vec<_>>(), "{id}");
            first += u64::from(more == 1 && had == 0);
            replaced += u64::from(more == 1 && had > 0);
            left += u64::from(within && more == 0);
        }
        assert_eq!((tally.first, tally.replaced, tally.decided, tally.looked), (first, replaced, left, 54));
        assert!(first > 0 && (replaced > 0) == replace);
    }
}

#[test]
fn killed_at_every_step_and_taken_up_again_nothing_is_doubled_lost_or_other() {
    let before = Lasting::of(&all());
    for replace in [false, true] {
        let mut undisturbed = before.clone();
        through(range(replace), &mut undisturbed, &[]);
        let expected = undisturbed.kept();
        for dies_at in 1..120 {
            for survive in 0..=4 {
                let mut lasting = before.clone();
                // Once, and then again some steps into the next life.
                let tally = through(range(replace), &mut lasting, &[(dies_at, survive), (1 + dies_at * 7 % 31, 2)]);
                assert_eq!(lasting.kept(), expected, "died at {dies_at}, {survive} of its batch survived");
                let whole = tally.first + tally.replaced + tally.done;
                assert!(whole as usize >= expected.0.len() - before.log.len(), "{tally:?}");
            }
        }
    }
}

#[test]
fn what_arrives_after_the_run_was_taken_up_is_the_same_record_again() {
    let before = Lasting::of(&all());
    // Everything that the first life sent is on its way while the second one looks, and nothing was noted.
    let (mut first, mut second) = (before.clone(), before.clone());
    through(range(true), &mut first, &[]);
    through(range(true), &mut second, &[]);
    let expected = second.kept();
    second.log.extend(first.log.split_off(before.log.len()));
    assert_eq!(second.kept(), expected, "what arrives late lost against nobody and won against nobody");
}

#[test]
fn features_are_complete_whatever_is_scored_and_wherever_the_run_was_taken_up() {
    let payments = all();
    let base =
        |one: &Transaction| Rates::of_base(one.currency).to_base(one.amount_minor, one.currency, one.occurred_at);
    // Inserted backwards, read when everything is there: the reading depends on the set alone.
    let mut history_of_all = History::new(&catalogue(), HistoryOptions { lateness: 1_000 * HOUR, ..history() });
    for payment in payments.iter().rev() {
        history_of_all.insert(&Event { transaction: &payment.transaction, base: base(&payment.transaction) });
        for label in &payment.labels {
            history_of_all.label(&crate::engine::event_label(&payment.transaction, base(&payment.transaction), label));
        }
    }
    let plan = catalogue().plan(&names()).unwrap();
    let mut rows = Rows::new(plan.width());
    let events: Vec<_> =
        payments.iter().map(|one| Event { transaction: &one.transaction, base: base(&one.transaction) }).collect();
    history_of_all.read(&events, &plan, &mut rows);
    let expected: BTreeMap<String, Vec<f64>> = (0..payments.len())
        .map(|at| (payments[at].transaction.transaction_id.to_string(), rows.row(at).unwrap().0.to_vec()))
        .collect();
    assert!(expected.values().any(|row| row[3] > 0.0), "no share of fraud is above 0");
    for dies in [&[][..], &[(40, 1)], &[(9, 0), (33, 3)]] {
        let mut lasting = Lasting::of(&payments);
        through(range(true), &mut lasting, dies);
        let made: Vec<_> = lasting.log.iter().filter(|(_, _, record, _)| record.instance == RUN).collect();
        assert!(made.len() >= 54);
        for (id, _, _, features) in made {
            assert_eq!(*features, expected[id], "{id}");
        }
    }
}

#[test]
fn a_payment_that_stands_twice_is_scored_once_and_another_one_under_its_id_is_left_alone() {
    let mut payments = all();
    payments.insert(31, payments[30].clone());
    let mut lasting = Lasting::of(&all());
    let mut process = Process::new(&mut lasting, &payments, usize::MAX, 0);
    // What was decided of this one was another amount.
    process.payments.get_mut("tx-036").unwrap().amount_minor += 1;
    let tally = Rescore::new(parts(range(true))).unwrap().run(&mut process).unwrap();
    assert_eq!((tally.repeated, tally.conflicts, tally.scored()), (1, 1, 53));
    let (kept, superseded) = lasting.kept();
    assert_eq!(superseded, 0);
    assert!(kept.contains_key(&("tx-036".to_owned(), 1)) && !kept.contains_key(&("tx-036".to_owned(), 2)));
}

#[test]
fn stored_features_are_those_of_the_newest_decision_and_who_has_none_is_left_alone() {
    let payments = all();
    let mut lasting = Lasting::of(&payments);
    let mut process = Process::new(&mut lasting, &payments, usize::MAX, 0);
    let tally =
        Rescore::new(RescoreParts { inputs: Inputs::Stored, ..parts(range(true)) }).unwrap().run(&mut process).unwrap();
    // Of the 54: numbers of 24 to 77; a third has none stored, and of the rest half was never decided.
    let due = |number: &u32| !number.is_multiple_of(3) && matches!(number % 6, 0 | 2 | 4);
    assert_eq!(tally.scored() as usize, (24..78).filter(due).count());
    assert_eq!((tally.first, tally.looked, tally.lacking), (0, 54, 54 - tally.scored()));
    for (id, revision, _, features) in lasting.log.iter().filter(|(_, _, record, _)| record.instance == RUN) {
        let number: f64 = id.trim_start_matches("tx-").parse().unwrap();
        assert_eq!(features[1], number + f64::from(revision - 1) / 10.0 + 1_000.0);
    }
    let mut process = Process::new(&mut lasting, &payments, usize::MAX, 0);
    assert!(lacking(range(true), &names(), &mut process).unwrap().is_empty());
}
