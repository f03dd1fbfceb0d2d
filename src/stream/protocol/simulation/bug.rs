//! Faults that are planted one at a time, to see that the schedules find them.

/// What the simulated instance or destination does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// An offset is done when its decision is sent, not when it is acknowledged.
    CommitBeforeAcknowledgement,
    /// The index takes the newest record of an id.
    LastWinsInTheIndex,
    /// The destination takes the newest record of an id.
    LastWinsInTheDestination,
    /// A new owner begins at the reader's position.
    RereadSkipped,
    /// An owner scores before its reader has passed the ends that the decisions had.
    RipenessSkipped,
    /// Commits carry no generation, and go on after the partitions are lost.
    CommitOfAnOldEpoch,
    /// The highest offset that is done is committed.
    PrefixIgnoresGaps,
    /// An acknowledgement that did not come makes a second decision.
    AmbiguousScoredAgain,
    /// The row is written from the batch, not from what is stored.
    RowFromTheLosingRecord,
    /// The destination commits, then writes.
    DestinationCommitsFirst,
    /// A repetition of an id is a second event.
    RepetitionMovesHistory,
    /// What cannot be read is skipped.
    UnreadableSkipped,
    /// A fallback counts as revision 0.
    FallbackTakesTheRevision,
    /// A snapshot is marked with what was fetched, not with what was merged.
    SnapshotOfWhatWasFetched,
    /// A lane that looked empty is believed at once.
    SettleIgnored,
    /// An instance answers with the record it made, whatever was first.
    AnswersWithItsOwn,
    /// The owner is told what was fetched, not what was merged.
    AdvanceByWhatWasFetched,
    /// The first copy that was merged stays in the history, whatever the first record says.
    HistoryKeepsTheFirstCopy,
    /// `/predict` moves the history before anything of it is in the log.
    AskedMovesHistory,
    /// A revision replaces whatever the row shows.
    LowerRevisionReplaces,
    /// The auditor asks for the end of the dead letters before it asks for the committed offsets.
    LettersBeforeOffsets,
    /// A letter is closed when it is sent again.
    LetterClosedOnRetry,
    /// A partition of which nothing more arrives counts as read to its end.
    StalledIsTheEnd,
    /// Of what was read, chunks are forgotten by their first offset.
    ForgetsByTheStart,
    /// What stands before the reader's beginning counts as decided.
    BeginningIsDecided,
    /// Applied is told without the decisions that wait for their rows.
    WaitingIgnored,
    /// Applied is told without what the destination's group has not committed.
    GroupNotAwaited,
    /// What the reader has not read of the decisions counts as nothing.
    DecisionsUnread,
    /// Who has a fallback alone counts as decided.
    FallbackDecides,
}

pub(super) const BUGS: [Bug; 29] = [
    Bug::CommitBeforeAcknowledgement,
    Bug::LastWinsInTheIndex,
    Bug::LastWinsInTheDestination,
    Bug::RereadSkipped,
    Bug::RipenessSkipped,
    Bug::CommitOfAnOldEpoch,
    Bug::PrefixIgnoresGaps,
    Bug::AmbiguousScoredAgain,
    Bug::RowFromTheLosingRecord,
    Bug::DestinationCommitsFirst,
    Bug::RepetitionMovesHistory,
    Bug::UnreadableSkipped,
    Bug::FallbackTakesTheRevision,
    Bug::SnapshotOfWhatWasFetched,
    Bug::SettleIgnored,
    Bug::AnswersWithItsOwn,
    Bug::AdvanceByWhatWasFetched,
    Bug::HistoryKeepsTheFirstCopy,
    Bug::AskedMovesHistory,
    Bug::LowerRevisionReplaces,
    Bug::LettersBeforeOffsets,
    Bug::LetterClosedOnRetry,
    Bug::StalledIsTheEnd,
    Bug::ForgetsByTheStart,
    Bug::BeginningIsDecided,
    Bug::WaitingIgnored,
    Bug::GroupNotAwaited,
    Bug::DecisionsUnread,
    Bug::FallbackDecides,
];
