//! assay on the stack, from outside: instances that are killed, servers that go away, nodes that are lost, TLS and passwords.
//! What the harness judges is what Kafka and PostgreSQL hold at the end, never what assay says of it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod servers;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use servers::{PROGRAM, Servers};

/// One test at a time: each takes the whole machine.
static ALONE: Mutex<()> = Mutex::new(());

/// Whether the tests take their long form.
fn is_long() -> bool {
    std::env::var_os("ASSAY_LONG").is_some()
}

/// Says that a test did not run, and why.
fn undone(line: &str) {
    eprintln!("NOT RUN: {line}");
    if let Some(path) = std::env::var_os("ASSAY_UNDONE") {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

/// Whether both servers are this run's own, so that a test may stop them or say how they listen; `what` is said where not.
fn are_own(what: &str) -> bool {
    let elsewhere = ["ASSAY_TEST_KAFKA", "ASSAY_TEST_POSTGRES_URL"];
    let named = elsewhere.into_iter().find(|name| std::env::var_os(name).is_some_and(|place| !place.is_empty()));
    if let Some(name) = named {
        undone(&format!("{what}: {name} names a server that is not the test's own"));
    }
    named.is_none()
}

/// The program under test lies beside the harness.
fn assay() -> String {
    Path::new(PROGRAM).with_file_name("assay").to_string_lossy().into_owned()
}

/// How instances are started: replays of payments of any time, a folder each, the group's shortest patience.
fn instances(servers: &Servers, number: usize, port: u16) -> Vec<String> {
    let root = servers.root.display();
    let folder = servers.folder.join("instances");
    let mut words = vec![
        "--assay".to_owned(),
        assay(),
        "--arguments".to_owned(),
        format!("serve --config {root}/config/stack.toml"),
        "--instances".to_owned(),
        number.to_string(),
        "--port".to_owned(),
        port.to_string(),
        "--folder".to_owned(),
        folder.display().to_string(),
    ];
    for pair in [
        "ASSAY__KAFKA__SESSION_TIMEOUT=6s".to_owned(),
        "ASSAY__KAFKA__PARTITIONS=4".to_owned(),
        "ASSAY__STREAM__SETTLE=200ms".to_owned(),
        "ASSAY__STREAM__PATIENCE=10s".to_owned(),
        "ASSAY__STREAM__SNAPSHOT_DIRECTORY={folder}/snapshots".to_owned(),
        "ASSAY__STREAM__SNAPSHOT_EVERY=5s".to_owned(),
        "ASSAY__HISTORY__CLOCK=stream".to_owned(),
        "ASSAY__HISTORY__HASH_KEY_FILE={folder}/history.key".to_owned(),
        "ASSAY__MODELS__JOURNAL={folder}/models.journal".to_owned(),
        // The ports beside are those of the other instances.
        "ASSAY__ADMIN__LISTEN=127.0.0.1:0".to_owned(),
        format!("ASSAY__MODEL__DIRECTORY={root}/models/fraud/1"),
    ] {
        words.extend(["--env".to_owned(), pair]);
    }
    words
}

/// Writes a file with a command of assay.
fn assay_writes(words: &[&str], file: &Path) -> String {
    let option = if words.first() == Some(&"simulate") { "--out" } else { "--output" };
    let output = Command::new(assay()).args(words).arg(option).arg(file).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    file.display().to_string()
}

#[test]
fn every_payment_is_decided_once_whoever_is_killed_and_its_features_are_those_of_the_file() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = Servers::start();
    servers.prepare(4);
    let (customers, days) = if is_long() { ("2000", "30") } else { ("300", "12") };
    let words = ["simulate", "--customers", customers, "--terminals", "150", "--days", days, "--seed", "11"];
    let payments = assay_writes(&words, &servers.folder.join("payments.parquet"));
    let model = servers.root.join("models/fraud/1").display().to_string();
    let features = assay_writes(&["features", "--input", &payments], &servers.folder.join("features.parquet"));
    let scores =
        assay_writes(&["score", "--input", &payments, "--model", &model], &servers.folder.join("scores.parquet"));
    let mut rest = instances(&servers, 3, 18_180);
    for (key, value) in [("--input", &payments), ("--features", &features), ("--scores", &scores)] {
        rest.extend([key.to_owned(), value.clone()]);
    }
    let kills = if is_long() { "--kill-after 20s --kill-before 30s" } else { "--kill-after 5s --kill-before 8s" };
    let outcome = servers.figures(&format!("parity --rate 400 {kills} --away 500ms"), &rest);
    assert!(outcome["disturbances"].as_array().unwrap().len() >= 2, "{outcome}");
}

#[test]
fn a_rescore_beside_the_stream_is_killed_and_leaves_one_revision_more() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = Servers::start();
    servers.prepare(4);
    let rest = instances(&servers, 1, 18_240);
    let count = if is_long() { 20_000 } else { 900 };
    let rates = if is_long() { "--rate 300 --rescore-rate 500" } else { "--rate 60 --rescore-rate 120" };
    let outcome = servers.figures(&format!("rescore --count {count} {rates} --alone 5s --kills 2"), &rest);
    assert_eq!((&outcome["verdict"]["rescored"], &outcome["kills"]), (&count.into(), &2.into()), "{outcome}");
    assert!(
        outcome["beside"]["requests"].as_u64().unwrap() > 0 && outcome["p99_times"].as_f64().unwrap() > 0.0,
        "{outcome}"
    );
}

#[test]
fn servers_that_go_away_lose_nothing_and_double_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !are_own("servers that go away") {
        return;
    }
    let servers = Servers::start();
    servers.prepare(4);
    let rest = instances(&servers, 2, 18_190);
    let outcome = servers.figures("faults --rate 300 --away 4s --there 4s", &rest);
    assert!(outcome["disturbances"].as_array().unwrap().len() >= 2, "{outcome}");
}

/// FerretDB beside the other servers, until it is let go.
struct FerretDb<'s>(&'s Servers);

impl<'s> FerretDb<'s> {
    fn start(servers: &'s Servers) -> Self {
        let ferretdb = Self(servers);
        ferretdb.told("install");
        ferretdb.told("start");
        ferretdb
    }

    /// What its script answers to a word.
    fn told(&self, word: &str) -> String {
        let mut command = Command::new(self.0.root.join("scripts/ferretdb.sh"));
        let output = self.0.at_home(command.arg(word)).output().unwrap();
        assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for FerretDb<'_> {
    fn drop(&mut self) {
        let mut command = Command::new(self.0.root.join("scripts/ferretdb.sh"));
        drop(self.0.at_home(command.arg("stop")).output());
    }
}

#[test]
fn a_destination_that_is_away_holds_back_no_other_and_documents_are_those_of_the_decisions() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !are_own("destinations that go away") {
        return;
    }
    let servers = Servers::start();
    let ferretdb = FerretDb::start(&servers);
    let place = format!("{}assay", ferretdb.told("url").trim());
    servers.prepare(4);
    let mut rest = instances(&servers, 1, 18_230);
    rest.extend(["--mongodb".to_owned(), place.clone()]);
    let keep = rest.clone();
    let key = "x:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    for pair in [format!("ASSAY__MONGODB__URL={place}"), format!("ASSAY__MONGODB__PSEUDONYM_KEYS={key}")] {
        rest.extend(["--env".to_owned(), pair]);
    }
    let outcome = servers.figures("faults --outages mongodb,postgres --rate 100 --away 4s --there 6s", &rest);
    assert_eq!(outcome["disturbances"].as_array().unwrap().len(), 2, "{outcome}");
    assert_eq!(outcome["verdict"]["documents_missing"], 0, "{outcome}");
    let behind = outcome["behind"].as_array().unwrap();
    assert!(behind.len() == 2 && behind.iter().all(|one| one["beside"].is_number()), "{outcome}");

    let kept = servers.figures("keep --turns 1", &keep);
    assert_eq!(kept["documents"], outcome["verdict"]["decided"], "{kept}");
    assert!(kept["ratio"].as_f64() > Some(0.05) && kept["compared"].as_u64() > Some(10), "{kept}");
}

#[test]
fn an_instance_comes_and_goes_and_postgres_is_away_while_payments_wait_for_their_rows() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = Servers::start();
    servers.prepare(4);
    let phase = if is_long() { "20s" } else { "2s" };
    let outcome = servers.figures(&format!("members --rate 200 --phase {phase}"), &instances(&servers, 2, 18_200));
    let phases = outcome["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 5, "{outcome}");
    assert!(phases.iter().all(|phase| phase["predict"]["answers"]["200"].as_u64() > Some(0)), "{outcome}");
    if are_own("memory while PostgreSQL is away") {
        let away = servers.figures("away --rate 200 --duration 3s --there 2s", &instances(&servers, 1, 18_200));
        assert!(away["memory"]["most"].as_f64() > Some(1.0), "{away}");
        assert!(away["memory"]["rows_later"].as_u64() > Some(900), "{away}");
    }
}

#[test]
fn a_node_of_three_may_be_lost() {
    let what = "a Kafka of three nodes that loses one after the other";
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_long() {
        return undone(&format!("{what}: only in the long form, ASSAY_LONG=1"));
    }
    if !are_own(what) {
        return;
    }
    let servers = Servers::start_with(3, false);
    servers.prepare(4);
    let mut rest = instances(&servers, 2, 18_210);
    rest.extend(["--env".to_owned(), "ASSAY__KAFKA__REPLICAS=3".to_owned()]);
    let words = "faults --outages node-1,node-2,node-3 --rate 300 --away 30s --there 10s";
    let outcome = servers.figures(words, &rest);
    assert_eq!(outcome["disturbances"].as_array().unwrap().len(), 3, "{outcome}");
}

#[test]
fn kafka_may_ask_for_tls_and_a_password() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !are_own("TLS and passwords of Kafka") {
        return;
    }
    let servers = Servers::start_with(1, true);
    servers.prepare(4);
    let secrets = servers.folder.join("kafka/secure");
    let password = std::fs::read_to_string(secrets.join("password")).unwrap();
    let with = |sasl: &str, authority: &Path, password: &str| {
        [
            format!("ASSAY__KAFKA__BROKERS=127.0.0.1:{}", servers.secure.unwrap()),
            "ASSAY__KAFKA__TLS=on".to_owned(),
            format!("ASSAY__KAFKA__CA_FILE={}", authority.display()),
            format!("ASSAY__KAFKA__SASL={sasl}"),
            "ASSAY__KAFKA__USER=assay".to_owned(),
            format!("ASSAY__KAFKA__PASSWORD={password}"),
        ]
    };
    let authority = secrets.join("ca.pem");
    // The harness speaks to the plain listener.
    for sasl in ["scram_sha_512", "scram_sha_256", "plain"] {
        let mut rest = instances(&servers, 1, 18_220);
        rest.extend(with(sasl, &authority, &password).into_iter().flat_map(|pair| ["--env".to_owned(), pair]));
        let outcome = servers.figures("faults --outages none --count 200 --rate 200", &rest);
        assert_eq!(outcome["verdict"]["decided"], 200, "{sasl}: {outcome}");
    }

    // A certificate that signed nothing here.
    let stranger = servers.folder.join("stranger.pem");
    let key = servers.folder.join("stranger.key");
    let words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=stranger";
    let mut openssl = Command::new("openssl");
    openssl.args(words.split(' ')).arg("-keyout").arg(&key).arg("-out").arg(&stranger).stderr(Stdio::null());
    assert!(openssl.status().unwrap().success());
    let wrong = "wrong-yH2cTq8";
    let starts = [
        ("a wrong password", with("scram_sha_512", &authority, wrong), wrong),
        ("a certificate of a stranger", with("scram_sha_512", &stranger, &password), &password),
    ];
    // Both at once: each asks Kafka again for a while.
    std::thread::scope(|scope| {
        for (what, environment, secret) in &starts {
            let log = servers.folder.join(format!("{what}.log"));
            let servers = &servers;
            scope.spawn(move || {
                let told = refused_start(servers, environment, &log);
                assert!(told.contains("Kafka") && !told.contains(secret), "{what}: {told}");
            });
        }
    });
}

/// What an instance said that did not start, which it must not take long for.
fn refused_start(servers: &Servers, environment: &[String], log: &Path) -> String {
    let file = File::create(log).unwrap();
    let mut command = Command::new(assay());
    servers.at_home(&mut command).args(["serve", "--config", "config/stack.toml"]);
    command.envs(environment.iter().map(|pair| pair.split_once('=').unwrap()));
    command.env("ASSAY__SERVER__LISTEN", "127.0.0.1:0").env("ASSAY__KAFKA__PARTITIONS", "4");
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let (mut child, begun) = (command.spawn().unwrap(), Instant::now());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let told = std::fs::read_to_string(log).unwrap();
    assert!(status.is_some_and(|status| !status.success()), "it must end with an error: {told}");
    told
}
