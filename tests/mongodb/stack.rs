//! The whole way: payments over HTTP, Kafka between, documents in MongoDB, features read back; and a record that MongoDB can
//! never keep.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use assay::base::secret::Secret;
use assay::decision::Column;
use assay::engine::ports::Features;
use assay::stream::record::{Names, Recorded, SCHEMA, encode};
use mongodb::bson::Bson;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use crate::place::{Place, key, moved};
use crate::proxy;
use crate::records::decided;
use crate::server::{Server, are_own};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PATIENCE: Duration = Duration::from_secs(60);

/// Kafka of this test alone.
pub(crate) struct Kafka {
    folder: PathBuf,
    ports: [u16; 2],
}

impl Kafka {
    fn start() -> Self {
        Self::start_as("stack")
    }

    /// One whose folder has this in its name.
    pub(crate) fn start_as(name: &str) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let held = [free(), free()];
        let ports = [0, 1].map(|at: usize| held[at].local_addr().unwrap().port());
        drop(held);
        let folder = Path::new(ROOT).join(format!(".cache/test-mongodb/{}-{name}-kafka", std::process::id()));
        let kafka = Self { folder, ports };
        assert!(kafka.script("start"), "Kafka does not start");
        kafka
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    fn script(&self, word: &str) -> bool {
        Command::new(Path::new(ROOT).join("scripts/kafka.sh"))
            .arg(word)
            .env("ASSAY_KAFKA_DATA", &self.folder)
            .env("ASSAY_KAFKA_PORT", self.ports[0].to_string())
            .env("ASSAY_KAFKA_CONTROLLER_PORT", self.ports[1].to_string())
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address()).set("group.id", "test").set("auto.offset.reset", "earliest");
        config.set("partitioner", "murmur2_random").set("enable.auto.commit", "false");
        config
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.script("stop");
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// The program, by the shipped configuration of the stack, without PostgreSQL.
struct Assay {
    child: Child,
    address: String,
}

impl Assay {
    /// `operation` is how long one operation of MongoDB may take.
    fn start(kafka: &Kafka, place: &Place, folder: &Path, operation: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.args(["serve", "--config", "config/stack.toml"]).current_dir(ROOT);
        for (key, value) in [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("SERVER__DEFAULT_DEADLINE", "10s"),
            ("KAFKA__BROKERS", &kafka.address()),
            ("KAFKA__PARTITIONS", "2"),
            ("POSTGRES__HOST", ""),
            ("STREAM__SNAPSHOT_DIRECTORY", ""),
            ("HISTORY__HASH_KEY_FILE", &folder.join("history.key").display().to_string()),
            ("ADMIN__LISTEN", "127.0.0.1:0"),
            ("MODELS__JOURNAL", &folder.join("models.journal").display().to_string()),
            ("MODELS__COPIES", &folder.join("models").display().to_string()),
            ("MONGODB__URL", place.options.url.expose()),
            ("MONGODB__DATABASE", &place.options.database),
            ("MONGODB__PSEUDONYM_KEYS", &key("p1", 1)),
            ("MONGODB__RAW_COLLECTION", "raw"),
            ("MONGODB__RAW_KEYS_COMMAND", &format!("echo {}", key("r1", 7))),
            ("MONGODB__SELECTION_TIMEOUT", "300ms"),
            ("MONGODB__OPERATION_TIMEOUT", operation),
            ("LOG__LEVEL", "warn"),
        ] {
            command.env(format!("ASSAY__{key}"), value);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_default().to_owned();
        assert!(!address.is_empty(), "assay did not start: {line:?}");
        Self { child, address }
    }

    /// (status, body) of a request.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = body.len();
        let head = "host: assay\r\nconnection: close\r\ncontent-type: application/json";
        write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn pay(&self, id: &str) -> Value {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let payment = json!({
            "transaction_id": id, "occurred_at": now, "customer_id": "Erika.Mustermann", "terminal_id": "t1",
            "amount_minor": 1_999, "currency": "EUR", "card_id": "card-of-Erika", "device_id": "device-of-Erika",
        });
        let (status, answer) = self.ask("POST", "/predict", &payment.to_string());
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

impl Drop for Assay {
    fn drop(&mut self) {
        drop(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status());
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if begun.elapsed() > Duration::from_secs(30) {
                drop(self.child.kill());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Waits until so many decisions are stored.
async fn stored(place: &Place, count: usize) {
    let begun = Instant::now();
    while place.count().await < count {
        assert!(begun.elapsed() < PATIENCE, "{} of {count} are stored", place.count().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_become_documents_whose_features_are_read_over_http() {
    if !are_own("the stack with MongoDB") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (kafka, server) = tokio::task::spawn_blocking(|| (Kafka::start(), Server::start())).await.unwrap();
    let place = Place::on(&server).await;
    let assay = tokio::task::block_in_place(|| Assay::start(&kafka, &place, folder.path(), "10s"));
    for at in 0..20 {
        assay.pay(&format!("tx-{at}"));
    }
    stored(&place, 20).await;

    let document = place.document("tx-7").await;
    let (status, answer) = assay.ask("GET", "/decisions/tx-7?features=true&explain=true", "");
    assert_eq!(status, 200, "{answer}");
    let features = answer["features"].as_object().unwrap();
    let kept = document.get_document("features").unwrap();
    assert!(features.len() > 10 && features.len() == kept.len());
    for (name, value) in features {
        let kept = kept.get(name).and_then(Bson::as_f64).unwrap();
        assert_eq!(value.as_f64().unwrap().to_bits(), kept.to_bits(), "{name}");
    }
    // Counts are told as whole numbers, as on the embedded set-up.
    let counts: Vec<_> = features.iter().filter(|(name, _)| name.contains("_tx_count_")).collect();
    assert!(!counts.is_empty() && counts.iter().all(|(_, value)| value.is_i64()), "{counts:?}");
    assert_eq!(answer["score"].as_f64().unwrap() as f32, document.get_f64("score").unwrap() as f32);
    // Asked for later, the reasons come from the stored features.
    assert!(answer["explanation"]["margin"].is_number() && !answer["reasons"].as_array().unwrap().is_empty());
    for collection in ["decisions", "raw"] {
        let all = place.bytes(collection).await;
        assert_eq!(all.len(), 20);
        assert!(!all.iter().any(|bytes| bytes.windows(5).any(|part| part == b"Erika")), "{collection}");
    }

    never_kept(&kafka, &place).await;

    // Away, features are a 503 and payments go on.
    tokio::task::block_in_place(|| server.down());
    let begun = Instant::now();
    let (status, problem) = assay.ask("GET", "/decisions/tx-7?features=true", "");
    assert_eq!((status, problem["code"].as_str()), (503, Some("unavailable")), "{problem}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(assay.ask("GET", "/decisions/tx-7", "").0, 200);
    for at in 20..30 {
        assay.pay(&format!("tx-{at}"));
    }
    tokio::task::block_in_place(|| server.up());
    stored(&place, 31).await;
    assert_eq!(assay.ask("GET", "/decisions/tx-29?features=true", "").0, 200);
    let metrics = metrics(&assay);
    let refused = "assay_delivered_records_total{destination=\"mongodb\",fate=\"refused\"} 1";
    assert!(
        metrics.contains(refused) && metrics.contains("assay_dead_letters_total{code=\"internal\"} 1"),
        "{metrics}"
    );
    drop(assay);
    an_end_does_not_wait_for_a_silent_server(&kafka, &server, place, folder.path()).await;
}

/// A server that takes a batch and answers nothing for longer than anybody waits holds up no end; the next start keeps it.
async fn an_end_does_not_wait_for_a_silent_server(kafka: &Kafka, server: &Server, mut place: Place, folder: &Path) {
    let (address, manners) = proxy::before(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    place.options.url = Secret::new(moved(server.url(), &address.to_string()));
    let mut assay = tokio::task::block_in_place(|| Assay::start(kafka, &place, folder, "1m"));
    assay.pay("tx-30");
    stored(&place, 32).await;
    manners.silent.store(true, Ordering::SeqCst);
    assay.pay("tx-31");
    // Long enough for the batch to be on its way.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(place.find("tx-31").await.is_some(), "the server took it");
    let begun = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &assay.child.id().to_string()]).status().unwrap().success());
    let ended = tokio::task::block_in_place(|| assay.child.wait()).unwrap();
    assert!(ended.success() && begun.elapsed() < Duration::from_secs(20), "{ended} after {:?}", begun.elapsed());
    manners.silent.store(false, Ordering::SeqCst);
    let assay = tokio::task::block_in_place(|| Assay::start(kafka, &place, folder, "10s"));
    assay.pay("tx-32");
    stored(&place, 34).await;
}

fn metrics(assay: &Assay) -> String {
    let mut stream = TcpStream::connect(&assay.address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: assay\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
        .lines()
        .filter(|line| line.contains("mongodb") || line.contains("dead_letters"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A record with a feature that no document can name, and one behind it: the first ends in the dead letters as it came.
async fn never_kept(kafka: &Kafka, place: &Place) {
    let producer: FutureProducer = kafka.config().create().unwrap();
    let record = |id: &str, feature: &str| {
        let one = decided(id, 0.5).published;
        let column = Column {
            name: feature.to_owned(),
            meaning: String::new(),
            integer: false,
            group: String::new(),
            group_meaning: String::new(),
            usual: None,
        };
        let features = Features { columns: Arc::from([column]), values: vec![1.5] };
        let recorded = Recorded {
            id: one.record,
            transaction: &one.transaction,
            base: one.base,
            decision: &one.decision,
            received_at: one.received_at,
            features: Some(&features),
        };
        encode(&recorded, &Names::default())
    };
    let bytes = record("never", "a\0b");
    for (id, payload) in [("never", &bytes), ("after", &record("after", "a"))] {
        let header = OwnedHeaders::new().insert(Header { key: SCHEMA.0, value: Some(SCHEMA.1) });
        let record = FutureRecord::to("fraud.decisions").key("one-key").payload(payload).headers(header);
        assert!(producer.send(record, Duration::from_secs(10)).await.is_ok(), "{id}");
    }
    stored(place, 21).await;
    assert!(place.find("after").await.is_some() && place.find("never").await.is_none());
    let consumer: BaseConsumer = kafka.config().create().unwrap();
    consumer.subscribe(&["transactions.rejected"]).unwrap();
    let begun = Instant::now();
    let letter = loop {
        assert!(begun.elapsed() < PATIENCE, "there is no dead letter");
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            break message.detach();
        }
    };
    assert_eq!((letter.payload(), letter.key()), (Some(bytes.as_slice()), Some(b"one-key".as_slice())));
    let headers = letter.headers().unwrap();
    let value = |name: &str| {
        let found = headers.iter().find(|header| header.key == name).and_then(|header| header.value);
        String::from_utf8(found.unwrap().to_vec()).unwrap()
    };
    assert_eq!((value(SCHEMA.0), value("assay-code")), (SCHEMA.1.to_owned(), "internal".to_owned()));
    assert_eq!(value("assay-topic"), "fraud.decisions");
    assert!(value("assay-message").contains("no document of MongoDB"), "{}", value("assay-message"));
}
