//! A package on the CPU and on another device: how far the scores are apart, and how long 1, 64 and 4,096 rows take there.
//!
//! `ASSAY_PACKAGE` names the package (`models/fraud/1`, whose trees no GPU runs: name one of `make train`'s MLP), `ASSAY_DEVICE` the
//! device (`cuda:0`), `ORT_DYLIB_PATH` the runtime of `make onnxruntime-gpu`. It fails where the package does not run there whole,
//! and where a score is further than 1e-5 from the CPU's.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking, and prints its figures")]

use std::path::Path;
use std::time::{Duration, Instant};

use assay::model::{Device, Model, Package, RuntimeOptions};
use mimalloc::MiMalloc;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const ROWS: [usize; 3] = [1, 64, 4_096];
const RUNS: usize = 21;
const MOST_APART: f32 = 1e-5;

fn main() {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let device = Device::parse(&setting("ASSAY_DEVICE", "cuda:0")).unwrap();
    let place = setting("ASSAY_PACKAGE", "models/fraud/1");
    let package = Package::read(Path::new(&place)).unwrap();
    let load = |device| Model::load(package.clone(), &RuntimeOptions { device, ..RuntimeOptions::of_files() });
    let (cpu, other) = (load(Device::Cpu).unwrap(), load(device).unwrap());
    println!("{place}, medians of {RUNS} runs, rows in batches of 1,024 at most");
    println!("{:>6} {:>12} {:>12} {:>8} {:>12}", "rows", "cpu", device.to_string(), "ratio", "apart");
    let mut random = Pcg64Mcg::seed_from_u64(1);
    for rows in ROWS {
        let medians = package.medians().iter().cycle().take(rows * package.medians().len());
        let values: Vec<f32> = medians.map(|median| median * random.random_range(0.0..2.0_f32)).collect();
        let (one, took) = timed(&cpu, &values);
        let (two, took_there) = timed(&other, &values);
        let apart = one.iter().zip(&two).map(|(one, two)| (one - two).abs()).fold(0.0, f32::max);
        let ratio = took.as_secs_f64() / took_there.as_secs_f64();
        println!(
            "{rows:>6} {:>12} {:>12} {ratio:>8.2} {apart:>12.1e}",
            format!("{took:.1?}"),
            format!("{took_there:.1?}")
        );
        assert!(one.len() == rows && two.len() == rows && apart <= MOST_APART, "{apart} apart");
    }
}

/// Scores, and the median time of one call.
fn timed(model: &Model, values: &[f32]) -> (Vec<f32>, Duration) {
    // The first call of a size makes what the later ones find.
    let scores = model.infer_matrix(values).unwrap();
    let mut took: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            model.infer_matrix(values).unwrap();
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    (scores, took.get(RUNS / 2).copied().unwrap())
}
