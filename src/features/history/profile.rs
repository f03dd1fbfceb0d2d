//! The events of one entity: a set ordered by (time, transaction id), in blocks; older ones of a hot entity in tiles;
//! verdicts beside them.

use super::block::{Block, CAPACITY, Moment, Totals};
use super::labels::Labels;
use super::ties::Ties;
use super::tiles::Tiles;
use super::values::ABSENT;

/// A first block is cut once this many of its events are past their time.
const CUT: usize = 32;
/// What writing a tile costs, in events.
const TILE_WEIGHT: usize = 32;

/// What is kept of the entities of one kind, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// Longest window plus delay that needs amounts, milliseconds; 0 where none is kept.
    pub(super) amounts: i64,
    /// Counted identifiers an event.
    pub(super) width: usize,
    /// Longest window plus delay that needs the values of each of them, milliseconds.
    pub(super) values: [i64; 8],
    /// Longest window plus delay, milliseconds.
    pub(super) reach: i64,
    /// How late an event may come, milliseconds.
    pub(super) lateness: i64,
    /// Events kept one by one at most.
    pub(super) exact: usize,
    /// Whether late events that go among tiles are noted by their ids.
    pub(super) noting: bool,
}

/// Everything kept of one entity.
#[derive(Debug)]
pub(super) struct Profile {
    /// Keyed hash of its identifier.
    pub(super) key: u64,
    pub(super) blocks: Vec<Block>,
    pub(super) total: Totals,
    pub(super) tiles: Option<Box<Tiles>>,
    pub(super) labels: Option<Box<Labels>>,
    pub(super) ties: Ties,
    pub(super) exact: usize,
}

/// A place between two events: that many events of that block stand before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) block: usize,
    pub(super) index: usize,
}

/// Where an event stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    /// The place behind it: every event up to it, itself included, stands before.
    pub(super) place: Place,
    /// Whether the event itself is in the set.
    pub(super) present: bool,
}

impl Profile {
    pub(super) fn new(key: u64) -> Self {
        Self {
            key,
            blocks: Vec::new(),
            total: Totals::default(),
            tiles: None,
            labels: None,
            ties: Ties::default(),
            exact: 0,
        }
    }

    /// Puts an event into the set; one that is there already changes nothing.
    pub(super) fn insert(&mut self, moment: Moment<'_>, id: &str, keep: &Keep) -> Own {
        let newest = self.blocks.last().map(Block::last);
        if newest.is_none_or(|newest| moment.at > newest) && !self.among_tiles(moment.at) {
            return self.append(moment, id, keep);
        }
        let own = self.find(moment.at, id);
        if own.present {
            return own;
        }
        if self.among_tiles(moment.at) {
            return self.insert_among_tiles(moment, id, keep);
        }
        let place = self.make_room(own.place, moment, keep);
        if let Some(block) = self.blocks.get_mut(place.block) {
            block.insert(place.index, moment);
        }
        let one = Totals::of(moment.amount);
        for later in self.blocks.iter_mut().skip(place.block + 1) {
            later.before = later.before.plus(one);
        }
        self.total = self.total.plus(one);
        self.ties.insert(moment.at, id);
        self.exact += 1;
        let own = Own { place: Place { index: place.index + 1, ..place }, present: true };
        if self.exact > keep.exact {
            self.retire_first_block(keep);
            return self.find(moment.at, id);
        }
        own
    }

    /// Where the event (at, id) stands or would stand.
    pub(super) fn find(&self, at: i64, id: &str) -> Own {
        let newest = self.blocks.last().map(Block::last);
        if newest.is_none_or(|newest| at > newest) {
            return Own { place: self.end(), present: false };
        }
        let rank = self.ties.rank(at, id);
        let before = rank.smaller + usize::from(rank.present);
        Own { place: self.advance(self.lower_bound(at), before), present: rank.present }
    }

    /// The place behind every event up to and including `at`.
    pub(super) fn upper_bound(&self, at: i64) -> Place {
        let after = self.blocks.partition_point(|block| block.first() <= at);
        match after.checked_sub(1).and_then(|index| Some((index, self.blocks.get(index)?))) {
            Some((block, found)) => Place { block, index: found.upper_bound(at) },
            None => Place { block: 0, index: 0 },
        }
    }

    /// Totals of every event before `place`, from those before an earlier place on where both lie in one block.
    pub(super) fn totals_from(
        &self,
        earlier: Option<(Place, Totals)>,
        place: Place,
        money: bool,
        squares: bool,
    ) -> Totals {
        if let Some((from, totals)) = earlier
            && from.block == place.block
            && from.index <= place.index
            && let Some(block) = self.blocks.get(place.block)
        {
            return block.add(totals, from.index..place.index, money, squares);
        }
        self.totals(place, money, squares)
    }

    /// Totals of every event before `place`.
    pub(super) fn totals(&self, place: Place, money: bool, squares: bool) -> Totals {
        match self.blocks.get(place.block) {
            Some(block) if place.index < block.len() => block.totals(place.index, money, squares),
            Some(_) => self.blocks.get(place.block + 1).map_or(self.total, |next| next.before),
            None => self.total,
        }
    }

    /// Number of events up to and including `at`, tiles in proportion: only differences mean anything.
    pub(super) fn count_until(&self, at: i64) -> u32 {
        let count = self.totals(self.upper_bound(at), false, false).count;
        match (self.tiles_until(), &self.tiles) {
            (Some(until), Some(tiles)) if at < until => count.wrapping_sub(tiles.after(at, until).count),
            _ => count,
        }
    }

    /// Time of the last event before `place`.
    pub(super) fn time_before(&self, place: Place) -> Option<i64> {
        if let Some(index) = place.index.checked_sub(1) {
            return self.blocks.get(place.block).and_then(|block| block.time(index));
        }
        let previous = place.block.checked_sub(1).and_then(|block| self.blocks.get(block));
        previous.map(Block::last).or_else(|| self.tiles.as_ref().and_then(|tiles| tiles.newest))
    }

    /// The place one event before `place`.
    pub(super) fn step_back(&self, place: Place) -> Place {
        match place.index.checked_sub(1) {
            Some(index) => Place { index, ..place },
            None => match place.block.checked_sub(1) {
                Some(block) => {
                    let len = self.blocks.get(block).map_or(0, Block::len);
                    Place { block, index: len.saturating_sub(1) }
                }
                None => place,
            },
        }
    }

    /// Time of the first event behind `place`.
    pub(super) fn time_at(&self, place: Place) -> Option<i64> {
        let block = self.blocks.get(place.block)?;
        block.time(place.index).or_else(|| self.blocks.get(place.block + 1).map(Block::first))
    }

    /// The place `events` events before `place`; `None` where fewer are kept one by one.
    pub(super) fn back(&self, place: Place, events: u32) -> Option<Place> {
        let (mut block, mut index, mut rest) = (place.block, place.index, events as usize);
        while rest > index {
            rest -= index;
            block = block.checked_sub(1)?;
            index = self.blocks.get(block).map_or(0, Block::len);
        }
        Some(Place { block, index: index - rest })
    }

    /// Blocks and ranges of their events between two places.
    pub(super) fn ranges(
        &self,
        left: Place,
        right: Place,
    ) -> impl DoubleEndedIterator<Item = (&Block, std::ops::Range<usize>)> {
        (left.block..=right.block).filter_map(move |index| {
            let block = self.blocks.get(index)?;
            let start = if index == left.block { left.index } else { 0 };
            let end = if index == right.block { right.index } else { block.len() };
            (start < end).then_some((block, start..end))
        })
    }

    /// Where exact events begin, when older ones are in tiles.
    pub(super) fn tiles_until(&self) -> Option<i64> {
        let tiles = self.tiles.as_ref().filter(|tiles| !tiles.is_empty())?;
        Some(self.blocks.first().map_or(tiles.newest.unwrap_or(i64::MIN).saturating_add(1), Block::first))
    }

    /// Forgets whole blocks and whole runs of ids that are out of reach: cheap enough for every insertion.
    pub(super) fn forget_runs(&mut self, newest: i64, keep: &Keep) {
        let late = newest.saturating_sub(keep.lateness);
        self.ties.forget_runs_before(late);
        let horizon = late.saturating_sub(keep.reach);
        while self.blocks.first().is_some_and(|block| block.last() <= horizon) {
            self.exact -= self.blocks.remove(0).len();
        }
    }

    /// Forgets what no reading from `newest` − lateness on can reach.
    pub(super) fn forget(&mut self, newest: i64, keep: &Keep) {
        let late = newest.saturating_sub(keep.lateness);
        let horizon = late.saturating_sub(keep.reach);
        self.ties.forget_before(late);
        if self.blocks.first().is_some_and(|block| block.first() <= horizon) {
            let gone = self.blocks.partition_point(|block| block.last() <= horizon);
            self.exact -= self.blocks.drain(..gone).map(|block| block.len()).sum::<usize>();
            if let Some(block) = self.blocks.first_mut() {
                let gone = block.upper_bound(horizon);
                if gone >= CUT {
                    block.forget(gone);
                    self.exact -= gone;
                }
            }
        }
        self.forget_columns(late, keep);
        if let Some(tiles) = &mut self.tiles {
            let counted = keep.values.iter().copied().max().unwrap_or_default();
            tiles.forget_until(horizon, late.saturating_sub(counted), late);
            if tiles.is_empty() {
                self.tiles = None;
            }
        }
        if let Some(labels) = &mut self.labels {
            labels.forget_until(horizon);
            if labels.is_empty() {
                self.labels = None;
            }
        }
    }

    /// Forgets the columns of whole blocks that no window which needs them reaches, `late` being the latest reading.
    fn forget_columns(&mut self, late: i64, keep: &Keep) {
        // A block ends before the next begins: that says enough, and its times need not be looked at.
        let old = |blocks: &[Block], reach: i64| {
            let horizon = late.saturating_sub(reach);
            blocks.partition_point(|block| block.first() <= horizon).saturating_sub(1)
        };
        if self.blocks.len() < 2 {
            return;
        }
        if keep.amounts > 0 && keep.amounts < keep.reach {
            let old = old(&self.blocks, keep.amounts);
            self.blocks.iter_mut().take(old).for_each(Block::forget_amounts);
        }
        let values = keep.values.iter().enumerate().take(keep.width);
        for (identifier, reach) in values.filter(|(_, reach)| **reach < keep.reach) {
            let old = old(&self.blocks, *reach);
            self.blocks.iter_mut().take(old).for_each(|block| block.forget_column(identifier));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.tiles.is_none() && self.labels.is_none()
    }

    /// Events kept one by one.
    pub(super) const fn exact(&self) -> usize {
        self.exact
    }

    /// About what writing it costs, in events.
    pub(super) fn weight(&self) -> usize {
        let tiles = self.tiles.as_ref().map_or(0, |tiles| tiles.tiles.len() * TILE_WEIGHT);
        self.exact + tiles + self.labels.as_ref().map_or(0, |labels| labels.verdicts.len())
    }

    /// Bytes that say something (columns, ids, verdicts, tiles), and bytes reserved, the profile itself left out.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let (mut used, mut reserved) = self.ties.bytes();
        for block in &self.blocks {
            let (columns, room) = block.bytes();
            used += columns;
            reserved += room;
        }
        reserved += self.blocks.capacity() * size_of::<Block>();
        let tiles = self.tiles.as_ref().map_or(0, |tiles| tiles.bytes());
        let labels = self.labels.as_ref().map_or((0, 0), |labels| labels.bytes());
        (used + tiles + labels.0, reserved + tiles + labels.1)
    }

    fn append(&mut self, moment: Moment<'_>, id: &str, keep: &Keep) -> Own {
        if self.blocks.last().is_none_or(|block| block.is_full() || !block.reaches(moment.at)) {
            // An entity that filled a block will fill the next: its room is taken at once.
            let room = if self.blocks.last().is_some_and(Block::is_full) { CAPACITY } else { 0 };
            self.blocks.reserve_exact(1);
            self.blocks.push(Block::new(moment.at, self.total, keep.amounts > 0, room));
        }
        if let Some(block) = self.blocks.last_mut() {
            block.insert(block.len(), moment);
        }
        self.total = self.total.plus(Totals::of(moment.amount));
        self.ties.insert(moment.at, id);
        self.exact += 1;
        if self.exact > keep.exact {
            self.retire_first_block(keep);
        }
        Own { place: self.end(), present: true }
    }

    /// A block with room at `place`: splits a full one, begins a new one where times would not fit.
    fn make_room(&mut self, place: Place, moment: Moment<'_>, keep: &Keep) -> Place {
        let Some(block) = self.blocks.get_mut(place.block) else {
            self.blocks.push(Block::new(moment.at, self.total, keep.amounts > 0, 0));
            return Place { block: self.blocks.len() - 1, index: 0 };
        };
        if !block.reaches(moment.at) {
            let index = place.block + usize::from(place.index > 0);
            let before = if place.index > 0 { self.totals(place, true, true) } else { block.before };
            self.blocks.insert(index, Block::new(moment.at, before, keep.amounts > 0, 0));
            return Place { block: index, index: 0 };
        }
        if !block.is_full() {
            return place;
        }
        let half = block.len() / 2;
        let rest = block.split_off(half);
        self.blocks.insert(place.block + 1, rest);
        if place.index <= half { place } else { Place { block: place.block + 1, index: place.index - half } }
    }

    fn among_tiles(&self, at: i64) -> bool {
        self.tiles_until().is_some_and(|until| at < until)
    }

    fn insert_among_tiles(&mut self, moment: Moment<'_>, id: &str, keep: &Keep) -> Own {
        let own = Own { place: Place { block: 0, index: 0 }, present: true };
        if let Some(tiles) = &mut self.tiles {
            if tiles.is_noted(moment.at, id) {
                return own;
            }
            if keep.noting {
                tiles.noted.insert((moment.at, id.into()));
            }
            tiles.add(moment.at, moment.amount, moment.values);
        }
        let one = Totals::of(moment.amount);
        for block in &mut self.blocks {
            block.before = block.before.plus(one);
        }
        self.total = self.total.plus(one);
        own
    }

    fn retire_first_block(&mut self, keep: &Keep) {
        if self.blocks.len() < 2 {
            return;
        }
        let block = self.blocks.remove(0);
        let tiles = self.tiles.get_or_insert_default();
        for index in 0..block.len() {
            let mut values = [ABSENT; 8];
            for (identifier, value) in values.iter_mut().enumerate() {
                *value = block.column(identifier).and_then(|column| column.get(index)).copied().unwrap_or(ABSENT);
            }
            let values = values.get(..keep.width).unwrap_or_default();
            tiles.add(block.time(index).unwrap_or(0), block.amount(index), values);
        }
        self.exact -= block.len();
        if let Some(first) = self.blocks.first() {
            self.ties.forget_before(first.first());
        }
    }

    fn end(&self) -> Place {
        match self.blocks.len().checked_sub(1) {
            Some(block) => Place { block, index: self.blocks.get(block).map_or(0, Block::len) },
            None => Place { block: 0, index: 0 },
        }
    }

    fn lower_bound(&self, at: i64) -> Place {
        let block = self.blocks.partition_point(|block| block.last() < at);
        match self.blocks.get(block) {
            Some(found) => Place { block, index: found.lower_bound(at) },
            None => self.end(),
        }
    }

    fn advance(&self, mut place: Place, mut events: usize) -> Place {
        while let Some(block) = self.blocks.get(place.block) {
            let here = block.len() - place.index;
            if events <= here || place.block + 1 == self.blocks.len() {
                place.index += events.min(here);
                break;
            }
            events -= here;
            place = Place { block: place.block + 1, index: 0 };
        }
        place
    }
}
