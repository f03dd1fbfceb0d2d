//! Files of shards: what is written is read, and whatever else is refused by name.

use std::collections::BTreeMap;

use super::*;
use crate::engine::snapshot::{Header, ReadFrom};

const STATE: State = State { plan: 0xfeed_0000_0000_0001, key: 2 };
const EXPECTED: Expected = Expected { state: STATE, not_before: Millis(0) };

/// Shards, one a little like the other.
struct Made {
    header: Header,
    shards: Vec<Vec<u8>>,
    next: usize,
    /// The place of a shard that cannot be had.
    fails_at: Option<usize>,
}

#[derive(Debug, Error)]
#[error("no more")]
struct NoMore;

impl Shards for Made {
    type Error = NoMore;

    fn header(&self) -> &Header {
        &self.header
    }

    fn next_shard(&mut self, shard: &mut Vec<u8>) -> Result<bool, NoMore> {
        if self.fails_at == Some(self.next) {
            return Err(NoMore);
        }
        let next = self.shards.get(self.next);
        self.next += 1;
        next.map(|next| shard.extend_from_slice(next)).map_or(Ok(false), |()| Ok(true))
    }

    fn counts(&self) -> Counts {
        Counts { events: self.next as u64, ..Counts::default() }
    }
}

fn made(created_at: i64, state: State) -> Made {
    let offsets = BTreeMap::from([("transactions".to_owned(), vec![7, 0, 9]), ("labels".to_owned(), vec![3])]);
    let header = Header {
        created_at: Millis(created_at),
        stream_time: Some(Millis(created_at - 5)),
        read_from: ReadFrom::Offsets(offsets),
        state,
        incomplete: true,
        complete_from: Some(Millis(99)),
    };
    let shard = |number: usize| (0..number * 5).map(|byte| (byte * byte % 251) as u8).collect();
    Made { header, shards: (0..20).map(shard).collect(), next: 0, fails_at: None }
}

fn write(snapshots: &Snapshots, created_at: i64) -> PathBuf {
    snapshots.write(&mut made(created_at, STATE)).unwrap().path
}

fn read(opened: &mut Opened) -> Vec<Vec<u8>> {
    let (mut shards, mut shard) = (Vec::new(), Vec::new());
    while opened.next_shard(&mut shard).unwrap() {
        shards.push(shard.clone());
    }
    shards
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_read_and_the_newest_few_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::new(folder.path().join("deep/er"), 2);
    assert!(snapshots.newest(&EXPECTED).unwrap().opened.is_none());
    for created_at in [1_000, 3_000, 2_000, 4_000] {
        write(&snapshots, created_at);
        fs::write(snapshots.folder.join("history-5.partial"), "left by a crash").unwrap();
        fs::write(snapshots.folder.join("history-notes.snapshot"), "somebody's").unwrap();
    }
    let written = snapshots.write(&mut made(5_000, STATE)).unwrap();
    let kept = ["history-0000000004000.snapshot", "history-0000000005000.snapshot", "history-notes.snapshot"];
    assert_eq!(names(&snapshots.folder), kept);
    let Newest { opened, refused } = snapshots.newest(&EXPECTED).unwrap();
    let mut opened = opened.unwrap();
    assert!(refused.is_empty());
    assert_eq!((opened.header(), opened.path()), (&made(5_000, STATE).header, &*written.path));
    assert_eq!((opened.counts(), opened.shards(), opened.bytes()), (written.counts, 20, written.bytes));
    assert_eq!(read(&mut opened), made(5_000, STATE).shards);
}

#[test]
fn a_snapshot_that_ends_early_leaves_the_earlier_ones_and_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::new(folder.path().to_owned(), 1);
    write(&snapshots, 1_000);
    let failed = snapshots.write(&mut Made { fails_at: Some(7), ..made(2_000, STATE) });
    assert!(matches!(failed, Err(WriteError::Shards(NoMore))));
    assert_eq!(names(folder.path()), ["history-0000000001000.snapshot"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    fs::write(&file, "").unwrap();
    let told = Snapshots::new(file.join("below"), 1).write(&mut made(1, STATE)).unwrap_err().to_string();
    assert!(told.contains("a file/below"), "{told}");
}

/// What is said of the one snapshot in a folder after `change`.
fn refused(change: impl FnOnce(&mut Vec<u8>), expected: &Expected) -> (String, Refusal) {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::new(folder.path().to_owned(), 2);
    let path = write(&snapshots, 1_000);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let Newest { opened, mut refused } = snapshots.newest(expected).unwrap();
    assert!(opened.is_none() && refused.len() == 1, "{refused:?}");
    let refused = refused.remove(0);
    (refused.to_string(), refused.reason)
}

#[test]
fn every_refusal_has_its_name() {
    let other = |state| Expected { state, ..EXPECTED };
    let cases: [(&str, (String, Refusal)); 7] = [
        ("no snapshot", refused(|bytes| bytes.truncate(5), &EXPECTED)),
        ("no snapshot", refused(|bytes| bytes[0] = b'A', &EXPECTED)),
        ("its format is 2; this version reads up to 1", refused(|bytes| bytes[8] = 2, &EXPECTED)),
        ("cut off", refused(|bytes| bytes.truncate(bytes.len() - 1), &EXPECTED)),
        ("another catalogue", refused(|_| {}, &other(State { plan: 1, ..STATE }))),
        ("another history.hash_key", refused(|_| {}, &other(State { key: 1, ..STATE }))),
        (
            "too old: taken at 1970-01-01T00:00:01.000Z",
            refused(|_| {}, &Expected { not_before: Millis(1_001), ..EXPECTED }),
        ),
    ];
    for (words, (told, _)) in cases {
        assert!(told.contains(words) && told.contains("history-0000000001000.snapshot"), "{words}: {told}");
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&Snapshots::new(folder.path().to_owned(), 2), 1_000);
    let whole = fs::read(&path).unwrap();
    let said = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Opened::open(&path).map(drop)
    };
    for length in 12..whole.len() {
        assert!(matches!(said(&whole[..length]), Err(Refusal::Cut)), "cut at {length}");
    }
    for place in 12..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 0x10;
        assert!(matches!(said(&changed), Err(Refusal::Damaged(_) | Refusal::Cut)), "changed at {place}");
    }
    assert!(said(&whole).is_ok());
    let longer: Vec<u8> = whole.iter().copied().chain([0]).collect();
    assert!(matches!(said(&longer), Err(Refusal::Damaged(_))));
}

#[test]
fn parts_that_were_moved_doubled_or_left_out_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&Snapshots::new(folder.path().to_owned(), 2), 1_000);
    let whole = fs::read(&path).unwrap();
    let (mut places, mut place) = (Vec::new(), 12);
    while place < whole.len() {
        let stored = u32::from_le_bytes(whole[place + 5..place + 9].try_into().unwrap()) as usize;
        places.push(place..place + 17 + stored);
        place += 17 + stored;
    }
    let of = |order: &[usize]| -> Vec<u8> {
        let parts = order.iter().flat_map(|part| &whole[places[*part].clone()]);
        whole[..12].iter().chain(parts).copied().collect()
    };
    let all: Vec<usize> = (0..places.len()).collect();
    assert_eq!((places.len(), of(&all)), (22, whole.clone()));
    let mut swapped = all.clone();
    swapped.swap(3, 4);
    let without: Vec<_> = all.iter().copied().filter(|part| *part != 5).collect();
    let doubled: Vec<_> = all.iter().flat_map(|part| vec![*part; 1 + usize::from(*part == 6)]).collect();
    for order in [swapped, without, doubled] {
        fs::write(&path, of(&order)).unwrap();
        assert!(matches!(Opened::open(&path), Err(Refusal::Damaged(_))), "{order:?}");
    }
}

#[test]
fn a_damaged_newest_one_falls_back_to_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::new(folder.path().to_owned(), 3);
    write(&snapshots, 1_000);
    let damaged = write(&snapshots, 2_000);
    let foreign = snapshots.write(&mut made(3_000, State { key: 9, ..STATE })).unwrap().path;
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let Newest { opened, refused } = snapshots.newest(&EXPECTED).unwrap();
    let mut opened = opened.unwrap();
    assert_eq!(opened.header().created_at, Millis(1_000));
    assert_eq!(read(&mut opened).len(), 20);
    assert_eq!(refused.iter().map(|one| one.path.clone()).collect::<Vec<_>>(), [foreign, damaged]);
    assert!(matches!((&refused[0].reason, &refused[1].reason), (Refusal::OtherKey, Refusal::Damaged(_))));
}

#[test]
fn a_file_that_changes_after_it_was_opened_gives_no_wrong_shard() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::new(folder.path().to_owned(), 3);
    let path = snapshots.write(&mut Made { shards: vec![vec![7; 4 << 20]; 3], ..made(1_000, STATE) }).unwrap().path;
    let mut opened = Opened::open(&path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(300).unwrap();
    let mut shard = Vec::new();
    let told: Result<Vec<bool>, Refusal> = (0..4).map(|_| opened.next_shard(&mut shard)).collect();
    assert!(told.is_err());
}
