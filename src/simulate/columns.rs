//! A day's payments as Arrow columns, for Parquet.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Int64Builder, StringBuilder, TimestampMillisecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use super::day::{Payment, payment_id};
use super::fraud::FraudKind;
use super::text::{channel, put_card, put_device, put_number};
use super::world::World;

/// Columns of a simulated Parquet file: the canonical fields, `occurred_at` in milliseconds, UTC, amounts as 64-bit
/// integers; then `fraud_kind`, the truth for an evaluation: no canonical field, so that readers pass it over.
#[must_use]
pub fn schema() -> SchemaRef {
    let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("transaction_id", false),
        Field::new("occurred_at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        text("customer_id", false),
        text("terminal_id", false),
        Field::new("amount_minor", DataType::Int64, false),
        text("currency", false),
        text("merchant_id", true),
        text("product_id", true),
        text("country", true),
        text("channel", true),
        text("card_id", true),
        text("device_id", true),
        Field::new("is_fraud", DataType::Boolean, true),
        text("fraud_kind", true),
    ]))
}

/// A day's payments with the columns of [`schema`].
///
/// # Errors
/// Arrow refuses the columns: a defect.
pub fn batch(world: &World, day: i64, payments: &[Payment]) -> Result<RecordBatch, ArrowError> {
    let rows = payments.len();
    let strings = |width: usize| StringBuilder::with_capacity(rows, rows * width);
    let (mut ids, mut customers, mut terminals) = (strings(17), strings(8), strings(8));
    let (mut currencies, mut merchants, mut products) = (strings(3), strings(7), strings(10));
    let (mut countries, mut channels, mut cards, mut devices) = (strings(2), strings(12), strings(10), strings(4));
    let mut times = TimestampMillisecondBuilder::with_capacity(rows).with_timezone("UTC");
    let mut amounts = Int64Builder::with_capacity(rows);
    let mut truths = BooleanBuilder::with_capacity(rows);
    let mut kinds = StringBuilder::with_capacity(rows, rows / 8);
    let mut scratch = Vec::with_capacity(16);
    for (number, payment) in (0_u64..).zip(payments) {
        let Some(terminal) = world.terminals.get(payment.terminal as usize) else { continue };
        let mut numbered = |letter: u8, value: u32, width, column: &mut StringBuilder| {
            scratch.clear();
            scratch.push(letter);
            put_number(&mut scratch, u64::from(value), width);
            column.append_value(ascii(&scratch));
        };
        ids.append_value(payment_id(world.seed, day, number));
        times.append_value(payment.at.0);
        numbered(b'c', payment.customer, 7, &mut customers);
        numbered(b't', payment.terminal, 7, &mut terminals);
        numbered(b'm', terminal.merchant, 6, &mut merchants);
        amounts.append_value(payment.amount_minor);
        currencies.append_value(terminal.money.currency.code());
        products.append_option(terminal.kind.sells().then_some(terminal.category.product));
        countries.append_value(terminal.country);
        channels.append_value(channel(terminal.kind.channel()));
        for (column, put) in [(&mut cards, put_card as fn(&mut Vec<u8>, &Payment)), (&mut devices, put_device)] {
            scratch.clear();
            put(&mut scratch, payment);
            column.append_option((!scratch.is_empty()).then_some(ascii(&scratch)));
        }
        truths.append_value(payment.fraud.is_some());
        kinds.append_option(payment.fraud.map(FraudKind::as_str));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids.finish()),
        Arc::new(times.finish()),
        Arc::new(customers.finish()),
        Arc::new(terminals.finish()),
        Arc::new(amounts.finish()),
        Arc::new(currencies.finish()),
        Arc::new(merchants.finish()),
        Arc::new(products.finish()),
        Arc::new(countries.finish()),
        Arc::new(channels.finish()),
        Arc::new(cards.finish()),
        Arc::new(devices.finish()),
        Arc::new(truths.finish()),
        Arc::new(kinds.finish()),
    ];
    RecordBatch::try_new(schema(), columns)
}

/// Letters and digits alone are written into the scratch.
fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
