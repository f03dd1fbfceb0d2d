//! The sections: their keys, defaults and ranges.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::setting::Bytes;
use crate::base::money::Currency;
use crate::base::secret::Secret;
use crate::decision::By;
use crate::engine::{Durability, TimeSource};
use crate::model::{Device, OnDeviceFailure};
use crate::ops::telemetry::LogFormat;

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The most bytes of a body.
    pub max_body: Bytes,
    /// The most bytes of a batch's body.
    pub max_batch_body: Bytes,
    /// The most transactions or labels of a batch.
    pub max_batch_items: usize,
    /// Items of one batch that are scored at the same time.
    pub batch_concurrency: usize,
    /// Batches that are answered at the same time.
    pub max_batches: usize,
    /// Connections open at the same time.
    pub max_connections: usize,
    /// Requests being answered at the same time.
    pub max_in_flight: usize,
    /// How long a request waits for its decision when it does not say.
    pub default_deadline: Duration,
    /// How long a client may take for a request's head, or stay silent between two requests.
    pub head_timeout: Duration,
    /// How long it may take for a body.
    pub body_timeout: Duration,
    /// How long an orderly end may take.
    pub shutdown_grace: Duration,
}

/// `[model]`
#[derive(Debug, Clone)]
pub struct Model {
    /// The package, or the folder of versions; `None` leaves every answer to the policy.
    pub directory: Option<PathBuf>,
    /// ONNX Runtime's shared library.
    pub onnxruntime: Option<PathBuf>,
    /// Where its sessions run.
    pub device: Device,
    /// What is done when it cannot run there.
    pub on_device_failure: OnDeviceFailure,
    /// The most of the device's memory that each session takes.
    pub device_memory: Option<Bytes>,
    /// Threads with a session each.
    pub workers: Workers,
    /// The most rows scored together.
    pub max_batch: usize,
    /// The most rows that wait.
    pub max_queue: usize,
    /// Reasons of features in a decision.
    pub reasons: usize,
    /// How long a decision waits for its explanation.
    pub explain_wait: Duration,
}

/// `[reasons]`
#[derive(Debug, Clone)]
pub struct Reasons {
    /// Whether features or groups are told.
    pub by: By,
    /// Features and groups that never are.
    pub hidden: Vec<String>,
    /// The most rows that wait for the explanation thread.
    pub max_queue: usize,
}

/// How many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One a core that this process may use: its affinity and its cgroup's quota count.
    Auto,
    /// So many.
    Number(usize),
}

impl Workers {
    /// The number on this machine.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Auto => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            Self::Number(number) => number,
        }
    }
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// The SQLite file.
    pub path: PathBuf,
    /// What an answer promises.
    pub durability: Durability,
    /// The most records that wait for the disk.
    pub max_queue: usize,
    /// The most transactions between their first sight and the disk, or without a full decision.
    pub max_open: usize,
    /// Of those without a full decision, the most that memory holds as well as the disk.
    pub max_background: usize,
    /// Decisions kept in memory.
    pub cached_decisions: usize,
    /// How long the log may take to answer a read or a label.
    pub wait: Duration,
}

/// `[history]`
#[derive(Debug, Clone)]
pub struct History {
    /// How late an event may be, and how long ids are remembered.
    pub lateness: Duration,
    /// Events of an entity that stay exact.
    pub exact_events: usize,
    /// Key of history's hashes.
    pub hash_key: Option<Secret>,
    /// The file it is in, made when it is not there.
    pub hash_key_file: PathBuf,
    /// Which clock says what is too far ahead.
    pub clock: TimeSource,
    /// How far ahead of the clock an event may be.
    pub max_ahead: Duration,
    /// Labels that wait for their transaction.
    pub max_waiting_labels: usize,
}

/// `[money]`
#[derive(Debug, Clone)]
pub struct Money {
    /// The currency that windows are summed in.
    pub base_currency: Currency,
    /// Exchange rates.
    pub rates: Option<PathBuf>,
}

/// `[completeness]`
#[derive(Debug, Clone, Copy)]
pub struct Completeness {
    /// How late a transaction may arrive without being late.
    pub allow_late: Duration,
    /// How often it is told anew.
    pub every: Duration,
}

impl Completeness {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let s = Duration::from_secs;
        Self {
            allow_late: reader.take_in("completeness.allow_late", s(60), Duration::ZERO..=s(7 * 86_400)),
            every: reader.take_in("completeness.every", s(1), Duration::from_millis(50)..=s(60)),
        }
    }
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines.
    pub level: String,
}

impl Server {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        Self {
            listen: reader.take("server.listen", SocketAddr::from(([127, 0, 0, 1], 8080))),
            max_body: reader.take_in("server.max_body", Bytes(64 << 10), Bytes(1 << 10)..=Bytes(16 << 20)),
            max_batch_body: reader.take_in("server.max_batch_body", Bytes(16 << 20), Bytes(1 << 10)..=Bytes(256 << 20)),
            max_batch_items: reader.take_in("server.max_batch_items", 10_000, 1..=1_000_000),
            batch_concurrency: reader.take_in("server.batch_concurrency", 64, 1..=4_096),
            max_batches: reader.take_in("server.max_batches", 8, 1..=1_024),
            max_connections: reader.take_in("server.max_connections", 4_096, 1..=65_536),
            max_in_flight: reader.take_in("server.max_in_flight", 1_024, 1..=65_536),
            default_deadline: reader.take_in("server.default_deadline", ms(250), ms(1)..=s(60)),
            head_timeout: reader.take_in("server.head_timeout", s(60), ms(100)..=s(3600)),
            body_timeout: reader.take_in("server.body_timeout", s(10), ms(100)..=s(600)),
            shutdown_grace: reader.take_in("server.shutdown_grace", s(20), ms(100)..=s(600)),
        }
    }
}

impl Model {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            directory: reader.take("model.directory", Some(PathBuf::from("models/fraud"))),
            onnxruntime: reader.take("model.onnxruntime", None),
            device: reader.take("model.device", Device::Cpu),
            on_device_failure: reader.take("model.on_device_failure", OnDeviceFailure::Refuse),
            device_memory: reader.take("model.device_memory", None),
            workers: reader.take("model.workers", Workers::Auto),
            max_batch: reader.take_in("model.max_batch", 64, 1..=4_096),
            max_queue: reader.take_in("model.max_queue", 4_096, 1..=1_000_000),
            reasons: reader.take_in("model.reasons", 3, 0..=32),
            explain_wait: reader.take_in(
                "model.explain_wait",
                Duration::from_millis(5),
                Duration::ZERO..=Duration::from_secs(1),
            ),
        }
    }
}

impl Reasons {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            by: reader.take("reasons.by", By::Feature),
            hidden: reader.take("reasons.hidden", Vec::new()),
            max_queue: reader.take_in("reasons.max_queue", 256, 1..=65_536),
        }
    }
}

impl Store {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            path: reader.take("store.path", PathBuf::from("data/assay.sqlite")),
            durability: reader.take("store.durability", Durability::Committed),
            max_queue: reader.take_in("store.max_queue", 65_536, 1..=10_000_000),
            max_open: reader.take_in("store.max_open", 65_536, 1..=10_000_000),
            max_background: reader.take_in("store.max_background", 16_384, 1..=10_000_000),
            cached_decisions: reader.take_in("store.cached_decisions", 65_536, 0..=100_000_000),
            wait: reader.take_in(
                "store.wait",
                Duration::from_secs(2),
                Duration::from_millis(1)..=Duration::from_secs(60),
            ),
        }
    }
}

impl History {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let hour = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            lateness: reader.take_in("history.lateness", hour(48), Duration::from_secs(1)..=hour(24 * 90)),
            exact_events: reader.take_in("history.exact_events", 65_536, 64..=16_777_216),
            hash_key: reader.take("history.hash_key", None),
            hash_key_file: reader.take("history.hash_key_file", PathBuf::from("data/history.key")),
            clock: reader.take("history.clock", TimeSource::Wall),
            max_ahead: reader.take_in("history.max_ahead", Duration::from_secs(600), Duration::ZERO..=hour(24 * 30)),
            max_waiting_labels: reader.take_in("history.max_waiting_labels", 100_000, 0..=100_000_000),
        }
    }
}
