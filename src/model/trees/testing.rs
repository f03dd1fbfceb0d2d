//! Trees for tests and an oracle that shares nothing with the code under test: Shapley values by their definition.

use super::{Branch, Forest, Node, Test};

/// A branch below the threshold `at`, with these covers of its sides.
pub(in crate::model) fn branch(feature: usize, at: f32, covers: [f64; 2], yes: Node, no: Node) -> Node {
    let whole = covers[0] + covers[1];
    let shares = if whole > 0.0 { covers.map(|cover| cover / whole) } else { [0.5; 2] };
    Node::Branch(Box::new(Branch { feature, test: Test::Below, threshold: at, yes, no, shares }))
}

/// The expected margin of a tree when the features of `known` (by bit) are those of `row`.
fn conditional(node: &Node, row: &[f32], known: usize) -> f64 {
    match node {
        Node::Leaf(value) => *value,
        Node::Branch(branch) if known >> branch.feature & 1 == 1 => {
            conditional(if branch.holds(row) { &branch.yes } else { &branch.no }, row, known)
        }
        Node::Branch(branch) => {
            branch.shares[0] * conditional(&branch.yes, row, known)
                + branch.shares[1] * conditional(&branch.no, row, known)
        }
    }
}

/// φᵢ = Σ over S without i of |S|! (n − |S| − 1)! / n! · (v(S ∪ i) − v(S)), and v of nothing: all 2ⁿ coalitions.
pub(in crate::model) fn by_definition(forest: &Forest, row: &[f32]) -> (f64, Vec<f64>) {
    let width = forest.width;
    let game: Vec<f64> = (0..1_usize << width)
        .map(|known| forest.bias + forest.trees.iter().map(|tree| conditional(tree, row, known)).sum::<f64>())
        .collect();
    let factorial = |n: usize| (1..=n).map(|k| k as f64).product::<f64>();
    let values = (0..width)
        .map(|feature| {
            (0..game.len())
                .filter(|known| known >> feature & 1 == 0)
                .map(|known| {
                    let size = known.count_ones() as usize;
                    let weight = factorial(size) * factorial(width - size - 1) / factorial(width);
                    weight * (game[known | 1 << feature] - game[known])
                })
                .sum()
        })
        .collect();
    (game[0], values)
}
