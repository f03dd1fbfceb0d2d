//! Several registries as one: a folder beside an MLflow server. One that fails keeps what it showed before, and says so once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::models::{Found, Look, Registry, VersionId};

/// See the module.
#[derive(Debug)]
pub struct Several(Vec<One>);

#[derive(Debug)]
struct One {
    registry: Arc<dyn Registry>,
    known: Mutex<Vec<Look>>,
    away: AtomicBool,
}

impl Several {
    /// Of `registries`; where two have a version, the first one's counts.
    #[must_use]
    pub fn new(registries: Vec<Arc<dyn Registry>>) -> Self {
        let one = |registry| One { registry, known: Mutex::default(), away: AtomicBool::new(false) };
        Self(registries.into_iter().map(one).collect())
    }
}

impl One {
    fn look(&self) -> Vec<Look> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match self.registry.look() {
            Ok(looks) => {
                *known = looks;
                if self.away.swap(false, Ordering::Relaxed) {
                    tracing::info!("a registry of models can be read again");
                }
            }
            Err(reason) => {
                if !self.away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(reason, "a registry of models cannot be read; versions that are known stay");
                }
            }
        }
        known.clone()
    }
}

impl Registry for Several {
    fn look(&self) -> Result<Vec<Look>, String> {
        Ok(self.0.iter().flat_map(One::look).collect())
    }

    fn recall(&self, id: &VersionId) -> Option<Found> {
        self.0.iter().find_map(|one| one.registry.recall(id))
    }

    fn tidy(&self, kept: &HashSet<String>) {
        self.0.iter().for_each(|one| one.registry.tidy(kept));
    }

    fn wanted(&self) -> Option<VersionId> {
        self.0.iter().find_map(|one| one.registry.wanted())
    }
}
