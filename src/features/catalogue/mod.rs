//! The catalogue: every feature by name, as data (`schemas/features.toml`), and what history must keep for it.
//!
//! In: TOML. Out: a [`Catalogue`], or the first entry that breaks a rule, by name. A [`Plan`] is the part of it that
//! one model reads, in the model's order.

mod entry;
mod kind;
mod page;
mod plan;
mod reads;

use std::collections::HashMap;

use thiserror::Error;

use crate::base::money::Currency;
use entry::Entry;
pub use kind::{Aggregate, Kind, Unit, WALK};
pub use page::fill;
pub use plan::Plan;
pub(super) use plan::{Expression, Slot};
pub(super) use reads::{Column, Distance, EntityReads, FraudRead, Part, PartKind, Read, Statistic, Walk};

/// The shipped catalogue's text.
pub const SHIPPED: &str = include_str!("../../../schemas/features.toml");

/// Every feature that a catalogue names.
#[derive(Debug, Clone)]
pub struct Catalogue {
    groups: Vec<Group>,
    features: Vec<Feature>,
    places: HashMap<String, usize>,
    kept: Vec<Kept>,
    minor_per_major: f64,
}

/// What features can be about: reasons are told, and hidden, by it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Stable name.
    pub name: String,
    /// A few words for a person.
    pub meaning: String,
}

/// One feature of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Stable name.
    pub name: String,
    /// Name of its [`Group`].
    pub group: String,
    /// A sentence for a person.
    pub meaning: String,
    /// What it is and from what.
    pub kind: Kind,
}

/// What history keeps of one entity because some feature of the catalogue needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Canonical name of the identifying field.
    pub entity: String,
    /// Longest window plus delay, milliseconds: how long a transaction is kept.
    pub reach: i64,
    /// Longest window plus delay that needs amounts; 0 where none does.
    pub amounts: i64,
    /// Identifiers whose values are counted, by canonical name, with the longest window plus delay; at most 8.
    pub values: Vec<(String, i64)>,
    /// Whether verdicts are needed.
    pub labels: bool,
}

/// Why a catalogue or a plan cannot be had.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// The text is not TOML of the documented form.
    #[error("features catalogue: {0}")]
    Syntax(#[from] toml::de::Error),
    /// An entry breaks a rule.
    #[error("features catalogue: {name}: {rule}")]
    Invalid {
        /// The entry.
        name: String,
        /// The rule.
        rule: String,
    },
    /// A group breaks a rule.
    #[error("features catalogue: group {name:?}: {rule}")]
    Group {
        /// The group.
        name: String,
        /// The rule.
        rule: &'static str,
    },
    /// A plan asks for a name the catalogue does not have.
    #[error("the catalogue has no feature {0:?}")]
    Unknown(String),
}

impl Catalogue {
    /// The catalogue that is built into the program, with amounts in units of `base`.
    ///
    /// # Errors
    /// When the text breaks a rule of the catalogue; a test keeps the shipped one right.
    pub fn shipped(base: Currency) -> Result<Self, CatalogueError> {
        Self::parse(SHIPPED, base)
    }

    /// Reads a catalogue; amounts are encoded in units of `base`.
    ///
    /// # Errors
    /// The first entry that breaks a rule, by name.
    pub fn parse(text: &str, base: Currency) -> Result<Self, CatalogueError> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Document {
            #[serde(default)]
            group: Vec<Group>,
            feature: Vec<Entry>,
        }
        let document: Document = toml::from_str(text)?;
        let groups = checked(document.group)?;
        let mut features: Vec<Feature> = Vec::with_capacity(document.feature.len());
        let mut places = HashMap::new();
        for entry in document.feature {
            let feature = entry.check(&features, &groups)?;
            if places.insert(feature.name.clone(), features.len()).is_some() {
                return Err(CatalogueError::Invalid { name: feature.name, rule: "the name stands twice".to_owned() });
            }
            features.push(feature);
        }
        if let Some(unused) = groups.iter().find(|group| !features.iter().any(|feature| feature.group == group.name)) {
            return Err(CatalogueError::Group { name: unused.name.clone(), rule: "no feature is of it" });
        }
        let kept = kept(&features)?;
        #[expect(clippy::cast_precision_loss, reason = "1, 100 or 1000")]
        let minor_per_major = base.minor_per_major() as f64;
        Ok(Self { groups, features, places, kept, minor_per_major })
    }

    /// Names of all features, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|feature| feature.name.as_str())
    }

    /// All groups, in the file's order.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The meaning of a group.
    #[must_use]
    pub fn group_meaning(&self, name: &str) -> Option<&str> {
        self.groups.iter().find(|group| group.name == name).map(|group| group.meaning.as_str())
    }

    /// All features, in the file's order.
    #[must_use]
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// What history keeps, an entry an entity.
    #[must_use]
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// The plan that reads `names`, in that order.
    ///
    /// # Errors
    /// The first name the catalogue does not have.
    pub fn plan<S: AsRef<str>>(&self, names: &[S]) -> Result<Plan, CatalogueError> {
        Plan::compile(self, names)
    }

    /// The plan of every feature, in the file's order.
    ///
    /// # Errors
    /// None that a parsed catalogue can give.
    pub fn full_plan(&self) -> Result<Plan, CatalogueError> {
        self.plan(&self.names().collect::<Vec<_>>())
    }

    /// How far back history must reach, milliseconds: the longest window plus its delay (the lateness comes on top).
    #[must_use]
    pub fn reach(&self) -> i64 {
        self.kept.iter().map(|kept| kept.reach).max().unwrap_or(0)
    }

    fn feature(&self, name: &str) -> Result<&Feature, CatalogueError> {
        let place = self.places.get(name).and_then(|place| self.features.get(*place));
        place.ok_or_else(|| CatalogueError::Unknown(name.to_owned()))
    }
}

/// Groups with names of their own.
fn checked(groups: Vec<Group>) -> Result<Vec<Group>, CatalogueError> {
    for (index, group) in groups.iter().enumerate() {
        let twice = groups.iter().take(index).any(|earlier| earlier.name == group.name);
        let rule = match () {
            () if twice => "the name stands twice",
            () if !entry::is_name(&group.name) => "a name is lower-case letters, digits and _",
            () if group.meaning.is_empty() => "it needs a meaning",
            () => continue,
        };
        return Err(CatalogueError::Group { name: group.name.clone(), rule });
    }
    Ok(groups)
}

/// Identifiers of one entity that can be counted: a bit of a byte each.
const COUNTED: usize = 8;

/// What each entity needs, in the order in which the catalogue first names it.
fn kept(features: &[Feature]) -> Result<Vec<Kept>, CatalogueError> {
    let mut all: Vec<Kept> = Vec::new();
    for feature in features {
        let (entity, reach) = match &feature.kind {
            Kind::Window { entity, window, delay, .. } => (entity, window + delay),
            Kind::Elapsed { entity, within, .. } => (entity, *within),
            _ => continue,
        };
        let place = all.iter().position(|kept| kept.entity == *entity).unwrap_or_else(|| {
            all.push(Kept { entity: entity.clone(), reach: 0, amounts: 0, values: Vec::new(), labels: false });
            all.len() - 1
        });
        let Some(kept) = all.get_mut(place) else { continue };
        kept.reach = kept.reach.max(reach);
        let Kind::Window { aggregate, .. } = &feature.kind else { continue };
        kept.labels |= aggregate.needs_labels();
        if aggregate.needs_amount() {
            kept.amounts = kept.amounts.max(reach);
        }
        if let Some(of) = aggregate.counted() {
            let counted = kept.values.len();
            match kept.values.iter_mut().find(|(name, _)| name == of) {
                Some((_, longest)) => *longest = reach.max(*longest),
                None if counted < COUNTED => kept.values.push((of.to_owned(), reach)),
                None => {
                    let rule = format!("{COUNTED} identifiers of {entity} are counted already, which is the most");
                    return Err(CatalogueError::Invalid { name: feature.name.clone(), rule });
                }
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::DAY;

    fn parse(text: &str) -> Result<Catalogue, CatalogueError> {
        Catalogue::parse(text, Currency::parse("EUR").unwrap())
    }

    #[test]
    fn the_shipped_catalogue_is_right_and_names_the_handbooks_features_first() {
        let catalogue = parse(SHIPPED).unwrap();
        let first: Vec<_> = catalogue.names().take(5).collect();
        assert_eq!(first, ["amount", "is_weekend", "is_night", "customer_tx_count_1d", "customer_amount_mean_1d"]);
        assert_eq!(catalogue.reach(), 37 * DAY);
        let plan = catalogue.full_plan().unwrap();
        assert_eq!(plan.names().len(), catalogue.features().len());
        assert_eq!([0, 10].map(|index| plan.group(index)), ["amount", "terminal_risk"]);
        assert!(catalogue.features().iter().all(|feature| catalogue.group_meaning(&feature.group).is_some()));
    }

    #[test]
    fn a_feature_of_a_known_kind_is_one_entry_more() {
        let more = format!(
            "{SHIPPED}\n[[feature]]\nname = \"product_customers_7d\"\nkind = \"window\"\nentity = \"product_id\"\n\
             group = \"customer_habits\"\naggregate = \"distinct\"\nof = \"customer_id\"\nwindow = \"7d\"\nmeaning = \"customers of this product\"\n"
        );
        let catalogue = parse(&more).unwrap();
        assert!(
            catalogue
                .kept()
                .iter()
                .any(|kept| kept.entity == "product_id" && kept.values == [("customer_id".to_owned(), 7 * DAY)])
        );
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        let group = "[[group]]\nname = \"g\"\nmeaning = \"m\"\n";
        let base = format!("{group}[[feature]]\nname = \"x\"\ngroup = \"g\"\nmeaning = \"m\"\n");
        let again = base.strip_prefix(group).unwrap();
        let window = format!("{base}kind = \"window\"\nentity = \"customer_id\"\nwindow = \"1d\"\n");
        for (text, part) in [
            (format!("{window}aggregate = \"fraud_share\"\n"), "needs a delay"),
            (format!("{window}aggregate = \"distinct\"\n"), "needs `of`"),
            (format!("{window}aggregate = \"median\"\n"), "unknown variant"),
            (format!("{window}aggregate = \"count\"\nunit = \"minor\"\n"), "unit"),
            (format!("{window}aggregate = \"count\"\ndays = [1]\n"), "does not take `days`"),
            (format!("{base}kind = \"ratio\"\nnumerator = \"y\"\ndenominator = \"y\"\n"), "before it"),
            (format!("{base}kind = \"weekday_in\"\ndays = [0]\n"), "1 (Monday) to 7"),
            (format!("{base}kind = \"hour\"\ncolour = 1\n"), "colour"),
            (format!("{base}kind = \"hour\"\n{again}kind = \"hour\"\n"), "twice"),
            (format!("{base}kind = \"elapsed\"\nentity = \"customer\"\nwithin = \"1d\"\n"), "ends in `_id`"),
            (format!("{group}{base}kind = \"hour\"\n"), "\"g\": the name stands twice"),
            (format!("{}{base}kind = \"hour\"\n", group.replace("\"g\"", "\"h\"")), "\"h\": no feature is of it"),
            (format!("{base}kind = \"hour\"\n").replacen("group = \"g\"", "group = \"h\"", 1), "\"h\" is none of"),
            (format!("{base}kind = \"hour\"\n").replacen("group = \"g\"\n", "", 1), "missing field `group`"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{error} should mention {part}");
        }
    }
}
