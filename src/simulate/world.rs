//! The world that pays: towns, terminals and customers, drawn once from the settings.

use super::dice::{Dice, Purpose};
use super::places::{CATEGORIES, COUNTRIES, Category, rhythms};
use super::{Settings, SimulateError};
use crate::base::clock::{DAY, Millis};
use crate::base::money::Currency;
use crate::transaction::Channel;

/// How a terminal is paid at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TerminalKind {
    PointOfSale,
    CashMachine,
    WebShop,
    TransferDesk,
}

impl TerminalKind {
    pub(super) const fn channel(self) -> Channel {
        match self {
            Self::PointOfSale => Channel::CardPresent,
            Self::CashMachine => Channel::Withdrawal,
            Self::WebShop => Channel::Online,
            Self::TransferDesk => Channel::Transfer,
        }
    }

    pub(super) const fn is_remote(self) -> bool {
        matches!(self, Self::WebShop | Self::TransferDesk)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal {
    pub(super) kind: TerminalKind,
    pub(super) category: Category,
    pub(super) merchant: u32,
    pub(super) country: &'static str,
    pub(super) money: Money,
}

/// A currency of the world, and its place among the settings' currencies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Money {
    pub(super) currency: Currency,
    place: u64,
    /// Price of one unit of the first currency on an ordinary day.
    usual: f64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Customer {
    pub(super) town: u32,
    /// Logarithm of the usual amount, major units of the first currency.
    pub(super) usual: f32,
    /// Spread of the logarithm.
    pub(super) spread: f32,
    /// Payments a day.
    pub(super) rate: f32,
    /// Which daily rhythm.
    pub(super) rhythm: u8,
    pub(super) cards: u8,
    pub(super) devices: u8,
    /// Share of payments in web shops.
    pub(super) online: f32,
    pub(super) places: [u32; 7],
    pub(super) shops: [u32; 4],
}

struct Town {
    country: &'static str,
    money: Money,
    terminals: Vec<u32>,
}

/// Towns, terminals and customers: about 90 bytes a customer and 60 a terminal.
pub struct World {
    pub(super) seed: u64,
    pub(super) customers: Vec<Customer>,
    pub(super) terminals: Vec<Terminal>,
    pub(super) remote: Vec<u32>,
    pub(super) points_of_sale: Vec<u32>,
    towns: Vec<Town>,
    moneys: Vec<Money>,
    pub(super) rhythms: Vec<[u8; 256]>,
    /// Genuine payments expected on an average day.
    pub(super) volume: f64,
}

impl std::fmt::Debug for World {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (customers, terminals) = (self.customers.len(), self.terminals.len());
        write!(formatter, "World({customers} customers, {terminals} terminals, seed {})", self.seed)
    }
}

const MOST: u32 = 50_000_000;

impl World {
    /// Draws the world.
    ///
    /// # Errors
    /// A count is out of range, or a currency has no country in the table.
    pub fn new(settings: &Settings) -> Result<Self, SimulateError> {
        for (what, value, least) in [("customers", settings.customers, 1), ("terminals", settings.terminals, 10)] {
            if !(least..=MOST).contains(&value) {
                return Err(SimulateError::Range { what, value, least, most: MOST });
            }
        }
        let moneys = moneys(&settings.currencies)?;
        let mut world = Self {
            seed: settings.seed,
            customers: Vec::new(),
            terminals: Vec::with_capacity(settings.terminals as usize),
            remote: Vec::new(),
            points_of_sale: Vec::new(),
            towns: Vec::new(),
            moneys,
            rhythms: rhythms(),
            volume: 0.0,
        };
        let moneys = u32::try_from(world.moneys.len()).unwrap_or(u32::MAX);
        let towns = (settings.terminals / 80).clamp(1, 2_000).max(moneys);
        // The smallest towns make sure that every currency has one.
        world.towns = (0..towns).filter_map(|index| world.town(index, (index + moneys).checked_sub(towns))).collect();
        for index in 0..settings.terminals {
            world.add_terminal(index, settings.terminals);
        }
        world.customers = (0..settings.customers).map(|index| world.customer(index)).collect();
        world.volume = world.customers.iter().map(|customer| f64::from(customer.rate)).sum();
        Ok(world)
    }

    /// Genuine payments expected on an average day.
    #[must_use]
    pub const fn payments_a_day(&self) -> f64 {
        self.volume
    }

    /// A town; `must` is the place of the currency it has to have.
    fn town(&self, index: u32, must: Option<u32>) -> Option<Town> {
        let mut dice = Dice::of(self.seed, Purpose::Town, u64::from(index), 0);
        let home = index == 0 || dice.chance(0.9);
        let drawn = if home { self.moneys.first() } else { dice.pick(&self.moneys) };
        let money = must.filter(|place| *place > 0).map_or(drawn, |place| self.moneys.get(place as usize)).copied()?;
        let home = home && money.place == 0;
        let countries = COUNTRIES.iter().find(|row| row.0 == money.currency.code()).map(|row| row.2)?;
        // Home towns are mostly in the first country of the currency.
        let country = if home && dice.chance(0.9) { countries.first() } else { dice.pick(countries) }.copied()?;
        Some(Town { country, money, terminals: Vec::new() })
    }

    fn add_terminal(&mut self, index: u32, terminals: u32) {
        let mut dice = Dice::of(self.seed, Purpose::Terminal, u64::from(index), 0);
        // The first four are one of each kind, so that the smallest world has them all.
        let kind = match (index, dice.unit()) {
            (0, _) => TerminalKind::WebShop,
            (1, _) => TerminalKind::PointOfSale,
            (2, _) => TerminalKind::CashMachine,
            (3, _) => TerminalKind::TransferDesk,
            (_, share) if share < 0.72 => TerminalKind::PointOfSale,
            (_, share) if share < 0.80 => TerminalKind::CashMachine,
            (_, share) if share < 0.97 => TerminalKind::WebShop,
            _ => TerminalKind::TransferDesk,
        };
        let towns = u32::try_from(self.towns.len()).unwrap_or(u32::MAX);
        let place = dice.popular(towns, 1.6) as usize;
        let kinds = u32::try_from(CATEGORIES.len()).unwrap_or_default();
        let category = CATEGORIES.get(dice.popular(kinds, 1.4) as usize).copied();
        let (Some(town), Some(category)) = (self.towns.get_mut(place), category) else { return };
        let merchant = dice.popular((terminals / 3).max(1), 1.3);
        self.terminals.push(Terminal { kind, category, merchant, country: town.country, money: town.money });
        if kind.is_remote() {
            self.remote.push(index);
        } else {
            town.terminals.push(index);
        }
        if kind == TerminalKind::PointOfSale {
            self.points_of_sale.push(index);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "profiles need no more than single precision")]
    fn customer(&self, index: u32) -> Customer {
        let mut dice = Dice::of(self.seed, Purpose::Customer, u64::from(index), 0);
        let towns = u32::try_from(self.towns.len()).unwrap_or(u32::MAX);
        let town = dice.popular(towns, 1.6);
        let places = std::array::from_fn(|place| self.near(&mut dice, if place == 6 { town + 1 } else { town }));
        let remote = u32::try_from(self.remote.len()).unwrap_or(u32::MAX);
        let shops = std::array::from_fn(|_| {
            let place = dice.popular(remote, 1.8) as usize;
            self.remote.get(place).copied().unwrap_or_default()
        });
        Customer {
            town,
            usual: 0.55_f64.mul_add(dice.normal(), 3.2) as f32,
            spread: dice.between(0.35, 0.8) as f32,
            rate: (0.7 * dice.normal() + 0.45).exp().clamp(0.05, 12.0) as f32,
            rhythm: [0, 0, 0, 1, 1, 2, 2, 3].get(dice.below(8) as usize).copied().unwrap_or_default(),
            cards: if dice.chance(0.3) { 2 } else { 1 },
            devices: if dice.chance(0.4) { 2 } else { 1 },
            online: (dice.unit().powi(2) * 0.6) as f32,
            places,
            shops,
        }
    }

    /// A terminal of a town (counted round), popular ones more often; of the whole world where it has none.
    pub(super) fn near(&self, dice: &mut Dice, town: u32) -> u32 {
        let towns = self.towns.len().max(1);
        let local = self.towns.get(town as usize % towns).map_or(&[] as &[u32], |town| &town.terminals);
        let local = if local.is_empty() { &self.points_of_sale } else { local };
        let place = dice.popular(u32::try_from(local.len()).unwrap_or(u32::MAX), 1.5);
        local.get(place as usize).copied().unwrap_or(1)
    }

    /// A point of sale anywhere.
    pub(super) fn anywhere(&self, dice: &mut Dice) -> u32 {
        dice.pick(&self.points_of_sale).copied().unwrap_or(1)
    }

    /// Units of `money` for one unit of the first currency, of a day: slow waves and a little noise about the usual price.
    pub(super) fn rate(&self, money: Money, day: i64) -> f64 {
        if money.place == 0 {
            return 1.0;
        }
        let mut phases = Dice::of(self.seed, Purpose::Rate, money.place, u64::MAX);
        let mut noise = Dice::of(self.seed, Purpose::Rate, money.place, day.cast_unsigned());
        #[expect(clippy::cast_precision_loss, reason = "days are small")]
        let mut wave = |days: f64| (std::f64::consts::TAU * (day as f64 / days + phases.unit())).sin();
        money.usual * (0.04 * wave(190.0) + 0.015 * wave(47.0) + 0.002 * noise.normal()).exp()
    }

    /// The rates of `days` as CSV `published,currency,rate`, published on working days from a week before the first; units of each
    /// currency for one of the first, as [`crate::base::money::Rates::parse`] reads them. A payment is converted at the last
    /// rate published before its day.
    #[must_use]
    pub fn rates(&self, days: std::ops::Range<i64>) -> String {
        use std::fmt::Write as _;
        let mut text = String::from("published,currency,rate\n");
        for day in days.start - 7..days.end {
            let date = Millis(day * DAY).to_rfc3339();
            let date = date.get(..10).unwrap_or_default();
            for money in self.moneys.iter().skip(1).filter(|_| weekday(day) < 5) {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{date},{},{:.6}", money.currency, self.rate(*money, day));
            }
        }
        text
    }
}

/// 0 for Monday to 6 for Sunday.
pub(super) const fn weekday(day: i64) -> i64 {
    // 1970-01-01 was a Thursday.
    (day + 3).rem_euclid(7)
}

fn moneys(currencies: &[Currency]) -> Result<Vec<Money>, SimulateError> {
    let euro = |currency: &Currency| {
        COUNTRIES.iter().find(|row| row.0 == currency.code()).map(|row| row.1).ok_or_else(|| SimulateError::NoCountry {
            currency: currency.to_string(),
            known: COUNTRIES.iter().map(|row| row.0).collect::<Vec<_>>().join(", "),
        })
    };
    let first = euro(currencies.first().ok_or(SimulateError::NoCurrency)?)?;
    let money =
        |(place, currency): (u64, &Currency)| Ok(Money { currency: *currency, place, usual: euro(currency)? / first });
    (0..).zip(currencies).map(money).collect()
}
