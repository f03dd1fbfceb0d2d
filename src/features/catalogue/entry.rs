//! One entry of the catalogue as it is written, and its checked form.

use serde::Deserialize;

use super::{CatalogueError, Feature, Group};
use crate::base::clock::{DAY, HOUR, MINUTE, SECOND};

/// What a feature is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The transaction's amount in the base currency.
    Amount(Unit),
    /// Hour of the day, 0 to 23, UTC.
    Hour,
    /// 1 when the hour is within `from..=to`, UTC.
    HourBetween {
        /// First hour.
        from: u8,
        /// Last hour, included.
        to: u8,
    },
    /// 1 when the ISO weekday (Monday 1 to Sunday 7, UTC) is one of these; bit `n` stands for day `n`.
    WeekdayIn(u8),
    /// 1 when an identifier-like field of the transaction has this value.
    Equals {
        /// Canonical field.
        field: String,
        /// The value.
        value: String,
    },
    /// An aggregate of one entity's transactions in (t − delay − window, t − delay].
    Window {
        /// Canonical name of the identifying field.
        entity: String,
        /// What is computed.
        aggregate: Aggregate,
        /// Length, milliseconds.
        window: i64,
        /// How far it is moved back, milliseconds.
        delay: i64,
        /// Value of an empty window.
        default: f64,
    },
    /// Seconds since the entity's transaction before this one.
    Elapsed {
        /// Canonical name of the identifying field.
        entity: String,
        /// How far back is looked, milliseconds.
        within: i64,
        /// Value where there is none.
        default: f64,
    },
    /// One feature divided by another.
    Ratio {
        /// Name of the dividend.
        numerator: String,
        /// Name of the divisor.
        denominator: String,
        /// Value where the divisor is 0.
        default: f64,
    },
    /// (value − mean) / deviation, of three features.
    Zscore {
        /// Name of the value.
        value: String,
        /// Name of its mean.
        mean: String,
        /// Name of its standard deviation.
        deviation: String,
        /// Value where the deviation is 0.
        default: f64,
    },
}

/// What is computed over a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aggregate {
    /// Number of transactions.
    Count,
    /// Sum of amounts.
    Sum(Unit),
    /// Mean amount.
    Mean(Unit),
    /// Smallest amount.
    Min(Unit),
    /// Largest amount.
    Max(Unit),
    /// Population standard deviation of the amounts.
    Std(Unit),
    /// Number of different values of an identifier.
    Distinct {
        /// Canonical field.
        of: String,
    },
    /// 1 when no earlier transaction of the window has this transaction's value of an identifier.
    First {
        /// Canonical field.
        of: String,
    },
    /// Number of transactions whose newest verdict known at t is fraud.
    FraudCount,
    /// The same, divided by the number of transactions.
    FraudShare,
}

impl Aggregate {
    pub(super) const fn needs_amount(&self) -> bool {
        matches!(self, Self::Sum(_) | Self::Mean(_) | Self::Min(_) | Self::Max(_) | Self::Std(_))
    }

    pub(super) const fn needs_labels(&self) -> bool {
        matches!(self, Self::FraudCount | Self::FraudShare)
    }
}

/// In which unit of the base currency an amount is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Euros, dollars.
    #[default]
    Major,
    /// Cents.
    Minor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindName {
    Amount,
    Hour,
    HourBetween,
    WeekdayIn,
    Equals,
    Window,
    Elapsed,
    Ratio,
    Zscore,
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
    Distinct,
    First,
    FraudCount,
    FraudShare,
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
    within: Option<String>,
    numerator: Option<String>,
    denominator: Option<String>,
    mean: Option<String>,
    deviation: Option<String>,
    default: Option<f64>,
}

impl Entry {
    /// The feature this entry means, of one of `groups`; `earlier` are those above it.
    pub(super) fn check(mut self, earlier: &[Feature], groups: &[Group]) -> Result<Feature, CatalogueError> {
        let name = std::mem::take(&mut self.name);
        let group = std::mem::take(&mut self.group);
        let meaning = std::mem::take(&mut self.meaning);
        let kind = self.kind(earlier).and_then(|kind| match self.left_over() {
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

    fn kind(&mut self, earlier: &[Feature]) -> Result<Kind, String> {
        Ok(match self.kind {
            KindName::Amount => Kind::Amount(self.unit.take().unwrap_or_default()),
            KindName::Hour => Kind::Hour,
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
            KindName::Zscore => Kind::Zscore {
                value: earlier_name(&mut self.value, "value", earlier)?,
                mean: earlier_name(&mut self.mean, "mean", earlier)?,
                deviation: earlier_name(&mut self.deviation, "deviation", earlier)?,
                default: self.default()?,
            },
        })
    }

    fn window(&mut self) -> Result<Kind, String> {
        let unit = self.unit;
        let aggregate = match take(&mut self.aggregate, "aggregate")? {
            AggregateName::Count => Aggregate::Count,
            AggregateName::Sum => Aggregate::Sum(self.unit.take().unwrap_or_default()),
            AggregateName::Mean => Aggregate::Mean(self.unit.take().unwrap_or_default()),
            AggregateName::Min => Aggregate::Min(self.unit.take().unwrap_or_default()),
            AggregateName::Max => Aggregate::Max(self.unit.take().unwrap_or_default()),
            AggregateName::Std => Aggregate::Std(self.unit.take().unwrap_or_default()),
            AggregateName::Distinct => Aggregate::Distinct { of: take(&mut self.of, "of")? },
            AggregateName::First => Aggregate::First { of: take(&mut self.of, "of")? },
            AggregateName::FraudCount => Aggregate::FraudCount,
            AggregateName::FraudShare => Aggregate::FraudShare,
        };
        if unit.is_some() && !aggregate.needs_amount() {
            return Err("unit is for aggregates of amounts".to_owned());
        }
        let delay = self.delay.take().map_or(Ok(0), |text| span(&text))?;
        if aggregate.needs_labels() && delay == 0 {
            return Err(
                "a feature of verdicts needs a delay: they are not known when the transaction happens".to_owned()
            );
        }
        if delay > 0 && matches!(aggregate, Aggregate::First { .. }) {
            return Err("`first` compares with this transaction: it takes no delay".to_owned());
        }
        Ok(Kind::Window {
            entity: self.entity()?,
            aggregate,
            window: span(&take(&mut self.window, "window")?)?,
            delay,
            default: self.default()?,
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
            ("within", self.within.is_some()),
            ("numerator", self.numerator.is_some()),
            ("denominator", self.denominator.is_some()),
            ("mean", self.mean.is_some()),
            ("deviation", self.deviation.is_some()),
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
