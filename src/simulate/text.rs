//! A day's payments as text: NDJSON and CSV of the canonical fields, then the truth. Written by hand because millions of
//! rows are made a second; the tests read every row back.

use super::day::{Payment, payment_id};
use super::fraud::FraudKind;
use super::world::{TerminalKind, World};
use crate::base::clock::{DAY, Millis};
use crate::transaction::Channel;

/// The first line of a CSV file.
pub const CSV_HEADER: &str = "transaction_id,occurred_at,customer_id,terminal_id,amount_minor,currency,merchant_id,product_id,country,channel,card_id,device_id,is_fraud,fraud_kind\n";

/// Appends a day's payments as NDJSON, one line each; absent fields are left out.
pub fn ndjson(world: &World, day: i64, payments: &[Payment], text: &mut Vec<u8>) {
    text.reserve(payments.len() * 330);
    let date = Date::of(day);
    for (number, payment) in (0_u64..).zip(payments) {
        let Some(terminal) = world.terminals.get(payment.terminal as usize) else { continue };
        put(text, "{\"transaction_id\":\"");
        put(text, &payment_id(world.seed, day, number));
        put(text, "\",\"occurred_at\":\"");
        date.put(text, payment.at);
        put(text, "\",\"customer_id\":\"c");
        put_number(text, u64::from(payment.customer), 7);
        put(text, "\",\"terminal_id\":\"t");
        put_number(text, u64::from(payment.terminal), 7);
        put(text, "\",\"amount_minor\":");
        put_number(text, payment.amount_minor.unsigned_abs(), 1);
        put(text, ",\"currency\":\"");
        put(text, terminal.money.currency.code());
        put(text, "\",\"merchant_id\":\"m");
        put_number(text, u64::from(terminal.merchant), 6);
        if terminal.kind.sells() {
            put(text, "\",\"product_id\":\"");
            put(text, terminal.category.product);
        }
        put(text, "\",\"country\":\"");
        put(text, terminal.country);
        put(text, "\",\"channel\":\"");
        put(text, channel(terminal.kind.channel()));
        if payment.card > 0 {
            put(text, "\",\"card_id\":\"");
            put_card(text, payment);
        }
        if payment.device > 0 {
            put(text, "\",\"device_id\":\"");
            put_device(text, payment);
        }
        match payment.fraud {
            Some(kind) => {
                put(text, "\",\"is_fraud\":true,\"fraud_kind\":\"");
                put(text, kind.as_str());
                put(text, "\"}\n");
            }
            None => put(text, "\",\"is_fraud\":false}\n"),
        }
    }
}

/// Appends a day's payments as CSV lines in the order of [`CSV_HEADER`]; absent fields are empty.
pub fn csv(world: &World, day: i64, payments: &[Payment], text: &mut Vec<u8>) {
    text.reserve(payments.len() * 150);
    let date = Date::of(day);
    for (number, payment) in (0_u64..).zip(payments) {
        let Some(terminal) = world.terminals.get(payment.terminal as usize) else { continue };
        put(text, &payment_id(world.seed, day, number));
        put(text, ",");
        date.put(text, payment.at);
        put(text, ",c");
        put_number(text, u64::from(payment.customer), 7);
        put(text, ",t");
        put_number(text, u64::from(payment.terminal), 7);
        put(text, ",");
        put_number(text, payment.amount_minor.unsigned_abs(), 1);
        put(text, ",");
        put(text, terminal.money.currency.code());
        put(text, ",m");
        put_number(text, u64::from(terminal.merchant), 6);
        put(text, ",");
        put(text, if terminal.kind.sells() { terminal.category.product } else { "" });
        put(text, ",");
        put(text, terminal.country);
        put(text, ",");
        put(text, channel(terminal.kind.channel()));
        put(text, ",");
        put_card(text, payment);
        put(text, ",");
        put_device(text, payment);
        put(text, if payment.fraud.is_some() { ",true," } else { ",false," });
        put(text, payment.fraud.map_or("", FraudKind::as_str));
        put(text, "\n");
    }
}

impl TerminalKind {
    /// Whether what is bought is a product.
    pub(super) const fn sells(self) -> bool {
        matches!(self, Self::PointOfSale | Self::WebShop)
    }
}

/// The schema's word for a channel.
pub(super) const fn channel(channel: Channel) -> &'static str {
    match channel {
        Channel::CardPresent => "card_present",
        Channel::Online => "online",
        Channel::Transfer => "transfer",
        Channel::Withdrawal => "withdrawal",
        Channel::Other => "other",
    }
}

fn put(text: &mut Vec<u8>, part: &str) {
    text.extend_from_slice(part.as_bytes());
}

/// Decimal, with zeros in front up to `width`.
pub(super) fn put_number(text: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        if value == 0 {
            break;
        }
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        used += 1;
    }
    text.extend_from_slice(digits.get(20 - used.max(width)..).unwrap_or_default());
}

/// The card's id; nothing when there is none.
pub(super) fn put_card(text: &mut Vec<u8>, payment: &Payment) {
    if payment.card > 0 {
        put(text, "k");
        put_number(text, u64::from(payment.customer), 7);
        put(text, "-");
        put_number(text, u64::from(payment.card), 1);
    }
}

/// The device's id; nothing when there is none.
pub(super) fn put_device(text: &mut Vec<u8>, payment: &Payment) {
    match payment.device {
        0 => {}
        own @ 1..16 => {
            put(text, "d");
            put_number(text, u64::from(payment.customer), 7);
            put(text, "-");
            put_number(text, u64::from(own), 1);
        }
        stranger => {
            put(text, "x");
            put_number(text, u64::from(stranger), 10);
        }
    }
}

/// RFC 3339 of moments of one day: the date is made once.
struct Date {
    midnight: Millis,
    prefix: String,
}

impl Date {
    fn of(day: i64) -> Self {
        let midnight = Millis(day * DAY);
        let prefix = midnight.to_rfc3339().get(..11).unwrap_or_default().to_owned();
        Self { midnight, prefix }
    }

    fn put(&self, text: &mut Vec<u8>, at: Millis) {
        let Ok(passed) = u64::try_from(at.0 - self.midnight.0) else { return };
        put(text, &self.prefix);
        for (unit, end) in [(3_600_000, ":"), (60_000, ":"), (1_000, ".")] {
            let rest = if unit == 3_600_000 { passed } else { passed % (unit * 60) };
            put_number(text, rest / unit, 2);
            put(text, end);
        }
        put_number(text, passed % 1_000, 3);
        put(text, "Z");
    }
}
