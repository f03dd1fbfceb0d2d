//! What a plan reads of one entity: window edges, each once, and readings that share edges, walks and passes.

use super::{Aggregate, Kept, Unit};

/// What is read of one entity.
#[derive(Debug, Clone, Default)]
pub(in crate::features) struct EntityReads {
    /// Place of the entity among [`super::Catalogue::kept`].
    pub(in crate::features) place: usize,
    /// Window edges, each once: those by time alone first, the farthest first; then those that narrow a window.
    pub(in crate::features) edges: Vec<Distance>,
    pub(in crate::features) reads: Vec<Read>,
    /// What each read gives where the entity has no history at all.
    pub(in crate::features) defaults: Vec<f64>,
    /// What looks at transactions one by one, a walk for all that can share it.
    pub(in crate::features) walks: Vec<Walk>,
    /// Parts of all walks.
    pub(in crate::features) parts: usize,
    /// Windows whose frauds are read, as places among the edges: one pass over the verdicts for all of them.
    pub(in crate::features) frauds: Vec<(usize, usize)>,
    /// Whether any read is of amounts, and of their squares.
    pub(in crate::features) money: bool,
    pub(in crate::features) squares: bool,
}

/// Where a window edge lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::features) struct Distance {
    /// From the event back, milliseconds; 0 is the event itself.
    pub(in crate::features) back: i64,
    /// A left edge that lies nearer where the window has more than so many transactions, and the window's delay.
    pub(in crate::features) last: Option<(u32, i64)>,
}

/// One reading of one entity. `left` and `right` are places among the edges.
#[derive(Debug, Clone)]
pub(in crate::features) enum Read {
    Count {
        left: usize,
        right: usize,
        default: f64,
    },
    /// A statistic of amounts: `scale` is minor units in one encoded unit.
    Money {
        statistic: Statistic,
        left: usize,
        right: usize,
        scale: f64,
        default: f64,
    },
    /// What part `part` of a walk found.
    Walked {
        part: usize,
        default: f64,
    },
    SinceFirst {
        left: usize,
        right: usize,
        default: f64,
    },
    /// Of the frauds of window `window`.
    Frauds {
        read: FraudRead,
        window: usize,
        scale: f64,
        default: f64,
    },
    Elapsed {
        within: i64,
        default: f64,
    },
}

impl Read {
    /// What it gives where there is nothing to read.
    pub(in crate::features) const fn default(&self) -> f64 {
        match self {
            Self::Count { default, .. }
            | Self::Money { default, .. }
            | Self::Walked { default, .. }
            | Self::SinceFirst { default, .. }
            | Self::Frauds { default, .. }
            | Self::Elapsed { default, .. } => *default,
        }
    }
}

/// What is read of the frauds of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::features) enum FraudRead {
    Count,
    Share,
    ShareSinceFirst,
    SinceFirst,
    Since,
    AmountMean,
    AmountMin,
}

/// One way back through the transactions, from a right edge on.
#[derive(Debug, Clone)]
pub(in crate::features) struct Walk {
    pub(in crate::features) column: Column,
    pub(in crate::features) right: usize,
    /// The part whose window is shortest first.
    pub(in crate::features) parts: Vec<Part>,
}

/// What a walk looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::features) enum Column {
    /// A counted identifier, by its place among [`Kept::values`].
    Value(usize),
    Amount,
}

/// What a walk has to say at one left edge.
#[derive(Debug, Clone, Copy)]
pub(in crate::features) struct Part {
    pub(in crate::features) kind: PartKind,
    pub(in crate::features) left: usize,
    /// Its number among the parts of all walks of the entity.
    pub(in crate::features) number: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::features) enum PartKind {
    Distinct,
    Same,
    First,
    /// Share of smaller amounts.
    Rank,
}

/// Statistics of amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::features) enum Statistic {
    Sum,
    Mean,
    Min,
    Max,
    Std,
}

impl EntityReads {
    /// The reading of an aggregate between two edges that are known already.
    pub(super) fn window(
        &mut self,
        kept: Option<&Kept>,
        aggregate: &Aggregate,
        (left, right): (Distance, Distance),
        minor_per_major: f64,
        default: f64,
    ) -> Read {
        let at = |edge| self.edges.iter().position(|known| *known == edge).unwrap_or(0);
        let (left, right) = (at(left), at(right));
        let scale_of = |unit: Unit| if unit == Unit::Major { minor_per_major } else { 1.0 };
        let mut money = |statistic, unit: Unit| {
            self.money = true;
            self.squares |= statistic == Statistic::Std;
            Read::Money { statistic, left, right, scale: scale_of(unit), default }
        };
        let place = |of: &str| {
            let values = kept.map_or(&[] as &[_], |kept| &kept.values);
            Column::Value(values.iter().position(|(name, _)| name == of).unwrap_or(0))
        };
        let (read, scale) = match aggregate {
            Aggregate::Count => return Read::Count { left, right, default },
            Aggregate::Sum(unit) => return money(Statistic::Sum, *unit),
            Aggregate::Mean(unit) => return money(Statistic::Mean, *unit),
            Aggregate::Min(unit) => return money(Statistic::Min, *unit),
            Aggregate::Max(unit) => return money(Statistic::Max, *unit),
            Aggregate::Std(unit) => return money(Statistic::Std, *unit),
            Aggregate::Rank => return self.walked(Column::Amount, PartKind::Rank, left, right, default),
            Aggregate::SameAmount => return self.walked(Column::Amount, PartKind::Same, left, right, default),
            Aggregate::Distinct { of } => return self.walked(place(of), PartKind::Distinct, left, right, default),
            Aggregate::Same { of } => return self.walked(place(of), PartKind::Same, left, right, default),
            Aggregate::First { of } => return self.walked(place(of), PartKind::First, left, right, default),
            Aggregate::SinceFirst => return Read::SinceFirst { left, right, default },
            Aggregate::FraudCount => (FraudRead::Count, 1.0),
            Aggregate::FraudShare => (FraudRead::Share, 1.0),
            Aggregate::FraudShareSinceFirst => (FraudRead::ShareSinceFirst, 1.0),
            Aggregate::SinceFirstFraud => (FraudRead::SinceFirst, 1.0),
            Aggregate::SinceFraud => (FraudRead::Since, 1.0),
            Aggregate::FraudAmountMean(unit) => (FraudRead::AmountMean, scale_of(*unit)),
            Aggregate::FraudAmountMin(unit) => (FraudRead::AmountMin, scale_of(*unit)),
        };
        let window = self.frauds.iter().position(|known| *known == (left, right)).unwrap_or_else(|| {
            self.frauds.push((left, right));
            self.frauds.len() - 1
        });
        Read::Frauds { read, window, scale, default }
    }

    /// A part of the walk that begins at `right` and looks at `column`.
    fn walked(&mut self, column: Column, kind: PartKind, left: usize, right: usize, default: f64) -> Read {
        let known = self.walks.iter().position(|walk| (walk.column, walk.right) == (column, right));
        let walk = known.unwrap_or_else(|| {
            self.walks.push(Walk { column, right, parts: Vec::new() });
            self.walks.len() - 1
        });
        let part = Part { kind, left, number: self.parts };
        self.parts += 1;
        if let Some(walk) = self.walks.get_mut(walk) {
            // The farthest edge comes first among the edges, so the nearest has the highest place.
            let place = walk.parts.partition_point(|known| known.left >= left);
            walk.parts.insert(place, part);
        }
        Read::Walked { part: part.number, default }
    }
}

/// The left edge of a window.
pub(super) fn left_edge(window: i64, delay: i64, last: u32) -> Distance {
    Distance { back: delay + window, last: (last > 0).then_some((last, delay)) }
}
