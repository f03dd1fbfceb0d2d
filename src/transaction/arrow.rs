//! Arrow: record batches to transactions. Each column is recognised once a batch; a row then costs no lookup by name.
//!
//! A column is found by the connector's dotted path, as a name or as a way through structs. Read are integers, floats,
//! decimals, text (also in dictionaries), booleans, and timestamps of any unit (without a zone: UTC).

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, BooleanArray, LargeStringArray, RecordBatch, StringArray, StringViewArray};
use arrow_schema::{DataType, Schema, TimeUnit};

use super::connector::Connector;
use super::csv::{ColumnError, check_required};
use super::raw::RawValue;
use super::{Limits, Read, Rejection};

/// The top-level columns of `schema` that the connector reads, ascending: what a reader of Parquet has to load.
///
/// # Errors
/// When no column can fill a required field, or two have one name.
pub fn needed_columns(connector: &Connector, schema: &Schema) -> Result<Vec<usize>, ColumnError> {
    let mut found = Vec::with_capacity(connector.paths().len());
    for path in connector.paths() {
        found.push(top_column(schema, path)?);
    }
    check_required(connector, |slot| found.get(slot).is_some_and(Option::is_some))?;
    let mut columns: Vec<usize> = found.into_iter().flatten().collect();
    columns.sort_unstable();
    columns.dedup();
    Ok(columns)
}

/// The column of this name, or the struct column that the path's first part names.
fn top_column(schema: &Schema, path: &str) -> Result<Option<usize>, ColumnError> {
    let named = |name: &str| {
        let mut places = schema.fields().iter().enumerate().filter(|(_, field)| field.name() == name);
        let first = places.next().map(|(index, _)| index);
        if places.next().is_some() { Err(ColumnError::Duplicate(name.to_owned())) } else { Ok(first) }
    };
    match (named(path)?, path.split_once('.')) {
        (None, Some((first, _))) => {
            let is_struct = |index: &usize| matches!(schema.field(*index).data_type(), DataType::Struct(_));
            Ok(named(first)?.filter(is_struct))
        }
        (found, _) => Ok(found),
    }
}

/// The rows of one batch.
#[derive(Debug)]
pub struct ArrowRows<'a> {
    connector: &'a Connector,
    labels: bool,
    /// Per slot, its column.
    columns: Vec<Option<Column<'a>>>,
    slots: Vec<RawValue<'a>>,
    unknown: u32,
    next: usize,
    len: usize,
}

impl<'a> ArrowRows<'a> {
    /// Recognises the connector's columns in the batch. Columns that no path names are counted as unknown.
    ///
    /// # Errors
    /// When no column can fill a required field, two have one name, or a column's type cannot be read.
    pub fn new(connector: &'a Connector, limits: Limits, batch: &'a RecordBatch) -> Result<Self, ColumnError> {
        let schema = batch.schema_ref();
        let used = needed_columns(connector, schema)?.len();
        let mut columns = Vec::with_capacity(connector.paths().len());
        for path in connector.paths() {
            let top = top_column(schema, path)?.and_then(|index| Some((schema.fields().get(index)?, index)));
            columns.push(match top {
                Some((field, index)) => {
                    let below = path.strip_prefix(field.name().as_str()).map(|rest| rest.trim_start_matches('.'));
                    Column::find(path, batch.column(index), below.unwrap_or_default())?
                }
                None => None,
            });
        }
        check_required(connector, |slot| columns.get(slot).is_some_and(Option::is_some))?;
        let unknown = u32::try_from(batch.num_columns().saturating_sub(used)).unwrap_or(u32::MAX);
        let slots = vec![RawValue::Absent; columns.len()];
        Ok(Self { connector, labels: limits.labels, columns, slots, unknown, next: 0, len: batch.num_rows() })
    }
}

impl Iterator for ArrowRows<'_> {
    type Item = Result<Read, Rejection>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.len {
            return None;
        }
        let row = self.next;
        self.next += 1;
        for (slot, column) in self.slots.iter_mut().zip(&self.columns) {
            if let Some(column) = column {
                *slot = column.value(row);
            }
        }
        Some(self.connector.assemble(&self.slots, self.labels, self.unknown))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.len - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for ArrowRows<'_> {}

/// A column whose type is known, and the arrays that can say that a row has no value.
#[derive(Debug)]
pub(crate) struct Column<'a> {
    values: Values<'a>,
    nulls: Vec<&'a dyn Array>,
}

#[derive(Debug)]
enum Values<'a> {
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    Decimal(&'a [i128], i8),
    Bool(&'a BooleanArray),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Dictionary(Vec<usize>, Box<Column<'a>>),
    /// Units of a timestamp, and how many of them make a millisecond.
    Fine(&'a [i64], i64),
    /// Timestamps in seconds.
    Seconds(&'a [i64]),
    Null,
}

impl<'a> Column<'a> {
    /// The column at `below`, dotted, inside `array`; `None` when a struct has no such field.
    pub(crate) fn find(path: &str, array: &'a dyn Array, below: &str) -> Result<Option<Self>, ColumnError> {
        let (mut array, mut below) = (array, below);
        let mut nulls: Vec<&dyn Array> = Vec::new();
        loop {
            if array.null_count() > 0 {
                nulls.push(array);
            }
            let Some(parts) = array.as_struct_opt().filter(|_| !below.is_empty()) else { break };
            let (name, rest) = below.split_once('.').unwrap_or((below, ""));
            let Some(inner) = parts.column_by_name(name) else { return Ok(None) };
            (array, below) = (inner.as_ref(), rest);
        }
        let values = if below.is_empty() { Values::of(array) } else { None };
        let found = || array.data_type().to_string();
        let values = values.ok_or_else(|| ColumnError::Type { column: path.to_owned(), found: found() })?;
        Ok(Some(Self { values, nulls }))
    }

    /// The value at `row`.
    pub(crate) fn value(&self, row: usize) -> RawValue<'a> {
        if self.nulls.iter().any(|array| array.is_null(row)) {
            return RawValue::Null;
        }
        self.values.get(row).unwrap_or(RawValue::Null)
    }
}

impl<'a> Values<'a> {
    fn of(array: &'a dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Int8 => Self::I8(array.as_primitive_opt::<Int8Type>()?.values()),
            DataType::Int16 => Self::I16(array.as_primitive_opt::<Int16Type>()?.values()),
            DataType::Int32 => Self::I32(array.as_primitive_opt::<Int32Type>()?.values()),
            DataType::Int64 => Self::I64(array.as_primitive_opt::<Int64Type>()?.values()),
            DataType::UInt8 => Self::U8(array.as_primitive_opt::<UInt8Type>()?.values()),
            DataType::UInt16 => Self::U16(array.as_primitive_opt::<UInt16Type>()?.values()),
            DataType::UInt32 => Self::U32(array.as_primitive_opt::<UInt32Type>()?.values()),
            DataType::UInt64 => Self::U64(array.as_primitive_opt::<UInt64Type>()?.values()),
            DataType::Float32 => Self::F32(array.as_primitive_opt::<Float32Type>()?.values()),
            DataType::Float64 => Self::F64(array.as_primitive_opt::<Float64Type>()?.values()),
            DataType::Decimal128(_, scale) => {
                Self::Decimal(array.as_primitive_opt::<Decimal128Type>()?.values(), *scale)
            }
            DataType::Boolean => Self::Bool(array.as_boolean_opt()?),
            DataType::Utf8 => Self::Text(array.as_string_opt()?),
            DataType::LargeUtf8 => Self::LargeText(array.as_string_opt()?),
            DataType::Utf8View => Self::TextView(array.as_string_view_opt()?),
            DataType::Timestamp(TimeUnit::Second, _) => {
                Self::Seconds(array.as_primitive_opt::<TimestampSecondType>()?.values())
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Self::Fine(array.as_primitive_opt::<TimestampMillisecondType>()?.values(), 1)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Fine(array.as_primitive_opt::<TimestampMicrosecondType>()?.values(), 1_000)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Self::Fine(array.as_primitive_opt::<TimestampNanosecondType>()?.values(), 1_000_000)
            }
            DataType::Dictionary(_, _) => {
                let dictionary = array.as_any_dictionary_opt()?;
                let words = dictionary.values();
                if words.is_empty() {
                    return Some(Self::Null);
                }
                let values = Self::of(words.as_ref())?;
                let nulls = if words.null_count() > 0 { vec![words.as_ref()] } else { Vec::new() };
                Self::Dictionary(dictionary.normalized_keys(), Box::new(Column { values, nulls }))
            }
            DataType::Null => Self::Null,
            _ => return None,
        })
    }

    fn get(&self, row: usize) -> Option<RawValue<'a>> {
        let text = |text: &'a str| RawValue::Text(Cow::Borrowed(text));
        Some(match self {
            Self::I8(values) => RawValue::Int((*values.get(row)?).into()),
            Self::I16(values) => RawValue::Int((*values.get(row)?).into()),
            Self::I32(values) => RawValue::Int((*values.get(row)?).into()),
            Self::I64(values) => RawValue::Int(*values.get(row)?),
            Self::U8(values) => RawValue::Int((*values.get(row)?).into()),
            Self::U16(values) => RawValue::Int((*values.get(row)?).into()),
            Self::U32(values) => RawValue::Int((*values.get(row)?).into()),
            Self::U64(values) => (*values.get(row)?).into(),
            // The digits that a 32-bit float was written with, not those it gains by becoming 64-bit.
            Self::F32(values) => RawValue::Float(values.get(row)?.to_string().parse().ok()?),
            Self::F64(values) => RawValue::Float(*values.get(row)?),
            Self::Decimal(values, scale) => RawValue::Cell(Cow::Owned(decimal_text(*values.get(row)?, *scale))),
            Self::Bool(values) => RawValue::Bool(values.value(row)),
            Self::Text(values) => text(values.value(row)),
            Self::LargeText(values) => text(values.value(row)),
            Self::TextView(values) => text(values.value(row)),
            Self::Dictionary(keys, words) => words.value(*keys.get(row)?),
            Self::Fine(values, per_milli) => RawValue::Time(values.get(row)?.div_euclid(*per_milli)),
            Self::Seconds(values) => RawValue::Time(values.get(row)?.saturating_mul(1_000)),
            Self::Null => return None,
        })
    }
}

/// `value` × 10^-`scale` in full.
fn decimal_text(value: i128, scale: i8) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs().to_string();
    if scale <= 0 {
        return format!("{sign}{digits}{}", "0".repeat(usize::from(scale.unsigned_abs())));
    }
    let places = usize::from(scale.unsigned_abs());
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    format!("{sign}{whole}.{fraction}")
}
