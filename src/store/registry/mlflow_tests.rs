//! Against a server of this file's own on 127.0.0.1, which answers as MLflow does and hands out the repository's package.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::json;
use tempfile::TempDir;

use super::*;

const TOKEN: &str = "known-to-two";
const ALIAS: &str = "registered-models/alias";

/// Its lines.
type Request = Vec<String>;
/// Status, further headers, body.
type Answer = (u16, String, Vec<u8>);

fn says(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    (status, String::new(), body.into())
}

/// A server that answers one request after another; its end ends the thread.
struct Stub {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    fn start(answer: impl Fn(&str) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, ended) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let (hears, ends) = (Arc::clone(&asked), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten().take_while(|_| !ends.load(Ordering::Acquire)) {
                let _served = serve(&stream, &hears, &answer);
            }
        });
        Self { address, asked, ended, thread: Some(thread) }
    }

    fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        let _woken = TcpStream::connect(self.address);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: &TcpStream, asked: &Mutex<Vec<Request>>, answer: impl Fn(&str) -> Answer) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let request: Request = lines.take_while(|line| !line.is_empty()).collect();
    asked.lock().unwrap().push(request.clone());
    let target = request.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let (status, headers, body) = answer(target);
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} Stub\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n")?;
    stream.write_all(&body)
}

/// What MLflow knows.
struct Known {
    version: &'static str,
    status: &'static str,
    /// What is answered, once each, where the request has this part in it.
    instead: Vec<(&'static str, Answer)>,
}

/// MLflow, and the folder of a test: `artifacts` are its, `copies` the instance's.
struct Tracker {
    stub: Stub,
    known: Arc<Mutex<Known>>,
    folder: TempDir,
}

impl Tracker {
    /// The alias names version 1, the repository's package.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let known = Arc::new(Mutex::new(Known { version: "1", status: "READY", instead: Vec::new() }));
        let (root, knows) = (folder.path().join("artifacts"), Arc::clone(&known));
        let tracker = Self { stub: Stub::start(move |target| answer(&root, &knows, target)), known, folder };
        tracker.publish("1");
        tracker
    }

    fn artifacts(&self, version: &str) -> PathBuf {
        self.folder.path().join("artifacts/7").join(version)
    }

    fn copies(&self) -> PathBuf {
        self.folder.path().join("copies")
    }

    fn publish(&self, version: &str) {
        let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fraud/1"), self.artifacts(version));
        Contents::read(&from).unwrap().write(&to).unwrap();
        fs::create_dir(to.join("report")).unwrap();
        let manifest = to.join("manifest.toml");
        let (old, new) = ("version = \"1\"", format!("version = \"{version}\""));
        fs::write(&manifest, fs::read_to_string(&manifest).unwrap().replacen(old, &new, 1)).unwrap();
    }

    fn name(&self, version: &'static str, status: &'static str) {
        let mut known = self.known.lock().unwrap();
        (known.version, known.status) = (version, status);
    }

    fn instead(&self, part: &'static str, answer: Answer) {
        self.known.lock().unwrap().instead.push((part, answer));
    }

    fn registry(&self, token: Option<&str>) -> Mlflow {
        let options = MlflowOptions {
            url: format!("http://{}", self.stub.address),
            model: "fraud".to_owned(),
            alias: "champion".to_owned(),
            token: token.map(|token| Secret::new(token.to_owned())),
            timeout: Duration::from_secs(30),
        };
        Mlflow::new(options, Copies::new(self.copies()))
    }
}

fn answer(root: &Path, known: &Mutex<Known>, target: &str) -> Answer {
    let mut known = known.lock().unwrap();
    if let Some(place) = known.instead.iter().position(|(part, _)| target.contains(*part)) {
        return known.instead.remove(place).1;
    }
    let json = |value: serde_json::Value| says(200, value.to_string());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let last = query.rsplit('=').next().unwrap_or_default().replace("%2F", "/");
    match path.trim_start_matches("/api/2.0/") {
        "mlflow/registered-models/alias" => {
            json(json!({"model_version": {"name": "fraud", "version": known.version, "status": known.status}}))
        }
        "mlflow/model-versions/get-download-uri" => {
            json(json!({"artifact_uri": format!("mlflow-artifacts:/7/{last}")}))
        }
        "mlflow-artifacts/artifacts" => {
            let entries = fs::read_dir(root.join(last)).unwrap().flatten().map(|entry| entry.path());
            let listed = |path: PathBuf| json!({"path": path.file_name().unwrap().to_str(), "is_dir": path.is_dir()});
            let files: Vec<_> = entries.map(listed).collect();
            json(json!({"files": files}))
        }
        file => match fs::read(root.join(file.trim_start_matches("mlflow-artifacts/artifacts/"))) {
            Ok(bytes) => says(200, bytes),
            Err(error) => says(404, json!({"message": error.to_string()}).to_string()),
        },
    }
}

fn wanted(registry: &Mlflow) -> Option<String> {
    registry.wanted().map(|id| id.key())
}

#[test]
fn what_the_alias_names_is_downloaded_once_and_wanted() {
    let tracker = Tracker::start();
    let registry = tracker.registry(None);
    assert_eq!(registry.wanted(), None);
    let looks = registry.look().unwrap();
    let [Look::Whole(found)] = looks.as_slice() else { panic!("{looks:?}") };
    assert_eq!(found.id.key(), "fraud/1");
    assert_eq!(found.id.digest, Contents::read(&tracker.artifacts("1")).unwrap().digest);
    assert_eq!(registry.wanted().as_ref(), Some(&found.id));
    assert_eq!(registry.recall(&found.id).as_ref(), Some(found));
    assert_eq!(fs::read_dir(tracker.copies()).unwrap().count(), 1, "what was downloaded is left beside its copy");
    let asked = tracker.stub.asked();
    assert_eq!(asked.len(), 3 + PACKAGE_FILES.len(), "{asked:?}");
    assert!(!asked.concat().iter().any(|line| line.starts_with("authorization")), "{asked:?}");

    assert_eq!(registry.look().unwrap(), looks);
    let again = &tracker.stub.asked()[asked.len()..];
    assert!(again.len() == 1 && again[0][0].contains(ALIAS), "{again:?}");
}

#[test]
fn a_version_that_is_not_ready_is_an_error_and_what_was_wanted_stays() {
    let tracker = Tracker::start();
    let registry = tracker.registry(None);
    registry.look().unwrap();
    tracker.publish("2");
    tracker.name("2", "PENDING_REGISTRATION");
    let fault = registry.look().unwrap_err();
    assert!(fault.contains("version 2") && fault.contains("PENDING_REGISTRATION"), "{fault}");
    assert_eq!(wanted(&registry).as_deref(), Some("fraud/1"));
}

#[test]
fn what_fails_for_a_moment_is_tried_again_and_what_is_not_there_is_not() {
    let tracker = Tracker::start();
    let registry = tracker.registry(None);
    for _ in 0..2 {
        tracker.instead(ALIAS, says(503, ""));
    }
    registry.look().unwrap();
    assert_eq!(wanted(&registry).as_deref(), Some("fraud/1"));
    let before = tracker.stub.asked().len();
    assert_eq!(before, 2 + 3 + PACKAGE_FILES.len());
    let message = "Registered model alias champion not found.";
    tracker.instead(ALIAS, says(404, json!({"message": message}).to_string()));
    let fault = registry.look().unwrap_err();
    assert!(fault.contains("404") && fault.contains(message), "{fault}");
    assert_eq!(tracker.stub.asked().len(), before + 1);
}

#[test]
fn the_token_goes_with_every_request_and_into_no_error() {
    let tracker = Tracker::start();
    let registry = tracker.registry(Some(TOKEN));
    registry.look().unwrap();
    let header = format!("authorization: Bearer {TOKEN}");
    let asked = tracker.stub.asked();
    assert!(asked.iter().all(|request| request.contains(&header)), "{asked:?}");

    let mut told = format!("{registry:?}");
    for answer in [says(401, "{\"message\": \"who asks?\"}"), says(200, "<html>")] {
        tracker.instead(ALIAS, answer);
        told += &registry.look().unwrap_err();
    }
    // No answer of HTTP at all.
    for _ in 0..TRIES {
        tracker.instead(ALIAS, says(0, ""));
    }
    told += &registry.look().unwrap_err();
    tracker.publish("2");
    fs::remove_file(tracker.artifacts("2").join("golden.json")).unwrap();
    tracker.name("2", "READY");
    told += &format!("{:?}", registry.look().unwrap());
    assert!(told.contains("who asks?") && told.contains("golden.json") && !told.contains(TOKEN), "{told}");
}

#[test]
fn nobody_is_followed_elsewhere() {
    let other = Stub::start(|_| says(200, "{}"));
    let tracker = Tracker::start();
    let registry = tracker.registry(Some(TOKEN));
    for part in [ALIAS, "model.onnx"] {
        tracker.instead(part, (302, format!("location: http://{}/\r\n", other.address), Vec::new()));
        let fault = registry.look().unwrap_err();
        assert!(fault.contains("302"), "{fault}");
    }
    assert_eq!((registry.wanted(), other.asked()), (None, Vec::new()));
}

#[test]
fn an_answer_that_is_not_mlflow_s_is_an_error_that_says_so() {
    let tracker = Tracker::start();
    let registry = tracker.registry(None);
    for part in [ALIAS, "get-download-uri", "artifacts?"] {
        tracker.instead(part, says(200, "<!doctype html><title>Sign in</title>"));
        let fault = registry.look().unwrap_err();
        assert!(fault.contains("not MLflow's"), "{part}: {fault}");
    }
    assert_eq!(registry.wanted(), None);
}

#[test]
fn a_version_that_is_no_number_makes_no_folder() {
    let tracker = Tracker::start();
    let registry = tracker.registry(None);
    for (asked, version) in (1..).zip(["../1", "1/..", "", "-1", "1 ", "\u{ff11}"]) {
        tracker.name(version, "READY");
        let fault = registry.look().unwrap_err();
        assert!(fault.contains("no number of a version"), "{version:?}: {fault}");
        assert_eq!(tracker.stub.asked().len(), asked);
    }
    assert_eq!(fs::read_dir(tracker.folder.path()).unwrap().count(), 1, "more than MLflow's artifacts");
}

#[test]
fn a_package_with_another_byte_is_broken() {
    let tracker = Tracker::start();
    let file = tracker.artifacts("1").join("model.onnx");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(file, bytes).unwrap();
    let registry = tracker.registry(None);
    let looks = registry.look().unwrap();
    let [Look::Broken { place, reason }] = looks.as_slice() else { panic!("{looks:?}") };
    assert!(place.ends_with("/fraud/1") && reason.contains("model.onnx"), "{place}: {reason}");
    assert_eq!(registry.wanted(), None);
    assert_eq!(fs::read_dir(tracker.copies()).unwrap().count(), 0, "what was downloaded is left there");
}

#[test]
fn a_moved_alias_names_the_other_version_and_both_are_listed() {
    let tracker = Tracker::start();
    let registry = tracker.registry(None);
    registry.look().unwrap();
    tracker.publish("2");
    for (version, listed) in [("2", ["fraud/1", "fraud/2"]), ("1", ["fraud/2", "fraud/1"])] {
        tracker.name(version, "READY");
        let keys: Vec<_> = registry.look().unwrap().into_iter().map(|look| look.whole().unwrap().id.key()).collect();
        assert_eq!(keys, listed);
        assert_eq!(wanted(&registry).as_deref(), Some(listed[1]));
    }
}

#[test]
fn a_number_that_comes_again_is_downloaded_again() {
    let tracker = Tracker::start();
    let registry = tracker.registry(None);
    let downloads = || tracker.stub.asked().iter().filter(|request| request[0].contains("manifest.toml")).count();
    registry.look().unwrap();
    let again = json!({"model_version": {"version": "1", "status": "READY", "creation_timestamp": 9}});
    for _ in 0..2 {
        tracker.instead(ALIAS, says(200, again.to_string()));
        registry.look().unwrap();
        assert_eq!(downloads(), 2);
    }
}

#[test]
fn a_token_that_the_server_repeats_and_a_path_with_spaces_go_no_further() {
    let tracker = Tracker::start();
    let registry = tracker.registry(Some(TOKEN));
    tracker.instead(ALIAS, says(401, json!({"message": format!("{TOKEN} is not known")}).to_string()));
    let error = registry.look().unwrap_err();
    assert!(error.contains("… is not known") && !error.contains(TOKEN), "{error}");
    assert_eq!(escaped("7/a b?c%25/é"), "7/a%20b%3Fc%2525/%C3%A9");
}
