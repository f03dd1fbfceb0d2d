//! The plan of one model: which windows of which entities are read, and how the row is put together from them.

use std::collections::HashMap;
use std::sync::Arc;

use super::reads::{Distance, EntityReads, Read, left_edge};
use super::{Aggregate, Catalogue, CatalogueError, Feature, Kept, Kind, Unit};
use crate::features::reference::{Pick, Reference};

/// Features in the order a model wants them, compiled: every window edge is listed once an entity.
#[derive(Debug, Clone)]
pub struct Plan {
    names: Vec<String>,
    meanings: Vec<String>,
    groups: Vec<String>,
    integers: Vec<bool>,
    pub(in crate::features) columns: Vec<Expression>,
    pub(in crate::features) entities: Vec<EntityReads>,
    pub(in crate::features) minor_per_major: f64,
    /// Rows of reference data that are looked up for each event: each table once.
    pub(in crate::features) lookups: Vec<Lookup>,
    /// Where; there where anything is looked up.
    pub(in crate::features) reference: Option<Arc<Reference>>,
    /// Readings that exist already, by feature: a feature and another derived from it share one.
    slots: HashMap<String, Slot>,
}

/// Where a reading stands: which entity of the plan, which of its reads.
#[derive(Debug, Clone, Copy)]
pub(in crate::features) struct Slot {
    pub(in crate::features) entity: usize,
    pub(in crate::features) read: usize,
}

/// A row of reference data: of which table, and which field of the transaction names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::features) struct Lookup {
    pub(in crate::features) table: usize,
    pub(in crate::features) entity: String,
}

/// How a column is put together.
#[derive(Debug, Clone)]
pub(in crate::features) enum Expression {
    /// A reading of history.
    Slot(Slot),
    Amount(Unit),
    RoundAmount(u32),
    Hour,
    TimeSine,
    TimeCosine,
    Weekday,
    DayOfMonth,
    HourBetween {
        from: u8,
        to: u8,
    },
    WeekdayIn(u8),
    Equals {
        field: String,
        value: String,
    },
    Ratio {
        numerator: Box<Expression>,
        denominator: Box<Expression>,
        default: f64,
    },
    Log(Box<Expression>),
    Zscore {
        value: Box<Expression>,
        mean: Box<Expression>,
        deviation: Box<Expression>,
        default: f64,
    },
    /// An attribute of a row that was looked up.
    Attribute {
        /// Place among the plan's look-ups.
        lookup: usize,
        attribute: usize,
        /// Days since it.
        days: bool,
        default: f64,
    },
}

impl Plan {
    /// Names, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of features.
    #[must_use]
    pub fn width(&self) -> usize {
        self.names.len()
    }

    /// Whether column `index` is an integer (counts, flags) rather than a 64-bit float.
    #[must_use]
    pub fn is_integer(&self, index: usize) -> bool {
        self.integers.get(index).copied().unwrap_or(false)
    }

    /// A sentence about column `index` for a person, from the catalogue.
    #[must_use]
    pub fn meaning(&self, index: usize) -> &str {
        self.meanings.get(index).map_or("", String::as_str)
    }

    /// The group of column `index`, by the name it has among [`Catalogue::groups`].
    #[must_use]
    pub fn group(&self, index: usize) -> &str {
        self.groups.get(index).map_or("", String::as_str)
    }

    pub(super) fn compile<S: AsRef<str>>(catalogue: &Catalogue, names: &[S]) -> Result<Self, CatalogueError> {
        let mut plan = Self {
            names: Vec::new(),
            meanings: Vec::new(),
            groups: Vec::new(),
            integers: Vec::new(),
            columns: Vec::new(),
            entities: Vec::new(),
            minor_per_major: catalogue.minor_per_major,
            lookups: Vec::new(),
            reference: None,
            slots: HashMap::new(),
        };
        plan.collect_edges(catalogue, names)?;
        for name in names {
            let feature = catalogue.feature(name.as_ref())?;
            let column = plan.expression(catalogue, feature)?;
            plan.columns.push(column);
            plan.names.push(feature.name.clone());
            plan.meanings.push(feature.meaning.clone());
            plan.groups.push(feature.group.clone());
            plan.integers.push(is_integer(&feature.kind));
        }
        Ok(plan)
    }

    /// First pass: the edges of every entity, so that the second can name them by place.
    fn collect_edges<S: AsRef<str>>(&mut self, catalogue: &Catalogue, names: &[S]) -> Result<(), CatalogueError> {
        let mut todo: Vec<&Feature> = Vec::new();
        for name in names {
            todo.push(catalogue.feature(name.as_ref())?);
        }
        while let Some(feature) = todo.pop() {
            for name in inputs(&feature.kind) {
                todo.push(catalogue.feature(name)?);
            }
            let time = |back| Distance { back, last: None };
            let (entity, edges) = match &feature.kind {
                Kind::Window { entity, window, delay, last, .. } => {
                    (entity, vec![time(delay + window), time(*delay), left_edge(*window, *delay, *last)])
                }
                Kind::Elapsed { entity, .. } => (entity, vec![time(0)]),
                _ => continue,
            };
            let index = self.entity(catalogue, entity);
            let Some(reads) = self.entities.get_mut(index) else { continue };
            for edge in edges {
                let order = |edge: &Distance| (edge.last, std::cmp::Reverse(edge.back));
                if let Err(place) = reads.edges.binary_search_by_key(&order(&edge), order) {
                    reads.edges.insert(place, edge);
                }
            }
        }
        Ok(())
    }

    /// Place of `entity` among the plan's entities.
    fn entity(&mut self, catalogue: &Catalogue, entity: &str) -> usize {
        let place = catalogue.kept.iter().position(|kept| kept.entity == entity).unwrap_or(0);
        self.entities.iter().position(|reads| reads.place == place).unwrap_or_else(|| {
            self.entities.push(EntityReads { place, ..EntityReads::default() });
            self.entities.len() - 1
        })
    }

    fn expression(&mut self, catalogue: &Catalogue, feature: &Feature) -> Result<Expression, CatalogueError> {
        if let Some(slot) = self.slots.get(&feature.name) {
            return Ok(Expression::Slot(*slot));
        }
        let boxed = |plan: &mut Self, name: &str| -> Result<Box<Expression>, CatalogueError> {
            Ok(Box::new(plan.expression(catalogue, catalogue.feature(name)?)?))
        };
        Ok(match &feature.kind {
            Kind::Amount(unit) => Expression::Amount(*unit),
            Kind::RoundAmount { step } => Expression::RoundAmount(*step),
            Kind::Hour => Expression::Hour,
            Kind::TimeSine => Expression::TimeSine,
            Kind::TimeCosine => Expression::TimeCosine,
            Kind::Weekday => Expression::Weekday,
            Kind::DayOfMonth => Expression::DayOfMonth,
            Kind::HourBetween { from, to } => Expression::HourBetween { from: *from, to: *to },
            Kind::WeekdayIn(days) => Expression::WeekdayIn(*days),
            Kind::Equals { field, value } => Expression::Equals { field: field.clone(), value: value.clone() },
            Kind::Ratio { numerator, denominator, default } => Expression::Ratio {
                numerator: boxed(self, numerator)?,
                denominator: boxed(self, denominator)?,
                default: *default,
            },
            Kind::Log { value } => Expression::Log(boxed(self, value)?),
            Kind::Zscore { value, mean, deviation, default } => Expression::Zscore {
                value: boxed(self, value)?,
                mean: boxed(self, mean)?,
                deviation: boxed(self, deviation)?,
                default: *default,
            },
            Kind::Reference { entity, pick, default } => {
                let Some(reference) = catalogue.reads(pick) else {
                    let (feature, table) = (feature.name.clone(), pick.table_name.clone());
                    return Err(CatalogueError::NoReference { feature, table });
                };
                self.reference = Some(Arc::clone(reference));
                self.attribute(entity, pick, *default)
            }
            Kind::Elapsed { entity, within, default } => {
                self.slot(catalogue, feature, entity, |_, _| Read::Elapsed { within: *within, default: *default })
            }
            Kind::Window { entity, aggregate, window, delay, last, default } => {
                let minor_per_major = self.minor_per_major;
                let edges = (left_edge(*window, *delay, *last), Distance { back: *delay, last: None });
                self.slot(catalogue, feature, entity, |reads, kept| {
                    reads.window(kept, aggregate, edges, minor_per_major, *default)
                })
            }
        })
    }

    /// An attribute, of a look-up that others may share.
    fn attribute(&mut self, entity: &str, pick: &Pick, default: f64) -> Expression {
        let lookup = Lookup { table: pick.table, entity: entity.to_owned() };
        let place = self.lookups.iter().position(|known| *known == lookup).unwrap_or_else(|| {
            self.lookups.push(lookup);
            self.lookups.len() - 1
        });
        Expression::Attribute { lookup: place, attribute: pick.attribute, days: pick.days, default }
    }

    fn slot(
        &mut self,
        catalogue: &Catalogue,
        feature: &Feature,
        entity: &str,
        read: impl FnOnce(&mut EntityReads, Option<&Kept>) -> Read,
    ) -> Expression {
        let kept = catalogue.kept.iter().find(|kept| kept.entity == *entity);
        let entity = self.entity(catalogue, entity);
        let mut slot = Slot { entity, read: 0 };
        if let Some(reads) = self.entities.get_mut(entity) {
            let read = read(reads, kept);
            slot.read = reads.reads.len();
            reads.defaults.push(read.default());
            reads.reads.push(read);
        }
        self.slots.insert(feature.name.clone(), slot);
        Expression::Slot(slot)
    }
}

/// Names of the features that a kind is derived from.
pub(super) fn inputs(kind: &Kind) -> Vec<&str> {
    match kind {
        Kind::Ratio { numerator, denominator, .. } => vec![numerator, denominator],
        Kind::Log { value } => vec![value],
        Kind::Zscore { value, mean, deviation, .. } => vec![value, mean, deviation],
        _ => Vec::new(),
    }
}

pub(super) fn is_integer(kind: &Kind) -> bool {
    match kind {
        Kind::RoundAmount { .. }
        | Kind::Hour
        | Kind::Weekday
        | Kind::DayOfMonth
        | Kind::HourBetween { .. }
        | Kind::WeekdayIn(_)
        | Kind::Equals { .. } => true,
        Kind::Window { aggregate, default, .. } => {
            default.trunc() == *default
                && (matches!(aggregate, Aggregate::Count | Aggregate::SameAmount | Aggregate::FraudCount)
                    || aggregate.counted().is_some())
        }
        Kind::Reference { pick, default, .. } => pick.integer && default.trunc() == *default,
        _ => false,
    }
}
