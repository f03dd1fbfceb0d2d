//! One day: every customer's genuine payments and the day's part of every fraud, in time order.

use compact_str::CompactString;

use super::dice::{Dice, Purpose};
use super::fraud::FraudKind;
use super::world::{Customer, TerminalKind, World, weekday};
use crate::base::clock::{DAY, HOUR, Millis};
use crate::transaction::Transaction;

/// One simulated payment, compact: places in the [`World`] instead of identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// When.
    pub at: Millis,
    /// Minor units of the terminal's currency.
    pub amount_minor: i64,
    /// Place among the customers.
    pub customer: u32,
    /// Place among the terminals.
    pub terminal: u32,
    /// Which of the customer's cards, from 1; 0 where no card was used.
    pub card: u8,
    /// Which of the customer's devices, from 1; 0 for none; from 16 the number of a stranger's.
    pub device: u32,
    /// The truth: what kind of fraud, `None` for a genuine payment.
    pub fraud: Option<FraudKind>,
}

/// Monday to Sunday: payments against the average day's.
const WEEK: [f64; 7] = [0.93, 0.94, 0.97, 1.02, 1.15, 1.17, 0.82];

impl World {
    /// The payments of a day (days since the epoch, UTC) in time order; at equal time in a fixed order. About 1 % are fraud.
    #[must_use]
    pub fn day(&self, day: i64) -> Vec<Payment> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a capacity; `as` saturates")]
        let mut payments = Vec::with_capacity((self.volume * 1.2) as usize + 64);
        let factor = usize::try_from(weekday(day)).ok().and_then(|place| WEEK.get(place)).copied().unwrap_or(1.0);
        for (index, customer) in (0_u32..).zip(&self.customers) {
            let mut dice = Dice::of(self.seed, Purpose::Genuine, u64::from(index), day.cast_unsigned());
            for _ in 0..dice.poisson(f64::from(customer.rate) * factor) {
                let at = self.moment(&mut dice, customer, day);
                payments.push(self.genuine(&mut dice, index, at));
            }
        }
        self.frauds(day, &mut payments);
        // Stable: equal moments stay in the order of making, which is always the same.
        payments.sort_by_key(|payment| payment.at);
        payments
    }

    fn moment(&self, dice: &mut Dice, customer: &Customer, day: i64) -> Millis {
        let slot = dice.below(256) as usize;
        let hour = self.rhythms.get(usize::from(customer.rhythm)).and_then(|table| table.get(slot)).copied();
        Millis(day * DAY + i64::from(hour.unwrap_or(12)) * HOUR + i64::from(dice.below(3_600_000)))
    }

    /// A payment as this customer usually makes them, at the moment given.
    pub(super) fn genuine(&self, dice: &mut Dice, index: u32, at: Millis) -> Payment {
        let Some(customer) = self.customers.get(index as usize) else {
            return Payment { at, amount_minor: 0, customer: index, terminal: 0, card: 0, device: 0, fraud: None };
        };
        let terminal = if dice.chance(f64::from(customer.online)) {
            if dice.chance(0.9) { dice.pick(&customer.shops) } else { dice.pick(&self.remote) }
                .copied()
                .unwrap_or_default()
        } else {
            match dice.unit() {
                share if share < 0.86 => customer.places.get(dice.popular(7, 1.5) as usize).copied().unwrap_or(1),
                share if share < 0.97 => self.near(dice, customer.town),
                _ => self.anywhere(dice),
            }
        };
        let amount = f64::from(customer.spread).mul_add(dice.normal(), f64::from(customer.usual)).exp();
        let device = 1 + dice.below(u32::from(customer.devices));
        self.payment(dice, index, terminal, at, Spent { amount, device, fraud: None })
    }

    /// A payment with the terminal's traits: its currency and category, what it takes.
    pub(super) fn payment(&self, dice: &mut Dice, index: u32, terminal: u32, at: Millis, spent: Spent) -> Payment {
        let cards = self.customers.get(index as usize).map_or(1, |customer| customer.cards);
        let card = if cards > 1 && dice.chance(0.25) { 2 } else { 1 };
        let (mut amount_minor, mut card, mut device) = (0, card, spent.device);
        if let Some(place) = self.terminals.get(terminal as usize) {
            let local = spent.amount * self.rate(place.money, at.day());
            let minor = place.money.currency.minor_per_major();
            let category = if spent.fraud.is_some() { 1.0 } else { place.category.factor };
            amount_minor = match place.kind {
                TerminalKind::CashMachine => round(local / 10.0).max(1) * 10 * minor,
                _ => round(local * category * as_f64(minor)).max(1),
            };
            if place.kind == TerminalKind::TransferDesk {
                card = 0;
            }
            if !place.kind.is_remote() {
                device = 0;
            }
        }
        Payment { at, amount_minor, customer: index, terminal, card, device, fraud: spent.fraud }
    }

    /// The whole transaction, with `is_fraud` as the truth.
    #[must_use]
    pub fn transaction(&self, payment: &Payment, transaction_id: CompactString) -> Option<Transaction> {
        let terminal = self.terminals.get(payment.terminal as usize)?;
        Some(Transaction {
            transaction_id,
            occurred_at: payment.at,
            customer_id: compact_str::format_compact!("c{:07}", payment.customer),
            terminal_id: compact_str::format_compact!("t{:07}", payment.terminal),
            amount_minor: payment.amount_minor,
            currency: terminal.money.currency,
            merchant_id: Some(compact_str::format_compact!("m{:06}", terminal.merchant)),
            product_id: terminal.kind.sells().then(|| CompactString::const_new(terminal.category.product)),
            country: Some(CompactString::const_new(terminal.country)),
            channel: Some(terminal.kind.channel()),
            card_id: (payment.card > 0)
                .then(|| compact_str::format_compact!("k{:07}-{}", payment.customer, payment.card)),
            device_id: match payment.device {
                0 => None,
                own @ 1..16 => Some(compact_str::format_compact!("d{:07}-{own}", payment.customer)),
                stranger => Some(compact_str::format_compact!("x{stranger:010}")),
            },
            is_fraud: Some(payment.fraud.is_some()),
            extra: Vec::new(),
        })
    }
}

/// How much was spent, from which device, and the truth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    /// Major units of the first currency, before the category's factor.
    pub(super) amount: f64,
    pub(super) device: u32,
    pub(super) fraud: Option<FraudKind>,
}

#[expect(clippy::cast_possible_truncation, reason = "amounts are far below the range; `as` saturates")]
fn round(value: f64) -> i64 {
    value.round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "1, 100 or 1000")]
const fn as_f64(value: i64) -> f64 {
    value as f64
}

/// The id of the `number`th payment of a day: `s`, five characters of the seed, the day and the number, base 36; 17 characters.
/// Seeds that differ below 36⁵ (60 million) never share an id. Ids of one seed sort as their payments do.
#[must_use]
pub fn payment_id(seed: u64, day: i64, number: u64) -> CompactString {
    let mut id = CompactString::const_new("s");
    push_base36(&mut id, seed, 5);
    id.push('-');
    push_base36(&mut id, day.cast_unsigned(), 4);
    id.push('-');
    push_base36(&mut id, number, 5);
    id
}

/// The id of the `number`th payment of a live stream that began at `start`: unlike any other stream's that began in another
/// millisecond; 19 characters.
#[must_use]
pub fn live_id(start: Millis, number: u64) -> CompactString {
    let mut id = CompactString::const_new("live");
    push_base36(&mut id, start.0.cast_unsigned(), 8);
    id.push('-');
    push_base36(&mut id, number, 6);
    id
}

/// The last `width` base-36 digits.
fn push_base36(id: &mut CompactString, mut value: u64, width: usize) {
    let mut digits = [b'0'; 8];
    for digit in digits.iter_mut().take(width).rev() {
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"
            .get(usize::try_from(value % 36).unwrap_or(0))
            .copied()
            .unwrap_or(b'0');
        value /= 36;
    }
    for digit in digits.into_iter().take(width) {
        id.push(char::from(digit));
    }
}
