//! The lifecycle of versions: what comes into force, what does not, and what is recorded of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assay::engine::models::{
    Action, Asked, Book, Change, Comparisons, Found, Loader, LogBook, Look, Models, ModelsError, ModelsOptions,
    ModelsParts, Registry, Stage, VersionId, WatchOptions,
};
use assay::engine::ports::Log;
use assay::engine::{ChallengerOptions, Kept, Share};
use assay::model::{Checks, Gate, Met, ModelError};

use super::*;

/// What loading a version comes to.
#[derive(Debug, Clone)]
pub(super) enum Loads {
    /// A model that scores the amount over 100,000, times this.
    Well(f32),
    /// A model with these inputs.
    Reads(Vec<&'static str>),
    /// A gate says so.
    Not(&'static str),
}

/// Versions that a test publishes, and how often each was loaded.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    versions: Mutex<BTreeMap<&'static str, (i64, String, Loads)>>,
    loaded: Mutex<Vec<String>>,
    /// What an alias names.
    alias: Mutex<Option<&'static str>>,
    /// The comparison that was kept.
    kept: Mutex<Option<Kept>>,
}

impl Comparisons for Shelf {
    fn keep(&self, kept: &Kept) -> std::io::Result<()> {
        *self.kept.lock().unwrap() = Some(kept.clone());
        Ok(())
    }

    fn kept(&self) -> std::io::Result<Option<Kept>> {
        Ok(self.kept.lock().unwrap().clone())
    }
}

impl Shelf {
    pub(super) fn publish(&self, version: &'static str, created: i64, loads: Loads) {
        self.versions.lock().unwrap().insert(version, (created, version.repeat(64), loads));
    }

    pub(super) fn name(&self, version: &'static str) {
        *self.alias.lock().unwrap() = Some(version);
    }

    pub(super) fn loaded(&self, version: &str) -> usize {
        self.loaded.lock().unwrap().iter().filter(|one| *one == version).count()
    }
}

impl Registry for Shelf {
    fn look(&self) -> Result<Vec<Look>, String> {
        let versions = self.versions.lock().unwrap();
        let found = |(version, (created, digest, _)): (&&str, &(i64, String, Loads))| {
            let id = VersionId { name: "fraud".into(), version: (*version).into(), digest: digest.clone() };
            Look::Whole(Found { id, created: Millis(*created), directory: PathBuf::from(version) })
        };
        Ok(versions.iter().map(found).collect())
    }

    fn recall(&self, _id: &VersionId) -> Option<Found> {
        None
    }

    fn wanted(&self) -> Option<VersionId> {
        let version = (*self.alias.lock().unwrap())?;
        let digest = self.versions.lock().unwrap()[version].1.clone();
        Some(VersionId { name: "fraud".into(), version: version.into(), digest })
    }
}

impl Loader<Scored> for Shelf {
    fn load(&self, directory: &Path, checks: &mut Checks) -> Result<Scored, ModelError> {
        let version = directory.to_str().unwrap().to_owned();
        self.loaded.lock().unwrap().push(version.clone());
        let loads = self.versions.lock().unwrap()[version.as_str()].2.clone();
        let plain = Arc::into_inner(model()).unwrap();
        let version: &'static str = Box::leak(version.into_boxed_str());
        match loads {
            Loads::Well(factor) => {
                checks.note(Gate::Golden, Met::Passed, "");
                Ok(Scored { version, factor, ..plain })
            }
            Loads::Reads(features) => {
                Ok(Scored { version, features: features.into_iter().map(String::from).collect(), ..plain })
            }
            Loads::Not(reason) => checks.hold(Gate::Golden, Err(ModelError::Package(reason.to_owned()))),
        }
    }
}

pub(super) const OPTIONS: ModelsOptions = ModelsOptions {
    newest: false,
    max_shift: Some(0.25),
    least_traffic: 100,
    watch: WatchOptions {
        window: Duration::from_secs(600),
        least: 50,
        max_errors: Some(0.01),
        max_latency: None,
        max_shift: None,
    },
    challenger: ChallengerOptions { workers: 1, queue: 1_000 },
    record_wait: Duration::from_secs(5),
    first_wish: Duration::from_millis(50),
};

struct Desk {
    house: House,
    shelf: Arc<Shelf>,
    models: Models<Scored>,
}

/// A desk over versions "1" (the older) and "2"; nothing is in force yet.
async fn desk_of(options: ModelsOptions) -> Desk {
    let house = house_of(|parts| parts.model = None).await;
    let shelf = Arc::new(Shelf::default());
    shelf.publish("1", 1, Loads::Well(1.0));
    shelf.publish("2", 2, Loads::Well(1.0));
    let models = desk_over(&house, &shelf, options);
    Desk { house, shelf, models }
}

fn desk_over(house: &House, shelf: &Arc<Shelf>, options: ModelsOptions) -> Models<Scored> {
    models_over(house, shelf, Arc::new(LogBook(house.log.clone() as Arc<dyn Log>)), options)
}

pub(super) fn models_over(
    house: &House,
    shelf: &Arc<Shelf>,
    book: Arc<dyn Book>,
    options: ModelsOptions,
) -> Models<Scored> {
    let (registry, loader, comparisons) = (shelf.clone(), shelf.clone(), shelf.clone());
    Models::new(ModelsParts { engine: house.engine.clone(), registry, loader, book, comparisons, options })
}

/// A desk whose version 1 is in force.
async fn desk() -> Desk {
    let desk = desk_of(OPTIONS).await;
    desk.models.resume().await.unwrap();
    desk.models.activate("fraud/1", &ann()).await.unwrap();
    desk
}

pub(super) fn ann() -> Asked {
    Asked { by: "ann".into(), why: "it is better".into() }
}

impl Desk {
    async fn decide(&self, id: &str, customer: &str, amount_minor: i64) -> Arc<Decision> {
        let mut transaction = transaction(id, START, amount_minor);
        transaction.customer_id = customer.into();
        self.house.engine.decide(transaction, soon()).await.unwrap().decision
    }

    async fn deciding(&self, id: &str) -> String {
        self.decide(id, "c1", 1_000).await.model_version.clone()
    }

    /// Until the challenger has nothing left to do.
    async fn compared_all(&self) {
        let challenger = self.house.engine.lineup().challenger.unwrap();
        while !challenger.is_idle() {
            tokio::task::yield_now().await;
        }
    }

    fn stages(&self) -> Vec<(String, Stage)> {
        self.models.list().into_iter().map(|version| (version.id.version, version.stage)).collect()
    }

    /// How a gate was met when the version was held against it last.
    fn met(&self, version: &str, gate: Gate) -> Option<Met> {
        let checks = self.models.show(version).unwrap().checks;
        checks.list().iter().find(|check| check.gate == gate).map(|check| check.met)
    }

    async fn decide_many(&self, name: &str) {
        for number in 0..100 {
            self.decide(&format!("{name}{number}"), &format!("c{number}"), 1_000 + number).await;
        }
    }

    fn stage(&self, version: &str) -> Stage {
        self.stages().into_iter().find(|(one, _)| one == version).unwrap().1
    }

    async fn history(&self) -> Vec<Change> {
        self.models.history(100).await.unwrap()
    }
}

fn refused(error: &ModelsError) -> Option<&str> {
    if let ModelsError::Refused { reason, .. } = error { Some(reason) } else { None }
}

#[tokio::test]
async fn a_first_start_takes_the_newest_version_and_says_so() {
    let desk = desk_of(OPTIONS).await;
    desk.models.resume().await.unwrap();
    assert_eq!(desk.deciding("a").await, "2");
    assert_eq!(desk.stages(), [("1".to_owned(), Stage::Discovered), ("2".to_owned(), Stage::Active)]);
    let changes = desk.history().await;
    assert_eq!((changes.len(), changes[0].action, changes[0].by.as_str()), (1, Action::Started, "assay"));
}

#[tokio::test]
async fn a_version_comes_into_force_with_its_record_and_the_one_before_stays_warm() {
    let desk = desk().await;
    assert_eq!(desk.deciding("a").await, "1");
    desk.models.activate("2", &ann()).await.unwrap();
    assert_eq!(desk.deciding("b").await, "2");
    assert_eq!((desk.stage("1"), desk.stage("2")), (Stage::Previous, Stage::Active));
    let change = desk.history().await.pop().unwrap();
    let version = |id: &Option<VersionId>| id.as_ref().unwrap().key();
    assert_eq!((version(&change.from), version(&change.to)), ("fraud/1".into(), "fraud/2".into()));
    assert_eq!((change.by.as_str(), change.why.as_str()), ("ann", "it is better"));
    // Two wishes are never of one moment, though the clock stands: the newest stands.
    assert_eq!(change.at, Millis(START + 2));
    let gates: Vec<Gate> = change.checks.list().iter().map(|check| check.gate).collect();
    assert_eq!(gates, [Gate::Golden, Gate::Features, Gate::History, Gate::Distribution]);
    assert_eq!(
        desk.house.engine.decision("a", None).await.unwrap().unwrap().model_version,
        "1",
        "what was decided stays"
    );
}

#[tokio::test]
async fn activating_the_active_version_changes_nothing() {
    let desk = desk().await;
    let before = desk.history().await.len();
    desk.models.activate("fraud/1", &ann()).await.unwrap();
    assert_eq!((desk.history().await.len(), desk.stage("2")), (before, Stage::Previous));
}

#[tokio::test]
async fn a_version_that_fails_a_gate_is_refused_and_the_active_one_stays() {
    let desk = desk().await;
    desk.shelf.publish("3", 3, Loads::Not("golden row 4 scores 0.5 and 0.25 ± 0.001 is expected"));
    let error = desk.models.activate("fraud/3", &ann()).await.unwrap_err();
    assert!(refused(&error).unwrap().contains("golden row 4"), "{error}");
    assert_eq!((desk.deciding("a").await.as_str(), desk.stage("3")), ("1", Stage::Refused));
    let version = desk.models.show("3").unwrap();
    assert_eq!(version.checks.failed().unwrap().gate, Gate::Golden);
    let change = desk.history().await.pop().unwrap();
    assert_eq!((change.action, change.to.unwrap().version.as_str()), (Action::Refused, "3"));
    // What the catalogue lacks is found before anything serves.
    desk.shelf.publish("4", 4, Loads::Reads(vec!["amount", "phase_of_the_moon"]));
    let error = desk.models.activate("fraud/4", &ann()).await.unwrap_err();
    assert!(refused(&error).unwrap().contains("phase_of_the_moon"), "{error}");
    assert_eq!(desk.deciding("b").await, "1");
    assert!(matches!(desk.models.activate("fraud/9", &ann()).await, Err(ModelsError::Unknown(_))));
}

#[tokio::test]
async fn a_version_whose_content_changes_is_another_one_and_refused() {
    let desk = desk().await;
    desk.shelf.versions.lock().unwrap().get_mut("2").unwrap().1 = "f".repeat(64);
    desk.models.tick().await;
    let broken = desk.models.broken();
    assert!(broken.len() == 1 && broken[0].1.contains("other content"), "{broken:?}");
    assert_eq!(desk.models.show("fraud/2").unwrap().id.digest, "2".repeat(64));
}

#[tokio::test]
async fn a_rollback_loads_nothing_and_the_version_comes_back_by_a_person_alone() {
    let desk = desk_of(ModelsOptions { newest: true, ..OPTIONS }).await;
    desk.models.resume().await.unwrap();
    desk.shelf.publish("3", 3, Loads::Well(1.0));
    desk.models.tick().await;
    assert_eq!(desk.deciding("a").await, "3", "the newest comes by itself");
    let loads = desk.shelf.loaded("2");
    let back = desk.models.rollback(&ann()).await.unwrap();
    assert_eq!((back.id.version.as_str(), desk.deciding("b").await.as_str()), ("2", "2"));
    assert_eq!(desk.shelf.loaded("2"), loads, "it was warm");
    let gone = desk.models.show("3").unwrap();
    assert_eq!((gone.stage, gone.reason.as_deref()), (Stage::Retired, Some("it is better")));
    for _ in 0..3 {
        desk.models.tick().await;
    }
    assert_eq!(desk.deciding("c").await, "2", "not by itself");
    assert!(matches!(desk.models.rollback(&ann()).await, Err(ModelsError::NotNow(_))));
    // Nor after a restart.
    let again = desk_over(&desk.house, &desk.shelf, ModelsOptions { newest: true, ..OPTIONS });
    again.resume().await.unwrap();
    again.tick().await;
    assert_eq!(desk.deciding("d").await, "2");
    again.activate("fraud/3", &ann()).await.unwrap();
    assert_eq!(desk.deciding("e").await, "3");
}

#[tokio::test]
async fn a_version_is_only_prepared_unless_the_newest_is_wanted() {
    let desk = desk().await;
    desk.shelf.publish("3", 3, Loads::Well(1.0));
    desk.models.tick().await;
    assert_eq!((desk.deciding("a").await.as_str(), desk.stage("3")), ("1", Stage::Warm));
    let loads = desk.shelf.loaded("3");
    desk.models.activate("fraud/3", &ann()).await.unwrap();
    assert_eq!(desk.shelf.loaded("3"), loads, "it is loaded once");
}

#[tokio::test]
async fn a_version_that_fails_rows_is_rolled_back_by_itself() {
    let desk = desk().await;
    desk.models.activate("fraud/2", &ann()).await.unwrap();
    let model = desk.house.engine.model().unwrap();
    for number in 0..49 {
        desk.decide(&format!("well{number}"), "c1", 1_000).await;
    }
    model.set(Scores::Broken);
    let failed = transaction("fails", START, 1_000);
    let fallback = desk.house.engine.decide(failed, soon()).await.unwrap().decision;
    assert_eq!(fallback.kind, DecisionKind::Fallback);
    desk.models.judge().await;
    assert_eq!((desk.deciding("after").await.as_str(), desk.stage("2")), ("1", Stage::Retired));
    let change = desk.history().await.pop().unwrap();
    assert_eq!((change.action, change.by.as_str()), (Action::RolledBack, "assay"));
    assert!(change.why.contains("1 of 50 rows got no score"), "{}", change.why);
}

#[tokio::test]
async fn a_version_that_is_not_done_in_time_is_rolled_back_by_itself() {
    for scores in [Scores::Never, Scores::Full] {
        let desk = desk().await;
        desk.models.activate("fraud/2", &ann()).await.unwrap();
        for number in 0..49 {
            desk.decide(&format!("well{number}"), "c1", 1_000).await;
        }
        desk.house.engine.model().unwrap().set(scores);
        let late = desk.house.engine.decide(transaction("late", START, 1_000), received(Duration::from_millis(20)));
        assert_eq!(late.await.unwrap().decision.kind, DecisionKind::Fallback);
        desk.models.judge().await;
        assert_eq!(desk.stage("1"), Stage::Active, "{scores:?}");
        assert!(desk.history().await.pop().unwrap().why.contains("1 of 50 rows got no score"), "{scores:?}");
    }
}

#[tokio::test]
async fn a_version_is_watched_on_after_a_start() {
    let desk = desk().await;
    desk.models.activate("fraud/2", &ann()).await.unwrap();
    let again = desk_over(&desk.house, &desk.shelf, OPTIONS);
    again.resume().await.unwrap();
    desk.house.engine.model().unwrap().set(Scores::Broken);
    for number in 0..50 {
        desk.decide(&format!("tx{number}"), "c1", 1_000).await;
    }
    again.judge().await;
    assert_eq!(desk.deciding("after").await, "1");
}

#[tokio::test]
async fn a_version_whose_scores_lie_elsewhere_is_refused_once_there_is_traffic() {
    let desk = desk().await;
    desk.shelf.publish("3", 3, Loads::Well(40.0));
    desk.models.verify("fraud/3").await.unwrap();
    assert_eq!(desk.met("3", Gate::Distribution), Some(Met::Skipped));
    desk.decide_many("tx").await;
    // The gate that was left open is looked at when the version is to come.
    let loads = desk.shelf.loaded("3");
    let error = desk.models.activate("fraud/3", &ann()).await.unwrap_err();
    assert!(refused(&error).unwrap().contains("100 recent payments shift by"), "{error}");
    assert_eq!((desk.met("3", Gate::Distribution), desk.shelf.loaded("3")), (Some(Met::Failed), loads));
    desk.models.verify("fraud/3").await.unwrap_err();
    desk.shelf.publish("4", 4, Loads::Well(1.0));
    desk.models.verify("fraud/4").await.unwrap();
    assert_eq!(desk.met("4", Gate::Distribution), Some(Met::Passed));
    assert_eq!(desk.deciding("after").await, "1");
}

#[tokio::test]
async fn what_another_than_the_active_version_scored_says_nothing_of_it() {
    let desk = desk().await;
    desk.shelf.publish("3", 3, Loads::Well(40.0));
    desk.shelf.publish("4", 4, Loads::Well(1.0));
    desk.models.canary("fraud/3", 10_000, &ann()).await.unwrap();
    desk.decide_many("canaried").await;
    desk.models.verify("fraud/4").await.unwrap();
    assert_eq!(desk.met("4", Gate::Distribution), Some(Met::Skipped));
    desk.models.canary("fraud/3", 0, &ann()).await.unwrap();
    desk.decide_many("own").await;
    desk.models.verify("fraud/4").await.unwrap();
    assert_eq!(desk.met("4", Gate::Distribution), Some(Met::Passed));
}

#[tokio::test]
async fn the_way_back_asks_no_version_that_goes_and_no_gate_of_today() {
    let desk = desk().await;
    desk.shelf.publish("3", 3, Loads::Well(40.0));
    desk.models.activate("fraud/3", &ann()).await.unwrap();
    desk.decide_many("tx").await;
    desk.models.verify("fraud/1").await.unwrap();
    assert_eq!(desk.met("1", Gate::Distribution), Some(Met::Skipped), "its scores lie far from those of 3");
    desk.shelf.publish("1", 1, Loads::Not("the disk lied"));
    desk.models.verify("fraud/1").await.unwrap_err();
    let loads = desk.shelf.loaded("1");
    desk.models.rollback(&ann()).await.unwrap();
    assert_eq!((desk.deciding("after").await.as_str(), desk.shelf.loaded("1")), ("1", loads));
}

#[tokio::test]
async fn the_version_before_is_loaded_after_a_start_although_its_scores_lie_elsewhere() {
    let desk = desk().await;
    desk.shelf.publish("3", 3, Loads::Well(40.0));
    desk.models.activate("fraud/3", &ann()).await.unwrap();
    let again = desk_over(&desk.house, &desk.shelf, OPTIONS);
    again.resume().await.unwrap();
    desk.decide_many("tx").await;
    again.tick().await;
    assert_eq!(again.show("fraud/1").unwrap().stage, Stage::Previous);
    again.rollback(&ann()).await.unwrap();
    assert_eq!(desk.deciding("after").await, "1");
}

#[tokio::test]
async fn a_version_that_looks_back_further_than_history_is_refused() {
    let desk = desk().await;
    desk.house.engine.begin_midway();
    // What the active version reads is incomplete for both.
    desk.models.verify("fraud/2").await.unwrap();
    assert_eq!(desk.met("2", Gate::History), Some(Met::Skipped));
    desk.shelf.publish("3", 3, Loads::Reads(vec!["amount", "terminal_tx_count_1d"]));
    let error = desk.models.activate("fraud/3", &ann()).await.unwrap_err();
    assert!(refused(&error).unwrap().contains("as far back as terminal_tx_count_1d"), "{error}");
    desk.shelf.publish("4", 4, Loads::Reads(vec!["amount"]));
    desk.models.verify("fraud/4").await.unwrap();
    assert_eq!(desk.met("4", Gate::History), Some(Met::Passed));
    assert_eq!(desk.deciding("after").await, "1");
}

#[tokio::test]
async fn without_a_record_nothing_changes() {
    let desk = desk().await;
    desk.models.verify("fraud/2").await.unwrap();
    desk.house.log.set_mood(Mood::Failing);
    for refused in [
        desk.models.activate("fraud/2", &ann()).await,
        desk.models.rollback(&ann()).await,
        desk.models.canary("fraud/2", 500, &ann()).await,
        desk.models.shadow("fraud/2", 500, &ann()).await,
    ] {
        assert!(matches!(refused, Err(ModelsError::Unrecorded(_))), "{refused:?}");
    }
    desk.house.log.set_mood(Mood::Well);
    assert_eq!((desk.deciding("a").await.as_str(), desk.stage("2")), ("1", Stage::Previous));
}

#[tokio::test]
async fn a_start_takes_what_was_in_force_last_and_says_when_it_cannot() {
    let desk = desk().await;
    desk.models.activate("fraud/2", &ann()).await.unwrap();
    desk.shelf.publish("3", 3, Loads::Well(1.0));
    let changes = desk.history().await.len();
    let again = desk_over(&desk.house, &desk.shelf, OPTIONS);
    again.resume().await.unwrap();
    assert_eq!((desk.deciding("a").await.as_str(), desk.history().await.len()), ("2", changes), "nothing is changed");
    desk.shelf.publish("2", 2, Loads::Not("the disk lied"));
    let again = desk_over(&desk.house, &desk.shelf, OPTIONS);
    again.resume().await.unwrap();
    assert_eq!(desk.deciding("b").await, "1", "the one that was in force before it, not the newest");
    let change = desk.history().await.pop().unwrap();
    assert!(change.action == Action::Started && change.why.contains("fraud/2"), "{change:?}");
    for version in ["1", "3"] {
        desk.shelf.publish(version, 1, Loads::Not("the disk lied"));
    }
    let none = desk_over(&desk.house, &desk.shelf, OPTIONS).resume().await.unwrap_err();
    assert!(none.to_string().contains("the disk lied"), "{none}");
}

#[tokio::test]
async fn a_canary_decides_for_the_same_customers_and_each_decision_names_its_model() {
    let desk = desk().await;
    // Other features in another order: each row is read by the plan of the model that decides.
    desk.shelf.publish("3", 3, Loads::Reads(vec!["amount", "terminal_tx_count_1d"]));
    desk.models.canary("fraud/3", 2_500, &ann()).await.unwrap();
    assert_eq!(desk.stage("3"), Stage::Canary);
    let share = Share::new("fraud/3".to_owned(), 2_500);
    let mut canaried = 0;
    for number in 0..200 {
        let (id, customer) = (format!("tx{number}"), format!("customer-{}", number % 50));
        let decision = desk.decide(&id, &customer, 1_000).await;
        let wanted = if share.takes(&customer) { "3" } else { "1" };
        assert_eq!(decision.model_version, wanted, "{customer}");
        let features = desk.house.engine.features(&id, None).await.unwrap().unwrap();
        assert_eq!(features.get("terminal_tx_count_1d").is_some(), wanted == "3");
        assert_eq!(features.get("customer_tx_count_1d").is_some(), wanted == "1");
        canaried += usize::from(wanted == "3");
    }
    assert!((20..80).contains(&canaried), "{canaried}");
    desk.models.canary("fraud/3", 0, &ann()).await.unwrap();
    assert_eq!(desk.decide("after", "customer-1", 1_000).await.model_version, "1");
    let actions: Vec<Action> = desk.history().await.iter().map(|change| change.action).collect();
    assert_eq!(actions[actions.len() - 2..], [Action::Canaried, Action::CanaryEnded]);
    assert!(matches!(desk.models.canary("fraud/1", 1, &ann()).await, Err(ModelsError::NotNow(_))));
}

#[tokio::test]
async fn a_challenger_is_compared_and_decides_nothing() {
    let desk = desk().await;
    desk.shelf.publish("3", 3, Loads::Well(2.0));
    desk.models.shadow("fraud/3", 10_000, &ann()).await.unwrap();
    assert_eq!(desk.stage("3"), Stage::Shadow);
    // 0.3 and 0.6: the challenger alone flags; 0.6 and 1.2, cut to 1: both do.
    for number in 0..40 {
        let decision = desk.decide(&format!("tx{number}"), "c1", if number < 30 { 30_000 } else { 60_000 }).await;
        assert_eq!(decision.model_version, "1");
    }
    let challenger = || desk.house.engine.lineup().challenger.unwrap();
    while !challenger().is_idle() {
        tokio::task::yield_now().await;
    }
    let compared = desk.models.compare().unwrap();
    assert_eq!((compared.champion.as_str(), compared.challenger.as_str()), ("fraud/1", "fraud/3"));
    assert_eq!((compared.compared, compared.dropped, compared.failed), (40, 0, 0));
    assert_eq!((compared.both_flagged, compared.champion_only, compared.challenger_only), (10, 0, 30));
    for (number, is_fraud) in [(0, true), (1, false), (35, true)] {
        let label = Label {
            transaction_id: format!("tx{number}"),
            is_fraud,
            labelled_at: Millis(START + 1),
            source: "review".into(),
        };
        desk.house.engine.label(label).await.unwrap();
    }
    desk.compared_all().await;
    let compared = desk.models.compare().unwrap();
    assert_eq!((compared.labels.labelled, compared.labels.fraud), (3, 2));
    assert_eq!((compared.champion_precision, compared.champion_recall), (Some(1.0), Some(0.5)));
    assert_eq!((compared.challenger_precision, compared.challenger_recall), (Some(2.0 / 3.0), Some(1.0)));
    desk.models.shadow("fraud/3", 10_000, &ann()).await.unwrap();
    assert_eq!(desk.models.compare().unwrap().compared, 40, "asked for again, it goes on");
    // Another champion: the comparison begins anew.
    desk.models.activate("fraud/2", &ann()).await.unwrap();
    let compared = desk.models.compare().unwrap();
    assert_eq!((compared.champion.as_str(), compared.compared), ("fraud/2", 0));
    desk.models.shadow("fraud/3", 0, &ann()).await.unwrap();
    assert!(desk.models.compare().is_none() && desk.stage("3") != Stage::Shadow);
}

#[tokio::test]
async fn what_a_challenger_has_no_time_for_is_dropped_and_counted() {
    let options = ModelsOptions { challenger: ChallengerOptions { workers: 1, queue: 10 }, ..OPTIONS };
    let desk = desk_of(options).await;
    desk.models.resume().await.unwrap();
    desk.models.shadow("fraud/1", 10_000, &ann()).await.unwrap();
    let challenger = || desk.house.engine.lineup().challenger.unwrap();
    challenger().model().hold(true);
    for number in 0..200 {
        desk.decide(&format!("tx{number}"), "c1", 1_000).await;
    }
    challenger().model().hold(false);
    while !challenger().is_idle() {
        tokio::task::yield_now().await;
    }
    let compared = desk.models.compare().unwrap();
    assert_eq!(compared.compared + compared.dropped, 200);
    assert!(compared.dropped >= 120, "{compared:?}: a batch of 64 and ten that wait");
}

#[tokio::test]
async fn a_record_that_comes_too_late_is_taken_back() {
    let options = ModelsOptions { record_wait: Duration::from_millis(20), ..OPTIONS };
    let desk = desk_of(options).await;
    desk.models.resume().await.unwrap();
    desk.models.activate("fraud/1", &ann()).await.unwrap();
    desk.models.verify("fraud/2").await.unwrap();
    let before = desk.history().await.len();
    desk.house.log.set_mood(Mood::Silent);
    let late = desk.models.activate("fraud/2", &ann()).await;
    assert!(matches!(late, Err(ModelsError::Unrecorded(_))), "{late:?}");
    let late = desk.models.canary("fraud/2", 500, &ann()).await;
    assert!(matches!(late, Err(ModelsError::Unrecorded(_))), "{late:?}");
    desk.house.log.set_mood(Mood::Well);
    let changes = loop {
        let changes = desk.history().await;
        if changes.len() == before + 4 {
            break changes;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((desk.deciding("a").await.as_str(), desk.stage("1")), ("1", Stage::Active));
    let last = changes.iter().rev().find(|change| change.action == Action::Activated).unwrap();
    let version = |id: &Option<VersionId>| id.as_ref().map(VersionId::key);
    assert_eq!((last.by.as_str(), version(&last.to)), ("assay", Some("fraud/1".into())));
    assert_eq!(version(&last.from), Some("fraud/1".into()), "it decided all the time");
    assert!(changes.iter().any(|change| change.action == Action::CanaryEnded));
    // A later process finds what was in force.
    let again = desk_over(&desk.house, &desk.shelf, OPTIONS);
    again.resume().await.unwrap();
    assert_eq!(desk.deciding("b").await, "1");
    assert!(desk.house.engine.lineup().canary.is_none());
}

#[tokio::test]
async fn a_start_takes_up_the_canary_the_challenger_and_the_version_before() {
    let desk = desk().await;
    desk.shelf.publish("3", 3, Loads::Well(40.0));
    desk.models.activate("fraud/2", &ann()).await.unwrap();
    desk.models.canary("fraud/1", 2_500, &ann()).await.unwrap();
    desk.models.shadow("fraud/3", 10_000, &ann()).await.unwrap();
    for number in 0..20 {
        desk.decide(&format!("tx{number}"), &format!("c{number}"), 1_000 + number).await;
    }
    desk.compared_all().await;
    let compared = desk.models.compare().unwrap();
    assert!(compared.compared > 0 && compared.compared < 20, "{compared:?}: of the canary's none");
    desk.models.keep().await;
    let changes = desk.history().await.len();

    let again = desk_over(&desk.house, &desk.shelf, OPTIONS);
    again.resume().await.unwrap();
    let stages: Vec<_> = again.list().into_iter().map(|version| (version.stage, version.basis_points)).collect();
    assert_eq!(stages, [(Stage::Canary, Some(2_500)), (Stage::Active, None), (Stage::Shadow, Some(10_000))]);
    assert_eq!(again.compare().unwrap(), compared, "with its figures");
    assert_eq!(desk.history().await.len(), changes, "nothing is changed");
    assert_eq!(again.rollback(&ann()).await.unwrap().id.version, "1", "the version before is known");

    // What cannot be taken up ends, and the record says why.
    again.canary("fraud/2", 100, &ann()).await.unwrap();
    desk.shelf.publish("2", 2, Loads::Not("the disk lied"));
    desk.shelf.publish("3", 3, Loads::Not("the disk lied"));
    let again = desk_over(&desk.house, &desk.shelf, OPTIONS);
    again.resume().await.unwrap();
    let beside = |version: &assay::engine::models::Version| matches!(version.stage, Stage::Shadow | Stage::Canary);
    assert!(!again.list().iter().any(beside));
    let ended: Vec<_> =
        desk.history().await.into_iter().filter(|change| change.why.contains("the disk lied")).collect();
    let actions: Vec<Action> = ended.iter().map(|change| change.action).collect();
    assert_eq!(actions, [Action::Refused, Action::CanaryEnded, Action::Refused, Action::ShadowEnded]);
}

#[tokio::test]
async fn what_was_published_while_nobody_ran_comes_by_itself_unless_somebody_knew_it() {
    let newest = ModelsOptions { newest: true, ..OPTIONS };
    let desk = desk_of(newest).await;
    desk.models.resume().await.unwrap();
    desk.models.activate("fraud/1", &ann()).await.unwrap();
    // Older than the command: whoever gave it could know the version.
    desk.shelf.publish("3", START - 1, Loads::Well(1.0));
    let again = desk_over(&desk.house, &desk.shelf, newest);
    again.resume().await.unwrap();
    again.tick().await;
    assert_eq!(desk.deciding("a").await, "1");
    desk.shelf.publish("4", START + 1_000, Loads::Well(1.0));
    let again = desk_over(&desk.house, &desk.shelf, newest);
    again.resume().await.unwrap();
    again.tick().await;
    assert_eq!(desk.deciding("b").await, "4");
}

#[tokio::test]
async fn of_two_that_are_new_the_newest_that_passes_comes() {
    let desk = desk_of(ModelsOptions { newest: true, ..OPTIONS }).await;
    desk.models.resume().await.unwrap();
    desk.shelf.publish("3", 3, Loads::Well(1.0));
    desk.shelf.publish("4", 4, Loads::Not("golden row 4 scores 0.5 and 0.25 ± 0.001 is expected"));
    desk.models.tick().await;
    assert_eq!((desk.deciding("a").await.as_str(), desk.stage("4")), ("3", Stage::Refused));
}

#[tokio::test]
async fn what_is_ended_while_it_is_prepared_does_not_run_later() {
    let desk = desk().await;
    desk.shelf.publish("3", 3, Loads::Well(1.0));
    let ann = ann();
    let shadow = desk.models.shadow("fraud/3", 10_000, &ann);
    let end = async {
        // The other has found it by now, and waits for a thread that prepares.
        tokio::task::yield_now().await;
        desk.models.shadow("fraud/3", 0, &ann).await
    };
    let (begun, ended) = tokio::join!(shadow, end);
    ended.unwrap();
    assert!(matches!(begun, Err(ModelsError::NotNow(_))), "{begun:?}");
    assert!(desk.house.engine.lineup().challenger.is_none());
}

#[tokio::test]
async fn what_decided_once_does_not_come_by_itself_after_a_gate_refused_and_passed_it() {
    let desk = desk_of(ModelsOptions { newest: true, ..OPTIONS }).await;
    desk.models.resume().await.unwrap();
    desk.models.activate("fraud/1", &ann()).await.unwrap();
    desk.shelf.publish("2", 2, Loads::Not("slow today"));
    desk.models.verify("fraud/2").await.unwrap_err();
    desk.shelf.publish("2", 2, Loads::Well(1.0));
    desk.models.verify("fraud/2").await.unwrap();
    // One that is older than it makes the newest be looked for.
    desk.shelf.publish("0", 0, Loads::Well(1.0));
    desk.models.tick().await;
    assert_eq!(desk.deciding("a").await, "1", "a person wanted so");
}

#[tokio::test]
async fn a_canary_that_fails_rows_ends_by_itself() {
    let desk = desk().await;
    desk.models.canary("fraud/2", 10_000, &ann()).await.unwrap();
    let canary = desk.house.engine.lineup().canary.unwrap().0;
    for number in 0..49 {
        desk.decide(&format!("well{number}"), "c1", 1_000).await;
    }
    canary.model().set(Scores::Broken);
    drop(desk.house.engine.decide(transaction("fails", START, 1_000), soon()).await.unwrap());
    desk.models.judge().await;
    assert_eq!(desk.deciding("after").await, "1");
    let change = desk.history().await.pop().unwrap();
    assert_eq!((change.action, change.by.as_str()), (Action::CanaryEnded, "assay"));
    assert!(change.why.contains("1 of 50 rows got no score"), "{}", change.why);
}

#[tokio::test]
async fn a_version_that_fails_its_gates_now_is_refused_although_it_is_loaded() {
    let desk = desk().await;
    desk.shelf.publish("3", 0, Loads::Well(1.0));
    desk.models.verify("fraud/3").await.unwrap();
    desk.shelf.publish("3", 0, Loads::Not("a golden row moved"));
    for _ in 0..2 {
        let error = desk.models.verify("fraud/3").await.unwrap_err();
        assert_eq!(refused(&error), Some("a golden row moved"));
        let error = desk.models.activate("fraud/3", &ann()).await.unwrap_err();
        assert_eq!(refused(&error), Some("a golden row moved"));
    }
    assert_eq!((desk.deciding("a").await.as_str(), desk.stage("3")), ("1", Stage::Refused));
    let refusals = desk.history().await.into_iter().filter(|change| change.action == Action::Refused).count();
    assert_eq!(refusals, 1, "a version that is refused again is no news");
}

#[tokio::test]
async fn what_needs_a_champion_says_so() {
    let desk = desk_of(OPTIONS).await;
    desk.models.tick().await;
    for refused in [
        desk.models.rollback(&ann()).await,
        desk.models.canary("fraud/2", 1, &ann()).await,
        desk.models.shadow("fraud/2", 1, &ann()).await,
    ] {
        assert!(matches!(refused, Err(ModelsError::NotNow(_))), "{refused:?}");
    }
    assert!(desk.models.compare().is_none());
}

#[tokio::test]
async fn the_book_of_the_log_keeps_changes_in_order() {
    let desk = desk().await;
    let book = LogBook(desk.house.log.clone() as Arc<dyn Log>);
    let change = desk.history().await.pop().unwrap();
    book.record(Change { why: "another".into(), ..change }).await.unwrap();
    assert_eq!(book.changes(1).await.unwrap()[0].why, "another");
}
