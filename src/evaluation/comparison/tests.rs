//! A replicate against rows that really stand there twice; A against A; coverage of the interval.

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_pcg::Pcg64Mcg;

use super::scope::{Scope, Units};
use super::*;
use crate::base::clock::{DAY, Millis};
use crate::evaluation::{Binning, Groups, Options, evaluate};

/// A row: score of A, score of B, fraud, customer, day.
type Row = (f64, f64, bool, u32, i64);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let score = || prop_oneof![(0_u32..=4).prop_map(|score| f64::from(score) / 4.0), 0.0..=1.0_f64];
    let row = (score(), score(), proptest::bool::weighted(0.3), 0_u32..6, 0_i64..3);
    proptest::collection::vec(row, 2..50).prop_map(|mut rows| {
        rows[0].2 = true;
        rows[1].2 = false;
        rows
    })
}

fn sample(rows: &[Row]) -> Sample {
    let customers: Vec<String> = rows.iter().map(|row| row.3.to_string()).collect();
    let times: Vec<Millis> = rows.iter().map(|row| Millis(row.4 * DAY)).collect();
    Sample::new(rows.iter().map(|row| row.0).collect(), rows.iter().map(|row| row.2).collect())
        .and_then(|sample| sample.with_customers(Groups::of(customers.iter().map(String::as_str))))
        .and_then(|sample| sample.with_times(&times))
        .unwrap()
}

fn scores_of_b(rows: &[Row]) -> Vec<f64> {
    rows.iter().map(|row| row.1).collect()
}

fn figures(rows: &[Row], k: u32) -> Triple {
    let options = Options {
        threshold: None,
        alerts_a_day: Vec::new(),
        card_precision_k: NonZeroU32::new(k).unwrap(),
        review_cost: None,
        bins: std::num::NonZeroUsize::MIN,
        binning: Binning::Width,
        curve_points: 2,
    };
    let got = evaluate(&sample(rows), &options);
    [Some(got.roc_auc), Some(got.average_precision), got.card_precision.map(|cards| cards.mean)]
}

fn resampling(unit: Unit) -> Resampling {
    let (replicates, k) = (NonZeroU32::new(200).unwrap(), NonZeroU32::new(2).unwrap());
    Resampling { unit, replicates, confidence: 0.9, seed: 7, card_precision_k: k }
}

fn assert_near(got: Triple, want: Triple) {
    for (got, want) in got.into_iter().zip(want) {
        assert!(got.zip(want).is_some_and(|(got, want)| (got - want).abs() < 1e-12), "{got:?} is not {want:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_card_drawn_twice_is_two_cards(rows in rows(), drawn in proptest::collection::vec(0_u32..4, 6), k in 1_u32..6) {
        let sample_of_a = sample(&rows);
        let units = Units::of(&sample_of_a, Unit::Customer).unwrap();
        let all: Vec<usize> = (0..rows.len()).collect();
        let scope = Scope::new("", &sample_of_a, &scores_of_b(&rows), &all, &units, k);
        let names: Vec<u32> = sample_of_a.customers.as_ref().unwrap().names.iter().map(|name| name.parse().unwrap()).collect();
        let weights: Vec<u32> = names.iter().map(|name| drawn[*name as usize]).collect();
        // The same rows written out: a customer's copies get numbers of their own, side by side.
        let copies = |row: &Row| (0..drawn[row.3 as usize]).map(|copy| (row.0, row.1, row.2, row.3 * 10 + copy, row.4)).collect::<Vec<_>>();
        let written: Vec<Row> = rows.iter().flat_map(copies).collect();
        let days = |rows: &[Row]| rows.iter().map(|row| row.4).collect::<std::collections::BTreeSet<_>>();
        let both = written.iter().any(|row| row.2) && written.iter().any(|row| !row.2);
        let got = scope.figures(&weights);
        if !both {
            prop_assert!(got.iter().all(|triple| triple[0].is_none() && triple[1].is_none()));
        } else if days(&written) == days(&rows) {
            let swapped: Vec<Row> = written.iter().map(|row| (row.1, row.0, row.2, row.3, row.4)).collect();
            assert_near(got[0], figures(&written, k));
            assert_near(got[1], figures(&swapped, k));
        }
    }

    #[test]
    fn estimates_are_those_of_evaluate(rows in rows()) {
        let swapped: Vec<Row> = rows.iter().map(|row| (row.1, row.0, row.2, row.3, row.4)).collect();
        let (of_a, of_b) = (figures(&rows, 2), figures(&swapped, 2));
        for unit in [Unit::Customer, Unit::Day, Unit::Row] {
            let got = compare(&sample(&rows), &scores_of_b(&rows), &resampling(unit)).unwrap();
            let all = [Some(got.all.roc_auc), Some(got.all.average_precision), got.all.card_precision];
            prop_assert_eq!(all[2].is_some(), unit != Unit::Row);
            for (figure, difference) in all.into_iter().enumerate() {
                let Some(difference) = difference else { continue };
                prop_assert!((difference.a - of_a[figure].unwrap()).abs() < 1e-12);
                prop_assert!((difference.b - of_b[figure].unwrap()).abs() < 1e-12);
                prop_assert!((difference.difference - (difference.b - difference.a)).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn a_against_itself_is_exactly_zero(rows in rows()) {
        let own: Vec<f64> = rows.iter().map(|row| row.0).collect();
        for unit in [Unit::Customer, Unit::Day, Unit::Row] {
            let got = compare(&sample(&rows), &own, &resampling(unit)).unwrap();
            for one in [Some(got.all.roc_auc), Some(got.all.average_precision), got.all.card_precision].into_iter().flatten() {
                prop_assert!(one.difference == 0.0 && one.low.is_none_or(|low| low == 0.0));
                prop_assert!(one.high.is_none_or(|high| high == 0.0));
            }
        }
    }
}

/// Normal with mean 0 and deviation 1 (Box and Muller 1958).
fn normal(random: &mut Pcg64Mcg) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

/// 150 customers with four rows each that are alike: half of a score's variance is the customer's. Frauds lie 1 deviation
/// higher under A and 1.5 under B, so their ROC AUC is Φ(1/√2) and Φ(1.5/√2).
fn alike(random: &mut Pcg64Mcg) -> Vec<Row> {
    let score = |value: f64| 1.0 / (1.0 + (-value).exp());
    let half = 0.5_f64.sqrt();
    let mut rows = Vec::new();
    for customer in 0..150 {
        let fraud = customer % 5 == 0;
        let (of_a, of_b) = (normal(random) * half, normal(random) * half);
        for _ in 0..4 {
            let at = f64::from(u8::from(fraud));
            let a = score(at + of_a + half * normal(random));
            let b = score(1.5 * at + of_b + half * normal(random));
            rows.push((a, b, fraud, customer, 0));
        }
    }
    rows
}

#[test]
fn intervals_cover_the_truth_when_cards_are_drawn_and_not_when_rows_are() {
    const TRUTH: f64 = 0.855_577_816_8 - 0.760_249_938_9;
    let mut random = Pcg64Mcg::seed_from_u64(11);
    let trials = 200;
    let mut covered = [0, 0];
    for _ in 0..trials {
        let rows = alike(&mut random);
        for (unit, covered) in [Unit::Customer, Unit::Row].into_iter().zip(&mut covered) {
            let drawn = Resampling { confidence: 0.95, ..resampling(unit) };
            let got = compare(&sample(&rows), &scores_of_b(&rows), &drawn).unwrap().all.roc_auc;
            *covered += usize::from(got.low.unwrap() <= TRUTH && TRUTH <= got.high.unwrap());
        }
    }
    // 190 expected; the standard deviation of the count is 3.
    assert!((178..=199).contains(&covered[0]), "cards: {} of {trials}", covered[0]);
    assert!(covered[1] < 175, "rows: {} of {trials}", covered[1]);
}

#[test]
fn a_seed_gives_the_same_bits_on_any_number_of_threads() {
    let rows = alike(&mut Pcg64Mcg::seed_from_u64(3));
    let (sample, b) = (sample(&rows), scores_of_b(&rows));
    let on = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| compare(&sample, &b, &Resampling { seed, ..resampling(Unit::Customer) }).unwrap())
    };
    assert_eq!(on(1, 7), on(4, 7));
    assert_ne!(on(1, 7).all.roc_auc.low, on(1, 8).all.roc_auc.low);
}

#[test]
fn the_mean_over_folds_is_the_mean_of_the_folds() {
    let rows = alike(&mut Pcg64Mcg::seed_from_u64(5));
    let names: Vec<&str> = rows.iter().map(|row| if row.3 < 60 { "first" } else { "second" }).collect();
    let sample = sample(&rows).with_folds(Groups::of(names)).unwrap();
    let got = compare(&sample, &scores_of_b(&rows), &resampling(Unit::Customer)).unwrap();
    let (folds, mean) = (got.folds.unwrap(), got.mean.unwrap());
    assert_eq!(
        folds.iter().map(|fold| (fold.name.as_str(), fold.rows)).collect::<Vec<_>>(),
        [("first", 240), ("second", 360)]
    );
    let of = |get: fn(&Differences) -> f64| folds.iter().map(|fold| get(&fold.differences)).sum::<f64>() / 2.0;
    assert!((mean.roc_auc.difference - of(|one| one.roc_auc.difference)).abs() < 1e-12);
    assert!((mean.roc_auc.a - of(|one| one.roc_auc.a)).abs() < 1e-12);
    let (low, high) = (mean.roc_auc.low.unwrap(), mean.roc_auc.high.unwrap());
    assert!(low < mean.roc_auc.difference && mean.roc_auc.difference < high);
    // Two folds tell more than one: the mean's interval is narrower than either's.
    let width = |one: &Difference| one.high.unwrap() - one.low.unwrap();
    assert!(folds.iter().all(|fold| width(&mean.roc_auc) < width(&fold.differences.roc_auc)));
}

#[test]
fn an_interval_is_not_made_of_a_few_draws() {
    // One customer has the only fraud: more than a third of the draws lack it.
    let rows: Vec<Row> = (0..10).map(|row| (0.5, 0.6, row == 0, row, 0)).collect();
    let got = compare(&sample(&rows), &scores_of_b(&rows), &resampling(Unit::Customer)).unwrap().all.roc_auc;
    assert!(got.undefined > 50 && got.low.is_none() && got.high.is_none());
    assert!(got.verdict().contains("too few"));
}

#[test]
fn a_unit_needs_its_column() {
    let bare = Sample::new(vec![0.1, 0.2], vec![true, false]).unwrap();
    for unit in [Unit::Customer, Unit::Day] {
        assert!(matches!(compare(&bare, &[0.1, 0.2], &resampling(unit)), Err(Fault::Unit { .. })));
    }
    assert!(matches!(compare(&bare, &[0.1], &resampling(Unit::Row)), Err(Fault::Length { .. })));
    assert!(matches!(compare(&bare, &[0.1, 1.5], &resampling(Unit::Row)), Err(Fault::Score { row: 2, .. })));
}

#[test]
fn quantiles_are_interpolated_as_numpy_does() {
    let values = [1.0, 2.0, 4.0, 8.0];
    for (share, want) in [(0.0, 1.0), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)] {
        assert!(quantile(&values, share).is_some_and(|got| (got - want).abs() < 1e-12), "{share}");
    }
    assert_eq!(quantile(&[], 0.5), None);
}
