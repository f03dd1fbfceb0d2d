//! Fraud: campaigns that begin on a day and pay on that day or the ones after it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::day::{Payment, Spent};
use super::dice::{Dice, Purpose};
use super::world::World;
use crate::base::clock::{DAY, HOUR, MINUTE, Millis, SECOND};

/// The kinds of fraud; their shares and looks stand in the table at the head of [`crate::simulate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FraudKind {
    /// One point of sale whose cards are copied, for days.
    CompromisedTerminal,
    /// A stolen card, spent within hours.
    StolenCard,
    /// Stolen card numbers tried out online, then one large payment.
    CardTesting,
}

impl FraudKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::CompromisedTerminal, Self::StolenCard, Self::CardTesting];

    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CompromisedTerminal => "compromised_terminal",
            Self::StolenCard => "stolen_card",
            Self::CardTesting => "card_testing",
        }
    }

    /// Fraudulent payments of this kind for each genuine one.
    pub(super) const fn share(self) -> f64 {
        match self {
            Self::CompromisedTerminal => 0.0045,
            Self::StolenCard => 0.0030,
            Self::CardTesting => 0.0025,
        }
    }

    /// Payments of one campaign, on average: the middles of the ranges below.
    pub(super) const fn payments(self) -> f64 {
        match self {
            Self::CompromisedTerminal => 6.0 * 6.0,
            Self::StolenCard => 7.0,
            Self::CardTesting => 17.0,
        }
    }

    /// The last day of a campaign, counted from its first, at the latest.
    const fn reach(self) -> i64 {
        match self {
            Self::CompromisedTerminal => 9,
            Self::StolenCard | Self::CardTesting => 1,
        }
    }
}

impl fmt::Display for FraudKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl World {
    /// Adds the fraudulent payments of a day: those of the campaigns that began on it or in the days before.
    pub(super) fn frauds(&self, day: i64, payments: &mut Vec<Payment>) {
        let mut campaign = Vec::new();
        for kind in FraudKind::ALL {
            for begun in day - kind.reach()..=day {
                let key = begun.cast_unsigned();
                let mut dice = Dice::of(self.seed, Purpose::Campaign, kind as u64, key);
                for number in 0..dice.poisson(self.volume * kind.share() / kind.payments()) {
                    let key = (kind as u64) << 32 | u64::from(number);
                    let mut dice = Dice::of(self.seed, Purpose::Victims, key, begun.cast_unsigned());
                    campaign.clear();
                    self.campaign(&mut dice, kind, Millis(begun * DAY), &mut campaign);
                    payments.extend(campaign.iter().filter(|payment| payment.at.day() == day));
                }
            }
        }
    }

    /// All payments of one campaign that begins on the day that starts at `midnight`.
    fn campaign(&self, dice: &mut Dice, kind: FraudKind, midnight: Millis, payments: &mut Vec<Payment>) {
        match kind {
            FraudKind::CompromisedTerminal => {
                let terminal = self.anywhere(dice);
                for day in 0..i64::from(dice.count(3, 9)) {
                    for _ in 0..dice.count(3, 9) {
                        // Opening hours, so that the hour alone says little.
                        let at = Millis(midnight.0 + day * DAY + milliseconds(dice.between(7.0, 23.0) * as_f64(HOUR)));
                        payments.push(self.copied_card(dice, terminal, at));
                    }
                }
            }
            FraudKind::StolenCard => {
                let mut at = midnight.0 + milliseconds(dice.between(0.0, as_f64(DAY)));
                let (customer, gap) = (self.anyone(dice), dice.between(6.0, 60.0) * as_f64(MINUTE));
                for _ in 0..dice.count(4, 10) {
                    payments.push(self.stolen_card(dice, customer, Millis(at)));
                    at += milliseconds(dice.wait(gap).min(2.0 * as_f64(HOUR)));
                }
            }
            FraudKind::CardTesting => {
                let mut at = midnight.0 + milliseconds(dice.between(0.0, as_f64(DAY)));
                let (customer, terminal, device) = self.tested(dice);
                let tries = dice.count(8, 24);
                for number in 0..=tries {
                    let amount = self.tested_amount(dice, customer, number == tries);
                    let spent = Spent { amount, device, fraud: Some(kind) };
                    payments.push(self.payment(dice, customer, terminal, Millis(at), spent));
                    at += milliseconds(dice.between(1.0, 20.0) * as_f64(SECOND));
                }
            }
        }
    }

    /// A payment with someone's copied card at a compromised terminal: small to medium.
    pub(super) fn copied_card(&self, dice: &mut Dice, terminal: u32, at: Millis) -> Payment {
        let customer = self.anyone(dice);
        let amount = self.usual(customer) * dice.between(0.4, 2.2);
        let spent = Spent { amount, device: 0, fraud: Some(FraudKind::CompromisedTerminal) };
        self.payment(dice, customer, terminal, at, spent)
    }

    /// A payment with a stolen card: three to eight times the usual amount, somewhere new.
    pub(super) fn stolen_card(&self, dice: &mut Dice, customer: u32, at: Millis) -> Payment {
        let online = dice.chance(0.4);
        let terminal = if online { dice.pick(&self.remote).copied().unwrap_or_default() } else { self.anywhere(dice) };
        let amount = self.usual(customer) * dice.between(3.0, 8.0);
        let spent = Spent { amount, device: stranger(dice), fraud: Some(FraudKind::StolenCard) };
        self.payment(dice, customer, terminal, at, spent)
    }

    /// Whose card is tested, in which web shop, from which device.
    pub(super) fn tested(&self, dice: &mut Dice) -> (u32, u32, u32) {
        (self.anyone(dice), dice.pick(&self.remote).copied().unwrap_or_default(), stranger(dice))
    }

    /// A tiny amount; the last is large: 8 to 20 times the usual.
    pub(super) fn tested_amount(&self, dice: &mut Dice, customer: u32, last: bool) -> f64 {
        if last { self.usual(customer) * dice.between(8.0, 20.0) } else { dice.between(0.2, 2.0) }
    }

    pub(super) fn anyone(&self, dice: &mut Dice) -> u32 {
        dice.below(u32::try_from(self.customers.len()).unwrap_or(u32::MAX))
    }

    fn usual(&self, customer: u32) -> f64 {
        self.customers.get(customer as usize).map_or(20.0, |customer| f64::from(customer.usual).exp())
    }
}

/// A device that no customer owns.
fn stranger(dice: &mut Dice) -> u32 {
    16 + dice.below(u32::MAX - 16)
}

#[expect(clippy::cast_possible_truncation, reason = "days at most; `as` saturates")]
pub(super) fn milliseconds(value: f64) -> i64 {
    value as i64
}

#[expect(clippy::cast_precision_loss, reason = "durations of days at most")]
const fn as_f64(value: i64) -> f64 {
    value as f64
}
