//! Writing to topics: one idempotent producer, acknowledged by all in-sync replicas.
//!
//! In: bytes, their key and who waits. Out: one call of who waits, on the producer's own thread, when the record is
//! acknowledged. A time-out of the network is no answer: the producer sends the same bytes again until there is one, so
//! nothing is ever written twice under two decisions.
//!
//! Invariant: what is taken is told of exactly once. At most `spool_records` and `spool_bytes` wait; more is refused at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::Message as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer};

use super::kafka::{KafkaOptions, StreamError, tell, tell_error};

/// Where a record stands: partition and offset.
pub(super) type Spot = (i32, i64);

/// Told where a record stands that is acknowledged, or why it never will be.
pub(super) type Acknowledged = Box<dyn FnOnce(Result<Spot, KafkaError>) + Send>;

/// What is written.
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a str,
    pub(super) key: Option<&'a [u8]>,
    pub(super) payload: &'a [u8],
    pub(super) headers: OwnedHeaders,
}

/// See the module.
pub(super) struct Publisher {
    producer: ThreadedProducer<Deliveries>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: AtomicUsize,
    most: usize,
    /// The producer gave up for good: only a new process can go on.
    fatal: AtomicBool,
    /// No broker answers.
    away: AtomicBool,
}

struct Deliveries(Arc<State>);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tell(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.0.away.store(true, Ordering::Relaxed);
                tracing::warn!(reason, "no broker of Kafka answers; records wait");
            }
            Some(RDKafkaErrorCode::Fatal) => {
                self.0.fatal.store(true, Ordering::Relaxed);
                tracing::error!(reason, "Kafka's producer gave up for good: this process has to be started again");
            }
            _ => tell_error(&error, reason),
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = Box<Mutex<Option<Acknowledged>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        let result = match result {
            Ok(message) => {
                self.0.away.store(false, Ordering::Relaxed);
                Ok((message.partition(), message.offset()))
            }
            Err((error, _)) => Err(error.clone()),
        };
        if let Some(told) = waiting.into_inner().unwrap_or_else(PoisonError::into_inner) {
            told(result);
        }
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Publisher").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Opens a producer.
    pub(super) fn open(options: &KafkaOptions) -> Result<Self, StreamError> {
        let state = Arc::new(State { most: options.spool_records, ..State::default() });
        let deliveries = Deliveries(Arc::clone(&state));
        let producer = options.producer().create_with_context(deliveries);
        let producer = producer.map_err(StreamError::kafka("Kafka's producer cannot be made"))?;
        Ok(Self { producer, state })
    }

    /// Takes a record, or says at once that it cannot: then nobody is told later.
    pub(super) fn publish(
        &self,
        outgoing: Outgoing<'_>,
        told: Acknowledged,
    ) -> Result<(), (KafkaError, Option<Acknowledged>)> {
        self.state.waiting.fetch_add(1, Ordering::Relaxed);
        let mut record = BaseRecord::with_opaque_to(outgoing.topic, Box::new(Mutex::new(Some(told))))
            .payload(outgoing.payload)
            .headers(outgoing.headers);
        record.key = outgoing.key;
        self.producer.send(record).map_err(|(error, record)| {
            self.state.waiting.fetch_sub(1, Ordering::Relaxed);
            (error, record.delivery_opaque.into_inner().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Records that are not acknowledged yet.
    pub(super) fn waiting(&self) -> usize {
        self.state.waiting.load(Ordering::Relaxed)
    }

    /// Whether another record would be taken. A part is kept free, so that who asks first is not refused after.
    pub(super) fn has_room(&self) -> bool {
        self.waiting() < self.state.most / 8 * 7
    }

    /// Why records cannot be acknowledged at the moment.
    pub(super) fn health(&self) -> Result<(), String> {
        if self.state.fatal.load(Ordering::Relaxed) {
            return Err("Kafka's producer gave up for good: start this process again".to_owned());
        }
        if self.state.away.load(Ordering::Relaxed) {
            return Err("no broker of Kafka answers".to_owned());
        }
        Ok(())
    }

    /// Whether only a new process can go on.
    pub(super) fn is_fatal(&self) -> bool {
        self.state.fatal.load(Ordering::Relaxed)
    }

    /// Waits until everything taken is acknowledged, at most so long. Blocking.
    pub(super) fn flush(&self, wait: Duration) -> Result<(), KafkaError> {
        self.producer.flush(wait)
    }
}

/// One header.
pub(super) fn header(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}
