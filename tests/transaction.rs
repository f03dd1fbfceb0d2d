//! Transactions through every reader: the same payment from JSON, CSV and Arrow is the same value; the schema and the
//! connectors are data.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt16Array, UInt32Array,
};
use assay::base::clock::Millis;
use assay::base::money::Currency;
use assay::transaction::arrow::{ArrowRows, needed_columns};
use assay::transaction::csv::{ColumnError, csv};
use assay::transaction::schema::Schema;
use assay::transaction::{Channel, Connector, Limits, RejectionCode, Transaction, read_json};
use proptest::option::of;
use proptest::prelude::*;

const MAJOR: &str = r#"
name = "major"
unmapped = "same_name"
[fields.amount_minor]
from = "amount"
unit = "major"
"#;

fn payments() -> impl Strategy<Value = Transaction> {
    let id = || "[A-Za-z0-9._:-]{1,64}";
    let currency = prop::sample::select(vec!["EUR", "USD", "JPY", "KWD"]);
    let channel = prop::sample::select(vec![Channel::CardPresent, Channel::Online, Channel::Withdrawal]);
    let country = prop::sample::select(vec!["DE", "FR", "US"]);
    let required = (id(), 0..=253_402_300_799_999_i64, id(), id(), 0..=1_000_000_000_000_i64, currency);
    let rest = (of(id()), of(id()), of(country), of(channel), of(id()), of(id()));
    (required, rest, of(any::<bool>())).prop_map(|(required, rest, is_fraud)| Transaction {
        transaction_id: required.0.into(),
        occurred_at: Millis(required.1),
        customer_id: required.2.into(),
        terminal_id: required.3.into(),
        amount_minor: required.4,
        currency: Currency::parse(required.5).unwrap(),
        merchant_id: rest.0.map(Into::into),
        product_id: rest.1.map(Into::into),
        country: rest.2.map(Into::into),
        channel: rest.3,
        card_id: rest.4.map(Into::into),
        device_id: rest.5.map(Into::into),
        is_fraud,
        extra: Vec::new(),
    })
}

fn csv_text(payment: &Transaction) -> String {
    let text = |value: &Option<compact_str::CompactString>| value.clone().unwrap_or_default();
    format!(
        "transaction_id,occurred_at,customer_id,terminal_id,amount_minor,currency,merchant_id,product_id,country,\
         channel,card_id,device_id,is_fraud\n{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
        payment.transaction_id,
        payment.occurred_at.0,
        payment.customer_id,
        payment.terminal_id,
        payment.amount_minor,
        payment.currency,
        text(&payment.merchant_id),
        text(&payment.product_id),
        text(&payment.country),
        payment.channel.map_or("", Channel::as_str),
        text(&payment.card_id),
        text(&payment.device_id),
        payment.is_fraud.map_or(String::new(), |label| label.to_string()),
    )
}

fn batch(payment: &Transaction) -> RecordBatch {
    let text = |value: Option<&str>| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("transaction_id", text(Some(&payment.transaction_id)), false),
        ("occurred_at", Arc::new(TimestampMicrosecondArray::from(vec![payment.occurred_at.0 * 1_000])), false),
        ("customer_id", text(Some(&payment.customer_id)), false),
        ("terminal_id", text(Some(&payment.terminal_id)), false),
        ("amount_minor", Arc::new(Int64Array::from(vec![payment.amount_minor])), false),
        ("currency", text(Some(payment.currency.code())), false),
        ("merchant_id", text(payment.merchant_id.as_deref()), true),
        ("product_id", text(payment.product_id.as_deref()), true),
        ("country", text(payment.country.as_deref()), true),
        ("channel", text(payment.channel.map(Channel::as_str)), true),
        ("card_id", text(payment.card_id.as_deref()), true),
        ("device_id", text(payment.device_id.as_deref()), true),
        ("is_fraud", Arc::new(BooleanArray::from(vec![payment.is_fraud])), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

proptest! {
    #[test]
    fn every_reader_gives_the_same_payment(payment in payments()) {
        let (connector, limits) = (Connector::shipped("canonical").unwrap(), Limits::of_files());
        let body = serde_json::to_vec(&payment).unwrap();
        let read = read_json(&body, &connector, &limits).unwrap();
        prop_assert_eq!(&read.transaction, &payment);
        prop_assert_eq!(read.unknown_fields, 0);
        let text = csv_text(&payment);
        let rows: Vec<_> = csv(text.as_bytes(), &connector, limits).unwrap().collect();
        prop_assert_eq!(&rows[0].1.as_ref().unwrap().transaction, &payment);
        let batch = batch(&payment);
        let mut rows = ArrowRows::new(&connector, limits, &batch).unwrap();
        prop_assert_eq!(&rows.next().unwrap().unwrap().transaction, &payment);
    }

    #[test]
    fn major_units_are_exact(minor in 0..=1_000_000_000_000_i64, code in prop::sample::select(vec!["EUR", "JPY", "KWD"])) {
        let connector = Connector::parse(MAJOR).unwrap();
        let (digits, per) = (Currency::parse(code).unwrap().digits() as usize, Currency::parse(code).unwrap().minor_per_major());
        let mut text = (minor / per).to_string();
        if digits > 0 {
            text.push_str(&format!(".{:0digits$}", minor % per));
        }
        for amount in [text.clone(), format!("\"{text}\"")] {
            let body = major_body(&amount, code);
            prop_assert_eq!(read_json(body.as_bytes(), &connector, &Limits::default()).unwrap().transaction.amount_minor, minor);
        }
    }
}

fn major_body(amount: &str, code: &str) -> String {
    format!(
        r#"{{"transaction_id":"t","occurred_at":1,"customer_id":"c","terminal_id":"p","amount":{amount},"currency":"{code}"}}"#
    )
}

#[test]
fn more_decimals_than_the_currency_has_are_refused() {
    let connector = Connector::parse(MAJOR).unwrap();
    for (amount, code) in [("12.345", "EUR"), ("\"12.345\"", "EUR"), ("1.5", "JPY"), ("0.0001", "KWD")] {
        let rejection = read_json(major_body(amount, code).as_bytes(), &connector, &Limits::default()).unwrap_err();
        assert_eq!(rejection.code, RejectionCode::AmountDigits, "{amount} {code}");
    }
}

#[test]
fn a_field_added_to_the_schema_alone_is_read_and_checked() {
    let shipped = include_str!("../schemas/transaction.v1.json");
    let more = r#""properties": { "shop_id": {"kind": "id", "state": "optional", "maxLength": 8, "pattern": "^[A-Za-z0-9._:-]+$"},"#;
    let schema = Schema::parse(&shipped.replacen("\"properties\": {", more, 1)).unwrap();
    let connector = Connector::parse_with(&schema, include_str!("../schemas/connectors/canonical.toml")).unwrap();
    let body = |shop: &str| {
        major_body("1", "EUR").replace("\"amount\":1", &format!("\"amount_minor\":1,\"shop_id\":\"{shop}\""))
    };
    let read = read_json(body("s-1").as_bytes(), &connector, &Limits::default()).unwrap();
    assert_eq!(read.transaction.entity("shop_id"), Some("s-1"));
    assert_eq!(read.unknown_fields, 0);
    let rejection = read_json(body("123456789").as_bytes(), &connector, &Limits::default()).unwrap_err();
    assert_eq!((rejection.code, rejection.field.as_str()), (RejectionCode::IdLength, "shop_id"));
}

#[test]
fn labels_and_unknown_fields_are_ignored_and_counted_and_integers_may_be_written_as_floats() {
    let connector = Connector::shipped("canonical").unwrap();
    let body =
        major_body("1", "EUR").replace("\"amount\":1", "\"amount_minor\":12.0,\"is_fraud\":1,\"x\":{\"y\":1,\"z\":2}");
    let read = read_json(body.as_bytes(), &connector, &Limits::default()).unwrap();
    assert_eq!((read.transaction.amount_minor, read.transaction.is_fraud, read.unknown_fields), (12, None, 2));
    let read = read_json(body.as_bytes(), &connector, &Limits::of_files()).unwrap();
    assert_eq!((read.transaction.is_fraud, read.unknown_fields), (Some(true), 1));
}

#[test]
fn personal_values_are_never_shown() {
    let connector = Connector::shipped("canonical").unwrap();
    let body =
        major_body("1", "EUR").replace("\"amount\"", "\"amount_minor\"").replace("\"c\"", "\"4242 4242 4242 42\"");
    let rejection = read_json(body.as_bytes(), &connector, &Limits::default()).unwrap_err();
    assert_eq!(rejection.value.as_deref(), Some("(17 characters)"));
    assert!(!rejection.to_string().contains("4242"));
}

#[test]
fn every_fault_of_a_connector_is_said_at_once() {
    let faults = r#"
name = "broken"
[fields.shoe_size]
from = "x"
[fields.currency]
constant = "EURO"
[fields.occurred_at]
from = "a..b"
unit = "major"
"#;
    let error = Connector::parse(faults).unwrap_err().to_string();
    for part in
        ["fields.shoe_size", "fields.currency.constant", "\"a..b\"", "fields.occurred_at.unit", "fields.customer_id"]
    {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(Connector::parse("name = \"x\"\ncolour = 1").unwrap_err().to_string().contains("colour"));
    assert!(Connector::shipped("nobody").unwrap_err().to_string().contains("handbook"));
}

#[test]
fn the_handbook_columns_are_read_by_name_and_the_rest_is_left() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("TX_AMOUNT_CENTS", Arc::new(UInt32Array::from(vec![5_716, 12]))),
        ("SPARE", Arc::new(UInt32Array::from(vec![1, 2]))),
        ("TRANSACTION_ID", Arc::new(UInt32Array::from(vec![0, 1_300_000]))),
        ("TX_DATETIME", Arc::new(TimestampMicrosecondArray::from(vec![1_000_000, 2_000_999]))),
        ("CUSTOMER_ID", Arc::new(UInt16Array::from(vec![596, 65_535]))),
        ("TERMINAL_ID", Arc::new(UInt16Array::from(vec![3_156, 0]))),
        ("TX_FRAUD", Arc::new(BooleanArray::from(vec![false, true]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let connector = Connector::shipped("handbook").unwrap();
    assert_eq!(needed_columns(&connector, &batch.schema()).unwrap(), [0, 2, 3, 4, 5, 6]);
    let rows: Vec<_> = ArrowRows::new(&connector, Limits::of_files(), &batch).unwrap().map(Result::unwrap).collect();
    let last = &rows[1].transaction;
    assert_eq!((last.transaction_id.as_str(), last.occurred_at, last.amount_minor), ("1300000", Millis(2_000), 12));
    assert_eq!((last.entity("customer_id"), last.currency.code(), last.is_fraud), (Some("65535"), "EUR", Some(true)));
    assert_eq!(rows[0].unknown_fields, 1);
    let less = batch.project(&[0, 2, 3, 4]).unwrap();
    let error = ArrowRows::new(&connector, Limits::of_files(), &less).unwrap_err();
    assert!(matches!(&error, ColumnError::Missing { field, .. } if field == "terminal_id"), "{error}");
}
