//! Request bodies, made before the clock starts: simulated payments with ids of their own, happening now.

use std::sync::Arc;

use anyhow::Context as _;
use assay::base::clock::{Clock as _, SystemClock};
use assay::base::money::Currency;
use assay::simulate::{Settings, Stream, World};
use hyper::body::Bytes;

/// More bodies than this are not held in memory (about 300 bytes each).
pub(crate) const MOST: u64 = 5_000_000;

/// An endless source of bodies.
pub(crate) struct Bodies(Stream);

impl Bodies {
    /// 500,000 customers at 100,000 terminals: thousands of payments a second by a few customers would be an attack, and
    /// every second one flagged and explained. The ids begin with the moment of this call.
    pub(crate) fn new(seed: u64) -> anyhow::Result<Self> {
        let euro = Currency::parse("EUR").context("the euro is a currency")?;
        let settings = Settings { customers: 500_000, terminals: 100_000, seed, currencies: vec![euro] };
        Ok(Self(Stream::new(Arc::new(World::new(&settings)?), SystemClock.now())))
    }

    /// The next `count` bodies.
    pub(crate) fn take(&mut self, count: u64) -> anyhow::Result<Vec<Bytes>> {
        anyhow::ensure!(count <= MOST, "{count} requests in one run: the most is {MOST}");
        let body = |_| {
            let mut payment = self.0.next_at(SystemClock.now());
            payment.is_fraud = None;
            Ok(Bytes::from(serde_json::to_vec(&payment)?))
        };
        (0..count).map(body).collect()
    }
}
