//! Exact TreeSHAP of one row: complete trees of random features over the width of the shipped catalogue. Complete trees
//! are the worst case; trained ones of that depth have fewer leaves.

use std::hint::black_box;

use assay::model::trees::{Branch, Forest, Node, Test, TreeShap};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const WIDTH: usize = 48;

/// A complete tree: thresholds in 0 to 1, shares from rare to common.
fn tree(depth: u32, random: &mut Pcg64Mcg) -> Node {
    if depth == 0 {
        return Node::Leaf(random.random_range(-1.0..1.0));
    }
    let share = random.random_range(0.01..0.99);
    Node::Branch(Box::new(Branch {
        feature: random.random_range(0..WIDTH),
        test: Test::Below,
        threshold: random.random_range(0.0..1.0),
        yes: tree(depth - 1, random),
        no: tree(depth - 1, random),
        shares: [share, 1.0 - share],
    }))
}

fn explain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("explain one row, 100 complete trees");
    for depth in [4, 6, 8] {
        let mut random = Pcg64Mcg::seed_from_u64(1);
        let trees = (0..100).map(|_| tree(depth, &mut random)).collect();
        let shap = TreeShap::new(Forest { width: WIDTH, bias: -4.0, trees });
        let rows: Vec<Vec<f32>> =
            (0..64).map(|_| (0..WIDTH).map(|_| random.random_range(0.0..1.0)).collect()).collect();
        let mut next = rows.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(format!("depth {depth}")), |bencher| {
            bencher.iter(|| next.next().map(|row| shap.explain(black_box(row))));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = explain
}
criterion_main!(benches);
