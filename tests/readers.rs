//! Every reader against inputs that nobody meant: the kept corpus, seeded mutations of it, and the table of bad inputs.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use assay::transaction::{Connector, Limits, RejectionCode, Transaction, read_json};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

#[path = "../fuzz/readers.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate, which has a library of its own, shares the file")]
mod readers;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const MUTATIONS: usize = 3_000;

#[derive(serde::Deserialize)]
struct BadInput {
    name: String,
    body: String,
    code: String,
    status: u16,
}

#[test]
fn every_bad_input_gets_its_code() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("tests/data/bad_inputs.json")).unwrap();
    let inputs: Vec<BadInput> = serde_json::from_str(&text).unwrap();
    assert!(inputs.len() >= 42);
    let (connector, limits) = (Connector::shipped("canonical").unwrap(), Limits::default());
    let mut codes = BTreeSet::new();
    for input in &inputs {
        let rejection = read_json(input.body.as_bytes(), &connector, &limits).expect_err(&input.name);
        assert_eq!(rejection.code.as_str(), input.code, "{}: {rejection}", input.name);
        let status = match input.code.as_str() {
            "not_json" | "nested_too_deep" | "duplicate_key" => 400,
            "too_large" => 413,
            _ => 422,
        };
        assert_eq!(input.status, status, "{}", input.name);
        for secret in ["müller", "4444"] {
            assert!(!rejection.to_string().contains(secret), "{}: {rejection}", input.name);
        }
        codes.insert(input.code.clone());
    }
    // Decimals beyond the currency's need a connector in major units; the rest is decided with a clock or a log.
    let elsewhere = ["amount_digits", "too_far_ahead", "too_old", "conflict"];
    let expected = RejectionCode::ALL.map(RejectionCode::as_str).into_iter().filter(|code| !elsewhere.contains(code));
    assert_eq!(codes, expected.map(str::to_owned).collect());
}

#[test]
fn corpus_and_mutations_end_in_a_transaction_or_a_rejection() {
    let mut random = Pcg64Mcg::seed_from_u64(20_260_101);
    for (reader, read) in readers::READERS {
        let folder = Path::new(ROOT).join("fuzz/corpus").join(reader);
        let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        assert!(!corpus.is_empty(), "{reader}");
        let mut outcomes = readers::Outcomes::default();
        for bytes in &corpus {
            read(bytes, &mut outcomes);
        }
        for _ in 0..MUTATIONS {
            let bytes = mutated(&corpus, &mut random);
            read(&bytes, &mut outcomes);
        }
        assert!(outcomes.read > 0 && outcomes.rejected > 0, "{reader}: {outcomes:?}");
    }
}

/// One of the corpus after one to eight changes: a byte flipped, cut, doubled, or spliced with another file.
fn mutated(corpus: &[Vec<u8>], random: &mut Pcg64Mcg) -> Vec<u8> {
    let mut bytes = corpus[random.random_range(0..corpus.len())].clone();
    for _ in 0..random.random_range(1..=8) {
        let place = random.random_range(0..=bytes.len());
        match random.random_range(0..5) {
            0 if place < bytes.len() => bytes[place] ^= 1 << random.random_range(0..8),
            1 if place < bytes.len() => drop(bytes.remove(place)),
            2 => bytes.insert(place, b"{}[]\",:0123456789.-e\n\\\xff\0"[random.random_range(0..24)]),
            3 => bytes.truncate(place),
            _ => {
                let other = &corpus[random.random_range(0..corpus.len())];
                bytes.truncate(place);
                bytes.extend_from_slice(&other[random.random_range(0..=other.len())..]);
            }
        }
    }
    bytes
}

#[test]
fn a_stripe_event_is_a_transaction() {
    let event = std::fs::read_to_string(Path::new(ROOT).join("tests/data/stripe_event.json")).unwrap();
    let connector = Connector::shipped("stripe").unwrap();
    let read = |event: &str| read_json(event.as_bytes(), &connector, &Limits::default());
    let payment: Transaction = read(&event).unwrap().transaction;
    assert_eq!(payment.transaction_id, "ch_1");
    assert_eq!(payment.occurred_at.to_rfc3339(), "2026-01-01T11:00:00.000Z");
    assert_eq!((payment.amount_minor, payment.currency.code()), (1_999, "USD"));
    assert_eq!(payment.customer_id, "fp_1", "a guest is known by the card");
    assert_eq!(payment.terminal_id, "acct_7");
    assert_eq!(payment.entity("country"), Some("US"));
    assert_eq!(payment.entity("channel"), Some("online"));
    assert_eq!(payment.entity("product_id"), None);

    let customer = event.replace("\"customer\": null", "\"customer\": {\"id\": \"cus_1\"}");
    assert_eq!(read(&customer).unwrap().transaction.customer_id, "cus_1");
    let nowhere =
        event.replace("\"destination\": {\"id\": \"acct_7\", \"object\": \"account\"}", "\"destination\": null");
    assert_eq!(read(&nowhere).unwrap().transaction.terminal_id, "stripe");
    let other = event.replace("\"charge.succeeded\"", "\"plan.created\"");
    let rejection = read(&other).unwrap_err();
    assert_eq!((rejection.code, rejection.field.as_str()), (RejectionCode::WrongType, "type"));
}
