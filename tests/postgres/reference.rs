//! Reference data and rates out of tables that belong to somebody else, and the rates that count in `fraud_rates`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use assay::base::clock::{Clock as _, FixedClock, Millis};
use assay::base::money::{Currency, Rates};
use assay::base::rates::Publication;
use assay::features::Reference;
use assay::features::reference::Found;
use assay::ops::metrics::{Metrics, Refresh};
use assay::store::postgres::{PostgresOptions, PostgresTables};
use assay::store::reference::{Keeper, ReferenceError, ReferenceOptions, Sources};
use tokio::runtime::Handle;

use crate::place::Place;
use crate::server::Server;

const TABLES: &str = "
    CREATE TABLE shop.sellers (merchant_id text PRIMARY KEY, risk text, onboarded_on date, usual_amount numeric, online_only boolean);
    INSERT INTO shop.sellers VALUES ('m1', 'high', '2025-01-01', 12.5, true), ('m2', NULL, NULL, NULL, NULL);
    CREATE TABLE shop.fx (published date, currency text, rate numeric, PRIMARY KEY (published, currency));
    INSERT INTO shop.fx VALUES ('2026-01-01', 'USD', 1.10), ('2026-01-01', 'XAU', 0.0003);";

/// One instance: its memory, its clock, its copy.
struct Instance {
    keeper: Keeper,
    rates: Arc<Rates>,
    metrics: Arc<Metrics>,
    clock: Arc<FixedClock>,
}

/// A place with [`TABLES`], which the role may read.
async fn place(place: Place) -> Place {
    place.execute(TABLES).await;
    place.execute(&format!("GRANT SELECT ON shop.sellers, shop.fx TO {}", place.role)).await;
    place.store().prepare().await.unwrap();
    place
}

fn named(tables: &[(&str, &str)]) -> Vec<(String, String)> {
    tables.iter().map(|(name, table)| ((*name).to_owned(), (*table).to_owned())).collect()
}

impl Instance {
    fn open(place: &Place, options: ReferenceOptions) -> Result<Self, Vec<String>> {
        Self::of(&place.options, &[("merchants", "shop.sellers"), ("rates", "shop.fx")], options)
    }

    fn of(postgres: &PostgresOptions, tables: &[(&str, &str)], options: ReferenceOptions) -> Result<Self, Vec<String>> {
        let rates = Arc::new(Rates::of_base(Currency::parse("EUR").unwrap()));
        let metrics = Arc::new(Metrics::new().unwrap());
        let clock = Arc::new(FixedClock::new(Millis(1_000_000)));
        let tables = PostgresTables::new(postgres, &named(tables)).unwrap();
        let keeper = tokio::task::block_in_place(|| {
            let sources = Sources { postgres: Some((tables, Handle::current())), ..Sources::default() };
            let clock = Arc::clone(&clock);
            Keeper::open(options, sources, Arc::clone(&rates), clock, Arc::clone(&metrics))
        });
        let keeper = keeper.map_err(|error| match error {
            ReferenceError::Faults(faults) => faults,
            other => vec![other.to_string()],
        })?;
        Ok(Self { keeper, rates, metrics, clock })
    }

    fn refresh(&mut self) {
        tokio::task::block_in_place(|| self.keeper.refresh());
    }

    /// (risk, usual amount) of a merchant; `None` where there is no row.
    fn merchant(&self, key: &str) -> Option<(Option<f64>, Option<f64>)> {
        let reference: Arc<Reference> = self.keeper.reference();
        let tables = reference.now();
        let row = tables[0].find(key);
        (row != Found::Missing).then(|| (row.value(0), row.value(2)))
    }

    fn is_stale(&self) -> bool {
        self.keeper.reference().now()[0].stale
    }

    /// 11,000 cents of dollars in euro cents, by the rate before a day of January 2026.
    fn dollars(&self, day: u8) -> i64 {
        let at = Millis::parse_rfc3339(&format!("2026-01-{day:02}T12:00:00Z")).unwrap();
        self.rates.to_base(11_000, Currency::parse("USD").unwrap(), at).minor
    }

    /// Refreshes until a round succeeds: after an outage a session is not made anew at once.
    async fn back(&mut self) {
        let begun = Instant::now();
        // -1 is never.
        while ["merchants", "rates"].iter().any(|table| self.metrics.reference_age.value(table) != 0) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the source is not read again");
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.refresh();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_and_changes_seen() {
    let place = place(Place::new().await).await;
    let mut one = Instance::open(&place, ReferenceOptions::default()).unwrap();
    assert_eq!(one.merchant("m1"), Some((Some(2.0), Some(12.5))));
    assert_eq!((one.merchant("m2"), one.merchant("m3")), (Some((None, None)), None));
    // Gold is no currency of a payment.
    assert_eq!((one.dollars(2), one.rates.len()), (10_000, 1));
    place.execute("UPDATE shop.sellers SET risk = 'low'; INSERT INTO shop.sellers VALUES ('m3', 'high')").await;
    one.refresh();
    assert_eq!(one.merchant("m1"), Some((Some(0.0), Some(12.5))));
    assert_eq!(one.merchant("m3"), Some((Some(2.0), None)));
    assert_eq!(one.metrics.reference_rows.value("merchants"), 3);
    one.refresh();
    let outcomes = [Refresh::Changed, Refresh::Same, Refresh::Failed]
        .map(|outcome| one.metrics.reference_refreshes.value(outcome));
    assert_eq!(outcomes, [3, 3, 0]);
    // A row that is wrong: what is known stays.
    place
        .execute("ALTER TABLE shop.sellers ALTER usual_amount TYPE text; UPDATE shop.sellers SET usual_amount = 'much'")
        .await;
    one.refresh();
    assert_eq!(one.merchant("m1"), Some((Some(0.0), Some(12.5))));
    assert_eq!(one.metrics.reference_refreshes.value(Refresh::Failed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_the_last_good_value_is_served_and_marked_when_it_is_too_old() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let mut place = place(Place::on(&server).await).await;
    let folder = tempfile::tempdir().unwrap();
    let options = ReferenceOptions { copy: Some(folder.path().join("copy.db")), ..ReferenceOptions::default() };
    let mut one = Instance::open(&place, options.clone()).unwrap();
    tokio::task::block_in_place(|| server.down());
    one.clock.set(Millis(one.clock.now().0 + 3_600_000));
    one.refresh();
    assert_eq!((one.merchant("m1"), one.is_stale(), one.dollars(2)), (Some((Some(2.0), Some(12.5))), false, 10_000));
    assert_eq!(one.metrics.reference_age.value("merchants"), 3_600);
    one.clock.set(Millis(one.clock.now().0 + 1_000));
    one.keeper.tell();
    assert_eq!((one.merchant("m1"), one.is_stale()), (Some((Some(2.0), Some(12.5))), true));
    // A start meanwhile begins with the copy; one without a copy with defaults, marked; neither is refused.
    let other = Instance::open(&place, options).unwrap();
    assert_eq!((other.merchant("m1"), other.dollars(2)), (Some((Some(2.0), Some(12.5))), 10_000));
    let bare = Instance::open(&place, ReferenceOptions::default()).unwrap();
    assert_eq!((bare.merchant("m1"), bare.is_stale(), bare.dollars(2)), (None, true, 0));
    tokio::task::block_in_place(|| server.up());
    place.owner = place.session().await;
    one.back().await;
    assert_eq!((one.merchant("m1"), one.is_stale()), (Some((Some(2.0), Some(12.5))), false));
    let mut bare = bare;
    bare.back().await;
    assert_eq!((bare.merchant("m1").is_some(), bare.dollars(2)), (true, 10_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_rate_of_a_day_counts_for_every_instance_and_every_start() {
    let place = place(Place::new().await).await;
    let mut one = Instance::open(&place, ReferenceOptions::default()).unwrap();
    assert_eq!(one.dollars(2), 10_000);
    place.execute("UPDATE shop.fx SET rate = 2.20; INSERT INTO shop.fx VALUES ('2026-01-02', 'USD', 2.00)").await;
    // The second instance has never seen the first rate, and has no copy.
    let mut two = Instance::open(&place, ReferenceOptions::default()).unwrap();
    for _ in 0..2 {
        one.refresh();
        two.refresh();
    }
    for instance in [&one, &two] {
        assert_eq!((instance.dollars(2), instance.dollars(3)), (10_000, 5_500));
        assert_eq!(instance.metrics.rate_corrections.value(()), 1);
    }
    // What one of them saw first counts for the other, which has never seen it.
    place.execute("INSERT INTO shop.fx VALUES ('2026-01-03', 'USD', 1.00)").await;
    one.refresh();
    place.execute("UPDATE shop.fx SET rate = 4.00 WHERE published = '2026-01-03'").await;
    two.refresh();
    assert_eq!((one.dollars(4), two.dollars(4)), (11_000, 11_000));
    // The row that is taken out of the source, too, counts on.
    place.execute("DELETE FROM shop.fx WHERE published = '2026-01-01'").await;
    one.refresh();
    let three = Instance::open(&place, ReferenceOptions::default()).unwrap();
    assert_eq!((one.dollars(2), three.dollars(2), three.dollars(3)), (10_000, 10_000, 5_500));
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_rates").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_freeze_side_by_side_agree() {
    let place = place(Place::new().await).await;
    let freezing = (1..=8).map(|instance| {
        let mut tables = PostgresTables::new(&place.options, &named(&[("rates", "shop.fx")])).unwrap();
        let published: Vec<_> = (1..=28)
            .flat_map(|day| ["USD", "GBP", "JPY"].map(|code| (day, code)))
            .map(|(day, code)| {
                Publication::parse(&format!("2026-02-{day:02}"), code, &format!("{instance}.5")).unwrap()
            })
            .collect();
        tokio::spawn(async move { tables.freeze(&published).await.unwrap() })
    });
    let mut counting = Vec::new();
    for frozen in futures_util::future::join_all(freezing.collect::<Vec<_>>()).await {
        let mut frozen: Vec<_> =
            frozen.unwrap().iter().map(|one| (one.date(), one.currency.to_string(), one.rate.to_string())).collect();
        frozen.sort();
        assert_eq!(frozen.len(), 84);
        counting.push(frozen);
    }
    assert!(counting.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_too_large_to_be_held_is_read_by_key_and_nobody_waits_for_it() {
    let place = place(Place::new().await).await;
    let options = ReferenceOptions { whole_rows: 1, cached_rows: 10, ..ReferenceOptions::default() };
    let mut one = Instance::open(&place, options).unwrap();
    let asked = Instant::now();
    assert_eq!((one.merchant("m1"), one.merchant("nobody")), (None, None));
    assert!(asked.elapsed() < Duration::from_secs(2), "a look-up waited for {:?}", asked.elapsed());
    tokio::task::block_in_place(|| one.keeper.fetch());
    assert_eq!((one.merchant("m1"), one.merchant("nobody")), (Some((Some(2.0), Some(12.5))), None));
    place.execute("UPDATE shop.sellers SET risk = 'low'; INSERT INTO shop.sellers VALUES ('nobody', 'high')").await;
    assert_eq!(one.merchant("m1"), Some((Some(2.0), Some(12.5))));
    one.refresh();
    assert_eq!((one.merchant("m1"), one.merchant("nobody")), (Some((Some(0.0), Some(12.5))), Some((Some(2.0), None))));
    assert!(!one.is_stale());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_configured_wrongly_is_named_at_the_start() {
    let place = place(Place::new().await).await;
    let role = &place.role;
    place
        .execute(
            "CREATE TABLE shop.secret AS SELECT * FROM shop.sellers; CREATE TABLE shop.lands (land text, risk text)",
        )
        .await;
    place.execute(&format!("GRANT SELECT ON shop.lands TO {role}")).await;
    let tables = [
        ("merchants", "shop.secret"),
        ("products", "shop.articles"),
        ("countries", "shop.lands"),
        ("rates", "nowhere.fx"),
    ];
    let told = Instance::of(&place.options, &tables, ReferenceOptions::default()).map(drop).unwrap_err();
    assert_eq!(told.len(), 4, "{told:#?}");
    for words in [
        ["\"shop\".\"secret\"", "permission denied"],
        ["\"shop\".\"articles\"", "does not exist"],
        ["\"shop\".\"lands\"", "\"country\" does not exist"],
        ["\"nowhere\".\"fx\"", "does not exist"],
    ] {
        assert!(told.iter().any(|fault| words.iter().all(|word| fault.contains(word))), "{words:?} in {told:#?}");
    }
    assert!(!told.join(" ").contains("not-a-secret"));
}
