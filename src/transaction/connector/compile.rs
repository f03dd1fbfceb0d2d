//! From a connector file to a [`Connector`]: checks every rule and reports all that are broken at once.

use std::borrow::Cow;

use super::file::{File, Mapping, Paths, TypeWord, UnitWord, Unmapped};
use super::{Accept, Connector, ConnectorError, FieldPlan, Target, Tree, Unit, ValueMap};
use crate::transaction::raw::RawValue;
use crate::transaction::schema::{Field, Kind, Schema, State};
use crate::transaction::validation::read_field;

pub(super) fn compile(schema: &Schema, file: File) -> Result<Connector, ConnectorError> {
    let mut compiler = Compiler { root: file.root.clone(), ..Compiler::default() };
    for name in file.fields.keys() {
        if schema.field(name).is_none() {
            compiler.faults.push(format!("fields.{name}: the schema has no such field"));
        }
    }
    let mut fields: Vec<FieldPlan> = Vec::new();
    for field in schema.fields() {
        match file.fields.get(field.name.as_str()) {
            Some(mapping) => fields.extend(compiler.field(field, mapping)),
            None if file.unmapped == Unmapped::SameName => {
                let own = Mapping { from: Some(Paths::One(field.name.to_string())), ..Mapping::default() };
                fields.extend(compiler.field(field, &own));
            }
            None if field.state == State::Required => {
                compiler.faults.push(format!("fields.{}: required, and mapped from nothing", field.name));
            }
            None => {}
        }
    }
    // Amounts in major units need the currency, so they come last; everything else is read in the schema's order.
    fields.sort_by_key(|plan| plan.field.kind == Kind::Amount);
    let accept = file.accept.as_ref().and_then(|rule| {
        let slot = compiler.slot("accept", &rule.path)?;
        if rule.values.is_empty() {
            compiler.faults.push("accept.values: must name at least one value".to_owned());
        }
        Some(Accept { slot, values: rule.values.iter().map(super::file::Scalar::text).collect() })
    });
    if compiler.faults.is_empty() {
        let Compiler { paths, tree, .. } = compiler;
        return Ok(Connector { name: file.name, fields, accept, paths, tree });
    }
    Err(ConnectorError::Faults { name: file.name, faults: compiler.faults })
}

#[derive(Default)]
struct Compiler {
    root: String,
    paths: Vec<String>,
    tree: Tree,
    faults: Vec<String>,
}

impl Compiler {
    /// The slot of a path as the file writes it.
    fn slot(&mut self, place: &str, path: &str) -> Option<usize> {
        let full = match path.strip_prefix("$.") {
            Some(absolute) => absolute.to_owned(),
            None if self.root.is_empty() => path.to_owned(),
            None => format!("{}.{path}", self.root),
        };
        if let Some(slot) = self.paths.iter().position(|known| *known == full) {
            return Some(slot);
        }
        let slot = self.paths.len();
        if let Err(fault) = self.tree.insert(&full, slot) {
            self.faults.push(format!("{place}: {fault}"));
            return None;
        }
        self.paths.push(full);
        Some(slot)
    }

    fn field(&mut self, field: &Field, mapping: &Mapping) -> Option<FieldPlan> {
        let place = format!("fields.{}", field.name);
        let paths = mapping.from.as_ref().map(Paths::all).unwrap_or_default();
        if paths.is_empty() && mapping.constant.is_none() {
            self.faults.push(format!("{place}: needs from (a path or several) or constant"));
        }
        let slots = paths.iter().filter_map(|path| self.slot(&place, path)).collect();
        self.check_words(&place, field.kind, mapping);
        let mut plan = FieldPlan {
            field: field.clone(),
            target: target(&field.name),
            slots,
            unit: unit(mapping.unit),
            upper: mapping.case.is_some(),
            as_text: matches!(mapping.as_type, Some(TypeWord::Text)),
            map: None,
            constant: None,
        };
        self.check_values(&place, &mut plan, mapping);
        plan.map = mapping.map.as_ref().map(|entries| ValueMap {
            entries: entries.iter().map(|(from, to)| (from.clone(), to.text())).collect(),
            default: mapping.default.as_ref().map(super::file::Scalar::text),
        });
        Some(plan)
    }

    fn check_words(&mut self, place: &str, kind: Kind, mapping: &Mapping) {
        let unit_fits = match mapping.unit {
            None => true,
            Some(UnitWord::Ms | UnitWord::S | UnitWord::Rfc3339) => kind == Kind::Time,
            Some(UnitWord::Minor | UnitWord::Major) => kind == Kind::Amount,
        };
        if !unit_fits {
            self.faults.push(format!("{place}.unit: ms, s and rfc3339 are for times, minor and major for amounts"));
        }
        if mapping.as_type.is_some() && kind != Kind::Id {
            self.faults.push(format!("{place}.as: only identifiers can be made of integers"));
        }
        if mapping.case.is_some() && !matches!(kind, Kind::Id | Kind::Currency | Kind::Country) {
            self.faults.push(format!("{place}.case: only for identifiers, currencies and countries"));
        }
        if mapping.default.is_some() && mapping.map.is_none() {
            self.faults.push(format!("{place}.default: belongs to a map; use constant for what is absent"));
        }
        if (mapping.map.is_some() || mapping.unit.is_some()) && mapping.from.is_none() {
            self.faults.push(format!("{place}: map and unit say how to read a source, and there is no from"));
        }
    }

    /// Values that the file itself gives must satisfy the schema: the constant, what the map leads to, its default.
    fn check_values(&mut self, place: &str, plan: &mut FieldPlan, mapping: &Mapping) {
        let unit = plan.unit;
        plan.unit = Unit::Default;
        let named = mapping.constant.iter().map(|value| ("constant".to_owned(), value));
        let named = named.chain(mapping.default.iter().map(|value| ("default".to_owned(), value)));
        let named = named.chain(mapping.map.iter().flatten().map(|(key, value)| (format!("map.{key}"), value)));
        let mut constant = None;
        for (key, value) in named {
            match read_field(plan, &RawValue::Cell(Cow::Owned(value.text())), None) {
                Ok(value) if key == "constant" => constant = Some(value),
                Ok(_) => {}
                Err(rejection) => self.faults.push(format!("{place}.{key}: {}", rejection.rule)),
            }
        }
        plan.constant = constant;
        plan.unit = unit;
    }
}

fn unit(word: Option<UnitWord>) -> Unit {
    match word {
        None => Unit::Default,
        Some(UnitWord::Ms) => Unit::Milliseconds,
        Some(UnitWord::S) => Unit::Seconds,
        Some(UnitWord::Rfc3339) => Unit::Rfc3339,
        Some(UnitWord::Minor) => Unit::Minor,
        Some(UnitWord::Major) => Unit::Major,
    }
}

fn target(name: &str) -> Target {
    match name {
        "transaction_id" => Target::TransactionId,
        "occurred_at" => Target::OccurredAt,
        "customer_id" => Target::CustomerId,
        "terminal_id" => Target::TerminalId,
        "amount_minor" => Target::AmountMinor,
        "currency" => Target::Currency,
        "merchant_id" => Target::MerchantId,
        "product_id" => Target::ProductId,
        "country" => Target::Country,
        "channel" => Target::Channel,
        "card_id" => Target::CardId,
        "device_id" => Target::DeviceId,
        "is_fraud" => Target::IsFraud,
        _ => Target::Extra,
    }
}
