//! Windows against a naive recount of the same set: late, doubled, tied and expired events.

use proptest::prelude::*;

use super::recount::Recount;
use super::*;
use crate::base::clock::{DAY, HOUR};
use crate::base::money::{BaseAmount, Currency, RateQuality};
use crate::features::catalogue::SHIPPED;
use crate::transaction::{Channel, Transaction};

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
name = "distinct_60s_delayed"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "distinct"
of = "terminal_id"
window = "60s"
delay = "5s"
meaning = "m"
[[feature]]
name = "same_10s"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "same"
of = "terminal_id"
window = "10s"
meaning = "m"
[[feature]]
name = "rank_60s"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "rank"
window = "60s"
meaning = "m"
[[feature]]
name = "rank_60s_delayed"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "rank"
window = "60s"
delay = "5s"
meaning = "m"
[[feature]]
name = "sum_last_7"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "sum"
window = "60s"
last = 7
meaning = "m"
[[feature]]
name = "max_last_3_delayed"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "max"
window = "60s"
delay = "5s"
last = 3
meaning = "m"
[[feature]]
name = "since_first"
group = "g"
kind = "window"
entity = "customer_id"
aggregate = "since_first"
window = "60s"
delay = "5s"
default = -1
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

/// The catalogue of this file, and the shipped one.
pub(super) fn catalogues() -> [Catalogue; 2] {
    [CATALOGUE, SHIPPED].map(|text| Catalogue::parse(text, Currency::parse("EUR").unwrap()).unwrap())
}

pub(super) fn of_catalogue(catalogue: &Catalogue, lateness: i64, exact_events: usize) -> (History, Plan) {
    let options = HistoryOptions { key: HashKey::new([3; 16]), lateness, exact_events };
    (History::new(catalogue, options), catalogue.full_plan().unwrap())
}

fn history(lateness: i64, exact_events: usize) -> (History, Plan) {
    of_catalogue(&catalogues()[0], lateness, exact_events)
}

pub(super) fn transaction(at: i64, id: &str, customer: u8, terminal: u8, amount: i64) -> Transaction {
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

pub(super) fn event(transaction: &Transaction) -> Event<'_> {
    Event { transaction, base: BaseAmount { minor: transaction.amount_minor, rate: RateQuality::Fresh } }
}

/// Says which feature is not what it should be.
fn compare(plan: &Plan, got: &[f64], want: &[f64]) -> Result<(), String> {
    assert_eq!((got.len(), want.len()), (plan.width(), plan.width()));
    let wrong = |(one, other): (&f64, &f64)| (one - other).abs() > 1e-6 * other.abs().max(1.0);
    match got.iter().zip(want).position(wrong) {
        Some(index) => Err(format!("{} is {}, should be {}", plan.names()[index], got[index], want[index])),
        None => Ok(()),
    }
}

pub(super) fn row(rows: &Rows) -> Vec<f64> {
    rows.row(rows.len() - 1).unwrap().0.to_vec()
}

/// Who pays where, how much, what is found out, and whether it comes twice. `gap` and `late` are shares of `Pace`'s.
#[derive(Debug, Clone)]
struct Step {
    gap: (u8, f64),
    late: f64,
    customer: u8,
    terminal: u8,
    amount: i64,
    optional: [u8; 5],
    verdict: u8,
    doubled: bool,
}

/// How long the gaps are, how late events come, and when verdicts are given: milliseconds.
struct Pace {
    gaps: [f64; 4],
    late: i64,
    verdict: i64,
}

/// For the windows of this file, and for those of the shipped catalogue.
const PACES: [Pace; 2] = [
    Pace { gaps: [0.0, 50.0, 1_000.0, 6_000.0], late: LATENESS, verdict: 4_000 },
    Pace { gaps: [0.0, 200_000.0, 6e6, 2e8], late: 2 * DAY, verdict: 3 * DAY },
];

prop_compose! {
    fn step()(
        gap in (0_u8..4, 0.0..1.0),
        late in 0.0..1.0,
        (customer, terminal) in (0_u8..3, 0_u8..4),
        amount in prop_oneof![0_i64..5_000_000_000, (0_i64..5).prop_map(|units| units * 1_000)],
        optional in any::<[u8; 5]>(),
        verdict in 0_u8..4,
        doubled in any::<bool>(),
    ) -> Step {
        Step { gap, late, customer, terminal, amount, optional, verdict, doubled }
    }
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..most)
}

fn play(steps: &[Step], pace: &Pace, coarse: bool) -> Vec<Transaction> {
    let mut clock = 1_700_000_000_000;
    let arrivals = steps.iter().enumerate().map(|(index, step)| {
        clock += (pace.gaps[usize::from(step.gap.0)] * step.gap.1) as i64;
        // Rounded times make ties, and every third event is late.
        let at = if index % 3 == 0 { clock - (pace.late as f64 * step.late) as i64 } else { clock };
        let round = if coarse { pace.late / 20 } else { 1 };
        // Ids in an order of their own, so that ties do not follow arrival.
        let id = format!("id-{:03}-{index}", (index * 7919) % 997);
        let mut made = transaction(at.div_euclid(round) * round, &id, step.customer, step.terminal, step.amount);
        let named = |letter: char, byte: u8| (byte > 100).then(|| format!("{letter}{}", byte % 3).into());
        let [merchant, card, device, country, channel] = step.optional;
        made.merchant_id = named('m', merchant);
        made.card_id = named('k', card);
        made.device_id = named('d', device);
        made.country = (country > 100).then(|| ["DE", "FR", "ES"][usize::from(country % 3)].into());
        made.channel = (channel > 50).then(|| [Channel::Online, Channel::CardPresent][usize::from(channel % 2)]);
        made
    });
    arrivals.collect()
}

/// Two verdicts on one transaction, one of them doubled: the later one says what the number says.
fn verdicts(step: &Step, transaction: &Transaction, pace: &Pace) -> Vec<EventLabel> {
    let at = transaction.occurred_at.0;
    let fields =
        ["customer_id", "terminal_id", "merchant_id", "card_id", "device_id", "product_id", "country", "channel"];
    let entities = fields.into_iter().filter_map(|field| Some((field.into(), transaction.entity(field)?.into())));
    let entities: Vec<_> = entities.collect();
    let label = |labelled_at, is_fraud| EventLabel {
        transaction_id: transaction.transaction_id.to_string(),
        occurred_at: transaction.occurred_at,
        entities: entities.clone(),
        base_minor: transaction.amount_minor,
        is_fraud,
        labelled_at: Millis(labelled_at),
    };
    let later = label(at + i64::from(step.verdict) * pace.verdict, step.verdict != 2);
    let first = label(at, step.verdict == 2);
    if step.verdict == 0 { Vec::new() } else { vec![later, first.clone(), first] }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn decision_features_are_a_recount_of_what_has_arrived(steps in steps(300), coarse in any::<bool>()) {
        for (catalogue, pace) in catalogues().iter().zip(&PACES) {
            let (mut history, plan) = of_catalogue(catalogue, pace.late * 2, 1 << 16);
            let (mut recount, mut rows) = (Recount::default(), Rows::new(plan.width()));
            for (transaction, step) in play(&steps, pace, coarse).iter().zip(&steps) {
                recount.insert(transaction);
                let want = recount.row(catalogue, transaction);
                for _ in 0..=u8::from(step.doubled) {
                    history.observe(&[event(transaction)], &plan, &mut rows);
                    let same = compare(&plan, &row(&rows), &want);
                    prop_assert!(same.is_ok(), "{:?}: {:?}", transaction, same);
                }
                for label in verdicts(step, transaction, pace) {
                    history.label(&label);
                    recount.verdicts.insert((label.transaction_id, label.labelled_at.0, label.is_fraud));
                }
            }
        }
    }

    #[test]
    fn complete_features_do_not_depend_on_the_order_of_arrival(steps in steps(200), seed in any::<u64>()) {
        for (catalogue, pace) in catalogues().iter().zip(&PACES) {
            let transactions = play(&steps, pace, true);
            let mut shuffled: Vec<_> = transactions.iter().zip(&steps).chain(transactions.iter().zip(&steps)).collect();
            shuffled.sort_by_key(|one| HashKey::new(u128::from(seed).to_le_bytes()).entity(&one.0.transaction_id));
            // Everything is "recent": only then may any order arrive.
            let (mut history, plan) = of_catalogue(catalogue, i64::MAX / 4, 1 << 16);
            let mut recount = Recount::default();
            let mut rows = Rows::new(plan.width());
            for chunk in shuffled.chunks(17) {
                history.observe(&chunk.iter().map(|(one, _)| event(one)).collect::<Vec<_>>(), &plan, &mut rows);
                for (transaction, step) in chunk {
                    recount.insert(transaction);
                    for label in verdicts(step, transaction, pace) {
                        history.label(&label);
                        recount.verdicts.insert((label.transaction_id, label.labelled_at.0, label.is_fraud));
                    }
                }
            }
            for transaction in &transactions {
                rows.reset(plan.width());
                history.read(&[event(transaction)], &plan, &mut rows);
                let same = compare(&plan, &row(&rows), &recount.row(catalogue, transaction));
                prop_assert!(same.is_ok(), "{:?}: {:?}", transaction, same);
            }
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

/// A step that depends on its number alone.
fn numbered(number: u32, gap: (u8, f64)) -> Step {
    let byte = |of: u32| (number.wrapping_mul(of) >> 7) as u8;
    Step {
        gap,
        late: f64::from(byte(2_654_435_761)) / 256.0,
        customer: (number % 3) as u8,
        terminal: (number % 5) as u8,
        amount: i64::from(number) * 13 % 7_000,
        optional: [40_503, 65_599, 31_337, 48_271, 69_621].map(byte),
        verdict: byte(16_807) % 24,
        doubled: false,
    }
}

#[test]
fn a_long_history_of_many_blocks_is_still_a_recount() {
    // Ten an hour for 90 days: blocks fill and split, columns and events pass their time.
    let steps: Vec<Step> = (0..6_000).map(|number| numbered(number, (2, 0.36))).collect();
    let catalogue = &catalogues()[1];
    let pace = Pace { gaps: [0.0, 0.0, 3.6e6, 0.0], ..PACES[1] };
    let (mut history, plan) = of_catalogue(catalogue, pace.late * 2, 1 << 16);
    let (mut recount, mut rows) = (Recount::default(), Rows::new(plan.width()));
    for (index, (transaction, step)) in play(&steps, &pace, false).iter().zip(&steps).enumerate() {
        recount.insert(transaction);
        rows.reset(plan.width());
        history.observe(&[event(transaction)], &plan, &mut rows);
        for label in verdicts(step, transaction, &pace) {
            history.label(&label);
            recount.verdicts.insert((label.transaction_id, label.labelled_at.0, label.is_fraud));
        }
        if index % 41 == 0 {
            compare(&plan, &row(&rows), &recount.row(catalogue, transaction)).unwrap();
        }
    }
}

#[test]
fn what_looks_at_each_transaction_looks_at_so_many() {
    let catalogue = &catalogues()[0];
    let (mut history, plan) = of_catalogue(catalogue, LATENESS, 1 << 16);
    let (mut recount, mut rows) = (Recount::default(), Rows::new(plan.width()));
    for index in 0..4_000_i64 {
        // 3,000 a minute of one customer: at first each at a terminal of its own, then back to the first ones.
        let mut one = transaction(index * 20, &format!("id-{index:05}"), 0, 0, index % 977);
        one.terminal_id = format!("t{}", index % 1_500).into();
        recount.insert(&one);
        rows.reset(plan.width());
        history.observe(&[event(&one)], &plan, &mut rows);
        if index % 83 == 0 {
            compare(&plan, &row(&rows), &recount.row(catalogue, &one)).unwrap();
        }
    }
}

#[test]
fn an_identifier_that_never_comes_costs_nothing() {
    let catalogue = &catalogues()[1];
    let bytes = |merchants: bool| {
        let (mut history, _) = of_catalogue(catalogue, 2 * DAY, 1 << 16);
        for index in 0..5_000_i64 {
            let mut one = transaction(index * HOUR / 10, &format!("{index:06}"), (index % 30) as u8, 0, 1);
            one.merchant_id = merchants.then(|| "m".into());
            history.insert(&event(&one));
        }
        history.size()
    };
    let (without, with) = (bytes(false), bytes(true));
    // One entity more keeps each event once more; and five bytes an event of the customer.
    assert_eq!(with.events, without.events + 5_000);
    assert_eq!((without.entities, with.entities), (31, 32));
    assert!(with.encoded_bytes > without.encoded_bytes + 5_000 * (5 + 4));
}

#[test]
fn a_batch_is_the_same_as_its_events_one_by_one() {
    let steps: Vec<Step> = (0..3_000).map(|number| numbered(number, (2, f64::from(number % 70) / 100.0))).collect();
    let transactions = play(&steps, &PACES[0], false);
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
        let elapsed = plan.names().iter().position(|name| name == "elapsed").unwrap();
        assert_eq!(got[elapsed], want[elapsed], "elapsed is exact");
    }
    assert!(approximate > 50_000, "{approximate} rows are marked");
    assert!(hot.size().events < 251 * 2_000 && hot.size().encoded_bytes < exact.size().encoded_bytes);
}
