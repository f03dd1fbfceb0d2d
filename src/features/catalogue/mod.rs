//! The catalogue: every feature by name, as data (`schemas/features.toml`), and what history must keep for it.
//!
//! In: TOML. Out: a [`Catalogue`], or the first entry that breaks a rule, by name. A [`Plan`] is the part of it that
//! one model reads, in the model's order.

mod entry;
mod kind;
mod needs;
mod page;
mod plan;
mod reads;

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;

use super::reference::{Pick, Reference, ReferenceSchema, SchemaError};
use crate::base::money::Currency;
use entry::Entry;
pub use kind::{Aggregate, Kind, Unit, WALK};
pub use needs::Needs;
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
    /// Where its reference data is read, where some is configured.
    reference: Option<Arc<Reference>>,
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
    /// The tables of reference data break a rule.
    #[error(transparent)]
    Reference(#[from] SchemaError),
    /// A plan asks for a feature of reference data that nobody loads.
    #[error(
        "the feature {feature:?} reads the reference table {table:?}, which is not configured: name it in \
         reference.tables or put a file of it into reference.directory (offline: --reference DIR)"
    )]
    NoReference {
        /// The feature.
        feature: String,
        /// The table.
        table: String,
    },
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
        let reference = ReferenceSchema::shipped()?;
        let groups = checked(document.group)?;
        let mut features: Vec<Feature> = Vec::with_capacity(document.feature.len());
        let mut places = HashMap::new();
        for entry in document.feature {
            let feature = entry.check(&features, &groups, &reference)?;
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
        Ok(Self { groups, features, places, kept, minor_per_major, reference: None })
    }

    /// The same, with the reference data that its plans read.
    #[must_use]
    pub fn with_reference(self, reference: Arc<Reference>) -> Self {
        Self { reference: Some(reference), ..self }
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

    /// Names of the features that can be computed, in the file's order: all but those of reference data that is not
    /// configured.
    pub fn computable(&self) -> impl Iterator<Item = &str> {
        self.features.iter().filter(|feature| self.is_computable(feature)).map(|feature| feature.name.as_str())
    }

    /// The plan of every feature that can be computed, in the file's order.
    ///
    /// # Errors
    /// None that a parsed catalogue can give.
    pub fn full_plan(&self) -> Result<Plan, CatalogueError> {
        self.plan(&self.computable().collect::<Vec<_>>())
    }

    /// Names of the features whose values are whole numbers: counts and flags.
    pub fn integers(&self) -> impl Iterator<Item = &str> {
        self.features.iter().filter(|feature| plan::is_integer(&feature.kind)).map(|feature| feature.name.as_str())
    }

    /// Whether the reference data that a feature, or one it is derived from, reads is configured.
    fn is_computable(&self, feature: &Feature) -> bool {
        match &feature.kind {
            Kind::Reference { pick, .. } => self.reads(pick).is_some(),
            kind => {
                plan::inputs(kind).into_iter().all(|name| self.feature(name).is_ok_and(|one| self.is_computable(one)))
            }
        }
    }

    /// The reference data, where the table that `pick` reads is configured.
    fn reads(&self, pick: &Pick) -> Option<&Arc<Reference>> {
        self.reference.as_ref().filter(|reference| reference.has(pick.table))
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
        let reading = |feature: &&Feature| {
            matches!(feature.kind, Kind::Reference { .. }) || feature.name == "amount_to_merchant_usual"
        };
        assert_eq!(plan.width() + catalogue.features().iter().filter(reading).count(), catalogue.features().len());
        let whole = catalogue.clone().with_reference(Arc::new(Reference::new(vec![true; 4])));
        assert_eq!(whole.full_plan().unwrap().width(), catalogue.features().len());
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
    fn history_keeps_nothing_for_reference_data() {
        let catalogue = parse(SHIPPED).unwrap();
        let windows: String = SHIPPED.split_inclusive("\n\n").filter(|entry| !entry.contains("_profile\"")).collect();
        let without = parse(&windows).unwrap();
        assert_eq!(without.features().len() + 8, catalogue.features().len());
        assert_eq!(without.kept(), catalogue.kept());
        assert_eq!(catalogue.clone().with_reference(Arc::new(Reference::new(vec![true; 4]))).kept(), catalogue.kept());
    }

    #[test]
    fn a_feature_whose_reference_data_nobody_loads_is_refused_by_name() {
        let catalogue = parse(SHIPPED).unwrap();
        let merchants = Arc::new(Reference::new(vec![true, false, false, false]));
        for (catalogue, name, table) in [
            (catalogue.clone(), "merchant_risk_class", Some("merchants")),
            (catalogue.clone(), "amount_to_merchant_usual", Some("merchants")),
            (catalogue.clone().with_reference(Arc::clone(&merchants)), "merchant_risk_class", None),
            (catalogue.with_reference(merchants), "country_risk_class", Some("countries")),
        ] {
            match (catalogue.plan(&[name]), table) {
                (Ok(_), None) => {}
                (Err(error), Some(table)) => {
                    assert!(error.to_string().contains(&format!("{table:?}, which is not configured")), "{error}");
                }
                (plan, _) => unreachable!("{name}: {plan:?}"),
            }
        }
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
            (
                format!("{base}kind = \"reference\"\nentity = \"terminal_id\"\nattribute = \"x\"\n"),
                "no table of entity",
            ),
            (format!("{base}kind = \"reference\"\nentity = \"country\"\nattribute = \"x\"\n"), "no attribute \"x\""),
            (format!("{base}kind = \"reference\"\nentity = \"country\"\n"), "needs `attribute`"),
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
