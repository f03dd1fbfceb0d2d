//! One entry of the catalogue as it is written: read, checked, and turned into its [`Kind`].

use serde::Deserialize;

use super::kind::{Aggregate, Kind, Unit};
use super::{CatalogueError, Feature, Group};
use crate::base::clock::{DAY, HOUR, MINUTE, SECOND};
use crate::features::reference::ReferenceSchema;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindName {
    Amount,
    RoundAmount,
    Hour,
    TimeSine,
    TimeCosine,
    Weekday,
    DayOfMonth,
    HourBetween,
    WeekdayIn,
    Equals,
    Window,
    Elapsed,
    Ratio,
    Log,
    Zscore,
    Reference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AggregateName {
    Count,
    Sum,
    Mean,
    Min,
    Max,
    Std,
    Rank,
    Distinct,
    Same,
    SameAmount,
    First,
    SinceFirst,
    FraudCount,
    FraudShare,
    FraudShareSinceFirst,
    SinceFirstFraud,
    SinceFraud,
    FraudAmountMean,
    FraudAmountMin,
}

/// An entry as written: every key of every kind; [`Entry::check`] takes those its kind has and refuses the rest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    name: String,
    group: String,
    kind: KindName,
    meaning: String,
    unit: Option<Unit>,
    step: Option<u32>,
    from: Option<u8>,
    to: Option<u8>,
    days: Option<Vec<u8>>,
    field: Option<String>,
    value: Option<String>,
    entity: Option<String>,
    aggregate: Option<AggregateName>,
    of: Option<String>,
    window: Option<String>,
    delay: Option<String>,
    last: Option<u32>,
    within: Option<String>,
    numerator: Option<String>,
    denominator: Option<String>,
    mean: Option<String>,
    deviation: Option<String>,
    attribute: Option<String>,
    default: Option<f64>,
}

impl Entry {
    /// The feature this entry means, of one of `groups`; `earlier` are those above it.
    pub(super) fn check(
        mut self,
        earlier: &[Feature],
        groups: &[Group],
        reference: &ReferenceSchema,
    ) -> Result<Feature, CatalogueError> {
        let name = std::mem::take(&mut self.name);
        let group = std::mem::take(&mut self.group);
        let meaning = std::mem::take(&mut self.meaning);
        let kind = self.kind(earlier, reference).and_then(|kind| match self.left_over() {
            Some(key) => Err(format!("its kind does not take `{key}`")),
            None => Ok(kind),
        });
        let named = |rule| CatalogueError::Invalid { name: name.clone(), rule };
        let kind = kind.map_err(named)?;
        if !is_name(&name) {
            return Err(named("a name is lower-case letters, digits and _".to_owned()));
        }
        if !groups.iter().any(|known| known.name == group) {
            return Err(named(format!("group {group:?} is none of the file's [[group]] entries")));
        }
        if name == "is_fraud" || name == "transaction_id" {
            return Err(named("the name belongs to the transaction".to_owned()));
        }
        Ok(Feature { name, group, meaning, kind })
    }

    fn kind(&mut self, earlier: &[Feature], reference: &ReferenceSchema) -> Result<Kind, String> {
        Ok(match self.kind {
            KindName::Amount => Kind::Amount(self.unit.take().unwrap_or_default()),
            KindName::RoundAmount => match take(&mut self.step, "step")? {
                0 => return Err("step is major units, 1 or more".to_owned()),
                step => Kind::RoundAmount { step },
            },
            KindName::Hour => Kind::Hour,
            KindName::TimeSine => Kind::TimeSine,
            KindName::TimeCosine => Kind::TimeCosine,
            KindName::Weekday => Kind::Weekday,
            KindName::DayOfMonth => Kind::DayOfMonth,
            KindName::HourBetween => {
                let (from, to) = (take(&mut self.from, "from")?, take(&mut self.to, "to")?);
                if from > to || to > 23 {
                    return Err("from and to are hours, 0 to 23, from ≤ to".to_owned());
                }
                Kind::HourBetween { from, to }
            }
            KindName::WeekdayIn => {
                let days = take(&mut self.days, "days")?;
                if days.is_empty() || days.iter().any(|day| !(1..=7).contains(day)) {
                    return Err("days are 1 (Monday) to 7 (Sunday)".to_owned());
                }
                Kind::WeekdayIn(days.iter().fold(0, |bits, day| bits | (1 << day)))
            }
            KindName::Equals => {
                Kind::Equals { field: take(&mut self.field, "field")?, value: take(&mut self.value, "value")? }
            }
            KindName::Window => self.window()?,
            KindName::Elapsed => Kind::Elapsed {
                entity: self.entity()?,
                within: span(&take(&mut self.within, "within")?)?,
                default: self.default()?,
            },
            KindName::Ratio => Kind::Ratio {
                numerator: earlier_name(&mut self.numerator, "numerator", earlier)?,
                denominator: earlier_name(&mut self.denominator, "denominator", earlier)?,
                default: self.default()?,
            },
            KindName::Log => Kind::Log { value: earlier_name(&mut self.value, "value", earlier)? },
            KindName::Zscore => Kind::Zscore {
                value: earlier_name(&mut self.value, "value", earlier)?,
                mean: earlier_name(&mut self.mean, "mean", earlier)?,
                deviation: earlier_name(&mut self.deviation, "deviation", earlier)?,
                default: self.default()?,
            },
            KindName::Reference => {
                let (entity, attribute) = (take(&mut self.entity, "entity")?, take(&mut self.attribute, "attribute")?);
                let pick = reference.pick(&entity, &attribute)?;
                let default = if self.default.is_some() { self.default()? } else { pick.default };
                Kind::Reference { entity, pick, default }
            }
        })
    }

    fn window(&mut self) -> Result<Kind, String> {
        let aggregate = self.aggregate()?;
        let delay = self.delay.take().map_or(Ok(0), |text| span(&text))?;
        if aggregate.needs_labels() && delay == 0 {
            return Err(
                "a feature of verdicts needs a delay: they are not known when the transaction happens".to_owned()
            );
        }
        if delay > 0 && matches!(aggregate, Aggregate::First { .. } | Aggregate::Same { .. }) {
            return Err("`first` and `same` compare with this transaction: they take no delay".to_owned());
        }
        let last = self.last.take();
        if last == Some(0) || last.is_some() && (aggregate.walks() || aggregate == Aggregate::SinceFirst) {
            return Err(
                "last is a number of transactions, 1 or more, and not for aggregates that look at each".to_owned()
            );
        }
        Ok(Kind::Window {
            entity: self.entity()?,
            aggregate,
            window: span(&take(&mut self.window, "window")?)?,
            delay,
            last: last.unwrap_or(0),
            default: self.default()?,
        })
    }

    fn aggregate(&mut self) -> Result<Aggregate, String> {
        let name = take(&mut self.aggregate, "aggregate")?;
        let mut unit = || self.unit.take().unwrap_or_default();
        Ok(match name {
            AggregateName::Count => Aggregate::Count,
            AggregateName::Sum => Aggregate::Sum(unit()),
            AggregateName::Mean => Aggregate::Mean(unit()),
            AggregateName::Min => Aggregate::Min(unit()),
            AggregateName::Max => Aggregate::Max(unit()),
            AggregateName::Std => Aggregate::Std(unit()),
            AggregateName::Rank => Aggregate::Rank,
            AggregateName::SameAmount => Aggregate::SameAmount,
            AggregateName::Distinct => Aggregate::Distinct { of: take(&mut self.of, "of")? },
            AggregateName::Same => Aggregate::Same { of: take(&mut self.of, "of")? },
            AggregateName::First => Aggregate::First { of: take(&mut self.of, "of")? },
            AggregateName::SinceFirst => Aggregate::SinceFirst,
            AggregateName::FraudCount => Aggregate::FraudCount,
            AggregateName::FraudShare => Aggregate::FraudShare,
            AggregateName::FraudShareSinceFirst => Aggregate::FraudShareSinceFirst,
            AggregateName::SinceFirstFraud => Aggregate::SinceFirstFraud,
            AggregateName::SinceFraud => Aggregate::SinceFraud,
            AggregateName::FraudAmountMean => Aggregate::FraudAmountMean(unit()),
            AggregateName::FraudAmountMin => Aggregate::FraudAmountMin(unit()),
        })
    }

    fn entity(&mut self) -> Result<String, String> {
        let entity = take(&mut self.entity, "entity")?;
        if entity.ends_with("_id") || entity == "country" || entity == "channel" {
            Ok(entity)
        } else {
            Err(format!("entity {entity:?}: an entity is a canonical field that ends in `_id`, or country, or channel"))
        }
    }

    fn default(&mut self) -> Result<f64, String> {
        let default = self.default.take().unwrap_or(0.0);
        if default.is_finite() { Ok(default) } else { Err("default must be a finite number".to_owned()) }
    }

    /// A key that the kind did not take.
    fn left_over(&self) -> Option<&'static str> {
        [
            ("unit", self.unit.is_some()),
            ("step", self.step.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("days", self.days.is_some()),
            ("field", self.field.is_some()),
            ("value", self.value.is_some()),
            ("entity", self.entity.is_some()),
            ("aggregate", self.aggregate.is_some()),
            ("of", self.of.is_some()),
            ("window", self.window.is_some()),
            ("delay", self.delay.is_some()),
            ("last", self.last.is_some()),
            ("within", self.within.is_some()),
            ("numerator", self.numerator.is_some()),
            ("denominator", self.denominator.is_some()),
            ("mean", self.mean.is_some()),
            ("deviation", self.deviation.is_some()),
            ("attribute", self.attribute.is_some()),
            ("default", self.default.is_some()),
        ]
        .into_iter()
        .find_map(|(key, present)| present.then_some(key))
    }
}

/// Whether this can name a feature or a group.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn take<T>(value: &mut Option<T>, key: &str) -> Result<T, String> {
    value.take().ok_or_else(|| format!("its kind needs `{key}`"))
}

/// A name that must stand above: derived features are computed in the file's order.
fn earlier_name(value: &mut Option<String>, key: &str, earlier: &[Feature]) -> Result<String, String> {
    let name = take(value, key)?;
    if earlier.iter().any(|feature| feature.name == name) {
        Ok(name)
    } else {
        Err(format!("{key} = {name:?} must name a feature that stands before it"))
    }
}

/// A span such as `5m`, `1h`, `30d`, in milliseconds.
fn span(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no span: write a whole number and s, m, h or d, at most 366d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit = match unit {
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return Err(wrong()),
    };
    let span = number.parse::<u32>().ok().map(|number| i64::from(number) * unit).ok_or_else(wrong)?;
    if span > 0 && span <= 366 * DAY { Ok(span) } else { Err(wrong()) }
}
