//! A folder that changes, goes away and comes back; rates that are corrected; starts with the copy alone.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::base::clock::{FixedClock, Millis};
use crate::base::money::{Currency, RateQuality, Rates};
use crate::features::Reference;
use crate::ops::metrics::{Metrics, Refresh};

const MERCHANTS: &str =
    "merchant_id,risk,onboarded_on,usual_amount,online_only\nm1,high,2025-01-01,12.5,true\nm2,,,,\n";
const RATES: &str = "published,currency,rate\n2026-01-01,USD,1.10\n";

/// A folder, a clock and a keeper's surroundings.
struct Place {
    folder: tempfile::TempDir,
    clock: Arc<FixedClock>,
    metrics: Arc<Metrics>,
    rates: Arc<Rates>,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(FixedClock::new(Millis(1_000_000))),
            metrics: Arc::new(Metrics::new().unwrap()),
            rates: Arc::new(Rates::of_base(currency("EUR"))),
        };
        std::fs::create_dir(place.data()).unwrap();
        for (name, text) in files {
            place.write(name, text);
        }
        place
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Replaces a file, a second later than the one before.
    fn write(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        let before = path.metadata().and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(before + Duration::from_secs(1)).unwrap();
    }

    fn open(&self) -> Result<Keeper, Vec<String>> {
        self.open_with(ReferenceOptions::default())
    }

    fn open_with(&self, options: ReferenceOptions) -> Result<Keeper, Vec<String>> {
        let options = ReferenceOptions { copy: Some(self.folder.path().join("copy.db")), ..options };
        let sources = Sources { files: Some(Files::new(self.data())), ..Sources::default() };
        let (rates, clock, metrics) = (Arc::clone(&self.rates), Arc::clone(&self.clock), Arc::clone(&self.metrics));
        Keeper::open(options, sources, rates, clock, metrics).map_err(|error| match error {
            ReferenceError::Faults(faults) => faults,
            other => vec![other.to_string()],
        })
    }

    /// As after a start of the process: nothing of rates in memory.
    fn restarted(self) -> Self {
        Self { rates: Arc::new(Rates::of_base(currency("EUR"))), metrics: Arc::new(Metrics::new().unwrap()), ..self }
    }

    fn pass(&self, seconds: i64) {
        use crate::base::clock::Clock as _;
        self.clock.set(Millis(self.clock.now().0 + seconds * 1_000));
    }

    /// 110 dollars in euro cents on a day.
    fn dollars(&self, at: &str) -> (i64, RateQuality) {
        let at = Millis::parse_rfc3339(at).unwrap();
        let base = self.rates.to_base(11_000, currency("USD"), at);
        (base.minor, base.rate)
    }
}

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

/// (risk, usual amount) of a merchant, and whether its table is stale.
fn merchant(reference: &Reference, key: &str) -> (Option<f64>, Option<f64>, bool) {
    let tables = reference.now();
    let row = tables[0].find(key);
    (row.value(0), row.value(2), tables[0].stale)
}

#[test]
fn a_changed_file_is_seen_at_the_next_round_and_a_missing_one_changes_nothing_but_its_age() {
    let place = Place::new(&[("merchants.csv", MERCHANTS)]);
    let mut keeper = place.open().unwrap();
    let reference = keeper.reference();
    assert_eq!((reference.has(0), reference.has(1)), (true, false));
    assert_eq!(merchant(&reference, "m1"), (Some(2.0), Some(12.5), false));
    assert_eq!(merchant(&reference, "m2"), (None, None, false));
    assert_eq!(place.metrics.reference_rows.value("merchants"), 2);
    place.write("merchants.csv", &MERCHANTS.replace("high", "low"));
    place.pass(60);
    keeper.refresh();
    assert_eq!(merchant(&reference, "m1").0, Some(0.0));
    keeper.refresh();
    let outcomes =
        [Refresh::Changed, Refresh::Same, Refresh::Failed].map(|one| place.metrics.reference_refreshes.value(one));
    assert_eq!(outcomes, [2, 1, 0]);
    assert_eq!(place.metrics.reference_age.value("merchants"), 0);
    std::fs::rename(place.data(), place.folder.path().join("elsewhere")).unwrap();
    place.pass(3_600);
    keeper.refresh();
    assert_eq!(merchant(&reference, "m1"), (Some(0.0), Some(12.5), false));
    assert_eq!(place.metrics.reference_age.value("merchants"), 3_600);
    // One second more than `stale_after`: the same values, marked; nothing has to be read for that.
    place.pass(1);
    keeper.tell();
    assert_eq!(merchant(&reference, "m1"), (Some(0.0), Some(12.5), true));
    std::fs::rename(place.folder.path().join("elsewhere"), place.data()).unwrap();
    keeper.refresh();
    assert_eq!(merchant(&reference, "m1"), (Some(0.0), Some(12.5), false));
    assert_eq!(place.metrics.reference_age.value("merchants"), 0);
}

#[test]
fn a_damaged_file_keeps_the_last_good_rows() {
    let place = Place::new(&[("merchants.csv", MERCHANTS)]);
    let mut keeper = place.open().unwrap();
    for damaged in
        [MERCHANTS.replace("12.5", "much"), MERCHANTS.replace("risk", "risks"), MERCHANTS.replace("m2", "m1")]
    {
        place.write("merchants.csv", &damaged);
        keeper.refresh();
        assert_eq!(merchant(&keeper.reference(), "m1"), (Some(2.0), Some(12.5), false));
    }
    assert_eq!(place.metrics.reference_refreshes.value(Refresh::Failed), 3);
}

#[test]
fn a_start_without_the_source_serves_the_copy_and_counts_its_age_on() {
    let place = Place::new(&[("merchants.csv", MERCHANTS), ("rates.csv", RATES)]);
    drop(place.open().unwrap());
    std::fs::remove_dir_all(place.data()).unwrap();
    place.pass(10_000);
    let place = place.restarted();
    let keeper = place.open().unwrap();
    assert_eq!(merchant(&keeper.reference(), "m1"), (Some(2.0), Some(12.5), true));
    assert_eq!(place.metrics.reference_age.value("merchants"), 10_000);
}

#[test]
fn what_is_wrong_at_the_start_is_named_all_at_once() {
    let wrong = MERCHANTS.replace("usual_amount", "amount");
    let place = Place::new(&[("merchants.csv", &wrong), ("countries.csv", "country,risk\nDE,low\nDE,high\n")]);
    place.write("rates.csv", "published,currency,rate\n2026-01-01,USD,0\n");
    let faults = place.open().unwrap_err();
    assert_eq!(faults.len(), 3, "{faults:?}");
    for part in ["\"usual_amount\"", "stands in an earlier row", "rates.csv: line 2: rate must be"] {
        assert!(faults.iter().any(|fault| fault.contains(part)), "{part} in {faults:?}");
    }
    let nothing = Place::new(&[]).open().unwrap_err();
    assert!(nothing[0].contains("has no file of merchants"), "{nothing:?}");
    let both = Place::new(&[("merchants.csv", MERCHANTS), ("merchants.ndjson", "")]).open().unwrap_err();
    assert!(both[0].contains("merchants.csv and merchants.ndjson"), "{both:?}");
    let large = Place::new(&[("merchants.csv", MERCHANTS)]);
    let told = large.open_with(ReferenceOptions { whole_rows: 1, ..ReferenceOptions::default() }).unwrap_err();
    assert!(told[0].contains("2 rows, and reference.whole_rows allows 1"), "{told:?}");
}

#[test]
fn a_rate_that_was_published_stays_over_corrections_and_restarts() {
    let place = Place::new(&[("rates.csv", RATES)]);
    let mut keeper = place.open().unwrap();
    let noon = "2026-01-02T12:00:00Z";
    assert_eq!(place.dollars(noon), (10_000, RateQuality::Fresh));
    // A correction, and the rate of another day.
    place.write("rates.csv", "published,currency,rate\n2026-01-01,USD,2.20\n2026-01-02,USD,2.00\n");
    for _ in 0..3 {
        keeper.refresh();
    }
    assert_eq!(place.dollars(noon), (10_000, RateQuality::Fresh));
    assert_eq!(place.dollars("2026-01-03T12:00:00Z").0, 5_500);
    assert_eq!(place.metrics.rate_corrections.value(()), 1);
    assert_eq!(place.metrics.reference_rows.value("rates"), 2);
    drop(keeper);
    // The corrected file is all that the next start sees, beside the copy.
    let place = place.restarted();
    let keeper = place.open().unwrap();
    assert_eq!((place.dollars(noon).0, place.dollars("2026-01-03T12:00:00Z").0), (10_000, 5_500));
    drop(keeper);
    assert_eq!(frozen_rates(&place.folder.path().join("copy.db")).unwrap().len(), 2);
    // And without the file at all.
    std::fs::remove_file(place.data().join("rates.csv")).unwrap();
    let place = place.restarted();
    let _keeper = place.open().unwrap();
    assert_eq!((place.dollars(noon).0, place.dollars("2026-01-03T12:00:00Z").0), (10_000, 5_500));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever a file of rates says, in whatever order, over rounds and restarts: the first rate of a day is the one that
    /// converts, and two processes that share the copy agree.
    #[test]
    fn any_order_of_rounds_and_corrections_gives_the_same_amounts(
        rounds in prop::collection::vec((prop::collection::btree_map(1..6_u8, 1..40_u32, 1..5), any::<bool>()), 1..6),
    ) {
        let mut place = Place::new(&[("rates.csv", "published,currency,rate\n")]);
        let mut first = std::collections::BTreeMap::new();
        let mut keeper = place.open().unwrap();
        for (published, restart) in rounds {
            let lines = published.iter().map(|(day, rate)| format!("2026-01-0{day},USD,{rate}\n"));
            place.write("rates.csv", &format!("published,currency,rate\n{}", lines.collect::<String>()));
            for (day, rate) in published {
                first.entry(day).or_insert(rate);
            }
            if restart {
                drop(keeper);
                place = place.restarted();
                keeper = place.open().unwrap();
            } else {
                keeper.refresh();
            }
            for (day, rate) in &first {
                let at = Millis::parse_rfc3339(&format!("2026-01-0{}T00:00:00Z", day + 1)).unwrap();
                let expected = i64::from(1_000_000 / rate);
                let got = place.rates.to_base(1_000_000, currency("USD"), at).minor;
                prop_assert!((got - expected).abs() <= 1, "day {}: {} for {}", day, got, expected);
            }
        }
    }
}

#[test]
fn processes_that_share_a_copy_agree_on_what_either_saw_first() {
    let place = Place::new(&[("rates.csv", RATES)]);
    let mut one = place.open().unwrap();
    let rates = Arc::new(Rates::of_base(currency("EUR")));
    let other = Place { rates: Arc::clone(&rates), ..place };
    let mut two = other.open().unwrap();
    other.write("rates.csv", "published,currency,rate\n2026-01-02,USD,2.00\n");
    two.refresh();
    other.write("rates.csv", "published,currency,rate\n2026-01-02,USD,4.00\n");
    one.refresh();
    two.refresh();
    let day = Publication::parse("2026-01-02", "USD", "2.00").unwrap();
    assert_eq!(rates.of_day(day.currency, day.day), Some(day.rate));
    assert_eq!(one.rates().of_day(day.currency, day.day), Some(day.rate));
}

#[test]
fn a_copy_of_other_attributes_or_of_the_future_is_not_used() {
    let place = Place::new(&[("merchants.csv", MERCHANTS)]);
    drop(place.open().unwrap());
    let path: &Path = &place.folder.path().join("copy.db");
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute("UPDATE tables SET form = 'older'", []).unwrap();
    std::fs::remove_dir_all(place.data()).unwrap();
    assert!(place.open().unwrap_err()[0].contains("has no file of merchants"));
    connection.execute_batch("PRAGMA user_version = 9").unwrap();
    assert!(place.open().unwrap_err()[0].contains("of a later program (version 9)"));
}
