//! From contributions to reasons: which are told, by what name, and in which words.
//!
//! In: the contributions of a row's values (log-odds), and the rules of the house. Out: the largest of them as reasons,
//! and what they leave as `other`. Invariant: baseline + Σ contributions told + other = margin; a hidden feature or group
//! is in `other` and nowhere else.

use std::collections::{BTreeSet, HashMap};

use super::{Decision, Explanation, Reason};
use crate::model;

/// What reasons are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// Single features, with their values.
    #[default]
    Feature,
    /// Groups of features, without values.
    Group,
}

/// The rules of the house for reasons.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReasonRules {
    /// The most features or groups that a decision names.
    pub most: usize,
    /// What they are told by.
    pub by: By,
    /// Features and groups that are never told, neither by name nor by value nor by contribution.
    pub hidden: BTreeSet<String>,
}

/// One input of the model, as reasons and the stored document name it.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name in the catalogue.
    pub name: String,
    /// A sentence about it for a person.
    pub meaning: String,
    /// Whether its values are integers.
    pub integer: bool,
    /// The group it is of.
    pub group: String,
    /// A sentence about the group for a person.
    pub group_meaning: String,
    /// Its median in training, where the model brings it.
    pub usual: Option<f64>,
}

/// What moved a score, as it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The features or groups that moved it furthest, furthest first.
    pub reasons: Vec<Reason>,
    /// How they add up.
    pub explanation: Explanation,
}

impl ReasonRules {
    /// Whether a column is kept out of reasons: itself or its group.
    #[must_use]
    pub fn hides(&self, column: &Column) -> bool {
        self.hidden.contains(&column.name) || self.hidden.contains(&column.group)
    }

    /// The reasons for a row of `values`, explained by the model. `values` and the contributions are in the order of
    /// `columns`. What moved nothing is left out.
    #[must_use]
    pub fn explain(&self, columns: &[Column], values: &[f64], explained: &model::Explanation) -> Explained {
        let told = columns.iter().zip(values).zip(&explained.contributions);
        let told = told.filter(|((column, _), _)| !self.hides(column));
        let mut movers: Vec<Mover<'_>> = match self.by {
            By::Feature => {
                told.map(|((column, value), moved)| Mover { column, value: Some(*value), moved: *moved }).collect()
            }
            By::Group => by_group(told.map(|((column, _), moved)| (column, *moved))),
        };
        movers.retain(|mover| mover.moved.is_finite() && mover.moved != 0.0);
        movers.sort_by(|left, right| right.moved.abs().total_cmp(&left.moved.abs()));
        movers.truncate(self.most);
        let reasons: Vec<Reason> = movers.iter().map(Mover::reason).collect();
        let moved = |reason: &Reason| reason.contribution.unwrap_or_default();
        let model::Explanation { method, baseline, margin, .. } = *explained;
        let other = margin - baseline - reasons.iter().map(moved).sum::<f64>();
        Explained { reasons, explanation: Explanation { method, baseline, margin, other } }
    }

    /// Takes out of a decision what is hidden now and was not when it was made. `codes` are the hidden features and
    /// groups, and the features of those groups.
    pub fn redact(decision: &mut Decision, codes: &BTreeSet<String>) {
        if codes.is_empty() {
            return;
        }
        let mut moved = 0.0;
        decision.reasons.retain(|reason| {
            let hidden = reason.contribution.filter(|_| codes.contains(&reason.code));
            moved += hidden.unwrap_or_default();
            hidden.is_none()
        });
        if let Some(explanation) = &mut decision.explanation {
            explanation.other += moved;
        }
    }
}

/// What moved a score, before it is put into words: a feature with its value, or a group, named by one of its columns.
#[derive(Clone, Copy)]
struct Mover<'a> {
    column: &'a Column,
    value: Option<f64>,
    moved: f64,
}

impl Mover<'_> {
    fn reason(&self) -> Reason {
        match self.value {
            Some(value) => of_feature(self.column, value, self.moved),
            None => Reason {
                code: self.column.group.clone(),
                message: format!(
                    "{}: {} the risk",
                    words(&self.column.group_meaning, &self.column.group),
                    verb(self.moved)
                ),
                value: None,
                contribution: Some(self.moved),
            },
        }
    }
}

fn of_feature(column: &Column, value: f64, moved: f64) -> Reason {
    let shown = |value: f64| match value.abs() {
        _ if column.integer => format!("{value:.0}"),
        // Shares and ratios: what stands behind two zeros matters.
        size if size > 0.0 && size < 0.1 => format!("{value:.4}"),
        _ => format!("{value:.2}"),
    };
    let (meaning, value_shown) = (words(&column.meaning, &column.name), shown(value));
    let usual = match column.usual.map(shown) {
        Some(usual) if usual == value_shown => " (as usual)".to_owned(),
        Some(usual) => format!(" (usually {usual})"),
        None => String::new(),
    };
    let message = format!("{meaning}: {value_shown}{usual}, {} the risk", verb(moved));
    Reason { code: column.name.clone(), message, value: Some(value), contribution: Some(moved) }
}

/// One mover a group: the sum of its features' contributions.
fn by_group<'a>(told: impl Iterator<Item = (&'a Column, f64)>) -> Vec<Mover<'a>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<Mover<'a>> = Vec::new();
    for (column, moved) in told {
        let place = *places.entry(&column.group).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.moved += moved,
            None => groups.push(Mover { column, value: None, moved }),
        }
    }
    groups
}

fn words<'a>(meaning: &'a str, name: &'a str) -> &'a str {
    if meaning.is_empty() { name } else { meaning.trim_end_matches('.') }
}

fn verb(moved: f64) -> &'static str {
    if moved > 0.0 { "raises" } else { "lowers" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Method;

    fn column(name: &str, group: &str, integer: bool, usual: f64) -> Column {
        Column {
            name: name.into(),
            meaning: format!("About {name}."),
            integer,
            group: group.into(),
            group_meaning: format!("about {group}"),
            usual: Some(usual),
        }
    }

    fn columns() -> [Column; 5] {
        [
            column("amount", "money", false, 24.33),
            column("count", "speed", true, 3.0),
            column("still", "speed", true, 1.0),
            column("share", "risk", false, 0.0),
            column("mean", "money", false, 0.25),
        ]
    }

    const VALUES: [f64; 5] = [812.4, 3.0, 1.0, 0.0312, 0.25];

    fn row() -> model::Explanation {
        model::Explanation {
            method: Method::TreeShap,
            baseline: -4.0,
            margin: 1.5,
            contributions: vec![1.0, -2.0, 0.0, 6.0, 0.5],
        }
    }

    fn rules(most: usize, by: By, hidden: &[&str]) -> ReasonRules {
        ReasonRules { most, by, hidden: hidden.iter().map(ToString::to_string).collect() }
    }

    fn told(rules: &ReasonRules) -> Vec<(String, f64)> {
        let explained = rules.explain(&columns(), &VALUES, &row());
        let Explanation { baseline, margin, other, .. } = explained.explanation;
        let sum: f64 = explained.reasons.iter().filter_map(|reason| reason.contribution).sum();
        assert!((baseline + sum + other - margin).abs() < 1e-12, "{explained:?}");
        explained.reasons.into_iter().map(|reason| (reason.code, reason.contribution.unwrap())).collect()
    }

    #[test]
    fn the_furthest_movers_come_first_and_the_rest_is_other() {
        let told = told(&rules(3, By::Feature, &[]));
        assert_eq!(told, [("share".into(), 6.0), ("count".into(), -2.0), ("amount".into(), 1.0)]);
    }

    #[test]
    fn sentences_say_value_direction_and_what_is_usual() {
        let reasons = rules(9, By::Feature, &[]).explain(&columns(), &VALUES, &row()).reasons;
        assert_eq!(
            reasons.iter().map(|reason| reason.message.as_str()).collect::<Vec<_>>(),
            [
                "About share: 0.0312 (usually 0.00), raises the risk",
                "About count: 3 (as usual), lowers the risk",
                "About amount: 812.40 (usually 24.33), raises the risk",
                "About mean: 0.25 (as usual), raises the risk",
            ]
        );
        assert_eq!(reasons[2].value, Some(812.4));
    }

    #[test]
    fn groups_add_up_and_tell_no_value() {
        let rules = rules(2, By::Group, &[]);
        assert_eq!(told(&rules), [("risk".into(), 6.0), ("speed".into(), -2.0)]);
        let reasons = rules.explain(&columns(), &VALUES, &row()).reasons;
        assert_eq!((reasons[1].message.as_str(), reasons[1].value), ("about speed: lowers the risk", None));
    }

    #[test]
    fn what_is_hidden_is_other_alone() {
        for by in [By::Feature, By::Group] {
            for hidden in [&["share", "count"][..], &["risk", "speed"], &["risk", "speed", "share"]] {
                let rules = rules(9, by, hidden);
                let explained = rules.explain(&columns(), &VALUES, &row());
                let text = serde_json::to_string(&explained.reasons).unwrap();
                for word in ["share", "count", "risk:", "speed", "0.0312", "6.0", "-2.0"] {
                    assert!(!text.contains(word), "{word} in {text}");
                }
                assert_eq!(explained.explanation.other, 5.5 - 1.5);
                assert_eq!(told(&rules).iter().map(|(_, moved)| moved).sum::<f64>(), 1.5);
            }
        }
        // Of a group with one hidden feature the others are told.
        assert_eq!(told(&rules(9, By::Group, &["mean", "risk"])), [("speed".into(), -2.0), ("money".into(), 1.0)]);
    }

    #[test]
    fn what_was_told_before_it_was_hidden_is_taken_out() {
        let Explained { reasons, explanation } = rules(9, By::Feature, &[]).explain(&columns(), &VALUES, &row());
        let told = Some(Explained { reasons, explanation });
        let circumstances = crate::decision::Circumstances {
            transaction_id: "t",
            source: crate::decision::Source::Predict,
            scored_at: crate::base::clock::Millis(0),
            took_micros: 0,
        };
        let model =
            crate::decision::ModelRef { name: "m".into(), version: "1".into(), sha256: "ab".into(), threshold: 0.5 };
        let mut decision = crate::decision::judge(circumstances, &model, 0.9, told, &[]);
        ReasonRules::redact(&mut decision, &BTreeSet::from(["share".to_owned(), "risk".to_owned()]));
        assert_eq!(decision.reasons.len(), 3);
        assert!((decision.explanation.unwrap().other - 6.0).abs() < 1e-12);
    }
}
