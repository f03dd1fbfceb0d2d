use proptest::prelude::*;

use super::super::testing::{branch, by_definition};
use super::*;

const WIDTH: usize = 6;

/// Trees of up to `depth` levels over [`WIDTH`] features: features repeat on a path, shares may be 0, thresholds may lie
/// where a row stands exactly.
fn tree(depth: u32) -> impl Strategy<Value = Node> {
    let leaf = (-3.0..3.0).prop_map(Node::Leaf);
    leaf.prop_recursive(depth, 200, 2, |inner| {
        let cover = prop_oneof![1 => Just(0.0), 6 => 0.5..100.0];
        let at = (0_u8..8).prop_map(|step| f32::from(step) * 0.5);
        (0..WIDTH, at, cover.clone(), cover, inner.clone(), inner)
            .prop_map(|(feature, at, left, right, yes, no)| branch(feature, at, [left, right], yes, no))
    })
}

fn forest(depth: u32, trees: usize) -> impl Strategy<Value = Forest> {
    (prop::collection::vec(tree(depth), 1..=trees), -2.0..2.0).prop_map(|(trees, bias)| Forest {
        width: WIDTH,
        bias,
        trees,
    })
}

fn row() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((0_u8..8).prop_map(|step| f32::from(step) * 0.5), WIDTH)
}

/// Holds the explanation against the definition, and its sum against the margin.
fn hold(forest: &Forest, row: &[f32]) -> Vec<f64> {
    let shap = TreeShap::new(forest.clone());
    let (baseline, wanted) = by_definition(forest, row);
    let (margin, found) = shap.explain(row);
    assert!((shap.baseline - baseline).abs() < 1e-11, "{} and {baseline}", shap.baseline);
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!((found - wanted).abs() < 1e-11, "{found} and not {wanted} of {forest:?} at {row:?}");
    }
    let sum = shap.baseline + found.iter().sum::<f64>();
    assert!((sum - margin).abs() < 1e-11 && margin == forest.margin(row), "{sum} and not {margin}");
    found
}

fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-14 * wanted.abs().max(1.0), "{found} and not {wanted}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn contributions_are_shapley_values(forest in forest(7, 3), row in row()) {
        hold(&forest, &row);
    }

    #[test]
    fn a_feature_that_no_tree_asks_for_contributes_nothing(forest in forest(5, 2), row in row()) {
        let wider = Forest { width: WIDTH + 1, ..forest };
        let row: Vec<f32> = row.into_iter().chain([1.0]).collect();
        prop_assert_eq!(hold(&wider, &row)[WIDTH], 0.0);
    }
}

fn one(tree: Node) -> Forest {
    Forest { width: WIDTH, bias: 0.25, trees: vec![tree] }
}

#[test]
fn a_leaf_alone_is_all_baseline() {
    assert_eq!(hold(&one(Node::Leaf(1.5)), &[0.0; WIDTH]), [0.0; WIDTH]);
    assert_eq!(TreeShap::new(one(Node::Leaf(1.5))).baseline, 1.75);
}

#[test]
fn one_split_moves_its_feature_by_the_distance_to_the_mean() {
    let stump = one(branch(2, 1.0, [3.0, 1.0], Node::Leaf(-1.0), Node::Leaf(3.0)));
    // The mean is (3·−1 + 3)/4 = 0; a row above the threshold gets 3.
    near(hold(&stump, &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0])[2], 3.0);
    near(hold(&stump, &[0.0; WIDTH])[2], -1.0);
}

/// A chain of `depth` branches on features in turn; each leaf has its own value.
fn chain(depth: usize, width: usize, covers: [f64; 2]) -> Node {
    (0..depth).rev().fold(Node::Leaf(0.5), |below, level| {
        let leaf = Node::Leaf((level as f64 * 0.7).sin());
        branch(level % width, 0.25 + (level / width) as f32 * 0.5, covers, leaf, below)
    })
}

#[test]
fn deep_trees_and_long_paths_stay_exact() {
    // Every feature stands four times on the path of 24, and 16 different ones on that of 16: two walks.
    for (depth, width) in [(24, WIDTH), (12, 12), (16, 16)] {
        let forest = Forest { width, bias: 0.0, trees: vec![chain(depth, width, [1.0, 2.0])] };
        for step in [0.0, 0.5, 1.0, 9.0] {
            hold(&forest, &vec![step; width]);
        }
        let mixed: Vec<f32> = (0..width).map(|index| if index % 3 == 0 { 0.0 } else { 9.0 }).collect();
        hold(&forest, &mixed);
    }
}

#[test]
fn a_hundred_levels_of_rare_ways_add_up() {
    // z is down to 1e-200 here: a method that divides by it loses every digit.
    let forest = Forest { width: 100, bias: 0.0, trees: vec![chain(100, 100, [99.0, 1.0])] };
    let shap = TreeShap::new(forest.clone());
    for row in [vec![9.0; 100], vec![0.0; 100], (0..100).map(|n| f32::from(n % 2 == 0) * 9.0).collect()] {
        let (margin, moved) = shap.explain(&row);
        let sum = shap.baseline + moved.iter().sum::<f64>();
        assert!(moved.iter().all(|value| value.is_finite()) && (sum - margin).abs() < 1e-12, "{sum} {margin}");
    }
}

#[test]
fn where_no_training_row_went_there_is_still_a_reason() {
    // The row goes where the cover is 0, and on below it.
    let below = branch(1, 1.0, [0.0, 0.0], Node::Leaf(4.0), Node::Leaf(8.0));
    let forest = one(branch(0, 1.0, [0.0, 10.0], below, Node::Leaf(1.0)));
    let moved = hold(&forest, &[0.0; WIDTH]);
    // v() = 1, v(0) = 6, v(1) = 1, v(0,1) = 4.
    near(moved[0], 4.0);
    near(moved[1], -1.0);
}

#[test]
fn comparisons_are_those_of_32_bits() {
    let at = 0.1_f32;
    let forest = one(branch(0, at, [1.0, 1.0], Node::Leaf(0.0), Node::Leaf(1.0)));
    assert_eq!(forest.margin(&[at, 0.0, 0.0, 0.0, 0.0, 0.0]), 1.25);
    assert_eq!(forest.margin(&[at.next_down(), 0.0, 0.0, 0.0, 0.0, 0.0]), 0.25);
}
