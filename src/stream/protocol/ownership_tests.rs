use super::{Ownership, Reread, Verdict};

/// Owner of partition 0 from `committed`, ripe with the reader at `position`.
fn ripe(committed: i64, position: i64) -> (Ownership, u64, Vec<Reread>) {
    let mut ownership = Ownership::new();
    let epoch = ownership.assign(&[(0, committed)], &[7]);
    let rereads = ownership.advance(&[7], &[position]);
    assert!(ownership.is_ripe());
    (ownership, epoch, rereads)
}

#[test]
fn nothing_is_scored_before_the_reader_has_passed_the_ends() {
    let mut ownership = Ownership::new();
    assert_eq!((ownership.meet(0, 1), ownership.epoch()), (Verdict::NotOwned, None));
    let epoch = ownership.assign(&[(0, 5), (2, 0)], &[3, 9]);
    assert_eq!(ownership.epoch(), Some(epoch));
    assert_eq!(ownership.meet(1, 8), Verdict::NotOwned);
    assert_eq!(ownership.meet(0, 4), Verdict::Skip);
    assert_eq!(ownership.meet(0, 5), Verdict::Defer);
    assert_eq!(ownership.advance(&[3, 8], &[6, 0, 0]), []);
    assert_eq!(ownership.advance(&[3], &[6, 0, 0]), [], "a partition that was not read has not been passed");
    assert!(!ownership.is_ripe() && ownership.commits().is_empty());
    assert_eq!(ownership.advance(&[4, 9], &[6, 0, 0]), [Reread { partition: 0, from: 5, to: 6, epoch }]);
    assert_eq!(ownership.advance(&[4, 9], &[8, 0, 0]), [], "once an epoch");
    assert_eq!(ownership.meet(0, 5), Verdict::Defer);
    assert_eq!(ownership.meet(0, 6), Verdict::Own);
    assert_eq!(ownership.meet(0, 6), Verdict::Skip, "begun already");
    assert_eq!(ownership.meet(2, 0), Verdict::Own);
}

#[test]
fn what_was_met_is_read_again_whatever_the_position_says() {
    let mut ownership = Ownership::new();
    let epoch = ownership.assign(&[(0, 5)], &[1]);
    assert_eq!(ownership.meet(0, 9), Verdict::Defer);
    assert_eq!(ownership.advance(&[1], &[7]), [Reread { partition: 0, from: 5, to: 10, epoch }]);

    let mut ownership = Ownership::new();
    assert_eq!(ownership.meet(0, 9), Verdict::NotOwned);
    let epoch = ownership.assign(&[(0, 5)], &[1]);
    assert_eq!(
        ownership.advance(&[1], &[7]),
        [Reread { partition: 0, from: 5, to: 10, epoch }],
        "met by who did not own it"
    );
}

#[test]
fn the_commit_is_the_re_reads_prefix_and_then_the_live_one() {
    let (mut ownership, epoch, rereads) = ripe(10, 14);
    assert_eq!(rereads, [Reread { partition: 0, from: 10, to: 14, epoch }]);
    assert_eq!(ownership.meet(0, 14), Verdict::Own);
    ownership.done(0, 14, epoch);
    assert_eq!(ownership.commits(), [], "10 to 13 are not done");
    for (offset, begun) in [(9, false), (10, true), (12, true), (12, false), (14, false)] {
        assert_eq!(ownership.reread(0, offset, epoch), begun, "{offset}");
    }
    ownership.done(0, 10, epoch);
    assert_eq!((ownership.commits(), ownership.outstanding()), (vec![(0, 12)], 1));
    ownership.reread_ended(0, epoch);
    assert!(!ownership.reread(0, 13, epoch), "it has ended");
    assert_eq!(ownership.commits(), []);
    ownership.done(0, 12, epoch);
    assert_eq!((ownership.commits(), ownership.commits()), (vec![(0, 15)], vec![]));
    ownership.tell_again();
    assert_eq!(ownership.commits(), [(0, 15)]);
}

#[test]
fn a_re_read_of_nothing_ends_at_the_position() {
    let (mut ownership, epoch, _) = ripe(10, 14);
    ownership.reread_ended(0, epoch);
    assert_eq!(ownership.commits(), [(0, 14)]);
}

#[test]
fn a_reader_behind_the_committed_offset_needs_no_re_read() {
    let (mut ownership, epoch, rereads) = ripe(10, 4);
    assert_eq!(rereads, []);
    assert_eq!((ownership.meet(0, 4), ownership.meet(0, 9)), (Verdict::Skip, Verdict::Skip));
    assert!(!ownership.reread(0, 10, epoch));
    assert_eq!(ownership.meet(0, 10), Verdict::Own);
    assert_eq!(ownership.commits(), []);
    ownership.done(0, 10, epoch);
    assert_eq!(ownership.commits(), [(0, 11)]);
}

#[test]
fn what_was_begun_in_an_earlier_epoch_is_not_committed() {
    let (mut ownership, first, _) = ripe(0, 0);
    assert_eq!(ownership.meet(0, 0), Verdict::Own);
    ownership.revoke();
    ownership.done(0, 0, first);
    assert_eq!((ownership.commits(), ownership.epoch(), ownership.is_ripe()), (vec![], None, false));
    let second = ownership.assign(&[(0, 0)], &[7]);
    assert!(second > first);
    assert_eq!(ownership.advance(&[7], &[1]).len(), 1);
    assert!(!ownership.reread(0, 0, first) && ownership.reread(0, 0, second));
    ownership.done(0, 0, first);
    ownership.reread_ended(0, first);
    assert_eq!((ownership.commits(), ownership.outstanding()), (vec![], 1));
    ownership.done(0, 0, second);
    assert_eq!(ownership.commits(), [(0, 1)]);
}

#[test]
fn an_assignment_replaces_the_one_before() {
    let (mut ownership, _, _) = ripe(0, 0);
    let epoch = ownership.assign(&[(3, 2)], &[]);
    assert_eq!(ownership.meet(0, 5), Verdict::NotOwned);
    assert_eq!(ownership.advance(&[], &[0, 0, 0, 5]), [Reread { partition: 3, from: 2, to: 5, epoch }]);
    let epoch = ownership.assign(&[], &[]);
    assert_eq!((ownership.advance(&[], &[]), ownership.epoch(), ownership.commits()), (vec![], Some(epoch), vec![]));
}
