//! What a feature needs to be had at all: how far back, and whether verdicts.

use super::plan::inputs;
use super::{Catalogue, CatalogueError, Kind};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// The longest window plus its delay, milliseconds; 0 where the payment alone is looked at.
    pub reach: i64,
    /// Whether verdicts on earlier payments count.
    pub labels: bool,
}

impl Catalogue {
    /// What a feature needs, with what it is made of.
    ///
    /// # Errors
    /// When the catalogue has no feature of this name.
    pub fn needs(&self, name: &str) -> Result<Needs, CatalogueError> {
        let mut needs = Needs::default();
        let mut todo = vec![name];
        while let Some(name) = todo.pop() {
            let kind = &self.feature(name)?.kind;
            let (reach, labels) = match kind {
                Kind::Window { window, delay, aggregate, .. } => (window + delay, aggregate.needs_labels()),
                Kind::Elapsed { within, .. } => (*within, false),
                _ => (0, false),
            };
            needs = Needs { reach: needs.reach.max(reach), labels: needs.labels || labels };
            // A catalogue's features are made of earlier ones only: this ends.
            todo.extend(inputs(kind));
        }
        Ok(needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::DAY;
    use crate::base::money::Currency;

    #[test]
    fn a_feature_needs_what_it_and_its_parts_look_back_on() {
        let catalogue = Catalogue::shipped(Currency::parse("EUR").unwrap()).unwrap();
        assert_eq!(catalogue.needs("amount").unwrap(), Needs::default());
        assert_eq!(catalogue.needs("customer_tx_count_1d").unwrap(), Needs { reach: DAY, labels: false });
        assert!(catalogue.needs("terminal_fraud_share_7d").unwrap().labels);
        let all = catalogue.names().map(|name| catalogue.needs(name).unwrap().reach).max();
        assert_eq!(all, Some(catalogue.reach()));
        assert!(catalogue.needs("nothing").is_err());
    }
}
