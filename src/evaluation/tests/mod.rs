//! Figures against naive recounts: every definition again, by the shortest way and not the fastest.

mod naive;

use proptest::prelude::*;

use super::*;
use crate::base::clock::{DAY, Millis};

/// A row of a test: score, fraud, day, customer, cents, kind.
pub(super) type Row = (f64, bool, i64, u32, u32, u32);

/// Rows with both classes; scores on a coarse grid (heavy ties, 0 and 1 among them) or anywhere.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let score = prop_oneof![(0_u32..=5).prop_map(|score| f64::from(score) / 5.0), 0.0..=1.0_f64];
    let row = (score, proptest::bool::weighted(0.3), 0_i64..4, 0_u32..7, 0_u32..1_000, 0_u32..3);
    proptest::collection::vec(row, 2..60).prop_map(|mut rows| {
        rows[0].1 = true;
        rows[1].1 = false;
        rows
    })
}

fn sample(rows: &[Row]) -> Sample {
    let texts = |of: fn(&Row) -> u32| -> Vec<String> { rows.iter().map(|row| of(row).to_string()).collect() };
    let groups = |texts: &[String]| Groups::of(texts.iter().map(String::as_str));
    let times: Vec<Millis> = rows.iter().map(|row| Millis(row.2 * DAY + i64::from(row.4))).collect();
    let amounts = rows.iter().map(|row| f64::from(row.4)).collect();
    Sample::new(rows.iter().map(|row| row.0).collect(), rows.iter().map(|row| row.1).collect())
        .and_then(|sample| sample.with_times(&times))
        .and_then(|sample| sample.with_customers(groups(&texts(|row| row.3))))
        .and_then(|sample| sample.with_amounts(Amounts { values: amounts, per_major: 100.0 }))
        .and_then(|sample| sample.with_kinds(groups(&texts(|row| row.5))))
        .unwrap()
}

fn options() -> Options {
    Options {
        threshold: Some(0.4),
        alerts_a_day: vec![1, 3, 10],
        card_precision_k: NonZeroU32::new(2).unwrap(),
        review_cost: Some(1.5),
        bins: NonZeroUsize::new(5).unwrap(),
        binning: Binning::Width,
        curve_points: 0,
    }
}

fn near(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-12, "{got} is not {want}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn ranking_is_a_recount(rows in rows()) {
        let got = evaluate(&sample(&rows), &options());
        near(got.roc_auc, naive::roc_auc(&rows));
        near(got.average_precision, naive::average_precision(&rows));
        // Areas under the curves: trapezoids for ROC, steps for precision and recall.
        let pairs = |curve: &[[f64; 2]]| curve.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>();
        near(pairs(&got.roc).iter().map(|(a, b)| (b[0] - a[0]) * (a[1] + b[1]) / 2.0).sum(), got.roc_auc);
        near(pairs(&got.precision_recall).iter().map(|(a, b)| (b[0] - a[0]) * b[1]).sum(), got.average_precision);
    }

    #[test]
    fn probabilities_are_a_recount(rows in rows(), count in 1_usize..12) {
        let options = Options { bins: NonZeroUsize::new(count).unwrap(), ..options() };
        let got = evaluate(&sample(&rows), &options);
        near(got.brier, naive::brier(&rows));
        near(got.log_loss, naive::log_loss(&rows));
        let (error, counts) = naive::calibration(&rows, count);
        near(got.calibration.expected_error, error);
        prop_assert_eq!(got.calibration.bins.iter().map(|bin| bin.rows).collect::<Vec<_>>(), counts);
    }

    #[test]
    fn bins_of_one_count_hold_every_row_once(rows in rows(), count in 1_usize..12) {
        let options = Options { bins: NonZeroUsize::new(count).unwrap(), binning: Binning::Count, ..options() };
        let got = evaluate(&sample(&rows), &options).calibration;
        prop_assert_eq!(got.bins.iter().map(|bin| bin.rows).sum::<u64>(), rows.len() as u64);
        for (place, bin) in got.bins.iter().enumerate() {
            let inside = rows.iter().filter(|row| (row.0 > bin.from || place == 0) && row.0 <= bin.to);
            prop_assert_eq!(inside.count() as u64, bin.rows);
        }
    }

    #[test]
    fn alerts_are_a_recount(rows in rows()) {
        let got = evaluate(&sample(&rows), &options());
        let at = got.at_threshold.unwrap();
        naive::check_caught(&rows, 0.4, at.flagged, &at.caught);
        for at in got.alerts.unwrap() {
            let most = at.a_day * got.days.unwrap();
            let allowed = naive::thresholds(&rows).into_iter().filter(|t| naive::flagged(&rows, *t) <= most);
            prop_assert_eq!(at.threshold, allowed.reduce(f64::min));
            naive::check_caught(&rows, at.threshold.unwrap_or(2.0), at.flagged, &at.caught);
        }
    }

    #[test]
    fn cost_is_a_recount(rows in rows()) {
        let got = evaluate(&sample(&rows), &options()).cost.unwrap();
        let thresholds = std::iter::once(2.0).chain(naive::thresholds(&rows));
        let cheapest = thresholds.map(|threshold| naive::cost(&rows, threshold, 1.5)).reduce(f64::min).unwrap();
        near(got.best.cost, cheapest);
        for point in got.points {
            near(point.cost, naive::cost(&rows, point.threshold.unwrap_or(2.0), 1.5));
            prop_assert_eq!(point.alerts, naive::flagged(&rows, point.threshold.unwrap_or(2.0)));
        }
    }

    #[test]
    fn card_precision_is_a_recount(rows in rows(), k in 1_u32..5) {
        let options = Options { card_precision_k: NonZeroU32::new(k).unwrap(), ..options() };
        let got = evaluate(&sample(&rows), &options).card_precision.unwrap();
        prop_assert_eq!(got.by_day, naive::card_precision(&rows, k));
    }

    #[test]
    fn kinds_are_their_frauds_against_every_legitimate_row(rows in rows()) {
        let got = evaluate(&sample(&rows), &options());
        let kinds = got.kinds.unwrap();
        prop_assert_eq!(kinds.iter().map(|kind| kind.frauds).sum::<u64>(), got.frauds);
        for kind in kinds {
            let code: u32 = kind.kind.parse().unwrap();
            let of_kind: Vec<Row> = rows.iter().filter(|row| !row.1 || row.5 == code).copied().collect();
            near(kind.roc_auc, naive::roc_auc(&of_kind));
            near(kind.average_precision, naive::average_precision(&of_kind));
            let alone: Vec<Row> = of_kind.iter().filter(|row| row.1).copied().collect();
            near(kind.mean_score, alone.iter().map(|row| row.0).sum::<f64>() / alone.len() as f64);
            near(kind.recall_at_threshold.unwrap(), naive::flagged(&alone, 0.4) as f64 / alone.len() as f64);
            for (recall, at) in kind.recall_at_alerts.unwrap().iter().zip(got.alerts.as_ref().unwrap()) {
                let flagged = naive::flagged(&alone, at.threshold.unwrap_or(2.0));
                near(recall.recall, flagged as f64 / alone.len() as f64);
            }
        }
    }

    #[test]
    fn folds_are_samples_of_their_own(rows in rows(), more in rows()) {
        let names: Vec<&str> = rows.iter().map(|_| "2").chain(more.iter().map(|_| "10")).collect();
        let both = sample(&[rows.clone(), more.clone()].concat()).with_folds(Groups::of(names)).unwrap();
        let got = evaluate(&both, &options());
        let alone = [rows, more].map(|rows| evaluate(&sample(&rows), &options()));
        let folds = got.folds.unwrap();
        prop_assert_eq!([&folds[0].name, &folds[1].name], ["2", "10"]);
        for (fold, alone) in folds.iter().zip(&alone) {
            prop_assert_eq!((fold.rows, fold.frauds, fold.days), (alone.rows, alone.frauds, alone.days));
            near(fold.figures.roc_auc, alone.roc_auc);
            near(fold.figures.average_precision, alone.average_precision);
            near(fold.figures.card_precision.unwrap(), alone.card_precision.as_ref().unwrap().mean);
            prop_assert_eq!(&fold.alerts, &alone.alerts);
        }
        let [a, b] = [alone[0].roc_auc, alone[1].roc_auc];
        near(got.mean.unwrap().roc_auc, (a + b) / 2.0);
        // Of two values, the deviation with n - 1 is their distance over the root of 2.
        near(got.spread.unwrap().roc_auc, (a - b).abs() / 2.0_f64.sqrt());
    }

    #[test]
    fn no_figure_depends_on_the_order_of_rows(
        (rows, shuffled) in rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
    ) {
        prop_assert_eq!(evaluate(&sample(&rows), &options()), evaluate(&sample(&shuffled), &options()));
    }
}

#[test]
fn the_example_of_scikit_learns_documentation() {
    let sample = Sample::new(vec![0.1, 0.4, 0.35, 0.8], vec![false, false, true, true]).unwrap();
    let got = evaluate(&sample, &options());
    near(got.roc_auc, 0.75);
    near(got.average_precision, 5.0 / 6.0);
}

#[test]
fn a_score_of_zero_and_of_minus_zero_are_tied() {
    let sample = Sample::new(vec![0.0, -0.0], vec![false, true]).unwrap();
    near(evaluate(&sample, &options()).roc_auc, 0.5);
}

#[test]
fn a_card_that_was_found_takes_no_place_later() {
    // Customer 0 has the highest score on both days; found on day 0, it leaves the place of day 1 to customer 1.
    let rows = [(0.9, true, 0, 0, 0, 0), (0.1, false, 0, 1, 0, 0), (0.9, true, 1, 0, 0, 0), (0.8, true, 1, 1, 0, 0)];
    let options = Options { card_precision_k: NonZeroU32::MIN, ..options() };
    let got = evaluate(&sample(&rows), &options).card_precision.unwrap();
    assert_eq!((got.by_day, got.days), (vec![1.0, 1.0], vec!["1970-01-01".to_owned(), "1970-01-02".to_owned()]));
}

#[test]
fn what_is_missing_is_null_and_said() {
    let bare = Sample::new(vec![0.2, 0.3], vec![false, true]).unwrap();
    let none = Options { threshold: None, review_cost: None, ..options() };
    let got = evaluate(&bare, &none);
    assert!(got.days.is_none() && got.card_precision.is_none() && got.alerts.is_none() && got.at_threshold.is_none());
    assert!(got.cost.is_none() && got.kinds.is_none() && got.folds.is_none() && got.mean.is_none());
    for word in ["no times", "card precision", "threshold", "no amounts", "kinds", "folds"] {
        assert!(got.notes.iter().any(|note| note.contains(word)), "{word}: {:?}", got.notes);
    }
    let json = serde_json::to_value(&got).unwrap();
    assert!(json["card_precision"].is_null() && json["alerts"].is_null() && json["at_threshold"].is_null());
}

#[test]
fn more_tied_rows_than_alerts_flag_nothing() {
    let rows = [(0.5, true, 0, 0, 1, 0), (0.5, false, 0, 1, 1, 0), (0.5, false, 0, 2, 1, 0)];
    let at = &evaluate(&sample(&rows), &Options { alerts_a_day: vec![2], ..options() }).alerts.unwrap()[0];
    assert_eq!((at.threshold, at.flagged, at.caught.precision, at.caught.recall), (None, 0, None, 0.0));
}
