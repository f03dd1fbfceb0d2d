//! What batching gives: callers who score one row after the other, (a) through the model's pool as the server has it,
//! (b) through one session behind a mutex, a row at a time. Same model, same rows, same run, by turns; the figure is the
//! median over the turns of a / b in rows a second.
//!
//! Models: `models/fraud/1`, and 500 complete trees of depth 6 over 40 features. Of the mutex: it is held for one run of the
//! session and nothing else, and blocks its thread; no hand-off could be cheaper.
//!
//! `ASSAY_SLICE_MS` sets how long a turn of one side is (800), `ASSAY_TURNS` how many there are (5), `ASSAY_CALLERS` the
//! numbers of callers (1,2,4,8,16,32,64,128,256).

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking, and prints its figures")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assay::model::{Model, Package, RuntimeOptions};
use mimalloc::MiMalloc;
use prost::Message;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tokio::runtime::{Builder, Runtime};

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const TREES: i64 = 500;
const DEPTH: u32 = 6;
const WIDTH: i64 = 40;
const WAIT: Duration = Duration::from_secs(60);

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let slice = Duration::from_millis(setting("ASSAY_SLICE_MS", "800").parse().unwrap());
    let turns: usize = setting("ASSAY_TURNS", "5").parse().unwrap();
    let callers = setting("ASSAY_CALLERS", "1,2,4,8,16,32,64,128,256");
    let callers: Vec<usize> = callers.split(',').map(|number| number.trim().parse().unwrap()).collect();
    let runtime = Builder::new_multi_thread().enable_time().build().unwrap();
    println!(
        "{cores} cores, {turns} turns of {} ms a side; pool / mutex: the median, lowest to highest",
        slice.as_millis()
    );
    let folder = tempfile::tempdir().unwrap();
    for (name, package) in [
        ("models/fraud/1", Package::read(Path::new("models/fraud/1")).unwrap()),
        ("500 trees of depth 6", trees(folder.path())),
    ] {
        println!("\n{name}\n callers    pool/s   mutex/s   ratio");
        let sides = Sides::of(&package, cores);
        let mut least = f64::INFINITY;
        for &callers in &callers {
            let mut rates: Vec<_> = (0..turns)
                .map(|turn| {
                    let pool = || runtime.block_on(sides.pool(callers, slice));
                    let mutex = || runtime.block_on(sides.mutex(callers, slice));
                    // Who is first changes, so that neither always runs warm.
                    if turn % 2 == 0 {
                        let pool = pool();
                        (pool, mutex())
                    } else {
                        let mutex = mutex();
                        (pool(), mutex)
                    }
                })
                .collect();
            rates.sort_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1)));
            let (pool, mutex) = rates.get(turns / 2).copied().unwrap();
            let ratio = |at: Option<&(f64, f64)>| at.map_or(f64::NAN, |(pool, mutex)| pool / mutex);
            let (low, high) = (ratio(rates.first()), ratio(rates.last()));
            least = least.min(pool / mutex);
            println!("{callers:8} {pool:9.0} {mutex:9.0}   {:.2} ({low:.2} to {high:.2})", pool / mutex);
        }
        println!("least {least:.2}");
    }
    close(runtime);
}

/// Waits for nobody: callers end with their slice.
fn close(runtime: Runtime) {
    runtime.shutdown_timeout(Duration::from_secs(1));
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// The same model twice: its pool, and a single session.
struct Sides {
    pool: Arc<Model>,
    mutex: Arc<Mutex<Model>>,
    rows: Arc<Vec<Vec<f32>>>,
}

impl Sides {
    fn of(package: &Package, workers: usize) -> Self {
        // As config/embedded.toml has them.
        let options = RuntimeOptions { workers, max_batch: 64, max_queue: 4_096, ..RuntimeOptions::of_files() };
        let load = || Model::load(package.clone(), &options).unwrap();
        let mut random = Pcg64Mcg::seed_from_u64(1);
        let medians = match package.medians() {
            [] => vec![0.5; package.features.len()],
            medians => medians.to_vec(),
        };
        let row = |_| medians.iter().map(|median| (median.abs() + 0.1) * random.random_range(0.0..2.0)).collect();
        let rows = (0..1_024).map(row).collect();
        Self { pool: Arc::new(load()), mutex: Arc::new(Mutex::new(load())), rows: Arc::new(rows) }
    }

    async fn pool(&self, callers: usize, slice: Duration) -> f64 {
        let model = Arc::clone(&self.pool);
        measure(callers, slice, &self.rows, move |row| {
            let model = Arc::clone(&model);
            async move {
                model.infer(row, WAIT).await.unwrap();
            }
        })
        .await
    }

    async fn mutex(&self, callers: usize, slice: Duration) -> f64 {
        let model = Arc::clone(&self.mutex);
        measure(callers, slice, &self.rows, move |row| {
            let model = Arc::clone(&model);
            async move {
                // A matrix of one row runs on this thread, on a session that is kept.
                model.lock().unwrap().infer_matrix(&row).unwrap();
            }
        })
        .await
    }
}

/// Rows a second of so many callers, each of whom has one row under way.
async fn measure<F, Fut>(callers: usize, slice: Duration, rows: &Arc<Vec<Vec<f32>>>, score: F) -> f64
where
    F: Fn(Vec<f32>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let (done, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (done, over, rows, score) = (Arc::clone(&done), Arc::clone(&over), Arc::clone(rows), score.clone());
            tokio::spawn(async move {
                for row in rows.iter().cycle().skip(caller * 7) {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    score(row.clone()).await;
                    done.fetch_add(1, Ordering::Relaxed);
                    // Or a caller whose score was ready at once would keep the others from its thread.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    tokio::time::sleep(slice).await;
    over.store(true, Ordering::Relaxed);
    let (scored, took) = (done.load(Ordering::Relaxed), begun.elapsed());
    for task in tasks {
        task.await.unwrap();
    }
    scored as f64 / took.as_secs_f64()
}

/// Complete trees of random features and thresholds, as an ONNX file.
fn trees(folder: &Path) -> Package {
    let mut random = Pcg64Mcg::seed_from_u64(2);
    let leaves = 1_i64 << DEPTH;
    let inner = leaves - 1;
    let (mut columns, mut modes, mut values) = (Columns::default(), Vec::new(), Vec::new());
    let (mut targets, mut weights) = (Columns::default(), Vec::new());
    for tree in 0..TREES {
        for node in 0..inner + leaves {
            let is_leaf = node >= inner;
            columns.push(tree, node);
            columns.features.push(if is_leaf { 0 } else { random.random_range(0..WIDTH) });
            columns.yes.push(if is_leaf { 0 } else { 2 * node + 1 });
            columns.no.push(if is_leaf { 0 } else { 2 * node + 2 });
            modes.push(if is_leaf { b"LEAF".to_vec() } else { b"BRANCH_LT".to_vec() });
            values.push(if is_leaf { 0.0 } else { random.random_range(0.0..1.0) });
            if is_leaf {
                targets.push(tree, node);
                weights.push(random.random_range(-0.02..0.02));
            }
        }
    }
    let ids = vec![0; weights.len()];
    let attributes = vec![
        Attribute::numbers("nodes_treeids", columns.trees),
        Attribute::numbers("nodes_nodeids", columns.nodes),
        Attribute::numbers("nodes_featureids", columns.features),
        Attribute::numbers("nodes_truenodeids", columns.yes),
        Attribute::numbers("nodes_falsenodeids", columns.no),
        Attribute { name: "nodes_modes".to_owned(), texts: modes, kind: 8, ..Attribute::default() },
        Attribute::floats("nodes_values", values),
        Attribute::numbers("target_treeids", targets.trees),
        Attribute::numbers("target_nodeids", targets.nodes),
        Attribute::numbers("target_ids", ids),
        Attribute::floats("target_weights", weights),
        Attribute { name: "n_targets".to_owned(), number: 1, kind: 2, ..Attribute::default() },
    ];
    let trees = Node::of("TreeEnsembleRegressor", "input", "margin");
    let nodes = vec![
        Node { attributes, domain: "ai.onnx.ml".to_owned(), ..trees },
        // ONNX Runtime passes over post_transform = LOGISTIC where a regressor has one target.
        Node::of("Sigmoid", "margin", "score"),
    ];
    let graph = Graph {
        nodes,
        name: "trees".to_owned(),
        inputs: vec![Edge::of("input", WIDTH)],
        outputs: vec![Edge::of("score", 1)],
    };
    let opsets = [("", 13), ("ai.onnx.ml", 3)].map(|(domain, version)| Opset { domain: domain.to_owned(), version });
    let model = File { ir_version: 8, graph: Some(graph), opsets: opsets.to_vec() };
    let file = folder.join("trees.onnx");
    std::fs::write(&file, model.encode_to_vec()).unwrap();
    Package::bare(&file, (0..WIDTH).map(|feature| format!("f{feature}")).collect(), 0.5).unwrap()
}

/// Places of nodes, and where their sides lead.
#[derive(Default)]
struct Columns {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    features: Vec<i64>,
    yes: Vec<i64>,
    no: Vec<i64>,
}

impl Columns {
    fn push(&mut self, tree: i64, node: i64) {
        self.trees.push(tree);
        self.nodes.push(node);
    }
}

// The messages of an ONNX file that are needed: https://onnx.ai/onnx/repo-docs/IR.html.

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opsets: Vec<Opset>,
}

#[derive(Clone, PartialEq, Message)]
struct Opset {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "11")]
    inputs: Vec<Edge>,
    #[prost(message, repeated, tag = "12")]
    outputs: Vec<Edge>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    outputs: Vec<String>,
    #[prost(string, tag = "4")]
    kind: String,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
    #[prost(string, tag = "7")]
    domain: String,
}

impl Node {
    fn of(kind: &str, input: &str, output: &str) -> Self {
        let [kind, input, output] = [kind, input, output].map(str::to_owned);
        Self { inputs: vec![input], outputs: vec![output], kind, ..Self::default() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    number: i64,
    #[prost(float, repeated, tag = "7")]
    floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    numbers: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    texts: Vec<Vec<u8>>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

impl Attribute {
    fn numbers(name: &str, numbers: Vec<i64>) -> Self {
        Self { name: name.to_owned(), numbers, kind: 7, ..Self::default() }
    }

    fn floats(name: &str, floats: Vec<f32>) -> Self {
        Self { name: name.to_owned(), floats, kind: 6, ..Self::default() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Edge {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Kind>,
}

impl Edge {
    /// f32 `[N, columns]`.
    fn of(name: &str, columns: i64) -> Self {
        let dimensions =
            vec![Dimension { size: None, name: Some("N".to_owned()) }, Dimension { size: Some(columns), name: None }];
        let tensor = Tensor { element: 1, shape: Some(Shape { dimensions }) };
        Self { name: name.to_owned(), kind: Some(Kind { tensor: Some(tensor) }) }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Kind {
    #[prost(message, optional, tag = "1")]
    tensor: Option<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dimensions: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    size: Option<i64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
}
