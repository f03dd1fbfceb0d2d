//! What `observe` reads: one row of feature values a transaction, and what must be said about them.

/// Things true of a row that its values do not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// A window edge fell among the aggregated tiles of a hot entity: counts are within the documented bound.
    pub approximate: bool,
    /// The exchange rate behind the amount was older than the limit.
    pub stale_rate: bool,
    /// No exchange rate was known: the amount counts as 0 in the base currency.
    pub missing_rate: bool,
    /// The customer had no earlier transaction in history.
    pub new_customer: bool,
    /// The transaction names a merchant, product, country or currency of which the reference data has no row.
    pub missing_reference: bool,
    /// Reference data that was read was confirmed by its source too long ago.
    pub stale_reference: bool,
}

/// A matrix of feature values, row-major: `len` rows of `width` columns, in the plan's order. Always finite.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    width: usize,
    values: Vec<f64>,
    marks: Vec<Marks>,
}

impl Rows {
    /// No rows yet, each to have `width` values.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { width, values: Vec::new(), marks: Vec::new() }
    }

    /// Empties the matrix and keeps its memory; rows will have `width` values.
    pub fn reset(&mut self, width: usize) {
        self.width = width;
        self.values.clear();
        self.marks.clear();
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Number of columns.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// All values, row-major.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Row `index` and its marks.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<(&[f64], Marks)> {
        let values = self.values.get(index * self.width..(index + 1) * self.width)?;
        Some((values, *self.marks.get(index)?))
    }

    /// Appends `count` rows of zeros and returns their values and marks for filling.
    pub fn extend(&mut self, count: usize) -> (&mut [f64], &mut [Marks]) {
        let first = self.marks.len();
        self.values.resize((first + count) * self.width, 0.0);
        self.marks.resize(first + count, Marks::default());
        let values = self.values.get_mut(first * self.width..).unwrap_or_default();
        let marks = self.marks.get_mut(first..).unwrap_or_default();
        (values, marks)
    }
}

/// Readings of one kind of entity, before they are put together into rows: the reads of each event in turn.
#[derive(Debug, Default)]
pub(super) struct Readings {
    pub(super) values: Vec<f64>,
    pub(super) known: Vec<Known>,
}

impl Readings {
    /// Empties them and keeps their memory.
    pub(super) fn reset(&mut self) {
        self.values.clear();
        self.known.clear();
    }
}

/// What is true of an entity at a reading, beside its values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// A window edge fell among tiles.
    pub(super) approximate: bool,
    /// There was no earlier event, or no such field.
    pub(super) new: bool,
}
