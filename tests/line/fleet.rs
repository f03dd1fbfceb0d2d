//! Several instances over one wish, and a registry whose alias moves.

use assay::engine::models::{
    Action, Book, Change, LogBook, Models, ModelsError, ModelsOptions, VersionId, Wanted, WatchOptions,
};
use assay::engine::ports::{Log, LogError, Reading};

use super::models::{Loads, OPTIONS, Shelf, ann, models_over};
use super::*;

/// Where instances meet: what PostgreSQL is on the stack.
#[derive(Debug, Default)]
struct Hall {
    wanted: Mutex<Option<Wanted>>,
    changes: Mutex<Vec<Change>>,
    named: Mutex<Option<VersionId>>,
    away: AtomicBool,
}

/// The book of one instance.
#[derive(Debug)]
struct HallBook {
    own: LogBook,
    hall: Arc<Hall>,
    unsent: Mutex<Vec<Change>>,
}

impl HallBook {
    fn send(&self) -> Result<(), LogError> {
        if self.hall.away.load(Ordering::Relaxed) {
            return Err(LogError::Failed("away".into()));
        }
        for change in self.unsent.lock().unwrap().drain(..) {
            self.hall.changes.lock().unwrap().push(change.clone());
            if change.is_by_alias() {
                *self.hall.named.lock().unwrap() = change.to.clone();
            }
            let mut wanted = self.hall.wanted.lock().unwrap();
            if change.action.is_wish() && wanted.as_ref().is_none_or(|known| known.at < change.at) {
                let taken_back = change.from.filter(|_| change.action.takes_back());
                let Change { at, by, why, .. } = change;
                *wanted = Some(Wanted { id: change.to.unwrap(), at, by, why, taken_back, gone: Vec::new() });
            }
        }
        Ok(())
    }

    /// The wish, with what the rows of all instances say of rollbacks.
    fn wish(&self) -> Option<Wanted> {
        let mut wanted = self.hall.wanted.lock().unwrap().clone()?;
        let mut changes = self.hall.changes.lock().unwrap().clone();
        changes.sort_by_key(|change| change.at);
        for change in changes.into_iter().filter(|change| change.action.is_wish()) {
            wanted.gone.retain(|gone| Some(gone) != change.to.as_ref());
            wanted.gone.extend(change.from.filter(|_| change.action.takes_back()));
        }
        Some(wanted)
    }
}

impl Book for HallBook {
    fn record(&self, change: Change) -> Reading<'_, ()> {
        Box::pin(async move { self.own.record(change).await })
    }

    fn share(&self, changes: Vec<Change>) {
        self.unsent.lock().unwrap().extend(changes);
    }

    fn changes(&self, most: usize) -> Reading<'_, Vec<Change>> {
        self.own.changes(most)
    }

    fn named_last(&self) -> Reading<'_, Option<VersionId>> {
        Box::pin(async {
            self.send()?;
            Ok(self.hall.named.lock().unwrap().clone())
        })
    }

    fn meet(&self) -> Reading<'_, Option<Wanted>> {
        Box::pin(async {
            self.send()?;
            Ok(self.wish())
        })
    }
}

struct Instance {
    house: House,
    models: Models<Scored>,
}

impl Instance {
    /// One whose clock is `ahead` of the others'.
    async fn new(hall: &Arc<Hall>, shelf: &Arc<Shelf>, ahead: i64, options: ModelsOptions) -> Self {
        let made = Self::cold(hall, shelf, ahead, options).await;
        made.models.resume().await.unwrap();
        made
    }

    /// Likewise, with no version in force yet.
    async fn cold(hall: &Arc<Hall>, shelf: &Arc<Shelf>, ahead: i64, options: ModelsOptions) -> Self {
        let house = house_of(|parts| {
            parts.model = None;
            parts.clock = Arc::new(FixedClock::new(Millis(START + ahead)));
        })
        .await;
        let models = Self::models_of(&house, hall, shelf, options);
        Self { house, models }
    }

    /// What another process of it would be made of.
    fn again(&self, hall: &Arc<Hall>, shelf: &Arc<Shelf>, options: ModelsOptions) -> Models<Scored> {
        Self::models_of(&self.house, hall, shelf, options)
    }

    fn models_of(house: &House, hall: &Arc<Hall>, shelf: &Arc<Shelf>, options: ModelsOptions) -> Models<Scored> {
        let own = LogBook(house.log.clone() as Arc<dyn Log>);
        let book = Arc::new(HallBook { own, hall: hall.clone(), unsent: Mutex::default() });
        models_over(house, shelf, book, options)
    }

    /// Puts a version in force and lets the others know.
    async fn asks_for(&self, version: &str) {
        self.models.activate(version, &ann()).await.unwrap();
        self.models.follow().await;
    }

    async fn decide_many(&self, name: &str, count: usize) {
        for number in 0..count {
            self.decide(&format!("{name}{number}")).await;
        }
    }

    fn active(&self) -> String {
        self.house.engine.model().unwrap().version.to_owned()
    }

    async fn decide(&self, id: &str) {
        drop(self.house.engine.decide(transaction(id, START, 1_000), soon()).await.unwrap());
    }

    async fn last(&self) -> Change {
        self.models.history(1).await.unwrap().pop().unwrap()
    }
}

fn shelf() -> Arc<Shelf> {
    let shelf = Arc::new(Shelf::default());
    shelf.publish("1", 1, Loads::Well(1.0));
    shelf.publish("2", 2, Loads::Well(40.0));
    shelf.publish("3", 3, Loads::Well(1.0));
    shelf
}

/// Versions differ in their scores, so gates and watch would have much to say; only rows without a score are watched here.
const QUIET: ModelsOptions = ModelsOptions { max_shift: None, ..OPTIONS };

async fn both(hall: &Arc<Hall>, shelf: &Arc<Shelf>, ahead: i64, options: ModelsOptions) -> (Instance, Instance) {
    let one = Instance::new(hall, shelf, ahead, options).await;
    let other = Instance::new(hall, shelf, 0, options).await;
    one.asks_for("fraud/1").await;
    other.models.follow().await;
    assert_eq!((one.active().as_str(), other.active().as_str()), ("1", "1"));
    (one, other)
}

#[tokio::test]
async fn a_rollback_is_followed_as_one_and_nobody_watches_what_came_back() {
    let watch = WatchOptions { max_shift: Some(0.5), ..OPTIONS.watch };
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let (one, other) = both(&hall, &shelf, 0, ModelsOptions { watch, ..QUIET }).await;
    other.decide_many("a", 60).await;
    one.asks_for("fraud/2").await;
    other.models.follow().await;
    assert_eq!((other.active().as_str(), other.last().await.action), ("2", Action::Followed));
    assert_eq!(other.last().await.by, "ann", "who asked for it, not who follows");
    one.models.rollback(&ann()).await.unwrap();
    one.models.follow().await;
    other.models.follow().await;
    assert_eq!((other.active().as_str(), other.last().await.action), ("1", Action::FollowedBack));
    // The scores are again as they were before, which is far from those of the version that went.
    other.decide_many("b", 60).await;
    other.models.judge().await;
    assert_eq!(other.active(), "1");
    assert!(matches!(other.models.rollback(&ann()).await, Err(ModelsError::NotNow(_))), "what went does not come back");
}

#[tokio::test]
async fn the_newest_wish_stands_although_a_clock_is_ahead() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let (fast, other) = both(&hall, &shelf, 180_000, QUIET).await;
    fast.asks_for("fraud/2").await;
    other.models.follow().await;
    assert_eq!(other.active(), "2");
    other.models.rollback(&ann()).await.unwrap();
    for _ in 0..2 {
        other.models.follow().await;
        fast.models.follow().await;
    }
    assert_eq!((fast.active().as_str(), other.active().as_str()), ("1", "1"));
}

#[tokio::test]
async fn alone_it_acts_and_the_others_follow_later() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let (one, other) = both(&hall, &shelf, 0, QUIET).await;
    hall.away.store(true, Ordering::Relaxed);
    one.asks_for("fraud/3").await;
    other.models.follow().await;
    assert_eq!((one.active().as_str(), other.active().as_str()), ("3", "1"));
    hall.away.store(false, Ordering::Relaxed);
    one.models.follow().await;
    other.models.follow().await;
    assert_eq!((one.active().as_str(), other.active().as_str()), ("3", "3"));
}

#[tokio::test]
async fn a_wish_that_cannot_be_met_is_left_alone_for_a_while() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let (one, other) = both(&hall, &shelf, 0, QUIET).await;
    shelf.publish("4", 0, Loads::Well(1.0));
    one.asks_for("fraud/4").await;
    shelf.publish("4", 0, Loads::Not("slow here"));
    for _ in 0..10 {
        other.models.follow().await;
    }
    assert_eq!(other.active(), "1");
    assert_eq!(shelf.loaded("4"), 2, "once by each of them");
    // Another wish is met at once.
    one.asks_for("fraud/2").await;
    other.models.follow().await;
    assert_eq!(other.active(), "2");
}

#[tokio::test]
async fn what_one_rolled_back_does_not_come_by_itself_elsewhere() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let newest = ModelsOptions { newest: true, ..QUIET };
    let (one, other) = both(&hall, &shelf, 0, newest).await;
    // One is faster: it has version 4 in force and rolled back before the other has looked.
    shelf.publish("4", 4, Loads::Well(1.0));
    one.models.tick().await;
    assert_eq!(one.active(), "4");
    one.models.rollback(&ann()).await.unwrap();
    one.models.follow().await;
    other.models.tick().await;
    assert_eq!(other.active(), "1");
    // One that joins now, and one that starts again, know it too.
    let new = Instance::new(&hall, &shelf, 0, newest).await;
    new.models.tick().await;
    for instance in [&one, &other, &new] {
        instance.models.follow().await;
        instance.models.tick().await;
        assert_eq!(instance.active(), "1");
    }
    // The next one comes.
    shelf.publish("5", 5, Loads::Well(1.0));
    other.models.tick().await;
    assert_eq!(other.active(), "5");
}

#[tokio::test]
async fn to_activate_what_decides_here_is_a_wish_where_others_want_something_else() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let (one, other) = both(&hall, &shelf, 0, QUIET).await;
    one.asks_for("fraud/2").await;
    shelf.publish("2", 2, Loads::Not("slow here"));
    other.models.verify("fraud/2").await.unwrap_err();
    other.models.follow().await;
    assert_eq!((one.active().as_str(), other.active().as_str()), ("2", "1"));
    other.asks_for("fraud/1").await;
    one.models.follow().await;
    assert_eq!((one.active().as_str(), other.active().as_str()), ("1", "1"));
}

#[tokio::test]
async fn an_instance_that_joins_takes_what_all_want() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let (_one, _other) = both(&hall, &shelf, 0, QUIET).await;
    let new = Instance::new(&hall, &shelf, 0, QUIET).await;
    assert_eq!(
        (new.active().as_str(), new.last().await.action),
        ("1", Action::Followed),
        "not the newest of the folder"
    );
}

#[tokio::test]
async fn a_first_start_takes_no_version_before_it_knows_what_all_want() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let (one, _other) = both(&hall, &shelf, 0, QUIET).await;
    hall.away.store(true, Ordering::Relaxed);
    let new = Instance::cold(&hall, &shelf, 0, QUIET).await;
    let error = new.models.resume().await.unwrap_err();
    assert!(error.to_string().contains("first start"), "{error}");
    assert!(new.house.engine.model().is_none(), "not the newest, which nobody wants");
    let again = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        hall.away.store(false, Ordering::Relaxed);
    };
    let patient =
        Instance::cold(&hall, &shelf, 0, ModelsOptions { first_wish: Duration::from_secs(60), ..QUIET }).await;
    let (resumed, ()) = tokio::join!(patient.models.resume(), again);
    resumed.unwrap();
    assert_eq!((patient.active(), one.active()), ("1".into(), "1".into()));
}

#[tokio::test]
async fn a_rollback_is_followed_although_the_scores_lie_far_from_those_of_the_version_that_goes() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let (one, _other) = both(&hall, &shelf, 0, OPTIONS).await;
    one.asks_for("fraud/2").await;
    // It has never seen version 1 decide.
    let new = Instance::new(&hall, &shelf, 0, OPTIONS).await;
    new.decide_many("tx", 100).await;
    one.models.rollback(&ann()).await.unwrap();
    one.models.follow().await;
    new.models.follow().await;
    assert_eq!((new.active(), new.last().await.action), ("1".into(), Action::FollowedBack));
}

#[tokio::test]
async fn what_an_alias_names_comes_once_and_a_rollback_holds_until_it_moves() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    shelf.name("1");
    let one = Instance::new(&hall, &shelf, 0, QUIET).await;
    assert_eq!(one.active(), "1", "at the first start, what the alias names");
    one.models.tick().await;
    shelf.name("2");
    one.models.tick().await;
    assert_eq!(one.active(), "2");
    one.models.follow().await;
    one.models.rollback(&ann()).await.unwrap();
    one.models.follow().await;
    for _ in 0..2 {
        one.models.tick().await;
        assert_eq!(one.active(), "1", "the alias names it still, and has not moved");
    }
    // Nor where an instance joins that has never seen the alias.
    let new = Instance::new(&hall, &shelf, 0, QUIET).await;
    new.models.tick().await;
    new.models.follow().await;
    one.models.follow().await;
    assert_eq!((new.active().as_str(), one.active().as_str()), ("1", "1"));
    // Moved away and back, it is asked for anew.
    for version in ["1", "2"] {
        shelf.name(version);
        one.models.tick().await;
        assert_eq!(one.active(), version);
    }
    // A version that an alias names and a gate refuses is told once.
    shelf.publish("4", 4, Loads::Not("it scores 0.9 and 0.1 is expected"));
    shelf.name("4");
    for _ in 0..3 {
        one.models.tick().await;
    }
    assert_eq!(one.active(), "2");
}

#[tokio::test]
async fn a_rollback_is_followed_at_once_although_a_gate_of_today_refuses_the_version_before() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let (one, other) = both(&hall, &shelf, 0, QUIET).await;
    one.asks_for("fraud/2").await;
    other.models.follow().await;
    assert_eq!(other.active(), "2");
    shelf.publish("1", 1, Loads::Not("slow here, today"));
    other.models.verify("fraud/1").await.unwrap_err();
    let loads = shelf.loaded("1");
    one.models.rollback(&ann()).await.unwrap();
    one.models.follow().await;
    other.models.follow().await;
    assert_eq!((other.active(), other.last().await.action), ("1".into(), Action::FollowedBack));
    assert_eq!(shelf.loaded("1"), loads, "it was loaded all the time");
}

#[tokio::test]
async fn no_way_leads_back_to_what_was_rolled_back_while_an_instance_did_not_look() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    shelf.publish("4", 0, Loads::Well(1.0));
    let (one, other) = both(&hall, &shelf, 0, QUIET).await;
    one.asks_for("fraud/3").await;
    other.models.follow().await;
    // Both of them between two looks of the other: of the wishes only the last is there to be seen.
    one.models.rollback(&ann()).await.unwrap();
    one.asks_for("fraud/4").await;
    other.models.follow().await;
    assert_eq!((other.active(), other.last().await.action), ("4".into(), Action::FollowedBack));
    // What is bad about it shows here, and the way back is the version before the one that went.
    other.models.rollback(&ann()).await.unwrap();
    other.models.follow().await;
    one.models.follow().await;
    assert_eq!((one.active().as_str(), other.active().as_str()), ("1", "1"));
    // One that was away with version 3 in force learns it too.
    one.asks_for("fraud/3").await;
    other.models.follow().await;
    one.models.rollback(&ann()).await.unwrap();
    one.asks_for("fraud/2").await;
    let again = other.again(&hall, &shelf, QUIET);
    again.resume().await.unwrap();
    assert_eq!(other.active(), "2");
    again.rollback(&ann()).await.unwrap();
    assert_eq!(other.active(), "1", "version 3 does not come back, the one before it does");
}

#[tokio::test]
async fn who_comes_late_does_not_watch_anew_what_the_others_watched_to_the_end() {
    let window = QUIET.watch.window.as_millis() as i64;
    // By its clock the window is over, or has just begun.
    for (ahead, stays) in [(window + 1_000, "2"), (1_000, "1")] {
        let (hall, shelf) = (Arc::new(Hall::default()), shelf());
        let (one, _other) = both(&hall, &shelf, 0, QUIET).await;
        let late = Instance::new(&hall, &shelf, ahead, QUIET).await;
        assert_eq!(late.active(), "1");
        one.asks_for("fraud/2").await;
        // It was away meanwhile, and its start is rough.
        let again = late.again(&hall, &shelf, QUIET);
        again.resume().await.unwrap();
        again.tick().await;
        assert_eq!(late.active(), "2");
        late.house.engine.model().unwrap().set(Scores::Broken);
        late.decide_many("tx", 60).await;
        again.judge().await;
        assert_eq!(late.active(), stays, "{ahead}");
    }
}

#[tokio::test]
async fn a_restart_begins_no_watch_anew_of_what_was_followed_late() {
    let window = QUIET.watch.window.as_millis() as i64;
    for (ahead, stays) in [(window + 1_000, "2"), (1_000, "1")] {
        let (hall, shelf) = (Arc::new(Hall::default()), shelf());
        let (one, _other) = both(&hall, &shelf, 0, QUIET).await;
        let late = Instance::new(&hall, &shelf, ahead, QUIET).await;
        one.asks_for("fraud/2").await;
        late.models.follow().await;
        let again = late.again(&hall, &shelf, QUIET);
        again.resume().await.unwrap();
        assert_eq!(late.active(), "2");
        late.house.engine.model().unwrap().set(Scores::Broken);
        late.decide_many("tx", 60).await;
        again.judge().await;
        assert_eq!(late.active(), stays, "{ahead}");
    }
}

#[tokio::test]
async fn the_newest_does_not_come_where_all_instances_want_one_that_is_refused_here() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let newest = ModelsOptions { newest: true, ..QUIET };
    let (one, other) = both(&hall, &shelf, 0, newest).await;
    for (version, created) in [("4", 4), ("5", 5)] {
        shelf.publish(version, created, Loads::Well(1.0));
    }
    one.models.tick().await;
    one.models.follow().await;
    assert_eq!(one.active(), "5");
    shelf.publish("5", 5, Loads::Not("slow here"));
    other.models.tick().await;
    other.models.follow().await;
    one.models.follow().await;
    assert_eq!((one.active().as_str(), other.active().as_str()), ("5", "1"));
}

#[tokio::test]
async fn a_wish_that_was_recorded_too_late_and_not_made_is_followed_by_nobody() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let options = ModelsOptions { record_wait: Duration::from_millis(20), ..QUIET };
    let (one, other) = both(&hall, &shelf, 0, options).await;
    one.models.verify("fraud/2").await.unwrap();
    one.house.log.set_mood(Mood::Silent);
    let late = one.models.activate("fraud/2", &ann()).await;
    assert!(matches!(late, Err(ModelsError::Unrecorded(_))), "{late:?}");
    let known = hall.changes.lock().unwrap().len();
    // The record comes, and the one that takes it back takes its time.
    one.house.log.set_mood(Mood::Well);
    one.house.log.set_mood(Mood::Silent);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        // It may have to wait for that one.
        drop(tokio::time::timeout(Duration::from_millis(50), one.models.follow()).await);
        other.models.follow().await;
    }
    let meanwhile = (one.active(), other.active());
    one.house.log.set_mood(Mood::Well);
    assert_eq!(meanwhile, ("1".into(), "1".into()));
    while hall.changes.lock().unwrap().len() < known + 2 {
        one.models.follow().await;
        tokio::task::yield_now().await;
    }
    other.models.follow().await;
    assert_eq!((one.active().as_str(), other.active().as_str()), ("1", "1"));
}

#[tokio::test]
async fn what_went_elsewhere_is_known_after_a_restart_while_nobody_can_be_asked() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    shelf.publish("4", 0, Loads::Well(1.0));
    let (one, other) = both(&hall, &shelf, 0, QUIET).await;
    one.asks_for("fraud/3").await;
    other.models.follow().await;
    one.models.rollback(&ann()).await.unwrap();
    one.asks_for("fraud/4").await;
    other.models.follow().await;
    hall.away.store(true, Ordering::Relaxed);
    let alone = other.again(&hall, &shelf, QUIET);
    alone.resume().await.unwrap();
    assert_eq!(other.active(), "4");
    alone.rollback(&ann()).await.unwrap();
    assert_eq!(other.active(), "1", "not version 3, which decided last before it");
}

#[tokio::test]
async fn what_somebody_left_for_another_does_not_come_behind_a_new_one_that_is_refused() {
    let (hall, shelf) = (Arc::new(Hall::default()), shelf());
    let (_one, _other) = both(&hall, &shelf, 0, QUIET).await;
    // That version 3 decided before somebody chose version 1 is no record of its own.
    let fresh = Instance::new(&hall, &shelf, 0, ModelsOptions { newest: true, ..QUIET }).await;
    shelf.publish("4", 4, Loads::Not("slow here"));
    fresh.models.tick().await;
    assert_eq!(fresh.active(), "1");
}
