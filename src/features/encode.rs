//! `encode`: readings and the transaction's own attributes, put together into rows of finite numbers.

use super::catalogue::{Expression, Plan, Unit};
use super::rows::Readings;
use super::{Event, Rows};
use crate::base::clock::{DAY, HOUR};
use crate::base::money::RateQuality;

/// Appends a row an event to `rows`; `readings` hold, for each entity of the plan, its reads of each event in turn.
pub(super) fn encode(
    plan: &Plan,
    events: &[Event<'_>],
    readings: &[Readings],
    customers: Option<usize>,
    rows: &mut Rows,
) {
    let (values, marks) = rows.extend(events.len());
    let filled = values.chunks_exact_mut(plan.width().max(1)).zip(marks);
    for (index, (event, (row, marks))) in events.iter().zip(filled).enumerate() {
        let source = Source { plan, event, readings, index };
        for (value, column) in row.iter_mut().zip(&plan.columns) {
            *value = source.evaluate(column);
        }
        marks.stale_rate = event.base.rate == RateQuality::Stale;
        marks.missing_rate = event.base.rate == RateQuality::Missing;
        let known = |readings: &Readings| readings.known.get(index).copied().unwrap_or_default();
        marks.approximate = readings.iter().any(|readings| known(readings).approximate);
        marks.new_customer = customers.and_then(|place| readings.get(place)).is_some_and(|all| known(all).new);
    }
}

struct Source<'a> {
    plan: &'a Plan,
    event: &'a Event<'a>,
    readings: &'a [Readings],
    index: usize,
}

impl Source<'_> {
    fn evaluate(&self, column: &Expression) -> f64 {
        let flag = |set: bool| if set { 1.0 } else { 0.0 };
        let value = match column {
            Expression::Slot(slot) => {
                let width = self.plan.entities.get(slot.entity).map_or(0, |entity| entity.reads.len());
                let readings = self.readings.get(slot.entity);
                let value = readings.and_then(|readings| readings.values.get(self.index * width + slot.read));
                value.copied().unwrap_or(0.0)
            }
            Expression::Amount(unit) => {
                #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^53 minor units")]
                let minor = self.event.base.minor as f64;
                if *unit == Unit::Major { minor / self.plan.minor_per_major } else { minor }
            }
            Expression::Hour => f64::from(self.hour()),
            Expression::HourBetween { from, to } => flag((*from..=*to).contains(&self.hour())),
            Expression::WeekdayIn(days) => flag(days & (1 << self.weekday()) != 0),
            Expression::Equals { field, value } => flag(self.event.transaction.entity(field) == Some(value)),
            Expression::Ratio { numerator, denominator, default } => {
                let divisor = self.evaluate(denominator);
                if divisor == 0.0 { *default } else { self.evaluate(numerator) / divisor }
            }
            Expression::Zscore { value, mean, deviation, default } => {
                let divisor = self.evaluate(deviation);
                if divisor == 0.0 { *default } else { (self.evaluate(value) - self.evaluate(mean)) / divisor }
            }
        };
        // A ratio of extremes can overflow; a model must never see that.
        if value.is_finite() { value } else { f64::from(f32::MAX).copysign(value) }
    }

    fn hour(&self) -> u8 {
        (self.event.transaction.occurred_at.0.rem_euclid(DAY) / HOUR) as u8
    }

    /// ISO weekday, Monday 1 to Sunday 7; 1970-01-01 was a Thursday.
    fn weekday(&self) -> u8 {
        ((self.event.transaction.occurred_at.day() + 3).rem_euclid(7) + 1) as u8
    }
}
