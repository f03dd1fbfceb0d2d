//! One round of the rates: read what is published, freeze what is new, let only what is frozen count.

use std::collections::HashSet;
use std::sync::Arc;

use super::copy::Copy;
use super::files::read_rates;
use super::{SourceError, Sources};
use crate::base::money::{Currency, Rates};
use crate::base::rates::{Publication, Rate};

/// Corrections that are told one by one; those beyond are counted and not told.
const MOST_TOLD: usize = 10_000;

/// What is known of rates besides themselves.
#[derive(Debug)]
pub(super) struct Freezing {
    pub(super) rates: Arc<Rates>,
    /// Whether the rates that other instances froze were read.
    joined: bool,
    told: HashSet<(Currency, i64, Rate)>,
}

impl Freezing {
    pub(super) fn new(rates: Arc<Rates>) -> Self {
        Self { rates, joined: false, told: HashSet::new() }
    }

    /// Before the first round: the rates that other instances froze, or, while nobody can tell, those of the copy.
    pub(super) fn begin(&mut self, sources: &mut Sources, kept: &[Publication]) {
        if let Some((tables, runtime)) = sources.postgres.as_mut().filter(|(tables, _)| tables.has_rates())
            && let Ok(frozen) = runtime.block_on(tables.frozen())
        {
            self.rates.publish(&frozen);
            return;
        }
        self.rates.publish(kept);
    }

    /// One round; how many corrections were seen for the first time.
    pub(super) fn round(&mut self, sources: &mut Sources, copy: Option<&mut Copy>) -> Result<u64, SourceError> {
        let mut copy = copy;
        let shared = sources.postgres.as_mut().filter(|(tables, _)| tables.has_rates());
        let published = if let Some((tables, runtime)) = shared {
            if !self.joined {
                let frozen = runtime.block_on(tables.frozen())?;
                keep(copy.as_deref_mut(), &frozen)?;
                self.rates.publish(&frozen);
                self.joined = true;
            }
            let published = runtime.block_on(tables.published())?;
            let new = self.new_among(&published);
            if !new.is_empty() {
                let counting = runtime.block_on(tables.freeze(&new))?;
                keep(copy, &counting)?;
                self.rates.publish(&counting);
            }
            published
        } else {
            let file = sources.rates.clone().or_else(|| sources.files.as_ref().and_then(super::Files::rates));
            let Some(file) = file else {
                return Err(SourceError::Away("there is no file of rates".to_owned()));
            };
            let published = read_rates(&file)?;
            let new = self.new_among(&published);
            let counting = match copy {
                Some(copy) if !new.is_empty() => copy.freeze(&new)?,
                _ => new,
            };
            self.rates.publish(&counting);
            published
        };
        Ok(self.tell_corrections(&published))
    }

    /// Those whose day has no rate yet.
    fn new_among(&self, published: &[Publication]) -> Vec<Publication> {
        let unknown = |one: &&Publication| self.rates.of_day(one.currency, one.day).is_none();
        published.iter().filter(unknown).copied().collect()
    }

    /// Tells of each correction once.
    fn tell_corrections(&mut self, published: &[Publication]) -> u64 {
        let mut seen = 0;
        for one in published {
            let Some(counts) = self.rates.of_day(one.currency, one.day).filter(|rate| *rate != one.rate) else {
                continue;
            };
            if self.told.len() >= MOST_TOLD || !self.told.insert((one.currency, one.day, one.rate)) {
                continue;
            }
            seen += 1;
            tracing::warn!(
                currency = %one.currency, published = one.date(), first = %counts, corrected = %one.rate,
                "a rate was published again with another value; the first one counts"
            );
        }
        seen
    }
}

fn keep(copy: Option<&mut Copy>, frozen: &[Publication]) -> Result<(), SourceError> {
    let Some(copy) = copy else { return Ok(()) };
    let kept = copy.freeze(frozen)?;
    let differ = kept.iter().zip(frozen).filter(|(kept, shared)| kept.rate != shared.rate).count();
    if differ > 0 {
        tracing::warn!(
            rates = differ,
            "reference.copy has other rates than fraud_rates, which count: it is of another installation, name another file"
        );
    }
    Ok(())
}
