//! The real program over HTTP: every address, every bound, bad input, and its end by signal and by force.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod client;
mod durability;
mod models;
mod reasons;
mod reference;
mod server;
mod synchronisation;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use server::Server;

/// Milliseconds since 1970.
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A transaction of now.
fn transaction(id: &str) -> Value {
    json!({
        "transaction_id": id, "occurred_at": now(), "customer_id": "c-1", "terminal_id": "t-1",
        "amount_minor": 1250, "currency": "EUR"
    })
}

#[test]
fn every_address_answers() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut client = server.client();

    let answer = client.post("/predict", &transaction("tx-1"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let decision = answer.json();
    assert_eq!(
        (&decision["kind"], &decision["revision"], &decision["repeated"]),
        (&json!("full"), &json!(0), &json!(false))
    );
    let score = decision["score"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&score));
    assert_eq!(decision["flagged"], score >= decision["threshold"].as_f64().unwrap());

    let found = client.get("/decisions/tx-1?features=true&revision=0").json();
    assert_eq!((&found["score"], &found["scored_at"]), (&decision["score"], &decision["scored_at"]));
    assert!(!found["features"].as_object().unwrap().is_empty());
    let model = client.get("/model").json();
    assert_eq!(model["clock"], "wall");
    assert_eq!(
        (&model["model"], &model["model_version"], &model["model_sha256"]),
        (&decision["model"], &decision["model_version"], &decision["model_sha256"])
    );
    let complete = client.get("/completeness?day=2020-02-29").json();
    assert_eq!(
        (&complete["complete"], &complete["applied_complete"], &complete["undecided"]),
        (&json!(true), &json!(true), &json!(0))
    );
    assert_eq!(client.get("/completeness?day=2999-01-01").json()["complete"], false);
    assert!(client.get("/completeness").json().get("complete").is_none());
    assert_eq!(client.get("/health/live").json()["status"], "live");
    assert_eq!(client.get("/health/ready").json()["status"], "ready");
    assert_eq!(client.get("/openapi.json").json()["openapi"], "3.1.0");
    assert!(client.get("/").text().contains("/predict/batch"));
    let metrics = client.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    for series in
        ["assay_decisions_total{kind=\"full\"} 1", "assay_ready_state 1", "assay_step_seconds_count{step=\"infer\"} 1"]
    {
        assert!(metrics.text().contains(series), "{series} in\n{}", metrics.text());
    }
}

#[test]
fn a_repeated_id_is_answered_alike_and_another_content_is_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut client = server.client();
    let mut body = transaction("tx-1");
    let mut first = client.post("/predict", &body).json();
    let mut second = client.post("/predict", &body).json();
    assert_eq!((first["repeated"].take(), second["repeated"].take()), (json!(false), json!(true)));
    assert_eq!(first, second);
    body["amount_minor"] = json!(1251);
    let conflict = client.post("/predict", &body);
    assert_eq!((conflict.status, conflict.code().as_str()), (409, "conflict"));
    // An optional field that comes later is no conflict.
    body["amount_minor"] = json!(1250);
    body["merchant_id"] = json!("m-1");
    assert_eq!(client.post("/predict", &body).status, 200);
}

#[test]
fn every_bad_input_is_answered_with_its_code() {
    let text = include_str!("../data/bad_inputs.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert!(cases.len() >= 42, "only {} cases", cases.len());
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let process = server.process();
    let mut seen = std::collections::BTreeSet::new();
    let mut expect = |name: &str, answer: &client::Answer, status: u64, code: &str| {
        assert_eq!((u64::from(answer.status), answer.code().as_str()), (status, code), "{name}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}");
        assert_eq!(answer.json()["instance"], answer.header("x-request-id").unwrap(), "{name}");
        assert_eq!(answer.json()["status"], status, "{name}");
        seen.insert(code.to_owned());
    };
    let mut client = server.client();
    for case in &cases {
        let body = case["body"].as_str().unwrap();
        let answer =
            client.request("POST", "/predict", &[("content-type", "application/json")], body.as_bytes()).unwrap();
        expect(
            case["name"].as_str().unwrap(),
            &answer,
            case["status"].as_u64().unwrap(),
            case["code"].as_str().unwrap(),
        );
    }
    // What depends on the clock, on what came before, or on major units.
    let with = |key: &str, value: Value| {
        let mut body = transaction("clock");
        body[key] = value;
        body
    };
    assert_eq!(client.post("/predict", &transaction("clock")).status, 200);
    expect("ahead", &client.post("/predict", &with("occurred_at", json!(now() + 86_400_000))), 422, "too_far_ahead");
    let mut old = with("occurred_at", json!(now() - 72 * 3_600_000));
    old["transaction_id"] = json!("old");
    expect("old", &client.post("/predict", &old), 422, "too_old");
    expect("other amount", &client.post("/predict", &with("amount_minor", json!(7))), 409, "conflict");
    let mut major = transaction("digits");
    major["amount"] = json!(12.345);
    expect("digits", &client.post("/predict?connector=major", &major), 422, "amount_digits");
    for code in assay::transaction::RejectionCode::ALL {
        assert!(seen.contains(code.as_str()), "no input was answered {}", code.as_str());
    }
    // The same process goes on: a new payment is decided, on the old connection and on a new one.
    assert_eq!(client.post("/predict", &transaction("after-1")).status, 200);
    assert_eq!(server.client().post("/predict", &transaction("after-2")).json()["kind"], "full");
    let metrics = client.get("/metrics").text();
    assert!(metrics.contains("assay_http_requests_total{route=\"predict\",status=\"5xx\"} 0\n"), "{metrics}");
    assert!(server.is_running(process));
}

#[test]
fn what_is_wrong_beside_the_body_has_its_code_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["server.max_batch_items = 3"]);
    let mut client = server.client();
    let body = transaction("tx-1").to_string();
    let json_type = ("content-type", "application/json");
    for (name, method, path, headers, body, status, code) in [
        ("route", "GET", "/nowhere", vec![], "", 404, "unknown_route"),
        ("method", "GET", "/predict", vec![], "", 405, "method_not_allowed"),
        (
            "media type",
            "POST",
            "/predict",
            vec![("content-type", "text/csv")],
            body.as_str(),
            415,
            "unsupported_media_type",
        ),
        (
            "lines to one",
            "POST",
            "/predict",
            vec![("content-type", "application/x-ndjson")],
            &body,
            415,
            "unsupported_media_type",
        ),
        ("deadline", "POST", "/predict", vec![json_type, ("assay-deadline-ms", "0")], &body, 400, "bad_deadline"),
        (
            "long deadline",
            "POST",
            "/predict/batch",
            vec![json_type, ("assay-deadline-ms", "60001")],
            "[]",
            400,
            "bad_deadline",
        ),
        ("connector", "POST", "/predict?connector=none", vec![json_type], &body, 400, "bad_query"),
        ("query", "GET", "/decisions/tx-1?feature=true", vec![], "", 400, "bad_query"),
        ("day", "GET", "/completeness?day=2026-02-30", vec![], "", 400, "bad_query"),
        ("revision", "GET", "/decisions/tx-1?revision=-1", vec![], "", 400, "bad_query"),
        ("unknown id", "GET", "/decisions/never-seen", vec![], "", 404, "unknown_transaction"),
        ("no array", "POST", "/predict/batch", vec![json_type], "{}", 422, "wrong_type"),
        ("cut array", "POST", "/predict/batch", vec![json_type], "[{}", 400, "not_json"),
        ("long batch", "POST", "/predict/batch", vec![json_type], "[1,2,3,4]", 413, "too_large"),
        (
            "label",
            "POST",
            "/labels",
            vec![json_type],
            "{\"transaction_id\":\"t\",\"is_fraud\":true,\"labelled_at\":1,\"source\":\"two words\"}",
            422,
            "bad_label",
        ),
    ] {
        let answer = client.request(method, path, &headers, body.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}");
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("POST"));
        }
    }
    let answer = client.request("GET", "/nowhere", &[("x-request-id", "mine-7")], b"").unwrap();
    assert_eq!((answer.header("x-request-id"), &answer.json()["instance"]), (Some("mine-7"), &json!("mine-7")));
}

#[test]
fn a_body_over_the_limit_is_413_and_the_answer_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let body = vec![b' '; 1 << 20];
    let answer = server.client().request("POST", "/predict", &[("content-type", "application/json")], &body).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
}

#[test]
fn batches_are_answered_in_order_item_by_item() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut client = server.client();
    let mut items: Vec<Value> = (0..200).map(|number| transaction(&format!("b-{number}"))).collect();
    items[7] = json!({"transaction_id": "b-7"});
    items[9] = json!(5);
    let check = |answers: &[Value]| {
        assert_eq!(answers.len(), items.len());
        for (place, answer) in answers.iter().enumerate() {
            if [7, 9].contains(&place) {
                assert_eq!((&answer["index"], &answer["status"]), (&json!(place), &json!(422)), "{answer}");
            } else {
                assert_eq!(
                    (&answer["transaction_id"], &answer["kind"]),
                    (&json!(format!("b-{place}")), &json!("full"))
                );
            }
        }
    };
    let answer = client.post("/predict/batch", &json!(items));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    check(answer.json().as_array().unwrap());
    let lines: String = items.iter().map(|item| format!("{item}\n")).collect();
    let answer = client
        .request("POST", "/predict/batch", &[("content-type", "application/x-ndjson")], lines.as_bytes())
        .unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    let answers: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    check(&answers);
    assert_eq!(client.post("/predict/batch", &json!([])).json(), json!([]));
}

#[test]
fn labels_wait_for_their_transaction_and_are_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut client = server.client();
    let label = |id: &str, is_fraud: bool| json!({"transaction_id": id, "is_fraud": is_fraud, "labelled_at": now() - 1_000, "source": "chargeback"});
    let early = label("late-tx", true);
    assert_eq!(client.post("/labels", &early).json(), json!({"transaction_id": "late-tx", "outcome": "waiting"}));
    assert_eq!(client.post("/predict", &transaction("late-tx")).status, 200);
    assert_eq!(client.post("/labels", &early).json()["outcome"], "repeated");
    assert_eq!(client.post("/predict", &transaction("tx-2")).status, 200);
    let both = client.post("/labels", &json!([label("tx-2", true), {"transaction_id": "tx-2"}]));
    let answers = both.json();
    assert_eq!(
        (&answers[0]["outcome"], &answers[1]["code"], &answers[1]["index"]),
        (&json!("recorded"), &json!("missing_field"), &json!(1))
    );
    let ahead =
        json!({"transaction_id": "tx-2", "is_fraud": true, "labelled_at": now() + 86_400_000, "source": "review"});
    assert_eq!(client.post("/labels", &ahead).code(), "too_far_ahead");
}

#[test]
fn too_many_at_once_are_turned_away_with_a_time_to_return() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["server.max_in_flight = 1"]);
    // A request whose body does not come holds the only place; that the server asks for the body says that it does.
    let mut slow = server.client();
    let head = "POST /predict HTTP/1.1\r\nhost: assay\r\ncontent-type: application/json\r\n\
                expect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    slow.send(head.as_bytes()).unwrap();
    assert_eq!(slow.answer().unwrap().status, 100);
    let mut client = server.client();
    let answer = client.get("/model");
    assert_eq!((answer.status, answer.code().as_str()), (429, "overloaded"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(client.get("/health/ready").status, 200);
    slow.send(b"not json!").unwrap();
    assert_eq!(slow.answer().unwrap().status, 400);
    assert_eq!(client.get("/model").status, 200);
}

#[test]
fn slow_clients_are_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["server.head_timeout = \"200ms\"", "server.body_timeout = \"200ms\""]);
    let mut head = server.client();
    head.send(b"POST /predict HTTP/1.1\r\nhost: as").unwrap();
    // hyper closes, or answers 408 first.
    assert!(head.answer().map_or(true, |answer| answer.status == 408));
    let mut body = server.client();
    body.send(b"POST /predict HTTP/1.1\r\nhost: assay\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{")
        .unwrap();
    let answer = body.answer().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"));
    assert_eq!(server.client().get("/health/live").status, 200);
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["server.max_connections = 1"]);
    let mut first = server.client();
    assert_eq!(first.get("/health/live").status, 200);
    let answer = server.client().answer().unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(first.get("/health/live").status, 200);
}

#[test]
fn a_bad_configuration_and_a_busy_port_are_told_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.toml");
    std::fs::write(&bad, "[server]\nlisten = \"here\"\nlistn = 1\n[model]\nworkers = 0\n").unwrap();
    for command in ["serve", "check-config"] {
        let ended = server::run(&[command, "--config", bad.to_str().unwrap()]);
        assert_eq!(ended.status.code(), Some(64), "{ended:?}");
        for part in [
            "3 faults",
            "server.listen = \"here\": must be",
            "server.listn = 1: no such key",
            "model.workers = 0: must be",
        ] {
            assert!(ended.errors.contains(part), "{part} in {}", ended.errors);
        }
    }
    let good = server::configuration(folder.path(), &["history.hash_key = \"000102030405060708090a0b0c0d0e0f\""]);
    let ended = server::run(&["check-config", "--config", good.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.output.contains("hash_key = \"***\"") && !ended.output.contains("000102"), "{}", ended.output);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("server.listen = \"{}\"", taken.local_addr().unwrap());
    let busy = server::configuration(folder.path(), &[&listen]);
    let ended = server::run(&["serve", "--config", busy.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.errors.contains("is taken by another process"), "{}", ended.errors);
}

#[test]
fn a_second_instance_on_the_same_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let file = folder.path().join("assay.toml");
    let ended = server::run(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.errors.contains("held by another running instance"), "{}", ended.errors);
    assert_eq!(server.client().get("/health/ready").status, 200);
}

#[test]
fn a_deadline_that_cannot_be_met_is_answered_by_policy() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["policy.on_deadline = \"refuse\""]);
    let mut client = server.client();
    // The body comes only when the deadline, which counts from the head, is over. That the head has arrived is certain:
    // the server asks for the body (RFC 9110, section 10.1.1).
    let body = transaction("tx-1").to_string();
    let head = format!(
        "POST /predict HTTP/1.1\r\nhost: assay\r\ncontent-type: application/json\r\nassay-deadline-ms: 1\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head.as_bytes()).unwrap();
    assert_eq!(client.answer().unwrap().status, 100);
    std::thread::sleep(Duration::from_millis(5));
    client.send(body.as_bytes()).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (504, "deadline"), "{}", answer.text());
    // The decision is made all the same, in the background.
    let begun = std::time::Instant::now();
    while client.get("/decisions/tx-1").status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no decision came");
    }
    let decision = client.get("/decisions/tx-1").json();
    assert_eq!((&decision["kind"], &decision["revision"]), (&json!("full"), &json!(0)));
    let headers = [("content-type", "application/json"), ("assay-deadline-ms", "60000")];
    let body = transaction("tx-2").to_string();
    assert_eq!(client.request("POST", "/predict", &headers, body.as_bytes()).unwrap().status, 200);
}
