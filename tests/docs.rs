//! Documents cannot rot: tables of addresses, codes, metrics and keys are compared with the program.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assay::api::problem::CODES;
use assay::api::{OPENAPI, ROUTES};
use assay::base::money::Currency;
use assay::config::Config;
use assay::decision::DegradedCause;
use assay::features::Catalogue;
use assay::features::catalogue::fill;
use assay::model::Method;
use assay::ops::metrics::{ProblemCode, TABLE};
use assay::transaction::RejectionCode;
use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Cells of every table row of a Markdown text, without its heads.
fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("|--"))
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
        .collect()
}

fn config(toml: &str) -> Config {
    Config::parse(toml, std::iter::empty()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// The sections that config/stack.toml has and config/embedded.toml has not.
const STACK: [&str; 4] = ["kafka", "stream", "postgres", "mongodb"];
/// Keys of those that the shipped file fills in: addresses of this machine.
const FILLED: [&str; 3] = ["kafka.brokers", "postgres.host", "postgres.port"];

fn keys(text: &str) -> BTreeSet<String> {
    let written: toml::Table = toml::from_str(text).unwrap();
    let keys = |(section, keys): (&String, &toml::Value)| {
        keys.as_table().unwrap().keys().map(|key| format!("{section}.{key}")).collect::<Vec<_>>()
    };
    written.iter().flat_map(keys).collect()
}

#[test]
fn the_shipped_configurations_write_out_every_default() {
    let (embedded, stack) = (read("config/embedded.toml"), read("config/stack.toml"));
    let defaults = config("");
    assert_eq!(config(&embedded).effective(), defaults.effective());
    let filled = config(&stack);
    for (default, shipped) in defaults.effective().iter().zip(filled.effective()) {
        assert!(default == shipped || FILLED.contains(&default.0), "{shipped:?} is not the default {default:?}");
    }
    let of_stack = |key: &String| STACK.contains(&key.split('.').next().unwrap());
    let (theirs, ours): (BTreeSet<String>, BTreeSet<String>) =
        defaults.effective().iter().map(|(key, _)| (*key).to_owned()).partition(|key| of_stack(key));
    assert_eq!(keys(&embedded), ours);
    assert_eq!(keys(&stack), theirs);
}

#[test]
fn config_md_has_every_key_with_its_default_and_the_shipped_meaning() {
    let shipped = read("config/embedded.toml") + &read("config/stack.toml");
    let documented: Vec<_> = rows(&read("docs/CONFIG.md")).into_iter().filter(|row| row[0].contains('.')).collect();
    let known = config("");
    let told: Vec<(&str, &str)> = documented.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    let expected: Vec<(&str, &str)> = known.effective().iter().map(|(key, value)| (*key, value.as_str())).collect();
    assert_eq!(told, expected);
    let spoken = shipped.lines().filter_map(|line| line.strip_prefix("# ")).collect::<Vec<_>>().join(" ");
    for row in &documented {
        assert!(
            !row[2].is_empty() && spoken.contains(&row[2]),
            "{}: {:?} is not what the shipped file says",
            row[0],
            row[2]
        );
    }
}

#[test]
fn metrics_md_is_the_table() {
    let text = read("docs/METRICS.md");
    let documented = rows(&text);
    let told: Vec<_> =
        documented.iter().filter(|row| row[0].starts_with("assay_") && row.len() == 4).cloned().collect();
    let expected: Vec<Vec<String>> = TABLE
        .iter()
        .map(|entry| {
            let labels: Vec<_> = entry.labels.iter().map(|(name, _)| format!("`{name}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            let cell = labels.trim_matches('`').to_owned();
            vec![entry.name.to_owned(), entry.kind.as_str().to_owned(), cell, entry.help.to_owned()]
        })
        .collect();
    assert_eq!(told, expected);
    for (name, values) in TABLE.iter().flat_map(|entry| entry.labels) {
        let row = values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
        assert!(text.contains(&format!("| `{name}` | {row} |")), "{name}: {row}");
    }
}

#[test]
fn api_md_has_every_address_and_code() {
    let documented = rows(&read("docs/API.md"));
    let routes: Vec<_> = documented.iter().filter(|row| row.len() == 3 && row[1].starts_with('/')).cloned().collect();
    let expected: Vec<Vec<String>> =
        ROUTES.iter().map(|route| [route.method, route.path, route.what].map(str::to_owned).to_vec()).collect();
    assert_eq!(routes, expected);
    let codes: Vec<(String, String)> = documented
        .iter()
        .filter(|row| row.len() == 3 && row[1].parse::<u16>().is_ok())
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let expected: Vec<(String, String)> = CODES
        .iter()
        .map(|(code, class)| (ProblemCode::VALUES[*code as usize].to_owned(), class.status().as_u16().to_string()))
        .collect();
    assert_eq!(codes, expected);
}

#[test]
fn rejections_lead_the_problem_codes_in_their_order() {
    let own: Vec<_> = RejectionCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(ProblemCode::VALUES[..own.len()], own[..]);
}

#[test]
fn openapi_has_every_address_and_code() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let expected: BTreeSet<_> = ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(described, expected);
    let codes: Vec<_> = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_str().unwrap())
        .collect();
    assert_eq!(codes, ProblemCode::VALUES);
}

#[test]
fn references_of_openapi_lead_somewhere() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut stack = vec![&document];
    let mut seen = 0;
    while let Some(value) = stack.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
                    seen += 1;
                }
                stack.extend(members.values());
            }
            Value::Array(items) => stack.extend(items),
            _ => {}
        }
    }
    assert!(seen > 20);
}

#[test]
fn features_md_is_the_catalogue() {
    let catalogue = Catalogue::shipped(Currency::parse("EUR").unwrap()).unwrap();
    let text = read("docs/FEATURES.md");
    let expected = fill(&text, &catalogue).expect("docs/FEATURES.md has the marks of its tables");
    assert!(text == expected, "the tables of docs/FEATURES.md are not what the catalogue gives: run `make docs`");
    for feature in catalogue.features() {
        assert!(text.contains(&format!("| `{}` | {} |", feature.name, feature.meaning)), "{}", feature.name);
    }
}

#[test]
fn api_md_has_every_code_of_a_reason() {
    let documented = rows(&read("docs/API.md"));
    let of_reasons = |row: &&Vec<String>| row.len() == 3 && ["yes", "no"].contains(&row[1].as_str());
    let told: Vec<_> = documented.iter().filter(of_reasons).cloned().collect();
    let expected = DegradedCause::ALL.map(|cause| {
        let degrades = if cause.degrades() { "yes" } else { "no" };
        [cause.as_str(), degrades, cause.message()].map(str::to_owned).to_vec()
    });
    assert_eq!(told, expected);
}

#[test]
fn openapi_and_models_md_have_every_method_of_explanation() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let methods = [Method::TreeShap, Method::LinearShap, Method::PermutationShapley].map(Method::as_str);
    let described = &document["components"]["schemas"]["Explanation"]["properties"]["method"]["enum"];
    assert_eq!(*described, serde_json::json!(methods));
    let text = read("docs/MODELS.md");
    assert!(methods.iter().all(|method| text.contains(&format!("\n### `{method}`"))));
}
