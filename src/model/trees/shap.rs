//! Exact TreeSHAP, path-dependent: the Shapley values of the game in which a coalition of features is known and the
//! others are averaged by the covers of the training data (Lundberg et al. 2020, "From local explanations to global
//! understanding with explainable AI for trees", algorithm 1; what `shap.TreeExplainer` computes without background data).
//!
//! One leaf of value v is a product game. For each feature j of its path let oⱼ be 1 when the row meets every condition
//! on j and 0 otherwise, and zⱼ the product of the cover shares of j's edges. Then v(S) = v ∏(j in S) oⱼ ∏(j not in S) zⱼ,
//! and by Owen's multilinear extension (1972, "Multilinear extensions of games") the Shapley value of i is
//!
//! ```text
//! φᵢ = v (oᵢ − zᵢ) ∫₀¹ ∏(j ≠ i) fⱼ(t) dt        fⱼ(t) = t oⱼ + (1 − t) zⱼ
//! ```
//!
//! The integrand is a polynomial in t of degree k − 1 for k features on the path, so Gauss–Legendre quadrature with
//! ⌈k/2⌉ nodes is exact. Its terms have one sign: nothing cancels within a leaf, at any depth. Leaves of a tree share their
//! work in one walk. Going down, P(t) = w(t) ∏ fⱼ(t) is kept at the nodes t; coming up, U(t) = Σ v ∏ fⱼ(t) over the leaves
//! below and the edges to them. Where feature i is asked for the first time on a path, with the sides y and n,
//!
//! ```text
//! φᵢ += Σₜ P ((o_y − z_y) U_y + (o_n − z_n) U_n)        U = f_y U_y + f_n U_n
//! ```
//!
//! which divides by nothing. Where i was asked for above, its factor f′ there is replaced: P and U take f / f′, and φᵢ
//! takes (g − g′) P U with g = (oᵢ − zᵢ) / fᵢ (Yu et al. 2022, "Linear TreeShap", walks likewise). Those quotients are
//! computed when the model is loaded, and none divides by 0: with oᵢ = 1, fᵢ ≥ t > 0; with oᵢ = 0, g = −1/(1 − t)
//! whatever zᵢ is; and once oᵢ is 0 it stays so, f / f′ is the edge's own share and g − g′ is 0.

use super::quadrature::gauss_legendre;
use super::{Branch, Forest, Node, Test};

/// Quadrature nodes that one walk carries: exact alone for paths of up to 8 features; deeper trees are walked again.
const LANES: usize = 4;

type Lanes = [f64; LANES];

/// A forest prepared for explanation.
#[derive(Debug)]
pub struct TreeShap {
    forest: Forest,
    /// The margin that is expected when no feature is known.
    pub baseline: f64,
    walks: Vec<Walk>,
}

/// One tree at [`LANES`] quadrature nodes.
#[derive(Debug)]
struct Walk {
    points: Points,
    /// Weights of the nodes; 0 where there are fewer.
    weights: Lanes,
    root: Step,
}

/// Quadrature nodes t, and 1 − t.
#[derive(Debug, Clone, Copy)]
struct Points {
    t: Lanes,
    rest: Lanes,
}

// Small, because a walk of a large forest is bounded by the memory it reads.
#[derive(Debug)]
enum Step {
    Leaf(f64),
    Fork(Box<Fork>),
}

#[derive(Debug)]
struct Fork {
    feature: usize,
    test: Test,
    threshold: f32,
    yes: Side,
    no: Side,
    /// Of `yes` and `no`, where the feature was asked for above.
    again: Option<Box<[Again; 2]>>,
}

#[derive(Debug)]
struct Side {
    /// Share of the fork's cover that went here.
    share: f64,
    to: Step,
}

/// Factors of a side whose feature was asked for above and met there.
#[derive(Debug)]
struct Again {
    /// The row meets this condition too.
    met: Factors,
    /// It does not.
    lost: Factors,
}

#[derive(Debug)]
struct Factors {
    /// f / f′.
    ratio: Lanes,
    /// (g − g′) f / f′: times P above and U below, to the contribution.
    gain: Lanes,
}

impl TreeShap {
    /// Prepares every tree.
    #[must_use]
    pub fn new(forest: Forest) -> Self {
        let mut walks = Vec::new();
        let mut baseline = forest.bias;
        for tree in &forest.trees {
            baseline += expected(tree);
            let features = most_features(tree, &mut Vec::new());
            // Exact for k features: ⌈k/2⌉ nodes; whole walks of them cost the same.
            let count = features.div_ceil(2).max(1).next_multiple_of(LANES);
            let nodes = gauss_legendre(u32::try_from(count).unwrap_or(u32::MAX));
            for lanes in nodes.chunks(LANES) {
                walks.push(walk(tree, lanes, forest.width));
            }
        }
        Self { forest, baseline, walks }
    }

    /// The margin of a row, and the contribution of each of its values to it, log-odds.
    #[must_use]
    pub fn explain(&self, row: &[f32]) -> (f64, Vec<f64>) {
        let mut moved = vec![0.0; self.forest.width];
        let mut met = vec![true; self.forest.width];
        for walk in &self.walks {
            let mut state = State { row, points: walk.points, met: &mut met, moved: &mut moved };
            state.below(&walk.root, &walk.weights, &[1.0; LANES]);
        }
        (self.forest.margin(row), moved)
    }
}

/// What a walk keeps of a row.
struct State<'a> {
    row: &'a [f32],
    points: Points,
    /// By feature: whether the row met every condition on it on the path to here.
    met: &'a mut [bool],
    moved: &'a mut [f64],
}

impl State<'_> {
    /// U of what `to` leads to, where P is `product` times `factor`.
    fn below(&mut self, to: &Step, product: &Lanes, factor: &Lanes) -> Lanes {
        match to {
            Step::Leaf(value) => [*value; LANES],
            Step::Fork(fork) => self.walk(fork, &times(product, factor)),
        }
    }

    /// Walks below `fork`, where P is `product`. Returns U.
    fn walk(&mut self, fork: &Fork, product: &Lanes) -> Lanes {
        let Fork { feature, yes, no, .. } = fork;
        if !self.met.get(*feature).copied().unwrap_or_default() {
            let (f_yes, f_no) = ([yes.share; LANES], [no.share; LANES]);
            let below_yes = self.below(&yes.to, product, &f_yes);
            let below_no = self.below(&no.to, product, &f_no);
            return sum(&times(&f_yes, &below_yes), &times(&f_no, &below_no));
        }
        let value = self.row.get(*feature).copied().unwrap_or_default();
        let holds = fork.test.holds(value, fork.threshold);
        let (taken, other) = if holds { (yes, no) } else { (no, yes) };
        let Some(again) = &fork.again else {
            let f_met = sum(&self.points.t, &scaled(&self.points.rest, taken.share));
            let f_lost = scaled(&self.points.rest, other.share);
            let (met, lost) = self.both(*feature, (taken, &f_met), (other, &f_lost), product);
            let gain = sum(&scaled(&met, 1.0 - taken.share), &scaled(&lost, -other.share));
            self.add(*feature, dot(product, &gain));
            return sum(&times(&f_met, &met), &times(&f_lost, &lost));
        };
        let [of_yes, of_no] = &**again;
        let (f_met, f_lost) = if holds { (&of_yes.met, &of_no.lost) } else { (&of_no.met, &of_yes.lost) };
        let (met, lost) = self.both(*feature, (taken, &f_met.ratio), (other, &f_lost.ratio), product);
        let gain = sum(&times(&f_met.gain, &met), &times(&f_lost.gain, &lost));
        self.add(*feature, dot(product, &gain));
        sum(&times(&f_met.ratio, &met), &times(&f_lost.ratio, &lost))
    }

    /// U of the side whose condition the row meets, and of the other.
    fn both(
        &mut self,
        feature: usize,
        (taken, f_met): (&Side, &Lanes),
        (other, f_lost): (&Side, &Lanes),
        product: &Lanes,
    ) -> (Lanes, Lanes) {
        let met = self.below(&taken.to, product, f_met);
        self.set(feature, false);
        let lost = self.below(&other.to, product, f_lost);
        self.set(feature, true);
        (met, lost)
    }

    fn set(&mut self, feature: usize, met: bool) {
        if let Some(place) = self.met.get_mut(feature) {
            *place = met;
        }
    }

    fn add(&mut self, feature: usize, moved: f64) {
        if let Some(place) = self.moved.get_mut(feature) {
            *place += moved;
        }
    }
}

fn times(left: &Lanes, right: &Lanes) -> Lanes {
    let mut product = *left;
    product.iter_mut().zip(right).for_each(|(lane, factor)| *lane *= factor);
    product
}

fn scaled(left: &Lanes, factor: f64) -> Lanes {
    left.map(|lane| lane * factor)
}

fn sum(left: &Lanes, right: &Lanes) -> Lanes {
    let mut sum = *left;
    sum.iter_mut().zip(right).for_each(|(lane, other)| *lane += other);
    sum
}

fn dot(left: &Lanes, right: &Lanes) -> f64 {
    times(left, right).into_iter().sum()
}

/// The margin of a tree with every feature unknown.
fn expected(node: &Node) -> f64 {
    match node {
        Node::Leaf(value) => *value,
        Node::Branch(branch) => {
            let [yes, no] = branch.shares;
            yes * expected(&branch.yes) + no * expected(&branch.no)
        }
    }
}

/// The most different features on a path; `above` are those above `node`.
fn most_features(node: &Node, above: &mut Vec<usize>) -> usize {
    let Node::Branch(branch) = node else { return above.len() };
    let new = !above.contains(&branch.feature);
    if new {
        above.push(branch.feature);
    }
    let most = most_features(&branch.yes, above).max(most_features(&branch.no, above));
    if new {
        above.pop();
    }
    most
}

/// Prepares a tree for some quadrature nodes.
fn walk(tree: &Node, nodes: &[(f64, f64)], width: usize) -> Walk {
    // A lane without a node has weight 0; any point inside keeps its quotients finite.
    let lane = |index: usize| nodes.get(index).copied().unwrap_or((0.5, 0.0));
    let lanes: [(f64, f64); LANES] = std::array::from_fn(lane);
    let t = lanes.map(|(point, _)| point);
    let points = Points { t, rest: t.map(|t| 1.0 - t) };
    let mut builder = Builder { points, shares: vec![None; width] };
    Walk { points, weights: lanes.map(|(_, weight)| weight), root: builder.step(tree) }
}

struct Builder {
    points: Points,
    /// By feature: z of its edges on the path so far; `None` before the first.
    shares: Vec<Option<f64>>,
}

impl Builder {
    fn step(&mut self, node: &Node) -> Step {
        let branch = match node {
            Node::Leaf(value) => return Step::Leaf(*value),
            Node::Branch(branch) => branch,
        };
        let Branch { feature, test, threshold, yes, no, shares: [to_yes, to_no] } = &**branch;
        let above = self.shares.get(*feature).copied().flatten();
        let again = above.map(|above| Box::new([self.again(above, *to_yes), self.again(above, *to_no)]));
        let mut side = |share: f64, child: &Node| {
            self.set(*feature, Some(above.unwrap_or(1.0) * share));
            let to = self.step(child);
            self.set(*feature, above);
            Side { share, to }
        };
        let (yes, no) = (side(*to_yes, yes), side(*to_no, no));
        Step::Fork(Box::new(Fork { feature: *feature, test: *test, threshold: *threshold, yes, no, again }))
    }

    /// Factors of an edge with this share below an edge on the same feature of which z is `above`.
    fn again(&self, above: f64, share: f64) -> Again {
        let z = above * share;
        let Points { t, rest } = self.points;
        let lane = |index: usize| (t.get(index).copied().unwrap_or(0.5), rest.get(index).copied().unwrap_or(0.5));
        let factors = |value: &dyn Fn(f64, f64) -> (f64, f64)| {
            let of = |index| {
                let (t, rest) = lane(index);
                let f_above = t + rest * above;
                let (f, g) = value(t, rest);
                (f / f_above, (g - (1.0 - above) / f_above) * f / f_above)
            };
            Factors { ratio: std::array::from_fn(|index| of(index).0), gain: std::array::from_fn(|index| of(index).1) }
        };
        Again {
            met: factors(&|t, rest| (t + rest * z, (1.0 - z) / (t + rest * z))),
            lost: factors(&|_, rest| (rest * z, -1.0 / rest)),
        }
    }

    fn set(&mut self, feature: usize, z: Option<f64>) {
        if let Some(place) = self.shares.get_mut(feature) {
            *place = z;
        }
    }
}

#[cfg(test)]
#[path = "shap_tests.rs"]
mod tests;
