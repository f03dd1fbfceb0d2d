//! What the topic of decisions holds of payments that were rescored, against what it must. Pure: records and rows in, a verdict
//! out.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::record::Seen;
use super::table::Completed;

/// Differences that are told one by one.
const TOLD: usize = 10;

/// What a payment's records were.
#[derive(Debug, Default)]
struct Records {
    /// The first record of revision 1, and what it decided.
    second: Option<(String, Completed)>,
    /// Others of that revision.
    others: HashSet<String>,
    beyond: bool,
}

/// What was found.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub(crate) struct Rescored {
    pub(crate) payments: u64,
    /// With a record of revision 1.
    pub(crate) rescored: u64,
    /// The same record of revision 1 once more: sent again, decided once.
    pub(crate) repeated: u64,
    /// Payments with two different records of revision 1.
    pub(crate) doubled: u64,
    /// Payments with a revision above 1.
    pub(crate) beyond: u64,
    /// Payments without revision 1.
    pub(crate) lost: u64,
    /// Rows that show something else than the record of revision 1.
    pub(crate) rows_differ: u64,
    /// Later revisions of payments that were not to be rescored.
    pub(crate) foreign: u64,
    /// The first of what is wrong, in words.
    pub(crate) told: Vec<String>,
}

/// Judges records and rows.
pub(crate) struct RescoredJudge {
    payments: HashMap<String, Records>,
    verdict: Rescored,
}

impl RescoredJudge {
    /// Of payments that had revision 0 alone.
    pub(crate) fn new(ids: impl IntoIterator<Item = String>) -> Self {
        let payments: HashMap<_, _> = ids.into_iter().map(|id| (id, Records::default())).collect();
        let verdict = Rescored { payments: payments.len() as u64, ..Rescored::default() };
        Self { payments, verdict }
    }

    /// The next record of a partition.
    pub(crate) fn record(&mut self, seen: &Seen) {
        let Some(revision) = seen.revision.filter(|revision| *revision > 0) else { return };
        let Some(records) = self.payments.get_mut(&seen.transaction_id) else {
            self.verdict.foreign += 1;
            return;
        };
        match &records.second {
            _ if revision > 1 => records.beyond = true,
            Some((first, _)) if *first == seen.record => self.verdict.repeated += 1,
            Some(_) => {
                records.others.insert(seen.record.clone());
            }
            None => {
                let completed = Completed {
                    score: seen.score,
                    model_version: Some(seen.model_version.clone()),
                    flagged: Some(seen.flagged),
                    revision: Some(1),
                };
                records.second = Some((seen.record.clone(), completed));
            }
        }
    }

    /// The row of a payment.
    pub(crate) fn row(&mut self, id: &str, row: &Completed) {
        let expected = self.payments.get(id).and_then(|records| records.second.as_ref());
        if let Some((_, expected)) = expected
            && row != expected
        {
            self.verdict.rows_differ += 1;
            let text = format!("{id}: the row shows {row:?}, the record {expected:?}");
            tell(&mut self.verdict, text);
        }
    }

    /// When all records and rows were seen.
    pub(crate) fn verdict(mut self) -> Rescored {
        for (id, records) in &self.payments {
            self.verdict.rescored += u64::from(records.second.is_some());
            for (wrong, count, what) in [
                (records.second.is_none(), &mut self.verdict.lost, "was not rescored"),
                (!records.others.is_empty(), &mut self.verdict.doubled, "has two records of revision 1"),
                (records.beyond, &mut self.verdict.beyond, "has a revision above 1"),
            ] {
                if wrong {
                    *count += 1;
                    let text = format!("{id} {what}");
                    if self.verdict.told.len() < TOLD {
                        self.verdict.told.push(text);
                    }
                }
            }
        }
        self.verdict
    }
}

fn tell(verdict: &mut Rescored, text: String) {
    if verdict.told.len() < TOLD {
        verdict.told.push(text);
    }
}

impl Rescored {
    /// Each has one revision more, and nobody else has.
    pub(crate) fn is_clean(&self) -> bool {
        [self.doubled, self.beyond, self.lost, self.rows_differ, self.foreign].iter().all(|count| *count == 0)
    }

    pub(crate) fn line(&self) -> String {
        let Self { payments, rescored, repeated, doubled, beyond, lost, rows_differ, foreign, told } = self;
        let mut line = format!(
            "{payments} payments, {rescored} with revision 1; lost {lost}, doubled {doubled}, beyond revision 1 {beyond}; rows \
             differ {rows_differ}, of other payments {foreign}; the same record again {repeated}"
        );
        for one in told {
            line.push_str("\n  ");
            line.push_str(one);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::example;
    use super::*;

    fn of(id: &str, revision: u32, record: &str) -> Seen {
        Seen { revision: Some(revision), record: record.to_owned(), ..example(id, 0.25) }
    }

    fn row(revision: i32) -> Completed {
        Completed {
            score: Some(0.25),
            model_version: Some("1".to_owned()),
            flagged: Some(false),
            revision: Some(revision),
        }
    }

    fn judged(records: &[Seen], rows: &[(&str, Completed)]) -> Rescored {
        let mut judge = RescoredJudge::new(["a".to_owned(), "b".to_owned()]);
        records.iter().for_each(|seen| judge.record(seen));
        rows.iter().for_each(|(id, row)| judge.row(id, row));
        judge.verdict()
    }

    #[test]
    fn one_revision_each_is_clean_also_where_the_record_was_sent_twice() {
        let records = [of("a", 0, "x"), of("b", 0, "y"), of("a", 1, "r-1"), of("b", 1, "r-2"), of("a", 1, "r-1")];
        let verdict = judged(&records, &[("a", row(1)), ("b", row(1))]);
        assert!(verdict.is_clean(), "{}", verdict.line());
        assert_eq!((verdict.rescored, verdict.repeated), (2, 1));
    }

    #[test]
    fn whatever_is_wrong_is_found() {
        let good = [of("a", 1, "r-1"), of("b", 1, "r-2")];
        let with = |more: Seen| judged(&[good[0].clone(), good[1].clone(), more], &[]);
        assert_eq!(judged(&good[..1], &[]).lost, 1);
        assert_eq!(with(of("a", 1, "s-1")).doubled, 1);
        assert_eq!(with(of("a", 2, "r-3")).beyond, 1);
        assert_eq!(with(of("c", 1, "r-3")).foreign, 1);
        let other = judged(&good, &[("a", row(0)), ("b", row(1))]);
        assert!(
            other.rows_differ == 1 && !other.is_clean() && other.line().contains("a: the row shows"),
            "{}",
            other.line()
        );
    }
}
