//! What a feature can be: the checked form of an entry of the catalogue. Data only.

use serde::Deserialize;

use crate::features::reference::Pick;

/// What a feature is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The transaction's amount in the base currency.
    Amount(Unit),
    /// 1 when the amount, in the currency it was paid in, is a multiple of this many major units and not 0.
    RoundAmount {
        /// Major units.
        step: u32,
    },
    /// Hour of the day, 0 to 23, UTC.
    Hour,
    /// Sine of the time of day as an angle, midnight 0, noon π; UTC. With the cosine it says that 23:59 is next to 0:00.
    TimeSine,
    /// Cosine of the time of day as an angle.
    TimeCosine,
    /// ISO weekday, Monday 1 to Sunday 7, UTC.
    Weekday,
    /// Day of the month, 1 to 31, UTC.
    DayOfMonth,
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
        /// Only this many of its newest transactions, and those of the same millisecond as the oldest of them; 0 for all.
        last: u32,
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
    /// Natural logarithm of 1 + a feature that is not negative.
    Log {
        /// Name of the feature.
        value: String,
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
    /// An attribute of the row of reference data that a field of the transaction names.
    Reference {
        /// Canonical name of that field.
        entity: String,
        /// The attribute.
        pick: Pick,
        /// Value where there is none.
        default: f64,
    },
}

/// The newest transactions of a window that an aggregate looks at which must look at each: for these aggregates a
/// window is never more, so that the busiest entity costs no more than this.
pub const WALK: usize = 1024;

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
    /// Share of the window's other transactions whose amount is smaller than this one's.
    Rank,
    /// Number of the window's other transactions that have exactly this one's amount.
    SameAmount,
    /// Number of different values of an identifier.
    Distinct {
        /// Canonical field.
        of: String,
    },
    /// Number of earlier transactions of the window with this transaction's value of an identifier.
    Same {
        /// Canonical field.
        of: String,
    },
    /// 1 when no earlier transaction of the window has this transaction's value of an identifier.
    First {
        /// Canonical field.
        of: String,
    },
    /// Seconds since the first transaction of the window.
    SinceFirst,
    /// Number of transactions whose newest verdict known at t is fraud.
    FraudCount,
    /// The same, divided by the number of transactions.
    FraudShare,
    /// The same, divided by the number of transactions since the first of these frauds, itself included.
    FraudShareSinceFirst,
    /// Seconds since the first of these frauds happened.
    SinceFirstFraud,
    /// Seconds since the last of them happened.
    SinceFraud,
    /// Mean amount of these frauds.
    FraudAmountMean(Unit),
    /// Smallest amount of these frauds.
    FraudAmountMin(Unit),
}

impl Aggregate {
    /// Whether it needs the amounts of the entity's transactions.
    #[must_use]
    pub const fn needs_amount(&self) -> bool {
        matches!(
            self,
            Self::Sum(_) | Self::Mean(_) | Self::Min(_) | Self::Max(_) | Self::Std(_) | Self::Rank | Self::SameAmount
        )
    }

    /// Whether it needs the verdicts on them.
    #[must_use]
    pub const fn needs_labels(&self) -> bool {
        matches!(
            self,
            Self::FraudCount
                | Self::FraudShare
                | Self::FraudShareSinceFirst
                | Self::SinceFirstFraud
                | Self::SinceFraud
                | Self::FraudAmountMean(_)
                | Self::FraudAmountMin(_)
        )
    }

    /// The identifier whose values it needs.
    #[must_use]
    pub fn counted(&self) -> Option<&str> {
        match self {
            Self::Distinct { of } | Self::Same { of } | Self::First { of } => Some(of),
            _ => None,
        }
    }

    /// Whether it looks at the transactions of the window one by one: at [`WALK`] of them at most.
    #[must_use]
    pub fn walks(&self) -> bool {
        self.counted().is_some() || matches!(self, Self::Rank | Self::SameAmount)
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
