//! The catalogue as tables for people: what each feature is, and what it costs. docs/FEATURES.md holds them.

use std::fmt::Write as _;

use super::{Aggregate, Catalogue, Feature, Kept, Kind, Unit};
use crate::base::clock::{DAY, HOUR, MINUTE, SECOND};

/// What stands around the tables in a document.
const BEGIN: &str = "<!-- The tables below are written by `make docs`. -->\n";
const END: &str = "<!-- End of the tables. -->\n";

/// Bytes of a time, an amount, a counted value and a verdict, as history keeps them: an event each, a verdict each.
const TIME: u32 = 4;
const AMOUNT: u32 = 4;
const VALUE: u32 = 5;
const VERDICT: u32 = 40;

/// `document` with the tables of `catalogue` between its marks; `None` where it has no marks.
#[must_use]
pub fn fill(document: &str, catalogue: &Catalogue) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", page(catalogue)))
}

/// A table of the features of each group, then what history keeps of each entity.
fn page(catalogue: &Catalogue) -> String {
    let mut text = String::new();
    for group in catalogue.groups() {
        // Writing to a String cannot fail, here and below.
        let _ = write!(text, "### `{}`: {}\n\n", group.name, group.meaning);
        text.push_str("| name | meaning | what | entity | window | delay | unit | type | default | reading | kept |\n");
        text.push_str("|---|---|---|---|---|---|---|---|---|---|---|\n");
        for feature in catalogue.features().iter().filter(|feature| feature.group == group.name) {
            row(&mut text, feature);
        }
        text.push('\n');
    }
    text.push_str("### What history keeps of each entity\n\n");
    text.push_str(
        "| entity | transactions for | amounts for | values counted, for | verdicts | bytes a transaction, at most |\n",
    );
    text.push_str("|---|---|---|---|---|---|\n");
    for kept in catalogue.kept() {
        entity(&mut text, kept);
    }
    text
}

fn row(text: &mut String, feature: &Feature) {
    let Described { what, entity, window, delay, unit, default } = described(&feature.kind);
    let (reading, kept) = cost(&feature.kind);
    let type_ = if super::plan::is_integer(&feature.kind) { "integer" } else { "float" };
    let cells = [&*feature.meaning, &what, &entity, &window, &delay, &unit, type_, &default, reading, &kept];
    let cells = cells.map(|cell| if cell.is_empty() { "–" } else { cell });
    let _ = writeln!(text, "| `{}` | {} |", feature.name, cells.join(" | "));
}

fn entity(text: &mut String, kept: &Kept) {
    let values: Vec<_> = kept.values.iter().map(|(name, reach)| format!("`{name}` {}", span(*reach))).collect();
    let values = if values.is_empty() { "–".to_owned() } else { values.join(", ") };
    let amounts = if kept.amounts > 0 { span(kept.amounts) } else { "–".to_owned() };
    let verdicts = if kept.labels { "yes" } else { "no" };
    let counted = u32::try_from(kept.values.len()).unwrap_or(u32::MAX);
    let bytes = TIME + if kept.amounts > 0 { AMOUNT } else { 0 } + VALUE * counted;
    let _ =
        writeln!(text, "| `{}` | {} | {amounts} | {values} | {verdicts} | {bytes} |", kept.entity, span(kept.reach));
}

/// What a reading takes, by the classes that the page explains; and what history keeps for it.
fn cost(kind: &Kind) -> (&'static str, String) {
    match kind {
        Kind::Window { aggregate, window, delay, last, .. } => {
            let reach = span(window + delay);
            let bytes = |bytes: u32| format!("{bytes} B for {reach}");
            let reading = match aggregate {
                Aggregate::Min(_) | Aggregate::Max(_) => "blocks",
                aggregate if aggregate.walks() => "walk",
                aggregate if aggregate.needs_labels() => "verdicts",
                _ if *last > 0 => "edges, counted",
                _ => "edges",
            };
            let kept = match aggregate {
                aggregate if aggregate.needs_amount() => bytes(TIME + AMOUNT),
                aggregate if aggregate.counted().is_some() => bytes(TIME + VALUE),
                aggregate if aggregate.needs_labels() => format!("{}, {VERDICT} B a verdict", bytes(TIME)),
                _ => bytes(TIME),
            };
            (reading, kept)
        }
        Kind::Reference { .. } => ("look-up", String::new()),
        Kind::Elapsed { within, .. } => ("step", format!("{TIME} B for {}", span(*within))),
        _ => ("arithmetic", String::new()),
    }
}

#[derive(Default)]
struct Described {
    what: String,
    entity: String,
    window: String,
    delay: String,
    unit: String,
    default: String,
}

fn described(kind: &Kind) -> Described {
    let own =
        |what: &str, unit: &str| Described { what: what.to_owned(), unit: unit.to_owned(), ..Described::default() };
    let derived =
        |what: String, unit: &str, default: f64| Described { default: default.to_string(), ..own(&what, unit) };
    match kind {
        Kind::Amount(unit) => own("amount", money(*unit)),
        Kind::RoundAmount { step } => own(&format!("amount is a multiple of {step}"), "0 or 1"),
        Kind::Hour => own("hour", "hours"),
        Kind::TimeSine => own("sine of the time of day", "-1 to 1"),
        Kind::TimeCosine => own("cosine of the time of day", "-1 to 1"),
        Kind::Weekday => own("weekday", "1 to 7"),
        Kind::DayOfMonth => own("day of the month", "1 to 31"),
        Kind::HourBetween { from, to } => own(&format!("hour from {from} to {to}"), "0 or 1"),
        Kind::WeekdayIn(days) => {
            let days: Vec<_> = (1..=7).filter(|day| days & (1 << day) != 0).map(|day: u8| day.to_string()).collect();
            own(&format!("weekday in {}", days.join(", ")), "0 or 1")
        }
        Kind::Equals { field, value } => own(&format!("`{field}` is `{value}`"), "0 or 1"),
        Kind::Window { entity, aggregate, window, delay, last, default } => {
            let (what, unit) = of_window(aggregate);
            let window = span(*window);
            Described {
                what,
                entity: format!("`{entity}`"),
                window: if *last > 0 { format!("last {last} of {window}") } else { window },
                delay: if *delay > 0 { span(*delay) } else { String::new() },
                unit: unit.to_owned(),
                default: default.to_string(),
            }
        }
        Kind::Elapsed { entity, within, default } => Described {
            entity: format!("`{entity}`"),
            window: span(*within),
            ..derived("time since the transaction before".to_owned(), "seconds", *default)
        },
        Kind::Ratio { numerator, denominator, default } => {
            derived(format!("`{numerator}` / `{denominator}`"), "ratio", *default)
        }
        Kind::Log { value } => own(&format!("ln(1 + `{value}`)"), "logarithm"),
        Kind::Zscore { value, mean, deviation, default } => {
            derived(format!("(`{value}` - `{mean}`) / `{deviation}`"), "deviations", *default)
        }
        Kind::Reference { entity, pick, default } => {
            let what = if pick.days { format!("days since `{}`", pick.name) } else { format!("`{}`", pick.name) };
            Described { entity: format!("`{entity}`"), ..derived(what, &pick.unit, *default) }
        }
    }
}

/// What an aggregate is, and its unit.
fn of_window(aggregate: &Aggregate) -> (String, &'static str) {
    let (what, unit) = match aggregate {
        Aggregate::Count => ("count", "transactions"),
        Aggregate::Sum(unit) => ("sum of amounts", money(*unit)),
        Aggregate::Mean(unit) => ("mean amount", money(*unit)),
        Aggregate::Min(unit) => ("smallest amount", money(*unit)),
        Aggregate::Max(unit) => ("largest amount", money(*unit)),
        Aggregate::Std(unit) => ("standard deviation of amounts", money(*unit)),
        Aggregate::Rank => ("share of smaller amounts", "0 to 1"),
        Aggregate::SameAmount => ("others of this amount", "transactions"),
        Aggregate::Distinct { of } => return (format!("distinct `{of}`"), "values"),
        Aggregate::Same { of } => return (format!("earlier with this `{of}`"), "transactions"),
        Aggregate::First { of } => return (format!("first with this `{of}`"), "0 or 1"),
        Aggregate::SinceFirst => ("time since the first", "seconds"),
        Aggregate::FraudCount => ("frauds", "transactions"),
        Aggregate::FraudShare => ("share of frauds", "0 to 1"),
        Aggregate::FraudShareSinceFirst => ("share of frauds since the first fraud", "0 to 1"),
        Aggregate::SinceFirstFraud => ("time since the first fraud", "seconds"),
        Aggregate::SinceFraud => ("time since the last fraud", "seconds"),
        Aggregate::FraudAmountMean(unit) => ("mean amount of frauds", money(*unit)),
        Aggregate::FraudAmountMin(unit) => ("smallest amount of frauds", money(*unit)),
    };
    (what.to_owned(), unit)
}

const fn money(unit: Unit) -> &'static str {
    match unit {
        Unit::Major => "major units",
        Unit::Minor => "minor units",
    }
}

fn span(millis: i64) -> String {
    let units = [(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm'), (SECOND, 's')];
    let (unit, letter) = units.into_iter().find(|(unit, _)| millis % unit == 0).unwrap_or((1, '?'));
    format!("{}{letter}", millis / unit)
}
