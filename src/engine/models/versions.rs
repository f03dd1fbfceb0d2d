//! What is known of every version, under one lock. Pure but for the models it holds.
//!
//! ```text
//! discovered ─gates─▶ verified ─kept loaded─▶ warm ─▶ shadow, canary ─▶ active ─▶ previous ─▶ retired
//!      └──────────▶ refused, with its reason
//! ```
//!
//! Invariant: a stage is not stored where it follows from what is in force: no version is active beside another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::change::{Action, VersionId};
use super::ports::Found;
use crate::model::Checks;

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Seen, and not looked at yet.
    Discovered,
    /// It passed every gate.
    Verified,
    /// Verified and loaded: it can come into force at once.
    Warm,
    /// It scores besides.
    Shadow,
    /// It decides for a share of the customers.
    Canary,
    /// It decides.
    Active,
    /// It decided before, and is kept loaded.
    Previous,
    /// It decided once.
    Retired,
    /// It did not pass a gate.
    Refused,
}

impl Stage {
    /// Every stage, in the order of a version's life.
    pub const ALL: [Self; 9] = [
        Self::Discovered,
        Self::Verified,
        Self::Warm,
        Self::Shadow,
        Self::Canary,
        Self::Active,
        Self::Previous,
        Self::Retired,
        Self::Refused,
    ];

    /// Its word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Verified => "verified",
            Self::Warm => "warm",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Active => "active",
            Self::Previous => "previous",
            Self::Retired => "retired",
            Self::Refused => "refused",
        }
    }
}

/// A version as it is shown.
#[derive(Debug, Clone, Serialize)]
pub struct Version {
    /// Which.
    #[serde(flatten)]
    pub id: VersionId,
    /// When its package was made.
    pub created: String,
    /// Where it stands.
    pub stage: Stage,
    /// Why it is refused or was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Share as a challenger or canary, of 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis_points: Option<u16>,
    /// How it met the gates when it was looked at last.
    pub checks: Checks,
}

/// What runs beside the champion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    Shadow,
    Canary,
}

impl Beside {
    /// What is recorded when it ends.
    pub(super) const fn ended(self) -> Action {
        match self {
            Self::Shadow => Action::ShadowEnded,
            Self::Canary => Action::CanaryEnded,
        }
    }
}

/// How far a version has come that is not in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Come {
    Discovered,
    Verified,
    Refused,
}

#[derive(Debug)]
struct Entry<S> {
    found: Found,
    come: Come,
    reason: Option<String>,
    checks: Checks,
    warm: Option<Arc<S>>,
    /// It decided once.
    decided: bool,
    /// It was rolled back: only a person brings it back.
    taken_back: bool,
    /// How often it was asked to run no longer beside the champion.
    ends: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Versions<S> {
    list: BTreeMap<String, Entry<S>>,
    /// What lies in the registry and is no version, by its place.
    broken: BTreeMap<String, String>,
    /// Those that a registry has shown and nobody has thought of yet.
    unhandled: BTreeSet<String>,
    pub(super) champion: Option<String>,
    pub(super) previous: Option<String>,
    pub(super) canary: Option<(String, u16)>,
    pub(super) shadow: Option<(String, u16)>,
}

impl<S> Default for Versions<S> {
    fn default() -> Self {
        let (list, broken, unhandled) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { list, broken, unhandled, champion: None, previous: None, canary: None, shadow: None }
    }
}

impl<S> Versions<S> {
    /// Enters a version; true when it was unknown. One that is known stays as it is, whatever the digest: a version's content
    /// never changes.
    pub(super) fn enter(&mut self, found: Found) -> bool {
        let key = found.id.key();
        if self.list.contains_key(&key) {
            return false;
        }
        let entry = Entry {
            found,
            come: Come::Discovered,
            reason: None,
            checks: Checks::default(),
            warm: None,
            decided: false,
            taken_back: false,
            ends: 0,
        };
        self.list.insert(key, entry);
        true
    }

    /// A registry has shown a version that was unknown.
    pub(super) fn note_unhandled(&mut self, key: String) {
        self.unhandled.insert(key);
    }

    /// Those of which that is so since this was asked last.
    pub(super) fn take_unhandled(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.unhandled)
    }

    /// It is to run no longer beside the champion, also where it is only being prepared for that.
    pub(super) fn note_end(&mut self, key: &str) {
        if let Some(entry) = self.list.get_mut(key) {
            entry.ends += 1;
        }
    }

    /// How often that was asked for.
    pub(super) fn ends(&self, key: &str) -> u64 {
        self.list.get(key).map_or(0, |entry| entry.ends)
    }

    /// It decided once, in an earlier process.
    pub(super) fn note_decided(&mut self, key: &str) {
        if let Some(entry) = self.list.get_mut(key) {
            entry.decided = true;
        }
    }

    /// Keeps its model loaded: it runs.
    pub(super) fn runs(&mut self, key: &str, model: Arc<S>) {
        if let Some(entry) = self.list.get_mut(key) {
            entry.warm = Some(model);
        }
    }

    /// Notes what lies in the registry and is no version; what was noted before is forgotten. Those that are new.
    pub(super) fn note_broken(&mut self, broken: BTreeMap<String, String>) -> Vec<(String, String)> {
        let new = broken.iter().filter(|(place, reason)| self.broken.get(*place) != Some(*reason));
        let new = new.map(|(place, reason)| (place.clone(), reason.clone())).collect();
        self.broken = broken;
        new
    }

    pub(super) fn broken(&self) -> &BTreeMap<String, String> {
        &self.broken
    }

    /// The version of `key`: `name/version`, or `version` alone where one name has it.
    pub(super) fn resolve(&self, key: &str) -> Option<String> {
        if self.list.contains_key(key) {
            return Some(key.to_owned());
        }
        let mut named = self.list.iter().filter(|(_, entry)| entry.found.id.version == key).map(|(key, _)| key);
        let first = named.next()?;
        named.next().is_none().then(|| first.clone())
    }

    pub(super) fn found(&self, key: &str) -> Option<&Found> {
        self.list.get(key).map(|entry| &entry.found)
    }

    pub(super) fn id(&self, key: &str) -> Option<VersionId> {
        self.found(key).map(|found| found.id.clone())
    }

    pub(super) fn checks(&self, key: &str) -> Checks {
        self.list.get(key).map(|entry| entry.checks.clone()).unwrap_or_default()
    }

    pub(super) fn warm(&self, key: &str) -> Option<Arc<S>> {
        self.list.get(key).and_then(|entry| entry.warm.clone())
    }

    /// It passed the gates, and is kept loaded.
    pub(super) fn passed(&mut self, key: &str, checks: Checks, model: Arc<S>) {
        if let Some(entry) = self.list.get_mut(key) {
            entry.checks = checks;
            entry.reason = None;
            entry.warm = Some(model);
            entry.come = Come::Verified;
        }
    }

    /// It did not. What was loaded of it, unless it is in force or a rollback leads to it.
    pub(super) fn refused(&mut self, key: &str, checks: Checks, reason: String) -> Option<Arc<S>> {
        let stays = self.in_force().any(|one| one == key);
        let entry = self.list.get_mut(key)?;
        (entry.checks, entry.reason, entry.come) = (checks, Some(reason), Come::Refused);
        if stays { None } else { entry.warm.take() }
    }

    /// Its model, loaded and not refused since.
    pub(super) fn usable(&self, key: &str) -> Option<Arc<S>> {
        self.list.get(key).filter(|entry| entry.come != Come::Refused).and_then(|entry| entry.warm.clone())
    }

    /// Whether it decided once, as far as this process knows.
    pub(super) fn has_decided(&self, key: &str) -> bool {
        self.list.get(key).is_some_and(|entry| entry.decided)
    }

    /// `key` decides from now on. The one before is kept as the previous one, or taken back; where it was rolled back elsewhere
    /// meanwhile, the way back is the one that there was.
    pub(super) fn decides(&mut self, key: &str, model: Arc<S>, take_back: Option<String>) {
        let before = self.champion.replace(key.to_owned());
        if self.canary.as_ref().is_some_and(|(canary, _)| canary == key) {
            self.canary = None;
        }
        if self.shadow.as_ref().is_some_and(|(shadow, _)| shadow == key) {
            self.shadow = None;
        }
        if let Some(entry) = self.list.get_mut(key) {
            (entry.come, entry.reason) = (Come::Verified, None);
            (entry.decided, entry.taken_back) = (true, false);
            entry.warm = Some(model);
        }
        let Some(before) = before.filter(|before| before != key) else { return };
        if let Some(reason) = take_back
            && let Some(entry) = self.list.get_mut(&before)
        {
            (entry.reason, entry.taken_back) = (Some(reason), true);
        }
        if !self.is_taken_back(&before) {
            self.previous = Some(before);
        } else if self.previous.as_deref() == Some(key) {
            self.previous = None;
        }
    }

    /// Which version runs beside the champion, and its share.
    pub(super) fn beside(&mut self, beside: Beside) -> &mut Option<(String, u16)> {
        match beside {
            Beside::Shadow => &mut self.shadow,
            Beside::Canary => &mut self.canary,
        }
    }

    /// Whether it was rolled back and nobody has brought it back since.
    pub(super) fn is_taken_back(&self, key: &str) -> bool {
        self.list.get(key).is_some_and(|entry| entry.taken_back)
    }

    /// Whether it failed a gate when it was looked at last.
    pub(super) fn is_refused(&self, key: &str) -> bool {
        self.list.get(key).is_some_and(|entry| entry.come == Come::Refused)
    }

    /// It was rolled back in an earlier process.
    pub(super) fn take_back(&mut self, key: &str) {
        if let Some(entry) = self.list.get_mut(key) {
            entry.taken_back = true;
        }
    }

    /// These and no others were rolled back, by whatever instance, and not asked for since: no way leads back to them.
    pub(super) fn take_back_only(&mut self, gone: &[VersionId]) {
        for entry in self.list.values_mut() {
            entry.taken_back = gone.contains(&entry.found.id);
        }
        if self.previous.as_ref().is_some_and(|key| self.is_taken_back(key)) {
            self.previous = None;
        }
    }

    /// Somebody asked for it by name since.
    pub(super) fn bring_back(&mut self, key: &str) {
        if let Some(entry) = self.list.get_mut(key) {
            entry.taken_back = false;
        }
    }

    /// The newest version by its package's time, of those that neither failed a gate nor were rolled back.
    pub(super) fn newest(&self) -> Option<String> {
        let usable = self.list.iter().filter(|(_, entry)| entry.come != Come::Refused && !entry.taken_back);
        usable.max_by_key(|(key, entry)| (entry.found.created, (*key).clone())).map(|(key, _)| key.clone())
    }

    /// Lets go of every loaded model that is neither in force nor previous nor `kept`: they are dropped elsewhere.
    pub(super) fn cool(&mut self, kept: Option<&str>) -> Vec<Arc<S>> {
        let in_force: Vec<String> = self.in_force().map(str::to_owned).collect();
        let mut cooled = Vec::new();
        for (key, entry) in &mut self.list {
            if !in_force.contains(key) && kept != Some(key.as_str()) {
                cooled.extend(entry.warm.take());
            }
        }
        cooled
    }

    /// Whether rows are scored by it.
    pub(super) fn serves(&self, key: &str) -> bool {
        self.in_force().any(|one| one == key) && self.previous.as_deref() != Some(key)
    }

    /// What must stay loaded: what scores rows, and the version before.
    fn in_force(&self) -> impl Iterator<Item = &str> {
        let shares = self.canary.iter().chain(&self.shadow).map(|(key, _)| key);
        self.champion.iter().chain(&self.previous).chain(shares).map(String::as_str)
    }

    fn stage(&self, key: &str, entry: &Entry<S>) -> Stage {
        let is = |one: &Option<String>| one.as_deref() == Some(key);
        let shares = |one: &Option<(String, u16)>| one.as_ref().is_some_and(|(other, _)| other == key);
        if is(&self.champion) {
            return Stage::Active;
        }
        if shares(&self.canary) {
            return Stage::Canary;
        }
        if shares(&self.shadow) {
            return Stage::Shadow;
        }
        if is(&self.previous) {
            return Stage::Previous;
        }
        match (entry.come, entry.warm.is_some()) {
            (Come::Refused, _) => Stage::Refused,
            _ if entry.decided => Stage::Retired,
            (Come::Verified, true) => Stage::Warm,
            (Come::Verified, false) => Stage::Verified,
            (Come::Discovered, _) => Stage::Discovered,
        }
    }

    fn shown(&self, key: &str, entry: &Entry<S>) -> Version {
        let of = |one: &Option<(String, u16)>| one.as_ref().filter(|(other, _)| other == key).map(|(_, share)| *share);
        Version {
            id: entry.found.id.clone(),
            created: entry.found.created.to_rfc3339(),
            stage: self.stage(key, entry),
            reason: entry.reason.clone(),
            basis_points: of(&self.canary).or_else(|| of(&self.shadow)),
            checks: entry.checks.clone(),
        }
    }

    pub(super) fn show(&self, key: &str) -> Option<Version> {
        self.list.get(key).map(|entry| self.shown(key, entry))
    }

    pub(super) fn list(&self) -> Vec<Version> {
        self.list.iter().map(|(key, entry)| self.shown(key, entry)).collect()
    }
}
