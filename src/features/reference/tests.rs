//! What a schema may be, what a cell means, and what a look-up finds.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::base::clock::{DAY, Millis};
use crate::base::hash::HashKey;
use crate::base::money::{BaseAmount, Currency, RateQuality};
use crate::features::catalogue::SHIPPED as FEATURES;
use crate::features::{Catalogue, Event, History, HistoryOptions, Marks, Rows as Matrix};
use crate::transaction::Transaction;

const NAMES: [&str; 6] = [
    "merchant_risk_class",
    "merchant_days_since_onboarding",
    "amount_to_merchant_usual",
    "merchant_is_online_only",
    "country_risk_class",
    "currency_is_pegged",
];

fn payment(merchant: Option<&str>, country: Option<&str>, at: i64) -> Transaction {
    Transaction {
        transaction_id: "t".into(),
        occurred_at: Millis(at),
        customer_id: "c".into(),
        terminal_id: "t".into(),
        amount_minor: 5_000,
        currency: Currency::parse("EUR").unwrap(),
        merchant_id: merchant.map(Into::into),
        product_id: None,
        country: country.map(Into::into),
        channel: None,
        card_id: None,
        device_id: None,
        is_fraud: None,
        extra: Vec::new(),
    }
}

/// The row of [`NAMES`] and its marks.
fn read(reference: &Arc<Reference>, transaction: &Transaction) -> (Vec<f64>, Marks) {
    let catalogue = Catalogue::parse(FEATURES, Currency::parse("EUR").unwrap()).unwrap();
    let catalogue = catalogue.with_reference(Arc::clone(reference));
    let plan = catalogue.plan(&NAMES).unwrap();
    let options = HistoryOptions { key: HashKey::new([1; 16]), lateness: DAY, exact_events: 100 };
    let mut rows = Matrix::new(plan.width());
    let base = BaseAmount { minor: transaction.amount_minor, rate: RateQuality::Fresh };
    History::new(&catalogue, options).observe(&[Event { transaction, base }], &plan, &mut rows);
    let (values, marks) = rows.row(0).unwrap();
    (values.to_vec(), marks)
}

/// The shipped tables: one merchant "m", the country "DE", no row of any currency.
fn tables(row: [f64; 4], country: f64) -> Vec<Table> {
    let table = |width, rows: &[(&str, &[f64])]| {
        let mut held = Rows::new(width);
        for (key, values) in rows {
            held.push((*key).into(), values.iter().copied()).unwrap();
        }
        Table { content: Content::Whole(Arc::new(held)), stale: false }
    };
    vec![table(4, &[("m", &row)]), table(1, &[]), table(1, &[("DE", &[country])]), table(1, &[("USD", &[1.0])])]
}

#[test]
fn features_read_the_row_that_the_payment_names_and_say_what_lacks() {
    let reference = Arc::new(Reference::new(vec![true; 4]));
    let at = 20_500 * DAY + 12 * 3_600_000;
    // Nothing was loaded: defaults, and a mark where a field is named.
    let (values, marks) = read(&reference, &payment(None, None, at));
    assert_eq!((values, marks.missing_reference), (vec![1.0, -1.0, 1.0, 0.0, 1.0, 0.0], true));
    reference.put(tables([2.0, 20_400.0, 25.0, 1.0], 0.0));
    let (values, marks) = read(&reference, &payment(Some("m"), Some("DE"), at));
    // The euro has no row.
    assert_eq!((values, marks.missing_reference), (vec![2.0, 100.0, 2.0, 1.0, 0.0, 0.0], true));
    let mut with_euro = tables([2.0, f64::NAN, f64::NAN, 1.0], 0.0);
    let mut euro = Rows::new(1);
    euro.push("EUR".into(), [1.0]).unwrap();
    with_euro[3].content = Content::Whole(Arc::new(euro));
    reference.put(with_euro.clone());
    // A row without the value is no row that lacks: its default counts, unmarked.
    let (values, marks) = read(&reference, &payment(Some("m"), Some("DE"), at));
    assert_eq!((values, marks.missing_reference), (vec![2.0, -1.0, 1.0, 1.0, 0.0, 1.0], false));
    // What the payment does not name is not missing either; what it names and nobody knows is.
    assert!(!read(&reference, &payment(None, None, at)).1.missing_reference);
    assert!(read(&reference, &payment(Some("new"), None, at)).1.missing_reference);
    assert!(!read(&reference, &payment(Some("m"), None, at)).1.stale_reference);
    with_euro[0].stale = true;
    reference.put(with_euro);
    let (values, marks) = read(&reference, &payment(Some("m"), Some("DE"), at));
    assert_eq!((values[0], marks.stale_reference), (2.0, true));
    // A payment that names no merchant reads nothing of the stale table.
    assert!(!read(&reference, &payment(None, Some("DE"), at)).1.stale_reference);
}

proptest! {
    /// A row of the table held whole and the same row out of the cache give the same features, of any values.
    #[test]
    fn both_ways_of_holding_a_table_read_the_same(
        row in prop::array::uniform4(prop_oneof![4 => -1e6..1e6, 1 => Just(f64::NAN)]),
        country in 0.0..3.0,
        day in 0..40_000_i64,
    ) {
        let whole = Arc::new(Reference::new(vec![true; 4]));
        whole.put(tables(row, country));
        let cache = Keyed::new(10);
        cache.put("m".into(), Some(Arc::from(row)));
        let keyed = Arc::new(Reference::new(vec![true; 4]));
        let mut cached = tables([0.0; 4], country);
        cached[0].content = Content::Keyed(Arc::new(cache));
        keyed.put(cached);
        let payment = payment(Some("m"), Some("DE"), day * DAY + 7);
        let (values, marks) = read(&whole, &payment);
        prop_assert_eq!((&values, marks), (&read(&keyed, &payment).0, read(&keyed, &payment).1));
        let or = |value: f64, default: f64| if value.is_nan() { default } else { value };
        prop_assert_eq!(values[0], or(row[0], 1.0));
        #[expect(clippy::cast_precision_loss, reason = "days are small")]
        let days = day as f64 - row[1];
        prop_assert_eq!(values[1], or(days, -1.0));
    }
}

#[test]
fn the_shipped_schema_is_right() {
    let schema = ReferenceSchema::shipped().unwrap();
    let names: Vec<_> = schema.tables().iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["merchants", "products", "countries", "currencies"]);
    let pick = schema.pick("merchant_id", "onboarded").unwrap();
    assert_eq!((pick.table, pick.attribute, pick.days, pick.default), (0, 1, true, -1.0));
    assert!(schema.pick("merchant_id", "colour").unwrap_err().contains("\"colour\""));
    assert!(schema.pick("terminal_id", "risk").unwrap_err().contains("\"terminal_id\""));
}

#[test]
fn an_attribute_is_one_entry_more() {
    let more = SHIPPED.replacen(
        "[[table.attribute]]\nname = \"risk\"",
        "[[table.attribute]]\nname = \"chargebacks\"\ntype = \"number\"\nmeaning = \"m\"\n\n[[table.attribute]]\nname = \"risk\"",
        1,
    );
    let schema = ReferenceSchema::parse(&more).unwrap();
    assert_eq!(schema.pick("merchant_id", "chargebacks").unwrap().attribute, 0);
    assert_eq!(schema.pick("merchant_id", "risk").unwrap().attribute, 1);
}

#[test]
fn what_breaks_a_rule_is_named() {
    let table = "[[table]]\nname = \"t\"\nentity = \"t_id\"\nmeaning = \"m\"\n";
    let one = "[[table.attribute]]\nname = \"a\"\nmeaning = \"m\"\n";
    let number = format!("{table}{one}type = \"number\"\n");
    for (text, part) in [
        (number.replace("\"t\"", "\"rates\""), "they are no table"),
        (format!("{number}{number}"), "t: the name stands twice"),
        (format!("{number}{}", number.replace("\"t\"", "\"u\"")), "another table has this entity"),
        (number.replace("\"t\"", "\"T\""), "lower-case"),
        (format!("{number}{one}type = \"flag\"\n"), "t.a: the name stands twice"),
        (number.replace("\"number\"", "\"category\""), "has `codes`"),
        (format!("{number}codes = {{ x = 1 }}\n"), "has `codes`"),
        (format!("{number}default = nan\n"), "finite"),
        (number.replace("\"number\"", "\"text\""), "unknown variant"),
        (format!("{number}colour = 1\n"), "colour"),
    ] {
        let told = ReferenceSchema::parse(&text).unwrap_err().to_string();
        assert!(told.contains(part), "{told} should mention {part}");
    }
}

#[test]
fn cells_are_read_as_their_attribute_says() {
    let schema = ReferenceSchema::shipped().unwrap();
    let merchants = &schema.tables()[0];
    let value = |name: &str, cell: &str| merchants.attributes.iter().find(|one| one.name == name).unwrap().value(cell);
    assert_eq!(["low", "medium", "high"].map(|word| value("risk", word).unwrap()), [0.0, 1.0, 2.0]);
    assert!(value("risk", "unheard of").unwrap().is_nan() && value("usual_amount", " ").unwrap().is_nan());
    assert_eq!(value("usual_amount", "12.5"), Ok(12.5));
    assert_eq!(
        ["true", "t", "1", "f", "False"].map(|word| value("online_only", word).unwrap()),
        [1.0, 1.0, 1.0, 0.0, 0.0]
    );
    let day = Ok(20_484.0);
    for written in ["2026-01-31", "2026-01-31 00:00:00+00", "2026-01-31T23:59:59Z", "1769857200000"] {
        assert_eq!(value("onboarded", written), day, "{written}");
    }
    for (name, cell) in [
        ("usual_amount", "much"),
        ("usual_amount", "inf"),
        ("online_only", "perhaps"),
        ("onboarded", "31.01.2026"),
        ("onboarded", "2026-01-31x"),
        ("onboarded", "2026-02-30"),
    ] {
        let rule = value(name, cell).unwrap_err();
        assert!(!rule.contains(cell), "{rule}");
    }
}

#[test]
fn rows_are_equal_by_content_and_a_key_stands_once() {
    let rows = |keys: &[(&str, f64)]| {
        let mut rows = Rows::new(2);
        for (key, value) in keys {
            rows.push((*key).into(), [*value, f64::NAN]).unwrap();
        }
        rows
    };
    let mut one = rows(&[("a", 1.0), ("b", 2.0)]);
    assert_eq!(one, rows(&[("b", 2.0), ("a", 1.0)]));
    assert!(
        one != rows(&[("a", 1.0)]) && one != rows(&[("a", 1.0), ("b", 3.0)]) && one != rows(&[("a", 1.0), ("c", 2.0)])
    );
    assert_eq!(one.push("a".into(), [5.0, 5.0]), Err(Repeated));
    assert_eq!(one.get("a").unwrap()[0], 1.0);
    let (keys, values) = one.parts();
    assert_eq!((keys, values.len()), (vec!["a", "b"], 4));
}

#[test]
fn a_look_up_waits_for_nobody_and_what_it_lacks_is_noted_once() {
    let cache = Arc::new(Keyed::new(10));
    let table = Table { content: Content::Keyed(Arc::clone(&cache)), stale: false };
    assert_eq!(
        [table.find("m1"), table.find("m1"), table.find("m2")],
        [Found::Missing, Found::Missing, Found::Missing]
    );
    let mut wanted = cache.take_wanted();
    wanted.sort();
    assert_eq!(wanted, ["m1", "m2"]);
    cache.put("m1".into(), Some(Arc::from([7.0, f64::NAN])));
    cache.put("m2".into(), None);
    let found = table.find("m1");
    assert_eq!((found.value(0), found.value(1), found.value(2)), (Some(7.0), None, None));
    // That there is no row is known too: it is not asked for again.
    assert_eq!(table.find("m2"), Found::Missing);
    assert!(cache.take_wanted().is_empty());
    for number in 0..MOST_WANTED + 10 {
        assert_eq!(table.find(&number.to_string()), Found::Missing);
    }
    assert_eq!(cache.take_wanted().len(), MOST_WANTED);
    for number in 0..1_000 {
        cache.put(number.to_string().into(), None);
    }
    assert!(cache.len() <= 10, "{}", cache.len());
}

#[test]
fn a_batch_sees_one_state() {
    let reference = Reference::new(vec![true]);
    let before = reference.now();
    let mut rows = Rows::new(1);
    rows.push("m".into(), [1.0]).unwrap();
    reference.put(vec![Table { content: Content::Whole(Arc::new(rows)), stale: false }]);
    assert_eq!(before[0].find("m"), Found::Missing);
    assert_eq!(reference.now()[0].find("m").value(0), Some(1.0));
}
