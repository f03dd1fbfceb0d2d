//! The paths of a connector as a tree of keys, so that a reader finds a value's slot while it walks down the source.

use compact_str::CompactString;

/// Most keys that a connector may name in one object: one bit each marks those that were seen.
pub(crate) const MAX_KEYS: usize = 64;

/// The tree; node 0 is the record itself.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

/// One place in the source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    /// The slot of the value that stands here.
    pub(crate) slot: Option<usize>,
    /// Keys below, and their nodes.
    pub(crate) children: Vec<(CompactString, usize)>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Tree {
    /// The record itself.
    pub(crate) const ROOT: usize = 0;

    /// The node of this number.
    pub(crate) fn node(&self, number: usize) -> Option<&Node> {
        self.nodes.get(number)
    }

    /// Adds the dotted `path`, which leads to `slot`; `Err` says what is wrong with the path.
    pub(super) fn insert(&mut self, path: &str, slot: usize) -> Result<(), String> {
        let mut place = Self::ROOT;
        for key in path.split('.') {
            if key.is_empty() {
                return Err(format!("path {path:?} has an empty part"));
            }
            let next = self.nodes.len();
            let Some(node) = self.nodes.get_mut(place) else { return Err(format!("path {path:?} leads nowhere")) };
            if let Some((_, child)) = node.children.iter().find(|(name, _)| name == key) {
                place = *child;
                continue;
            }
            if node.children.len() == MAX_KEYS {
                return Err(format!("path {path:?}: a connector may name at most {MAX_KEYS} keys of one object"));
            }
            node.children.push((key.into(), next));
            self.nodes.push(Node::default());
            place = next;
        }
        if let Some(node) = self.nodes.get_mut(place) {
            node.slot = Some(slot);
        }
        Ok(())
    }
}
