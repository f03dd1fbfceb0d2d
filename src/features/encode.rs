//! `encode`: readings and the transaction's own attributes, put together into rows of finite numbers.

use rayon::prelude::*;

use super::catalogue::{Expression, Plan, Slot, Unit};
use super::reference::{Found, Table};
use super::rows::Readings;
use super::{Event, Marks, Rows};
use crate::base::clock::{DAY, HOUR};
use crate::base::money::RateQuality;

/// Events that one thread puts together at a time, where there are many.
const PIECE: usize = 256;

/// What the rows of a batch share.
struct Batch<'a> {
    plan: &'a Plan,
    readings: &'a [Readings],
    /// Place of the customer among the plan's entities.
    customers: Option<usize>,
    /// The tables of reference data, the same for every row; none where the plan looks nothing up.
    tables: &'a [Table],
}

/// Appends a row an event to `rows`; `readings` hold, for each entity of the plan, its reads of each event in turn.
pub(super) fn encode(
    plan: &Plan,
    events: &[Event<'_>],
    readings: &[Readings],
    customers: Option<usize>,
    rows: &mut Rows,
) {
    let now = plan.reference.as_ref().map(|reference| reference.now());
    let tables = now.as_deref().map_or(&[] as &[_], Vec::as_slice);
    let batch = Batch { plan, readings, customers, tables };
    let (values, marks) = rows.extend(events.len());
    if events.len() <= PIECE {
        return batch.piece(0, events, values, marks);
    }
    let filled = values.par_chunks_mut(plan.width().max(1) * PIECE).zip(marks.par_chunks_mut(PIECE));
    filled.zip(events.par_chunks(PIECE)).enumerate().for_each(|(number, ((values, marks), events))| {
        batch.piece(number * PIECE, events, values, marks);
    });
}

impl<'a> Batch<'a> {
    /// The rows of some events, of which the first has number `first` among the readings.
    fn piece(&self, first: usize, events: &[Event<'_>], values: &mut [f64], marks: &mut [Marks]) {
        let Self { plan, readings, customers, .. } = *self;
        let mut own: Vec<&[f64]> = vec![&[]; readings.len()];
        let mut found: Vec<Found<'a>> = Vec::with_capacity(plan.lookups.len());
        let filled = values.chunks_exact_mut(plan.width().max(1)).zip(marks);
        for (index, (event, (row, marks))) in (first..).zip(events.iter().zip(filled)) {
            for (own, (reads, readings)) in own.iter_mut().zip(plan.entities.iter().zip(readings)) {
                let width = reads.reads.len();
                *own = readings.values.get(index * width..(index + 1) * width).unwrap_or_default();
            }
            if !plan.lookups.is_empty() {
                self.look_up(event, &mut found, marks);
            }
            let source = Source { plan, event, readings: &own, found: &found };
            for (value, column) in row.iter_mut().zip(&plan.columns) {
                // Most columns are a reading as it is.
                *value = match column {
                    Expression::Slot(slot) => finite(source.slot(*slot)),
                    _ => source.evaluate(column),
                };
            }
            marks.stale_rate = event.base.rate == RateQuality::Stale;
            marks.missing_rate = event.base.rate == RateQuality::Missing;
            let known = |readings: &Readings| readings.known.get(index).copied().unwrap_or_default();
            marks.approximate = readings.iter().any(|readings| known(readings).approximate);
            marks.new_customer = customers.and_then(|place| readings.get(place)).is_some_and(|all| known(all).new);
        }
    }

    /// The rows of reference data that an event names, each once.
    fn look_up(&self, event: &Event<'_>, found: &mut Vec<Found<'a>>, marks: &mut Marks) {
        found.clear();
        for lookup in &self.plan.lookups {
            let key = match lookup.entity.as_str() {
                "currency" => Some(event.transaction.currency.code()),
                field => event.transaction.entity(field),
            };
            let row = match (key, self.tables.get(lookup.table)) {
                (None, _) => Found::Unnamed,
                (Some(_), None) => Found::Missing,
                (Some(key), Some(table)) => {
                    marks.stale_reference |= table.stale;
                    table.find(key)
                }
            };
            marks.missing_reference |= matches!(row, Found::Missing);
            found.push(row);
        }
    }
}

struct Source<'a> {
    plan: &'a Plan,
    event: &'a Event<'a>,
    /// The reads of this event, an entity of the plan each.
    readings: &'a [&'a [f64]],
    /// The plan's look-ups of this event, in turn.
    found: &'a [Found<'a>],
}

impl Source<'_> {
    fn evaluate(&self, column: &Expression) -> f64 {
        let flag = |set: bool| if set { 1.0 } else { 0.0 };
        let value = match column {
            Expression::Slot(slot) => self.slot(*slot),
            Expression::Amount(unit) => {
                #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^53 minor units")]
                let minor = self.event.base.minor as f64;
                if *unit == Unit::Major { minor / self.plan.minor_per_major } else { minor }
            }
            Expression::RoundAmount(step) => {
                let transaction = self.event.transaction;
                let step = transaction.currency.minor_per_major().saturating_mul(i64::from(*step)).max(1);
                flag(transaction.amount_minor > 0 && transaction.amount_minor % step == 0)
            }
            Expression::TimeSine => self.angle().sin(),
            Expression::TimeCosine => self.angle().cos(),
            Expression::Weekday => f64::from(self.weekday()),
            Expression::DayOfMonth => f64::from(day_of_month(self.event.transaction.occurred_at.day())),
            Expression::Hour => f64::from(self.hour()),
            Expression::HourBetween { from, to } => flag((*from..=*to).contains(&self.hour())),
            Expression::WeekdayIn(days) => flag(days & (1 << self.weekday()) != 0),
            Expression::Equals { field, value } => flag(self.event.transaction.entity(field) == Some(value)),
            Expression::Ratio { numerator, denominator, default } => {
                let divisor = self.evaluate(denominator);
                if divisor == 0.0 { *default } else { self.evaluate(numerator) / divisor }
            }
            Expression::Log(value) => self.evaluate(value).max(0.0).ln_1p(),
            Expression::Zscore { value, mean, deviation, default } => {
                let divisor = self.evaluate(deviation);
                if divisor == 0.0 { *default } else { (self.evaluate(value) - self.evaluate(mean)) / divisor }
            }
            Expression::Attribute { lookup, attribute, days, default } => {
                match self.found.get(*lookup).and_then(|row| row.value(*attribute)) {
                    None => *default,
                    #[expect(clippy::cast_precision_loss, reason = "days are small")]
                    Some(day) if *days => self.event.transaction.occurred_at.day() as f64 - day,
                    Some(value) => value,
                }
            }
        };
        finite(value)
    }

    fn slot(&self, slot: Slot) -> f64 {
        self.readings.get(slot.entity).and_then(|reads| reads.get(slot.read)).copied().unwrap_or(0.0)
    }

    fn hour(&self) -> u8 {
        (self.event.transaction.occurred_at.0.rem_euclid(DAY) / HOUR) as u8
    }

    /// The time of day as an angle: a whole turn a day, 0 at midnight.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of one day")]
    fn angle(&self) -> f64 {
        self.event.transaction.occurred_at.0.rem_euclid(DAY) as f64 / DAY as f64 * std::f64::consts::TAU
    }

    /// ISO weekday, Monday 1 to Sunday 7; 1970-01-01 was a Thursday.
    fn weekday(&self) -> u8 {
        ((self.event.transaction.occurred_at.day() + 3).rem_euclid(7) + 1) as u8
    }
}

/// A ratio of extremes can overflow; a model must never see that.
const fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { (f32::MAX as f64).copysign(value) }
}

/// Day of the month, 1 to 31, of a day since the epoch (Howard Hinnant, "chrono-compatible low-level date algorithms").
const fn day_of_month(day: i64) -> u8 {
    let of_era = (day + 719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    (of_year - (153 * month + 2) / 5 + 1) as u8
}
