//! Every feature of a catalogue by brute force: all that arrived is filtered anew for each value. Written from the
//! meanings alone, and exhaustive: a kind or an aggregate that is not recounted here does not compile.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::base::clock::{DAY, HOUR};
use crate::features::Catalogue;
use crate::features::catalogue::{Aggregate, Kind, Unit, WALK};
use crate::transaction::Transaction;

/// What arrived, and what is known of it.
#[derive(Default)]
pub(super) struct Recount {
    pub(super) events: BTreeMap<(i64, String), Transaction>,
    /// Id, when the verdict was given, what it says.
    pub(super) verdicts: BTreeSet<(String, i64, bool)>,
}

impl Recount {
    pub(super) fn insert(&mut self, one: &Transaction) {
        self.events.insert((one.occurred_at.0, one.transaction_id.to_string()), one.clone());
    }

    /// The values of `own`, in the catalogue's order.
    pub(super) fn row(&self, catalogue: &Catalogue, own: &Transaction) -> Vec<f64> {
        let mut known = HashMap::new();
        for feature in catalogue.features() {
            let value = self.value(&feature.kind, own, &known);
            known.insert(feature.name.as_str(), value);
        }
        catalogue.computable().map(|name| known[name]).collect()
    }

    fn value(&self, kind: &Kind, own: &Transaction, known: &HashMap<&str, f64>) -> f64 {
        let (t, flag) = (own.occurred_at.0, |set: bool| f64::from(u8::from(set)));
        let day = t.div_euclid(DAY);
        let hour = (t - day * DAY) / HOUR;
        let angle = (t - day * DAY) as f64 * std::f64::consts::TAU / DAY as f64;
        match kind {
            Kind::Amount(unit) => own.amount_minor as f64 / per(*unit),
            Kind::RoundAmount { step } => {
                flag(own.amount_minor > 0 && own.amount_minor % (100 * i64::from(*step)) == 0)
            }
            Kind::Hour => hour as f64,
            Kind::TimeSine => angle.sin(),
            Kind::TimeCosine => angle.cos(),
            Kind::Weekday => weekday(day) as f64,
            Kind::DayOfMonth => own.occurred_at.to_rfc3339()[8..10].parse().unwrap(),
            Kind::HourBetween { from, to } => flag(hour >= i64::from(*from) && hour <= i64::from(*to)),
            Kind::WeekdayIn(days) => flag(days >> weekday(day) & 1 == 1),
            Kind::Equals { field, value } => flag(own.entity(field) == Some(value)),
            Kind::Window { entity, aggregate, window, delay, last, default } => {
                self.window(own, entity, aggregate, (*window, *delay, *last)).unwrap_or(*default)
            }
            // Read from nowhere in this module; store::reference and features::reference have its tests.
            Kind::Reference { default, .. } => *default,
            Kind::Elapsed { entity, within, default } => {
                let earlier = self.of(own, entity).filter(|one| one.transaction_id != own.transaction_id);
                let gap = earlier.map(|one| t - one.occurred_at.0).min().filter(|gap| gap < within);
                gap.map_or(*default, |gap| gap as f64 / 1e3)
            }
            Kind::Ratio { numerator, denominator, default } => match known[denominator.as_str()] {
                0.0 => *default,
                divisor => known[numerator.as_str()] / divisor,
            },
            Kind::Log { value } => (1.0 + known[value.as_str()]).ln(),
            Kind::Zscore { value, mean, deviation, default } => match known[deviation.as_str()] {
                0.0 => *default,
                divisor => (known[value.as_str()] - known[mean.as_str()]) / divisor,
            },
        }
    }

    /// The entity's transactions up to `own`, itself included.
    fn of<'a>(&'a self, own: &'a Transaction, entity: &'a str) -> impl Iterator<Item = &'a Transaction> {
        let upto = (own.occurred_at.0, own.transaction_id.to_string());
        let same = move |one: &&Transaction| own.entity(entity).is_some() && one.entity(entity) == own.entity(entity);
        self.events.range(..=upto).map(|(_, one)| one).filter(same)
    }

    /// `None` where there is nothing to say.
    fn window(&self, own: &Transaction, entity: &str, aggregate: &Aggregate, span: (i64, i64, u32)) -> Option<f64> {
        let (window, delay, last) = span;
        let t = own.occurred_at.0;
        own.entity(entity)?;
        let mut all: Vec<&Transaction> = self
            .of(own, entity)
            .filter(|one| one.occurred_at.0 > t - delay - window && one.occurred_at.0 <= t - delay)
            .collect();
        if last > 0 && all.len() > last as usize {
            let oldest = all[all.len() - last as usize].occurred_at;
            all.retain(|one| one.occurred_at >= oldest);
        }
        if aggregate.walks() {
            all.drain(..all.len().saturating_sub(WALK));
        }
        let amounts: Vec<i128> = all.iter().map(|one| i128::from(one.amount_minor)).collect();
        let sum = amounts.iter().sum::<i128>() as f64;
        let some = |value: f64| (!all.is_empty()).then_some(value);
        let others = || all.iter().filter(|one| one.transaction_id != own.transaction_id);
        let frauds: Vec<&&Transaction> = all.iter().filter(|one| self.is_fraud(one, t)).collect();
        let since = |one: &&&Transaction| (t - one.occurred_at.0) as f64 / 1e3;
        let fraud_amounts = || frauds.iter().map(|one| one.amount_minor as f64);
        match aggregate {
            Aggregate::Count => some(all.len() as f64),
            Aggregate::Sum(unit) => some(sum / per(*unit)),
            Aggregate::Mean(unit) => some(sum / all.len() as f64 / per(*unit)),
            Aggregate::Min(unit) => amounts.iter().min().map(|amount| *amount as f64 / per(*unit)),
            Aggregate::Max(unit) => amounts.iter().max().map(|amount| *amount as f64 / per(*unit)),
            Aggregate::Std(unit) => {
                // The sum over pairs: exact, and unlike what history does.
                let pairs =
                    amounts.iter().enumerate().flat_map(|(i, one)| amounts[..i].iter().map(move |two| one - two));
                some((pairs.map(|gap| gap * gap).sum::<i128>() as f64).sqrt() / all.len() as f64 / per(*unit))
            }
            Aggregate::Rank => {
                let smaller = others().filter(|one| one.amount_minor < own.amount_minor).count();
                (others().count() > 0).then(|| smaller as f64 / others().count() as f64)
            }
            Aggregate::SameAmount => Some(others().filter(|one| one.amount_minor == own.amount_minor).count() as f64),
            Aggregate::Distinct { of } => {
                some(all.iter().filter_map(|one| one.entity(of)).collect::<BTreeSet<_>>().len() as f64)
            }
            Aggregate::Same { of } => {
                let value = own.entity(of)?;
                Some(others().filter(|one| one.entity(of) == Some(value)).count() as f64)
            }
            Aggregate::First { of } => {
                let value = own.entity(of)?;
                Some(f64::from(u8::from(!others().any(|one| one.entity(of) == Some(value)))))
            }
            Aggregate::SinceFirst => all.first().map(|one| (t - one.occurred_at.0) as f64 / 1e3),
            Aggregate::FraudCount => some(frauds.len() as f64),
            Aggregate::FraudShare => some(frauds.len() as f64 / all.len() as f64),
            Aggregate::FraudShareSinceFirst => {
                let first = frauds.first()?.occurred_at;
                Some(frauds.len() as f64 / all.iter().filter(|one| one.occurred_at >= first).count() as f64)
            }
            Aggregate::SinceFirstFraud => frauds.first().map(since),
            Aggregate::SinceFraud => frauds.last().map(since),
            Aggregate::FraudAmountMean(unit) => {
                (!frauds.is_empty()).then(|| fraud_amounts().sum::<f64>() / frauds.len() as f64 / per(*unit))
            }
            Aggregate::FraudAmountMin(unit) => fraud_amounts().reduce(f64::min).map(|amount| amount / per(*unit)),
        }
    }

    /// What the newest verdict known at `now` says; of two of one moment, fraud wins.
    fn is_fraud(&self, one: &Transaction, now: i64) -> bool {
        let id = one.transaction_id.to_string();
        let known = self.verdicts.range((id.clone(), i64::MIN, false)..=(id, now, true));
        known.last().is_some_and(|(_, _, is_fraud)| *is_fraud)
    }
}

/// Minor units in one unit, of a currency with cents.
fn per(unit: Unit) -> f64 {
    match unit {
        Unit::Major => 100.0,
        Unit::Minor => 1.0,
    }
}

/// Monday 1 to Sunday 7; the epoch was a Thursday.
fn weekday(day: i64) -> i64 {
    match day.rem_euclid(7) {
        since @ 0..=3 => since + 4,
        since => since - 3,
    }
}
