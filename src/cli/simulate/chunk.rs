//! Chunks: whole days, made and encoded on one thread.

use std::ops::Range;

use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};

use super::files::Format;
use crate::simulate::{Verdict, World, batch, csv, ndjson};

/// Payments aimed at in a chunk; also the rows of a Parquet row group.
const CHUNK_ROWS: f64 = 65_536.0;

/// Makes chunks.
pub(super) struct Maker<'w> {
    world: &'w World,
    days: Range<i64>,
    days_a_chunk: i64,
    columns: Option<ArrowRowGroupWriterFactory>,
    format: Format,
    verdicts: bool,
}

/// Some days, encoded.
pub(super) struct Chunk {
    pub(super) body: Body,
    pub(super) rows: u64,
    pub(super) frauds: u64,
    pub(super) verdicts: Vec<Verdict>,
    /// The day after the last.
    pub(super) end_day: i64,
}

/// Encoded rows.
pub(super) enum Body {
    /// Lines.
    Text(Vec<u8>),
    /// The columns of one row group.
    RowGroup(Vec<ArrowColumnChunk>),
}

impl<'w> Maker<'w> {
    pub(super) fn new(
        world: &'w World,
        days: Range<i64>,
        columns: Option<ArrowRowGroupWriterFactory>,
        format: Format,
        verdicts: bool,
    ) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "at most 65,536")]
        let days_a_chunk = (CHUNK_ROWS / world.payments_a_day().max(1.0)).max(1.0) as i64;
        Self { world, days, days_a_chunk, columns, format, verdicts }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "for a bar"
    )]
    pub(super) fn expected_rows(&self) -> u64 {
        (self.world.payments_a_day() * 1.01 * (self.days.end - self.days.start) as f64) as u64
    }

    /// The `number`th chunk, cut after `rows`; `None` after the last day.
    pub(super) fn chunk(&self, number: usize, rows: u64) -> anyhow::Result<Option<Chunk>> {
        let passed = i64::try_from(number)?.saturating_mul(self.days_a_chunk);
        let first = self.days.start.saturating_add(passed);
        if first >= self.days.end {
            return Ok(None);
        }
        let (mut text, mut batches) = (Vec::new(), Vec::new());
        let mut chunk =
            Chunk { body: Body::Text(Vec::new()), rows: 0, frauds: 0, verdicts: Vec::new(), end_day: first };
        for day in first..self.days.end.min(first + self.days_a_chunk) {
            let mut payments = self.world.day(day);
            payments.truncate(usize::try_from(rows - chunk.rows).unwrap_or(usize::MAX));
            if payments.is_empty() && chunk.rows == rows {
                break;
            }
            match self.format {
                Format::Ndjson => ndjson(self.world, day, &payments, &mut text),
                Format::Csv => csv(self.world, day, &payments, &mut text),
                Format::Parquet => batches.push(batch(self.world, day, &payments)?),
            }
            if self.verdicts {
                let numbered = (0..).zip(&payments);
                chunk.verdicts.extend(numbered.flat_map(|(number, payment)| self.world.verdicts(payment, number)));
            }
            chunk.rows += payments.len() as u64;
            chunk.frauds += payments.iter().filter(|payment| payment.fraud.is_some()).count() as u64;
            chunk.end_day = day + 1;
        }
        chunk.body = match &self.columns {
            None => Body::Text(text),
            Some(factory) => {
                let mut writers = factory.create_column_writers(number)?;
                for batch in &batches {
                    let schema = batch.schema();
                    for ((writer, field), column) in writers.iter_mut().zip(schema.fields()).zip(batch.columns()) {
                        for leaf in compute_leaves(field, column)? {
                            writer.write(&leaf)?;
                        }
                    }
                }
                Body::RowGroup(writers.into_iter().map(|writer| writer.close()).collect::<Result<_, _>>()?)
            }
        };
        Ok(Some(chunk))
    }
}
