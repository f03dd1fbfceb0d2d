//! What of a transaction identifies: its entities, the fingerprint of its required fields, and how a later copy of
//! it completes the first.

use compact_str::CompactString;

use super::Transaction;
use crate::base::hash::HashKey;

impl Transaction {
    /// The text of an identifier-like field by its canonical name: `customer_id`, `terminal_id`, `merchant_id`,
    /// `product_id`, `country`, `channel`, `card_id`, `device_id`, or a name of [`Transaction::extra`].
    /// `None` when it is absent or when no such field exists.
    #[must_use]
    pub fn entity(&self, field: &str) -> Option<&str> {
        match field {
            "customer_id" => Some(&self.customer_id),
            "terminal_id" => Some(&self.terminal_id),
            "merchant_id" => self.merchant_id.as_deref(),
            "product_id" => self.product_id.as_deref(),
            "country" => self.country.as_deref(),
            "channel" => self.channel.map(super::Channel::as_str),
            "card_id" => self.card_id.as_deref(),
            "device_id" => self.device_id.as_deref(),
            _ => self.extra.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str()),
        }
    }

    /// Whether any optional identifier is there.
    #[must_use]
    pub fn has_optional(&self) -> bool {
        let ids = [&self.merchant_id, &self.product_id, &self.country, &self.card_id, &self.device_id];
        self.channel.is_some() || !self.extra.is_empty() || ids.into_iter().any(Option::is_some)
    }

    /// Whether a field that [`Transaction::entity`] knows is there in every transaction.
    #[must_use]
    pub fn requires(field: &str) -> bool {
        matches!(field, "customer_id" | "terminal_id")
    }

    /// A keyed hash of the required fields besides the id: the same id with another fingerprint is a conflict.
    ///
    /// Encoded before hashing: `occurred_at`, `amount_minor`, `currency` at fixed widths, then `customer_id` and
    /// `terminal_id` each after its length, so that no two transactions share an encoding.
    #[must_use]
    pub fn fingerprint(&self, key: &HashKey) -> u64 {
        let mut bytes = Vec::with_capacity(35 + self.customer_id.len() + self.terminal_id.len());
        bytes.extend_from_slice(&self.occurred_at.0.to_le_bytes());
        bytes.extend_from_slice(&self.amount_minor.to_le_bytes());
        bytes.extend_from_slice(self.currency.code().as_bytes());
        for id in [&self.customer_id, &self.terminal_id] {
            bytes.extend_from_slice(&(id.len() as u64).to_le_bytes());
            bytes.extend_from_slice(id.as_bytes());
        }
        key.wide(&bytes) as u64
    }

    /// Fills the optional fields that are absent here from a later copy; what is present stays.
    pub fn fill_absent_from(&mut self, later: &Self) {
        let fill = |mine: &mut Option<CompactString>, theirs: &Option<CompactString>| {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        };
        fill(&mut self.merchant_id, &later.merchant_id);
        fill(&mut self.product_id, &later.product_id);
        fill(&mut self.country, &later.country);
        fill(&mut self.card_id, &later.card_id);
        fill(&mut self.device_id, &later.device_id);
        self.channel = self.channel.or(later.channel);
        self.is_fraud = self.is_fraud.or(later.is_fraud);
        for (name, value) in &later.extra {
            if !self.extra.iter().any(|(mine, _)| mine == name) {
                self.extra.push((name.clone(), value.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Millis;
    use crate::base::money::Currency;
    use crate::transaction::Channel;

    fn payment() -> Transaction {
        Transaction {
            transaction_id: "t1".into(),
            occurred_at: Millis(1_700_000_000_000),
            customer_id: "c1".into(),
            terminal_id: "p1".into(),
            amount_minor: 1_250,
            currency: Currency::parse("EUR").unwrap(),
            merchant_id: None,
            product_id: None,
            country: None,
            channel: None,
            card_id: None,
            device_id: None,
            is_fraud: None,
            extra: Vec::new(),
        }
    }

    #[test]
    fn a_fingerprint_sees_every_required_field_and_no_other() {
        let key = HashKey::new([7; 16]);
        let first = payment().fingerprint(&key);
        let changed: [fn(&mut Transaction); 6] = [
            |payment| payment.occurred_at = Millis(1_700_000_000_001),
            |payment| payment.customer_id = "c2".into(),
            |payment| payment.terminal_id = "p2".into(),
            |payment| payment.amount_minor = 1_251,
            |payment| payment.currency = Currency::parse("USD").unwrap(),
            // A character moved from one identifier to the next must not go unseen.
            |payment| (payment.customer_id, payment.terminal_id) = ("c1p".into(), "1".into()),
        ];
        for (index, change) in changed.iter().enumerate() {
            let mut other = payment();
            change(&mut other);
            assert_ne!(other.fingerprint(&key), first, "change {index}");
        }
        let mut other = payment();
        other.merchant_id = Some("m".into());
        other.channel = Some(Channel::Online);
        assert_eq!(other.fingerprint(&key), first);
        assert_ne!(payment().fingerprint(&HashKey::new([8; 16])), first);
    }

    #[test]
    fn a_later_copy_fills_what_is_absent_and_changes_nothing() {
        let mut first = payment();
        first.merchant_id = Some("m1".into());
        let mut later = payment();
        later.merchant_id = Some("m2".into());
        later.country = Some("DE".into());
        later.channel = Some(Channel::Transfer);
        later.extra.push(("shop_id".into(), "s1".into()));
        first.fill_absent_from(&later);
        assert_eq!(first.entity("merchant_id"), Some("m1"));
        assert_eq!(first.entity("country"), Some("DE"));
        assert_eq!(first.entity("channel"), Some("transfer"));
        assert_eq!(first.entity("shop_id"), Some("s1"));
        assert_eq!(first.entity("card_id"), None);
        assert_eq!(first.entity("nothing"), None);
        assert_eq!((first.entity("customer_id"), first.entity("terminal_id")), (Some("c1"), Some("p1")));
    }
}
