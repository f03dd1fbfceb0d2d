//! Reference data on the line: what a decision read is stored with it, and what was not as it should be is told.

use assay::base::clock::Clock as _;
use assay::ops::metrics::Metrics;
use assay::store::reference::{Files, Keeper, ReferenceOptions, Sources};

use super::*;

const NAMES: [&str; 3] = ["amount", "merchant_risk_class", "country_risk_class"];

/// A folder of merchants and countries, and a keeper of it.
struct Kept {
    folder: tempfile::TempDir,
    clock: Arc<FixedClock>,
    keeper: Keeper,
}

impl Kept {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::new(Millis(START)));
        let text = "merchant_id,risk,onboarded_on,usual_amount,online_only\nm1,high,,,\n";
        std::fs::write(folder.path().join("merchants.csv"), text).unwrap();
        std::fs::write(folder.path().join("countries.csv"), "country,risk\nDE,low\n").unwrap();
        let sources = Sources { files: Some(Files::new(folder.path().to_owned())), ..Sources::default() };
        let rates = Arc::new(Rates::of_base(Currency::parse("EUR").unwrap()));
        let metrics = Arc::new(Metrics::new().unwrap());
        let keeper = Keeper::open(ReferenceOptions::default(), sources, rates, clock.clone(), metrics).unwrap();
        Self { folder, clock, keeper }
    }

    async fn house(&self) -> House {
        let (log, model) = (Arc::new(MemoryLog::new()), reading());
        let mut parts = parts(log.clone(), Some(model.clone()));
        let catalogue = Catalogue::clone(&parts.catalogue).with_reference(self.keeper.reference());
        parts.catalogue = Arc::new(catalogue);
        let engine = Engine::new(parts).unwrap();
        engine.rebuild().await.unwrap();
        House { engine, log, model }
    }
}

/// A model that reads reference data.
fn reading() -> Arc<Scored> {
    let mut model = Arc::into_inner(model()).unwrap();
    model.features = NAMES.map(String::from).to_vec();
    Arc::new(model)
}

fn payment(id: &str, merchant: &str) -> Transaction {
    Transaction { merchant_id: Some(merchant.into()), country: Some("DE".into()), ..transaction(id, 0, 100) }
}

/// The reasons that degrade a decision, and its merchant's class.
async fn decided(house: &House, id: &str, merchant: &str) -> (Vec<String>, bool, Value) {
    let decision = house.engine.decide(payment(id, merchant), soon()).await.unwrap().decision;
    let told = decision.reasons.iter().map(|reason| reason.code.clone()).filter(|code| code.starts_with("reference"));
    let features = house.engine.features(id, None).await.unwrap().unwrap();
    (told.collect(), decision.degraded, features["merchant_risk_class"].clone())
}

#[tokio::test]
async fn a_decision_keeps_what_it_read_and_says_what_was_missing_or_stale() {
    let mut kept = Kept::new();
    let house = kept.house().await;
    assert_eq!(decided(&house, "a", "m1").await, (vec![], false, 2.into()));
    // The first payment of a merchant that nobody knows.
    assert_eq!(decided(&house, "b", "new").await, (vec!["reference_missing".to_owned()], true, 1.into()));
    let merchants = kept.folder.path().join("merchants.csv");
    let text = std::fs::read_to_string(&merchants).unwrap().replace("high", "low") + "new,high,,,\n";
    std::fs::write(&merchants, text).unwrap();
    kept.keeper.refresh();
    assert_eq!(decided(&house, "c", "new").await, (vec![], false, 2.into()));
    // What was decided stays as it was used.
    assert_eq!(decided(&house, "a", "m1").await, (vec![], false, 2.into()));
    assert_eq!(decided(&house, "d", "m1").await, (vec![], false, 0.into()));
    std::fs::remove_file(&merchants).unwrap();
    kept.clock.set(Millis(kept.clock.now().0 + HOUR + 1));
    kept.keeper.refresh();
    assert_eq!(decided(&house, "e", "m1").await, (vec!["reference_stale".to_owned()], true, 0.into()));
}

#[tokio::test]
async fn a_model_whose_reference_data_nobody_loads_is_refused_by_name() {
    let refused = Engine::new(parts(Arc::new(MemoryLog::new()), Some(reading()))).unwrap_err().to_string();
    assert!(refused.contains("\"merchant_risk_class\"") && refused.contains("\"merchants\""), "{refused}");
    // A swap to such a model leaves the one in force.
    let house = house().await;
    house.engine.activate(reading()).unwrap_err();
    assert_eq!(house.engine.model().unwrap().features(), house.model.features());
}
