//! Two scores of the same rows: B - A, with a bootstrap interval. Pure.
//!
//! Paired percentile bootstrap (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapters 8 and 13): units
//! are drawn with replacement, as many as there are; every draw gives both scores the same rows; the interval lies between
//! the quantiles (1 - confidence) / 2 and (1 + confidence) / 2 of the differences, interpolated linearly.
//!
//! A unit is what is independent of the others: rows of one card are not, so cards are drawn unless something else is
//! asked for. A card drawn twice counts as two cards. Rows are sorted once; a replicate is one pass with weights.
//!
//! Invariants: A against A differs by exactly 0 in every replicate; the same seed gives the same bits on any number of
//! threads.

mod draw;
mod replicate;
mod scope;

use std::num::NonZeroU32;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::sample::{Fault, Sample, check_length, check_scores};
use replicate::Triple;
use scope::{Scope, Units};

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Customers (cards), with all their rows.
    Customer,
    /// Days, with all their rows. Card precision is drawn as the days' own figures.
    Day,
    /// Rows. Too narrow where rows of one card are alike. Card precision has no interval then: half-drawn cards would be
    /// other cards.
    Row,
}

/// How it is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resampling {
    /// What is drawn.
    pub unit: Unit,
    /// How often.
    pub replicates: NonZeroU32,
    /// Of the interval, between 0 and 1, such as 0.95.
    pub confidence: f64,
    /// Everything drawn depends on it.
    pub seed: u64,
    /// Cards a day in card precision.
    pub card_precision_k: NonZeroU32,
}

/// B - A.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Rows.
    pub rows: u64,
    /// Frauds among them.
    pub frauds: u64,
    /// What was drawn.
    pub unit: Unit,
    /// How many of them there are.
    pub units: u64,
    /// How often.
    pub bootstrap: u32,
    /// Of the intervals.
    pub confidence: f64,
    /// What the draws depend on.
    pub seed: u64,
    /// Cards a day in card precision.
    pub card_precision_k: u32,
    /// All rows as one.
    pub all: Differences,
    /// Fold by fold; null without folds.
    pub folds: Option<Vec<FoldDifferences>>,
    /// The mean over the folds; null without folds.
    pub mean: Option<Differences>,
}

/// One fold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoldDifferences {
    /// As the column has it.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Frauds among them.
    pub frauds: u64,
    /// Its differences.
    #[serde(flatten)]
    pub differences: Differences,
}

/// The differences of the three figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Differences {
    /// Area under the ROC curve.
    pub roc_auc: Difference,
    /// Average precision.
    pub average_precision: Difference,
    /// Card precision at k; null without times or customers, and where rows are drawn.
    pub card_precision: Option<Difference>,
}

/// One figure of both scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Of A.
    pub a: f64,
    /// Of B.
    pub b: f64,
    /// B - A.
    pub difference: f64,
    /// Lower end of the interval of B - A; null when more than one draw in twenty has no figure.
    pub low: Option<f64>,
    /// Upper end; null with the lower one.
    pub high: Option<f64>,
    /// Draws that had no fraud or no legitimate row somewhere, so no figure: the interval is of the others.
    pub undefined: u32,
}

impl Difference {
    /// What the interval says.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match (self.low, self.high) {
            (Some(low), _) if low > 0.0 => "above 0: B is better",
            (_, Some(high)) if high < 0.0 => "below 0: A is better",
            (Some(_), Some(_)) => "holds 0: no difference shown",
            _ => "not made: too few frauds or units to draw from",
        }
    }
}

/// Compares the scores of `a` with `b`, other scores of the same rows.
///
/// # Errors
/// Scores of another number or outside 0..=1; a unit whose column is not there.
pub fn compare(a: &Sample, b: &[f64], resampling: &Resampling) -> Result<Comparison, Fault> {
    check_length("B", b.len(), a.len())?;
    check_scores(b)?;
    let units = Units::of(a, resampling.unit)?;
    let k = resampling.card_precision_k.get();
    let folds = a.fold_rows();
    let every: Vec<usize> = (0..a.len()).collect();
    let all = std::iter::once(("", every.as_slice()));
    let scopes = all.chain(folds.iter().map(|(name, rows)| (*name, rows.as_slice())));
    let scopes: Vec<Scope> = scopes.map(|(name, rows)| Scope::new(name, a, b, rows, &units, k)).collect();

    let once = vec![1; units.count];
    let estimates: Vec<[Triple; 2]> = scopes.iter().map(|scope| scope.figures(&once)).collect();
    let replicates: Vec<Vec<Triple>> = (0..resampling.replicates.get())
        .into_par_iter()
        .map_init(
            || vec![0; units.count],
            |weights, number| {
                draw::draw(resampling.seed, number, weights);
                let differences = scopes.iter().map(|scope| {
                    let [of_a, of_b] = scope.figures(weights);
                    minus(of_b, of_a)
                });
                with_mean(differences.collect())
            },
        )
        .collect();

    let summed = |place: usize, estimate: [Triple; 2]| -> Result<Differences, Fault> {
        let figure = |figure: usize| difference(estimate, figure, place, &replicates, resampling.confidence);
        // Every scope has both classes, so the estimates of the first two are there.
        Ok(Differences {
            roc_auc: figure(0).ok_or(Fault::NoFigure)?,
            average_precision: figure(1).ok_or(Fault::NoFigure)?,
            card_precision: figure(2),
        })
    };
    // Places: all rows, each fold, then the mean over the folds.
    let mut of_folds = Vec::new();
    for (place, (scope, estimate)) in scopes.iter().zip(&estimates).enumerate().skip(1) {
        of_folds.push(FoldDifferences {
            name: scope.name.clone(),
            rows: scope.rows,
            frauds: scope.frauds,
            differences: summed(place, *estimate)?,
        });
    }
    let side = |side: usize| -> Vec<Triple> {
        with_mean(estimates.iter().filter_map(|estimate| estimate.get(side).copied()).collect())
    };
    let mean = match (of_folds.is_empty(), side(0).last(), side(1).last()) {
        (false, Some(of_a), Some(of_b)) => Some(summed(scopes.len(), [*of_a, *of_b])?),
        _ => None,
    };
    let whole = estimates.first().copied().unwrap_or_default();
    Ok(Comparison {
        rows: a.len() as u64,
        frauds: a.frauds.iter().filter(|fraud| **fraud).count() as u64,
        unit: resampling.unit,
        units: units.count as u64,
        bootstrap: resampling.replicates.get(),
        confidence: resampling.confidence,
        seed: resampling.seed,
        card_precision_k: k,
        all: summed(0, whole)?,
        folds: (!of_folds.is_empty()).then_some(of_folds),
        mean,
    })
}

fn minus(b: Triple, a: Triple) -> Triple {
    let mut differences = Triple::default();
    for ((difference, b), a) in differences.iter_mut().zip(b).zip(a) {
        *difference = b.zip(a).map(|(b, a)| b - a);
    }
    differences
}

/// The figures of all rows and each fold, and behind them the mean over the folds, where every fold has one.
fn with_mean(mut places: Vec<Triple>) -> Vec<Triple> {
    let mut mean = Triple::default();
    for (figure, mean) in mean.iter_mut().enumerate() {
        let of_folds: Option<Vec<f64>> =
            places.iter().skip(1).map(|triple| triple.get(figure).copied().flatten()).collect();
        *mean = of_folds.filter(|values| !values.is_empty()).map(|values| super::cards::mean(&values));
    }
    places.push(mean);
    places
}

/// One figure at one place; `None` where the rows do not have it at all.
fn difference(
    [a, b]: [Triple; 2],
    figure: usize,
    place: usize,
    replicates: &[Vec<Triple>],
    confidence: f64,
) -> Option<Difference> {
    let of = |triple: &Triple| triple.get(figure).copied().flatten();
    let (a, b) = of(&a).zip(of(&b))?;
    let drawn = replicates.iter().map(|places| places.get(place).and_then(of));
    let mut drawn: Vec<f64> = drawn.flatten().collect();
    drawn.sort_unstable_by(f64::total_cmp);
    let undefined = u32::try_from(replicates.len() - drawn.len()).unwrap_or(u32::MAX);
    let tail = (1.0 - confidence) / 2.0;
    let enough = drawn.len() * UNDEFINED_AT_MOST >= replicates.len() * (UNDEFINED_AT_MOST - 1);
    let end = |share: f64| quantile(&drawn, share).filter(|_| enough);
    Some(Difference { a, b, difference: b - a, low: end(tail), high: end(1.0 - tail), undefined })
}

/// One draw in this many may have no figure: more, and the others say little of it.
const UNDEFINED_AT_MOST: usize = 20;

/// Quantile `share` of ascending values, interpolated linearly (Hyndman and Fan 1996, type 7; numpy's default).
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
fn quantile(ascending: &[f64], share: f64) -> Option<f64> {
    let place = share * ascending.len().saturating_sub(1) as f64;
    let at = |index: f64| ascending.get(index as usize).or(ascending.last()).copied();
    let (below, above) = (at(place.floor())?, at(place.ceil())?);
    Some(below + (above - below) * (place - place.floor()))
}

#[cfg(test)]
mod tests;
