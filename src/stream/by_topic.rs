//! One value for each topic that is followed.

use std::ops::{Index, IndexMut};

use super::item::Topic;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ByTopic<T> {
    pub(super) transactions: T,
    pub(super) labels: T,
    pub(super) decisions: T,
}

impl<T> ByTopic<T> {
    /// What `each` says, asked in the order of [`Topic::ALL`].
    pub(super) fn of(mut each: impl FnMut(Topic) -> T) -> Self {
        let [transactions, labels, decisions] = Topic::ALL.map(&mut each);
        Self { transactions, labels, decisions }
    }
}

impl<T> Index<Topic> for ByTopic<T> {
    type Output = T;

    fn index(&self, topic: Topic) -> &T {
        match topic {
            Topic::Transactions => &self.transactions,
            Topic::Labels => &self.labels,
            Topic::Decisions => &self.decisions,
        }
    }
}

impl<T> IndexMut<Topic> for ByTopic<T> {
    fn index_mut(&mut self, topic: Topic) -> &mut T {
        match topic {
            Topic::Transactions => &mut self.transactions,
            Topic::Labels => &mut self.labels,
            Topic::Decisions => &mut self.decisions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_has_its_own() {
        let mut names = ByTopic::of(|topic| format!("{topic:?}"));
        for topic in Topic::ALL {
            assert_eq!(names[topic], format!("{topic:?}"));
            names[topic].push('!');
        }
        assert_eq!([names.transactions, names.labels, names.decisions], ["Transactions!", "Labels!", "Decisions!"]);
    }
}
