//! Reasons over HTTP, by the shipped model: on request, in batches, later, and what is hidden.

use assay::base::money::Currency;
use assay::features::Catalogue;
use serde_json::{Value, json};

use super::server::Server;
use super::transaction;

/// Time enough for any method on a busy machine.
const PATIENT: &str = "model.explain_wait = \"1s\"";

/// The codes of reasons that moved the score; holds that they add up.
fn moved(decision: &Value) -> Vec<String> {
    let told = decision["reasons"].as_array().unwrap().iter().filter(|reason| reason["contribution"].is_number());
    let told: Vec<_> = told.collect();
    let explanation = &decision["explanation"];
    let part = |name: &str| explanation[name].as_f64().unwrap_or_else(|| panic!("{name} in {decision}"));
    let sum: f64 = told.iter().map(|reason| reason["contribution"].as_f64().unwrap()).sum();
    let gap = part("baseline") + sum + part("other") - part("margin");
    assert!(gap.abs() < 1e-9 && explanation["method"].is_string(), "{decision}");
    told.iter().map(|reason| reason["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn reasons_are_told_on_request_at_once_in_batches_and_later() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[PATIENT, "model.reasons = 5"]);
    let mut client = server.client();
    let plain = client.post("/predict", &transaction("tx-1")).json();
    assert!(plain["flagged"] == json!(true) || plain.get("explanation").is_none(), "{plain}");

    let asked = client.post("/predict?explain=true&connector=canonical", &transaction("tx-2"));
    assert_eq!(asked.status, 200, "{}", asked.text());
    let asked = asked.json();
    assert_eq!(moved(&asked).len(), 5);
    for reason in asked["reasons"].as_array().unwrap().iter().take(5) {
        let message = reason["message"].as_str().unwrap();
        assert!(reason["value"].is_number() && message.contains(" the risk"), "{reason}");
    }
    // As it was recorded.
    assert_eq!(client.get("/decisions/tx-2").json()["explanation"], asked["explanation"]);

    // Of one that was recorded without, and of a copy: from the stored features, and the same twice.
    let later = client.get("/decisions/tx-1?explain=true").json();
    assert!(!moved(&later).is_empty());
    assert_eq!(client.get("/decisions/tx-1?explain=true").json(), later);

    let answers = client.post("/predict/batch?explain=true", &json!([transaction("tx-3"), transaction("tx-4")])).json();
    for answer in answers.as_array().unwrap() {
        assert!(!moved(answer).is_empty());
    }
    for address in ["/predict?explain=perhaps", "/predict/batch?explain=1"] {
        let refused = client.post(address, &transaction("tx-5"));
        assert_eq!((refused.status, refused.code().as_str()), (400, "bad_query"), "{address}");
    }
    assert_eq!(client.get("/decisions/tx-1?explain=").code(), "bad_query");
    assert_eq!(client.get("/decisions/nobody?explain=true").code(), "unknown_transaction");
}

#[test]
fn what_is_hidden_is_in_no_answer_and_no_log_line() {
    let catalogue = Catalogue::shipped(Currency::parse("EUR").unwrap()).unwrap();
    let groups = ["customer_velocity", "terminal_activity"];
    let features = catalogue.features().iter().filter(|feature| groups.contains(&feature.group.as_str()));
    let features: Vec<_> = features.map(|feature| (feature.name.clone(), feature.meaning.clone())).collect();
    assert!(!features.is_empty());
    for by in ["feature", "group"] {
        let folder = tempfile::tempdir().unwrap();
        let by = format!("reasons.by = {by:?}");
        let more = [
            PATIENT,
            &by,
            "model.reasons = 32",
            "reasons.hidden = [\"customer_velocity\", \"terminal_activity\"]",
            "log.level = \"assay=trace\"",
        ];
        let server = Server::start(folder.path(), &more);
        let mut client = server.client();
        let mut said = Vec::new();
        for number in 0..3 {
            let answer = client.post("/predict?explain=true", &transaction(&format!("tx-{number}")));
            assert!(!moved(&answer.json()).is_empty());
            said.push(answer.text());
            said.push(client.get(&format!("/decisions/tx-{number}?explain=true&features=true")).text());
        }
        said.push(client.get("/metrics").text());
        said.push(server.stop());
        for text in &said {
            let names = features.iter().flat_map(|(name, meaning)| [name.as_str(), meaning.as_str()]);
            if let Some(leak) = names.chain(groups).find(|word| names_it(text, word)) {
                panic!("{leak} in {text}");
            }
        }
    }
}

/// Whether `word` stands in `text` as a whole: the name of one feature may begin that of another.
fn names_it(text: &str, word: &str) -> bool {
    let part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

#[test]
fn a_name_that_nobody_knows_cannot_be_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let file = super::server::configuration(folder.path(), &["reasons.hidden = [\"terminal_risk\", \"amout\"]"]);
    for command in ["serve", "check-config"] {
        let ended = super::server::run(&[command, "--config", file.to_str().unwrap()]);
        assert_eq!(ended.status.code(), Some(64), "{ended:?}");
        assert!(ended.errors.contains("\"amout\" is neither a feature nor a group"), "{}", ended.errors);
    }
}
