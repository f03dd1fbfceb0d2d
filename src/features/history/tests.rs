//! Windows against a naive recount of the same set: late, doubled, tied and expired events.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::base::money::{BaseAmount, Currency, RateQuality};
use crate::transaction::Transaction;

const CATALOGUE: &str = r#"
[[group]]
name = "g"
meaning = "m"
[[feature]]
name = "count_10s"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "count"
window = "10s"
meaning = "m"
[[feature]]
name = "sum_60s"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "sum"
unit = "minor"
window = "60s"
meaning = "m"
[[feature]]
name = "mean_60s_delayed"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "mean"
window = "60s"
delay = "5s"
meaning = "m"
[[feature]]
name = "min_60s"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "min"
window = "60s"
meaning = "m"
[[feature]]
name = "max_10s"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "max"
window = "10s"
meaning = "m"
[[feature]]
name = "std_60s"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "std"
window = "60s"
meaning = "m"
[[feature]]
name = "distinct_60s"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "distinct"
of = "terminal_id"
window = "60s"
meaning = "m"
[[feature]]
name = "first_60s"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "first"
of = "terminal_id"
window = "60s"
meaning = "m"
[[feature]]
name = "elapsed"
group = "g"
kind = "elapsed"
entity = "customer_id"
within = "60s"
default = -1
meaning = "m"
[[feature]]
name = "terminal_count"
group = "g"
kind = "window"
entity = "terminal_id"
aggregate = "count"
window = "60s"
delay = "5s"
meaning = "m"
[[feature]]
name = "terminal_share"
group = "g"
kind = "window"
entity = "terminal_id"
aggregate = "fraud_share"
window = "60s"
delay = "5s"
meaning = "m"
"#;

const LATENESS: i64 = 20_000;

fn history(lateness: i64, exact_events: usize) -> (History, Plan) {
    let catalogue = Catalogue::parse(CATALOGUE, Currency::parse("EUR").unwrap()).unwrap();
    let key = HashKey::new([3; 16]);
    (History::new(&catalogue, HistoryOptions { key, lateness, exact_events }), catalogue.full_plan().unwrap())
}

fn transaction(at: i64, id: &str, customer: u8, terminal: u8, amount: i64) -> Transaction {
    Transaction {
        transaction_id: id.into(),
        occurred_at: Millis(at),
        customer_id: format!("c{customer}").into(),
        terminal_id: format!("t{terminal}").into(),
        amount_minor: amount,
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

fn event(transaction: &Transaction) -> Event<'_> {
    Event { transaction, base: BaseAmount { minor: transaction.amount_minor, rate: RateQuality::Fresh } }
}

/// What arrived, and what is known of it: the oracle reads by filtering everything each time.
#[derive(Default)]
struct Naive {
    events: BTreeMap<(i64, String), Transaction>,
    verdicts: BTreeSet<(String, i64, bool)>,
}

impl Naive {
    fn row(&self, own: &Transaction) -> Vec<f64> {
        let (t, id) = (own.occurred_at.0, own.transaction_id.as_str());
        let upto = |left: i64, right: i64, by_id: bool| {
            self.events.values().filter(move |other| {
                let at = other.occurred_at.0;
                let right = if by_id { (at, other.transaction_id.as_str()) <= (t, id) } else { at <= right };
                at > left && right
            })
        };
        let customer = |left, right, by_id| {
            upto(left, right, by_id).filter(|other| other.customer_id == own.customer_id).collect::<Vec<_>>()
        };
        let amounts =
            |events: &[&Transaction]| events.iter().map(|other| other.amount_minor as f64).collect::<Vec<_>>();
        let (ten, sixty) = (customer(t - 10_000, t, true), customer(t - 60_000, t, true));
        let delayed = amounts(&customer(t - 65_000, t - 5_000, false));
        let mean = |all: &[f64]| if all.is_empty() { 0.0 } else { all.iter().sum::<f64>() / all.len() as f64 };
        let all = amounts(&sixty);
        let variance = mean(&all.iter().map(|one| (one - mean(&all)).powi(2)).collect::<Vec<_>>());
        let earlier: Vec<_> = sixty.iter().filter(|other| other.transaction_id != own.transaction_id).collect();
        let terminal: Vec<_> =
            upto(t - 65_000, t - 5_000, false).filter(|other| other.terminal_id == own.terminal_id).collect();
        let frauds = terminal.iter().filter(|other| {
            let known = self.verdicts.iter().filter(|(id, at, _)| *id == other.transaction_id && *at <= t);
            known.map(|(_, at, fraud)| (*at, *fraud)).max().is_some_and(|(_, fraud)| fraud)
        });
        let share = frauds.count() as f64 / terminal.len().max(1) as f64;
        vec![
            ten.len() as f64,
            all.iter().sum(),
            mean(&delayed) / 100.0,
            all.iter().copied().fold(f64::INFINITY, f64::min) / 100.0,
            amounts(&ten).into_iter().fold(0.0, f64::max) / 100.0,
            variance.sqrt() / 100.0,
            sixty.iter().map(|other| &other.terminal_id).collect::<BTreeSet<_>>().len() as f64,
            f64::from(u8::from(!earlier.iter().any(|other| other.terminal_id == own.terminal_id))),
            earlier.iter().map(|other| t - other.occurred_at.0).min().map_or(-1.0, |gap| gap as f64 / 1e3),
            terminal.len() as f64,
            share,
        ]
    }
}

fn close(left: &[f64], right: &[f64]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(one, other)| (one - other).abs() <= 1e-6 * other.abs().max(1.0))
}

fn row(rows: &Rows) -> Vec<f64> {
    rows.row(rows.len() - 1).unwrap().0.to_vec()
}

/// Steps forward with jumps back inside the lateness: (gap, lateness, customer, terminal, amount, fraud, doubled).
type Step = (i64, i64, u8, u8, i64, u8, bool);

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (0_i64..3_000, 0_i64..LATENESS, 0_u8..3, 0_u8..4, 0_i64..5_000_000_000, 0_u8..4, any::<bool>());
    prop::collection::vec(step, 1..most)
}

fn play(steps: &[Step], coarse: bool) -> Vec<Transaction> {
    let mut clock = 1_000_000;
    let arrivals = steps.iter().enumerate().map(|(index, (gap, late, customer, terminal, amount, ..))| {
        clock += gap;
        // Whole seconds make ties, and every third event is late.
        let at = if index % 3 == 0 { clock - late } else { clock };
        let at = if coarse { at.div_euclid(1_000) * 1_000 } else { at };
        // Ids in an order of their own, so that ties do not follow arrival.
        transaction(at, &format!("id-{:03}-{index}", (index * 7919) % 997), *customer, *terminal, *amount)
    });
    arrivals.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn decision_features_are_a_recount_of_what_has_arrived(steps in steps(400), coarse in any::<bool>()) {
        let (mut history, plan) = history(LATENESS * 2, 1 << 16);
        let (mut naive, mut rows) = (Naive::default(), Rows::new(plan.width()));
        for (transaction, (.., verdict, doubled)) in play(&steps, coarse).iter().zip(&steps) {
            let at = transaction.occurred_at.0;
            naive.events.insert((at, transaction.transaction_id.to_string()), transaction.clone());
            for _ in 0..=u8::from(*doubled) {
                history.observe(&[event(transaction)], &plan, &mut rows);
                let (got, want) = (row(&rows), naive.row(transaction));
                prop_assert!(close(&got, &want), "{:?}: {:?} is not {:?}", transaction, got, want);
            }
            if *verdict > 0 {
                let labelled_at = at + i64::from(*verdict) * 4_000;
                naive.verdicts.insert((transaction.transaction_id.to_string(), labelled_at, *verdict != 2));
                naive.verdicts.insert((transaction.transaction_id.to_string(), at, *verdict == 2));
                for (labelled_at, is_fraud) in [(labelled_at, *verdict != 2), (at, *verdict == 2), (at, *verdict == 2)] {
                    history.label(&EventLabel {
                        transaction_id: transaction.transaction_id.to_string(),
                        occurred_at: Millis(at),
                        entities: vec![("terminal_id".into(), transaction.terminal_id.clone())],
                        is_fraud,
                        labelled_at: Millis(labelled_at),
                    });
                }
            }
        }
    }

    #[test]
    fn complete_features_do_not_depend_on_the_order_of_arrival(steps in steps(300), seed in any::<u64>()) {
        let transactions = play(&steps, true);
        let mut shuffled: Vec<_> = transactions.iter().chain(&transactions).collect();
        shuffled.sort_by_key(|one| HashKey::new(u128::from(seed).to_le_bytes()).entity(&one.transaction_id));
        // Everything is "recent": only then may any order arrive.
        let (mut history, plan) = history(i64::MAX / 4, 1 << 16);
        let mut naive = Naive::default();
        for transaction in &transactions {
            naive.events.insert((transaction.occurred_at.0, transaction.transaction_id.to_string()), transaction.clone());
        }
        let mut rows = Rows::new(plan.width());
        for chunk in shuffled.chunks(17) {
            history.observe(&chunk.iter().map(|one| event(one)).collect::<Vec<_>>(), &plan, &mut rows);
        }
        for transaction in &transactions {
            rows.reset(plan.width());
            history.read(&[event(transaction)], &plan, &mut rows);
            let (got, want) = (row(&rows), naive.row(transaction));
            prop_assert!(close(&got, &want), "{:?}: {:?} is not {:?}", transaction, got, want);
        }
    }

    #[test]
    fn rows_are_finite_whatever_the_amounts(amounts in prop::collection::vec(0_i64..=i64::MAX, 1..40)) {
        let (mut history, plan) = history(LATENESS, 1 << 16);
        let mut rows = Rows::new(plan.width());
        for (index, amount) in amounts.iter().enumerate() {
            let transaction = transaction(index as i64, &index.to_string(), 0, 0, *amount);
            history.observe(&[event(&transaction)], &plan, &mut rows);
        }
        prop_assert!(rows.values().iter().all(|value| value.is_finite()));
    }
}

#[test]
fn a_batch_is_the_same_as_its_events_one_by_one() {
    let steps: Vec<Step> = (0..3_000).map(|i| (i % 700, 0, (i % 3) as u8, (i % 5) as u8, i * 13, 0, false)).collect();
    let transactions = play(&steps, false);
    let events: Vec<_> = transactions.iter().map(event).collect();
    let (mut whole, plan) = history(LATENESS, 1 << 16);
    let (mut single, _) = history(LATENESS, 1 << 16);
    let (mut all, mut each) = (Rows::new(plan.width()), Rows::new(plan.width()));
    assert!(events.len() > PARALLEL);
    whole.observe(&events, &plan, &mut all);
    for one in &events {
        single.observe(std::slice::from_ref(one), &plan, &mut each);
    }
    assert_eq!(all.values(), each.values());
}

#[test]
fn what_is_out_of_reach_is_forgotten_and_idle_entities_go() {
    let (mut history, plan) = history(LATENESS, 1 << 16);
    let mut rows = Rows::new(plan.width());
    for index in 0..2_000_i64 {
        let (customer, terminal) = ((index / 20 % 200) as u8, (index / 20 % 200) as u8);
        history.observe(
            &[event(&transaction(index * 1_000, &index.to_string(), customer, terminal, 1))],
            &plan,
            &mut rows,
        );
    }
    let size = history.size();
    // Reach and lateness are 85 s: 85 events a kind, plus what the sweep has not met yet.
    assert!(size.events < 700, "{size:?}");
    assert!(size.entities < 40, "{size:?}");
}

#[test]
fn a_hot_entity_is_exact_for_its_newest_and_within_the_bound_beyond() {
    const EXACT: usize = 2_000;
    let day = |text: &str| text.replace("60s", "1d").replace("10s", "1h").replace("\"5s\"", "\"30m\"");
    let catalogue = Catalogue::parse(&day(CATALOGUE), Currency::parse("EUR").unwrap()).unwrap();
    let plan = catalogue.full_plan().unwrap();
    let key = HashKey::new([3; 16]);
    let lateness = 2 * crate::base::clock::HOUR;
    let mut hot = History::new(&catalogue, HistoryOptions { key, lateness, exact_events: EXACT });
    let mut exact = History::new(&catalogue, HistoryOptions { key, lateness, exact_events: usize::MAX });
    let (mut got, mut want) = (Rows::new(plan.width()), Rows::new(plan.width()));
    let mut approximate = 0;
    // One event a 1.7 s: 2,118 an hour, so the hour is nearly exact and the day lies in tiles.
    for index in 0..80_000_i64 {
        let transaction = transaction(index * 1_700, &index.to_string(), 0, (index % 251) as u8, index % 9_000);
        hot.observe(&[event(&transaction)], &plan, &mut got);
        exact.observe(&[event(&transaction)], &plan, &mut want);
        let ((got, marks), (want, _)) = (got.row(index as usize).unwrap(), want.row(index as usize).unwrap());
        approximate += usize::from(marks.approximate);
        assert!((got[0] - want[0]).abs() <= 2_200.0);
        let per_hour = 3_600_000.0 / 1_700.0;
        assert!((got[1] - want[1]).abs() <= 2.0 * per_hour * 9_000.0, "sum {got:?} {want:?}");
        assert!((got[6] - want[6]).abs() <= 0.13 * want[6] + 1.0, "distinct {got:?} {want:?}");
        assert_eq!(got[8], want[8], "elapsed is exact");
    }
    assert!(approximate > 50_000, "{approximate} rows are marked");
    assert!(hot.size().events < 251 * 2_000 && hot.size().encoded_bytes < exact.size().encoded_bytes);
}
