//! Kafka of this test alone, and what is sent to it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Kafka {
    folder: PathBuf,
    ports: [u16; 2],
}

impl Kafka {
    pub(crate) fn start() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let held = [free(), free()];
        let ports = [0, 1].map(|at: usize| held[at].local_addr().unwrap().port());
        drop(held);
        let folder = Path::new(ROOT).join(format!(".cache/test-completeness/{}-kafka", std::process::id()));
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

    fn producer(&self) -> FutureProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address()).set("partitioner", "murmur2_random");
        config.create().unwrap()
    }

    /// A message of the first partition of the transactions: that of its key, also where a letter of it is sent again.
    pub(crate) async fn send(&self, payload: &str) {
        let record = FutureRecord::<str, str>::to("transactions").partition(0).key("c4").payload(payload);
        assert!(self.producer().send(record, PATIENCE).await.is_ok());
    }

    /// A message of the other partition, in a transaction of Kafka's.
    pub(crate) async fn send_marked(&self, payload: &str) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address()).set("transactional.id", "a-test");
        let producer: FutureProducer = config.create().unwrap();
        tokio::task::block_in_place(|| producer.init_transactions(PATIENCE)).unwrap();
        producer.begin_transaction().unwrap();
        let record = FutureRecord::<str, str>::to("transactions").partition(1).key("c1").payload(payload);
        assert!(producer.send(record, PATIENCE).await.is_ok());
        tokio::task::block_in_place(|| producer.commit_transaction(PATIENCE)).unwrap();
    }

    /// A dead letter of a message that was refused when it could not be read.
    pub(crate) async fn letter(&self, topic: &str, payload: &str, at: &str) {
        let mut headers = OwnedHeaders::new();
        for (key, value) in [
            ("assay-code", "not_json"),
            ("assay-message", "not JSON"),
            ("assay-topic", topic),
            ("assay-partition", "0"),
            ("assay-offset", "1000000"),
            ("assay-time", "2026-01-12T09:00:01.000Z"),
            ("assay-source-time", at),
        ] {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let record = FutureRecord::<str, str>::to("transactions.rejected")
            .partition(0)
            .key("c4")
            .payload(payload)
            .headers(headers);
        assert!(self.producer().send(record, PATIENCE).await.is_ok());
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.script("stop");
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
