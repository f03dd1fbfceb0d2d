//! Models swapped in the real program: versions published into a folder, commands by `assay models`, packages that are not
//! as they should be, and a process that is killed.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::server::{Ended, Server, run};
use crate::transaction;

/// A folder of versions and the address that commands go to.
struct Registry {
    folder: tempfile::TempDir,
    admin: String,
}

/// A package as its files, to be changed before it is published.
struct Package {
    manifest: toml::Table,
    golden: Value,
    baseline: Value,
    /// Files as they are written at last, by name; `None` is left out.
    files: Vec<(&'static str, Option<Vec<u8>>)>,
    /// Whether the hashes are those of the files.
    honest: bool,
}

impl Package {
    /// The shipped one as another version.
    fn version(version: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fraud/1");
        let read = |name: &str| fs::read(root.join(name)).unwrap();
        let document = |name: &str| serde_json::from_slice(&read(name)).unwrap();
        let mut manifest: toml::Table = toml::from_str(&String::from_utf8(read("manifest.toml")).unwrap()).unwrap();
        manifest.insert("version".into(), version.into());
        let files = ["model.onnx", "explanation.json"].map(|name| (name, Some(read(name)))).to_vec();
        Self { manifest, golden: document("golden.json"), baseline: document("baseline.json"), files, honest: true }
    }

    fn table(&mut self, name: &str) -> &mut toml::Table {
        self.manifest[name].as_table_mut().unwrap()
    }

    fn bytes(&mut self, name: &str) -> &mut Vec<u8> {
        self.files.iter_mut().find(|(one, _)| *one == name).unwrap().1.as_mut().unwrap()
    }

    /// Leaves a file out.
    fn without(&mut self, name: &'static str) {
        self.files.retain(|(one, _)| *one != name);
        self.files.push((name, None));
    }

    fn write(mut self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        if self.honest {
            for (name, bytes) in &self.files {
                let Some(bytes) = bytes else { continue };
                let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                match *name {
                    "model.onnx" => drop(self.manifest.insert("sha256".into(), hash.into())),
                    "explanation.json" => {
                        let table = self.manifest["explanation"].as_table_mut().unwrap();
                        drop(table.insert("sha256".into(), hash.into()));
                    }
                    _ => {}
                }
            }
        }
        let mut all = vec![
            ("manifest.toml", Some(toml::to_string(&self.manifest).unwrap().into_bytes())),
            ("golden.json", Some(self.golden.to_string().into_bytes())),
            ("baseline.json", Some(self.baseline.to_string().into_bytes())),
        ];
        all.retain(|(name, _)| self.files.iter().all(|(other, _)| other != name));
        for (name, bytes) in all.into_iter().chain(self.files) {
            if let Some(bytes) = bytes {
                fs::write(folder.join(name), bytes).unwrap();
            }
        }
    }
}

impl Registry {
    fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = free.local_addr().unwrap().to_string();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("versions")).unwrap();
        Self { folder, admin }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("versions").join(name)
    }

    /// Publishes as one should: beside, then renamed.
    fn publish(&self, package: Package) {
        let name = package.manifest["version"].as_str().unwrap().to_owned();
        let beside = self.path(&format!(".{name}"));
        package.write(&beside);
        fs::rename(beside, self.path(&name)).unwrap();
    }

    fn start(&self, more: &[&str]) -> Server {
        let own = [
            format!("model.directory = {:?}", self.folder.path().join("versions").display().to_string()),
            format!("models.copies = {:?}", self.folder.path().join("copies").display().to_string()),
            format!("admin.listen = {:?}", self.admin),
            "models.latency_budget = \"10s\"".to_owned(),
            "models.look_every = \"50ms\"".to_owned(),
        ];
        let lines: Vec<&str> = own.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Server::start(self.folder.path(), &lines)
    }

    fn models(&self, words: &[&str]) -> Ended {
        let url = format!("http://{}", self.admin);
        let words = ["models"].into_iter().chain(words.iter().copied()).chain(["--url", url.as_str()]);
        run(&words.collect::<Vec<_>>())
    }

    fn json(&self, words: &[&str]) -> Value {
        let ended = self.models(&[words, &["--json"]].concat());
        assert!(ended.status.success(), "{words:?}: {}", ended.errors);
        serde_json::from_str(&ended.output).unwrap()
    }

    fn change(&self, words: &[&str]) -> Ended {
        self.models(&[words, &["--by", "ann", "--why", "a test"]].concat())
    }
}

fn active(server: &Server) -> String {
    server.client().get("/model").json()["model_version"].as_str().unwrap().to_owned()
}

#[test]
fn versions_are_published_activated_and_rolled_back() {
    let registry = Registry::new();
    registry.publish(Package::version("1"));
    let server = registry.start(&[]);
    let before = server.client().post("/predict", &transaction("before")).json();
    assert_eq!(before["model_version"], "1");

    let mut second = Package::version("2");
    second.manifest.insert("created".into(), "2026-06-01T00:00:00Z".into());
    second.table("threshold").insert("value".into(), 0.0.into());
    registry.publish(second);
    let ended = registry.change(&["activate", "fraud/2"]);
    assert!(ended.status.success(), "{}", ended.errors);
    assert!(ended.output.contains("fraud/2  active") && ended.output.contains("golden"), "{}", ended.output);
    let after = server.client().post("/predict", &transaction("after")).json();
    // Threshold and version are one: a version with a threshold of 0 flags everything.
    assert_eq!(
        (&after["model_version"], &after["flagged"], &after["threshold"]),
        (&json!("2"), &json!(true), &json!(0.0))
    );
    assert_eq!(server.client().get("/decisions/before").json()["model_version"], "1");

    let list = registry.models(&["list"]).output;
    assert!(list.contains("fraud/1") && list.contains("previous") && list.contains("active"), "{list}");
    let named = |metrics: &str| {
        let is_series = |line: &&str| line.starts_with("assay_model_active_state{");
        metrics.lines().filter(is_series).map(str::to_owned).collect::<Vec<_>>()
    };
    let begun = Instant::now();
    while named(&server.client().get("/metrics").text()) != ["assay_model_active_state{version=\"fraud/2\"} 1"] {
        assert!(begun.elapsed() < Duration::from_secs(10), "the gauges follow within seconds");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(registry.change(&["rollback"]).status.success());
    assert_eq!(active(&server), "1");
    assert_eq!(registry.change(&["rollback"]).status.code(), Some(4), "none is kept any more");

    let history = registry.json(&["history"]);
    let actions: Vec<&str> =
        history["changes"].as_array().unwrap().iter().map(|one| one["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["started", "activated", "rolled_back"]);
    let change = &history["changes"][1];
    assert_eq!((&change["by"], &change["why"]), (&json!("ann"), &json!("a test")));
    let at = |time: &Value| registry.models(&["history", "--at", time.as_str().unwrap()]).output;
    assert!(at(&change["at"]).starts_with("fraud/2"), "{}", at(&change["at"]));
    assert!(at(&history["changes"][2]["at"]).starts_with("fraud/1"));
    assert!(!registry.models(&["history", "--at", "2020-01-01T00:00:00Z"]).status.success());

    // The version that was in force outlives a crash, and the folder it came from.
    assert!(registry.change(&["activate", "fraud/2"]).status.success());
    server.kill();
    fs::remove_dir_all(registry.path("2")).unwrap();
    let server = registry.start(&[]);
    assert_eq!(active(&server), "2");
    server.stop();
}

#[test]
fn a_canary_and_a_challenger_are_told_apart_in_every_decision() {
    let registry = Registry::new();
    registry.publish(Package::version("1"));
    registry.publish(Package::version("2"));
    registry.publish(Package::version("3"));
    let server = registry.start(&["models.max_shift = 0"]);
    assert!(registry.change(&["activate", "fraud/1"]).status.success());
    assert!(registry.change(&["canary", "fraud/2", "--basis-points", "3000"]).status.success());
    assert!(registry.change(&["shadow", "fraud/3", "--basis-points", "10000"]).status.success());
    let mut client = server.client();
    let mut canaried = 0;
    for number in 0..200 {
        let mut payment = transaction(&format!("tx-{number}"));
        let customer = format!("customer-{}", number % 40);
        payment["customer_id"] = json!(customer);
        let answer = client.post("/predict", &payment).json();
        let digest = Sha256::digest(format!("fraud/2:{customer}"));
        let place = u64::from_be_bytes(digest[..8].try_into().unwrap()) % 10_000;
        assert_eq!(answer["model_version"], if place < 3_000 { "2" } else { "1" }, "{customer}");
        canaried += u64::from(place < 3_000);
    }
    assert!(canaried > 0 && canaried < 200);
    let begun = std::time::Instant::now();
    let compared = loop {
        let compared = registry.json(&["compare"]);
        // What the canary decided says nothing of the champion.
        if compared["compared"].as_u64().unwrap() + compared["dropped"].as_u64().unwrap() == 200 - canaried {
            break compared;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{compared}");
        std::thread::sleep(Duration::from_millis(20));
    };
    // The same package: the same scores.
    assert_eq!((&compared["agreement"], &compared["largest_distance"]), (&json!(1.0), &json!(0.0)));
    assert_eq!(registry.change(&["canary", "fraud/1", "--basis-points", "10"]).status.code(), Some(4));
    server.stop();
}

#[test]
fn commands_need_the_token_and_a_reason() {
    let registry = Registry::new();
    registry.publish(Package::version("1"));
    let server = registry.start(&["admin.token = \"let me in\""]);
    let refused = registry.models(&["list"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.errors.contains("bearer token") && !refused.errors.contains("let me in"), "{}", refused.errors);
    let config = server_config(&registry);
    let listed = registry.models(&["list", "--config", config.to_str().unwrap()]);
    assert!(listed.status.success() && listed.output.contains("fraud/1"), "{}", listed.errors);
    let mut client = crate::client::Client::connect(&registry.admin).unwrap();
    let answer = client.post("/models/rollback", &json!({"by": "ann", "why": "because"}));
    assert_eq!((answer.status, answer.json()["code"].clone()), (401, json!("unauthorized")));
    server.stop();
}

#[test]
fn commands_that_pile_up_are_turned_away() {
    let registry = Registry::new();
    registry.publish(Package::version("1"));
    let server = registry.start(&[]);
    let verify = || {
        let mut client = crate::client::Client::connect(&registry.admin).unwrap();
        client.post("/models/fraud/1/verify", &json!({})).status
    };
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..40).map(|_| scope.spawn(verify)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let count = |status: u16| statuses.iter().filter(|one| **one == status).count();
    assert!(count(200) >= 16 && count(429) > 0 && count(200) + count(429) == 40, "{statuses:?}");
    assert!(registry.change(&["activate", "fraud/1"]).status.success(), "later there is room");
    server.stop();
}

fn server_config(registry: &Registry) -> PathBuf {
    registry.folder.path().join("assay.toml")
}

/// Kills, spread over the time that a swap takes: while the package is copied, while it is held against its gates, around its
/// record, after the switch.
const KILLS: u32 = 12;

#[test]
fn a_process_that_is_killed_at_any_stage_of_a_swap_starts_with_a_version_that_passed() {
    let registry = Registry::new();
    registry.publish(Package::version("1"));
    let mut server = registry.start(&["models.look_every = \"1h\""]);
    registry.publish(Package::version("2"));
    let begun = std::time::Instant::now();
    assert!(registry.change(&["activate", "fraud/2"]).status.success());
    let took = begun.elapsed();
    let kills = if std::env::var_os("ASSAY_LONG").is_some() { 4 * KILLS } else { KILLS };
    let (mut stayed, mut came) = (0, 0);
    for kill in 0..=kills {
        let (before, version) = (active(&server), format!("next-{kill}"));
        registry.publish(Package::version(&version));
        let command = std::thread::scope(|scope| {
            let command = scope.spawn(|| registry.change(&["activate", &format!("fraud/{version}")]));
            if kill == kills {
                // The last one lets the command end.
                while !command.is_finished() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            } else {
                std::thread::sleep(took * kill / kills);
            }
            server.kill();
            command.join().unwrap()
        });
        server = registry.start(&["models.look_every = \"1h\""]);
        let now = active(&server);
        assert!(now == before || now == version, "{now}, neither {before} nor {version}");
        assert!(!command.status.success() || now == version, "kill {kill}: what was answered stands");
        stayed += u32::from(now == before);
        came += u32::from(now == version);
        let answer = server.client().post("/predict", &transaction(&version)).json();
        assert_eq!((&answer["model_version"], &answer["kind"]), (&json!(now), &json!("full")));
        check_history(&registry, &now);
    }
    assert!(stayed > 0 && came > 0, "{stayed} stayed and {came} came: kills missed one side of the switch");
    server.stop();
}

/// Each change of the deciding version goes on from the one before, every version passed its gates, and the last one decides.
fn check_history(registry: &Registry, active: &str) {
    let history = registry.json(&["history", "--most", "1000"]);
    let mut deciding = Value::Null;
    for change in history["changes"].as_array().unwrap() {
        let gates = change["checks"].as_array().unwrap();
        assert!(gates.len() == 11 && gates.iter().all(|gate| gate["met"] != "failed"), "{change}");
        assert_eq!(change["from"], deciding, "{change}");
        deciding = change["to"].clone();
    }
    assert_eq!(deciding["version"], active);
}

type Change = fn(&mut Package);

/// What is wrong, how it is made so, and a word of the reason.
const WRONG: [(&str, Change, &str); 38] = [
    ("no manifest", |package| package.without("manifest.toml"), "manifest.toml"),
    ("no graph", |package| package.without("model.onnx"), "model.onnx"),
    ("no golden rows", |package| package.without("golden.json"), "golden.json"),
    ("no baseline", |package| package.without("baseline.json"), "baseline.json"),
    ("no covers", |package| package.without("explanation.json"), "explanation.json"),
    ("half a graph", |package| half(package, "model.onnx"), "model.onnx"),
    ("half of the covers", |package| half(package, "explanation.json"), "explanation.json"),
    ("an empty graph", |package| package.bytes("model.onnx").clear(), "model.onnx"),
    ("a graph of noise", |package| *package.bytes("model.onnx") = b"not a graph at all".to_vec(), "model.onnx"),
    ("a graph with another byte", |package| flip(package, "model.onnx"), "SHA-256"),
    ("covers with another byte", |package| flip(package, "explanation.json"), "SHA-256"),
    ("leaves that are no number", no_number, "NaN"),
    (
        "golden rows without the names of their values",
        |package| drop(package.golden.as_object_mut().unwrap().remove("features").unwrap()),
        "features",
    ),
    ("golden rows that are no JSON", |package| spoil(package, "golden.json", b"{\"tolerance\": "), "golden.json"),
    ("a baseline that is no JSON", |package| spoil(package, "baseline.json", b"[1, 2"), "baseline.json"),
    ("a manifest that is no text", |package| spoil(package, "manifest.toml", &[0xff, 0xfe, 0]), "UTF-8"),
    ("a key nobody knows", |package| drop(package.manifest.insert("colour".into(), "red".into())), "colour"),
    ("no time", |package| drop(package.manifest.insert("created".into(), "lately".into())), "created"),
    ("a name that leads elsewhere", |package| drop(package.manifest.insert("name".into(), "../fraud".into())), "name"),
    (
        "a threshold beyond 1",
        |package| drop(package.table("threshold").insert("value".into(), 1.5.into())),
        "threshold",
    ),
    (
        "a threshold that is no number",
        |package| drop(package.table("threshold").insert("value".into(), f64::NAN.into())),
        "threshold",
    ),
    ("another input", |package| drop(package.table("input").insert("name".into(), "rows".into())), "rows"),
    ("another output", |package| drop(package.table("output").insert("name".into(), "odds".into())), "odds"),
    (
        "another shape",
        |package| drop(package.table("output").insert("shape".into(), "two_columns".into())),
        "two_columns",
    ),
    ("another margin", |package| drop(package.table("output").insert("margin".into(), "logits".into())), "logits"),
    ("a slope that falls", |package| drop(package.table("calibration").insert("slope".into(), (-1.0).into())), "slope"),
    (
        "another calibration than the graph's",
        |package| drop(package.table("calibration").insert("slope".into(), 2.0.into())),
        "margin",
    ),
    (
        "another method",
        |package| drop(package.table("explanation").insert("method".into(), "linear_shap".into())),
        "explanation.json",
    ),
    ("one feature fewer", |package| drop(features(package).pop()), "132"),
    (
        "one feature twice",
        |package| {
            let first = features(package)[0].clone();
            features(package)[1] = first;
        },
        "twice",
    ),
    (
        "two features swapped",
        |package| {
            features(package).swap(0, 3);
            baseline(package).swap(0, 3);
        },
        "golden",
    ),
    ("a feature the catalogue lacks", |package| rename(package, "phase_of_the_moon"), "phase_of_the_moon"),
    ("a golden score that is wrong", |package| package.golden["scores"][7] = json!(0.123), "golden row 7"),
    ("a golden score beyond 1", |package| package.golden["scores"][7] = json!(1.5), "scores[7]"),
    (
        "a golden row that is short",
        |package| drop(package.golden["inputs"][2].as_array_mut().unwrap().pop()),
        "inputs[2]",
    ),
    ("a tolerance that tolerates all", |package| package.golden["tolerance"] = json!(1.0), "tolerance"),
    (
        "contributions that are not the model's",
        |package| package.golden["explanation"]["contributions"][0][0] = json!(9.0),
        "golden row 0",
    ),
    ("quantiles that fall", |package| package.baseline["features"][0]["quantiles"] = json!([9, 1]), "quantiles"),
];

fn half(package: &mut Package, name: &'static str) {
    let bytes = package.bytes(name);
    bytes.truncate(bytes.len() / 2);
}

/// Every leaf of the trees: single floats behind their attribute's name, each with the tag of its field.
fn no_number(package: &mut Package) {
    const NAME: &[u8] = b"target_weights";
    let bytes = package.bytes("model.onnx");
    let start = bytes.windows(NAME.len()).position(|window| window == NAME).unwrap() + NAME.len();
    let leaves = bytes[start..].chunks_exact_mut(5).take_while(|leaf| leaf[0] == 0x3d);
    let spoilt = leaves.map(|leaf| leaf[1..].copy_from_slice(&f32::NAN.to_le_bytes())).count();
    assert!(spoilt > 100, "{spoilt} leaves");
}

fn flip(package: &mut Package, name: &'static str) {
    // The hashes stay those of before.
    package.honest = false;
    *package.bytes(name).last_mut().unwrap() ^= 1;
}

fn spoil(package: &mut Package, name: &'static str, bytes: &[u8]) {
    package.files.push((name, Some(bytes.to_vec())));
}

fn features(package: &mut Package) -> &mut Vec<toml::Value> {
    package.manifest["features"].as_array_mut().unwrap()
}

fn baseline(package: &mut Package) -> &mut Vec<Value> {
    package.baseline["features"].as_array_mut().unwrap()
}

fn rename(package: &mut Package, name: &str) {
    features(package)[0] = name.into();
    baseline(package)[0]["name"] = json!(name);
}

#[test]
fn what_is_wrong_is_refused_with_its_reason_and_the_active_version_stays() {
    let registry = Registry::new();
    registry.publish(Package::version("1"));
    let server = registry.start(&["models.look_every = \"1h\""]);
    let mut client = server.client();
    for (number, (what, change, reason)) in WRONG.iter().enumerate() {
        let version = format!("wrong-{number}");
        let mut package = Package::version(&version);
        change(&mut package);
        package.write(&registry.path(&version));
        let ended = registry.change(&["activate", &format!("fraud/{version}")]);
        assert_eq!(ended.status.code(), Some(3), "{what}: {} {}", ended.output, ended.errors);
        assert!(ended.errors.contains(reason), "{what}: {}", ended.errors);
        let answer = client.post("/predict", &transaction(&version)).json();
        assert_eq!((&answer["model_version"], &answer["kind"]), (&json!("1"), &json!("full")), "{what}");
    }
    server.stop();
}

#[test]
fn a_version_that_is_slow_is_refused() {
    let registry = Registry::new();
    registry.publish(Package::version("1"));
    registry.start(&[]).stop();
    registry.publish(Package::version("2"));
    // What was in force passes no more either: the start says so and serves nothing.
    let config = registry.folder.path().join("assay.toml");
    let text = fs::read_to_string(&config).unwrap().replace("latency_budget = \"10s\"", "latency_budget = \"1us\"");
    fs::write(&config, text).unwrap();
    let ended = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.errors.contains("models.latency_budget is 1µs"), "{}", ended.errors);
}
