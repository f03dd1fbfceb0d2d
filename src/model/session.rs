//! One ONNX Runtime session. The only file that names `ort`.
//!
//! In: the bytes of a model, what its manifest says of inputs and outputs, and the device. Out: one score a row.
//! A session computes on the thread that calls it (intra-op 1, inter-op 1, no spinning): threads are the workers' matter.
//! A row that is the one f32 input goes in by reference, and only the score's output is asked for: it costs no copy and no
//! label. The arena stays on and the memory pattern off: batch sizes vary, and warm-up has grown the arena for all of them.
//! On a GPU every operator runs there or the session is refused (see `device`), in full 32 bits: TF32 would keep 10 bits
//! of a mantissa, and no golden score.

use std::fmt;
use std::hash::Hash;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProvider as _};
use ort::logging::{LogLevel, LoggerFunction};
use ort::session::builder::{BuilderResult, GraphOptimizationLevel, SessionBuilder};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, SessionInputValue};
use ort::value::{
    DynSequenceValueType, DynValue, IntoTensorElementType, MapValueType, Outlet, Tensor, TensorElementType, TensorRef,
    ValueType,
};

use super::device::{Device, Runtime, way_out};
use super::signature::{Contract, Dtype, Edge, Feed, Form, Kind, Link};
use super::workers::Scorer;
use super::{InferError, ModelError, library};

/// ONNX Runtime allows one environment a process, and it must outlive every session.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// A loaded graph, ready to score.
pub(super) struct Session {
    graph: ort::session::Session,
    options: RunOptions<HasSelectedOutputs>,
    feeds: Vec<Feed>,
    form: Form,
    link: Link,
    width: usize,
}

impl Session {
    /// Loads `bytes` and checks the graph's inputs and output against `contract`. `file` names the model in faults.
    pub(super) fn open(bytes: &[u8], contract: &Contract, runtime: &Runtime, file: &Path) -> Result<Self, ModelError> {
        let refused = |what: String| ModelError::Package(format!("{}: {what}", file.display()));
        let graph = commit(bytes, &environment(runtime.library.as_deref())?, runtime).map_err(refused)?;
        let feeds = contract.hold_inputs(&edges(graph.inputs())).map_err(refused)?;
        let (output, form) = contract.hold_output(&edges(graph.outputs())).map_err(refused)?;
        let selected = OutputSelector::no_default().with(output);
        let options = RunOptions::new().map_err(|error| refused(error.to_string()))?.with_outputs(selected);
        Ok(Self { graph, options, feeds, form, link: contract.link, width: contract.width })
    }

    /// What feeds the graph's inputs, in their order.
    pub(super) fn feeds(&self) -> &[Feed] {
        &self.feeds
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Session({} values in {} inputs to {:?})", self.width, self.feeds.len(), self.form)
    }
}

impl Scorer for Session {
    fn width(&self) -> usize {
        self.width
    }

    fn score(&mut self, rows: &[f32], scores: &mut Vec<f32>) -> Result<(), InferError> {
        let count = rows.len() / self.width;
        let inputs = self.feeds.iter().map(|feed| input(feed, rows, self.width)).collect::<Result<Vec<_>, _>>()?;
        let outputs = self.graph.run_with_options(inputs.as_slice(), &self.options).map_err(failed)?;
        let Some(output) = outputs.values().next() else {
            return Err(InferError::Failed("the model gave no output".to_owned()));
        };
        let before = scores.len();
        read(&output, &self.form, count, |value| scores.push(narrow(self.link.apply(value))))?;
        match scores.len() - before {
            given if given == count => Ok(()),
            given => Err(InferError::Failed(format!("the model gave {given} scores for {count} rows"))),
        }
    }
}

fn failed(error: ort::Error) -> InferError {
    InferError::Failed(error.to_string())
}

#[expect(clippy::cast_possible_truncation, reason = "a score is f32, rounded to the nearest")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// The values that `feed` takes of `rows`, as its input wants them.
fn input<'v>(feed: &Feed, rows: &'v [f32], width: usize) -> Result<SessionInputValue<'v>, InferError> {
    let count = rows.len() / width.max(1);
    if feed.dtype == Dtype::Float32 && feed.is_row(width) && !feed.flat {
        return Ok(TensorRef::from_array_view(([count, width], rows)).map_err(failed)?.into());
    }
    let values = rows
        .chunks_exact(width.max(1))
        .flat_map(|row| feed.columns.iter().map(|column| row.get(*column).copied().unwrap_or_default()));
    let mut shape = vec![count, feed.columns.len()];
    if feed.flat {
        shape.truncate(1);
    }
    Ok(match feed.dtype {
        Dtype::Float32 => Tensor::from_array((shape, values.collect::<Vec<_>>())).map_err(failed)?.into(),
        Dtype::Float64 => {
            Tensor::from_array((shape, values.map(f64::from).collect::<Vec<_>>())).map_err(failed)?.into()
        }
        Dtype::Int64 => {
            let values = values.map(|value| feed.whole(value)).collect::<Result<Vec<_>, _>>()?;
            Tensor::from_array((shape, values)).map_err(failed)?.into()
        }
    })
}

/// Gives `take` the value of each of `count` rows.
fn read(output: &DynValue, form: &Form, count: usize, take: impl FnMut(f64)) -> Result<(), InferError> {
    match form {
        Form::Columns(columns) if is_wide(output) => {
            read_columns(output.try_extract_tensor::<f64>().map_err(failed)?.1, *columns, count, take)
        }
        Form::Columns(columns) => {
            read_columns(output.try_extract_tensor::<f32>().map_err(failed)?.1, *columns, count, take)
        }
        Form::NumberMaps(key) => read_maps(output, key, take),
        Form::TextMaps(key) => read_maps(output, key, take),
    }
}

fn is_wide(output: &DynValue) -> bool {
    matches!(output.dtype(), ValueType::Tensor { ty: TensorElementType::Float64, .. })
}

fn read_columns<T>(values: &[T], columns: usize, count: usize, take: impl FnMut(f64)) -> Result<(), InferError>
where
    T: Copy + Into<f64>,
{
    if values.len() != count * columns {
        return Err(InferError::Failed(format!("the model gave {} values for {count} rows", values.len())));
    }
    values.iter().skip(columns.saturating_sub(1)).step_by(columns.max(1)).map(|value| (*value).into()).for_each(take);
    Ok(())
}

fn read_maps<K>(output: &DynValue, key: &K, mut take: impl FnMut(f64)) -> Result<(), InferError>
where
    K: IntoTensorElementType + fmt::Debug + Clone + Hash + Eq + 'static,
{
    let maps = output.view().downcast::<DynSequenceValueType>().map_err(failed)?;
    for map in maps.try_extract_sequence::<MapValueType<K, f32>>().map_err(failed)? {
        let pairs = map.try_extract_key_values::<K, f32>().map_err(failed)?;
        let Some((_, value)) = pairs.iter().find(|(found, _)| found == key) else {
            let keys: Vec<_> = pairs.iter().map(|(key, _)| key).collect();
            return Err(InferError::Failed(format!(
                "the maps of the output have the keys {keys:?} and not {key:?}: [output] positive names the one of fraud"
            )));
        };
        take(f64::from(*value));
    }
    Ok(())
}

fn edges(outlets: &[Outlet]) -> Vec<Edge> {
    let edge = |outlet: &Outlet| {
        let (dtype, shown) = (outlet.dtype(), outlet.dtype().to_string());
        Edge { name: outlet.name().to_owned(), kind: kind(dtype), shown }
    };
    outlets.iter().map(edge).collect()
}

fn kind(dtype: &ValueType) -> Kind {
    match dtype {
        ValueType::Tensor { ty, shape, .. } => match ty {
            TensorElementType::Float32 => Kind::Tensor(Dtype::Float32, shape.to_vec()),
            TensorElementType::Float64 => Kind::Tensor(Dtype::Float64, shape.to_vec()),
            TensorElementType::Int64 => Kind::Tensor(Dtype::Int64, shape.to_vec()),
            _ => Kind::Other,
        },
        ValueType::Sequence(of) => match **of {
            ValueType::Map { key: TensorElementType::Int64, value: TensorElementType::Float32 } => Kind::NumberMaps,
            ValueType::Map { key: TensorElementType::String, value: TensorElementType::Float32 } => Kind::TextMaps,
            _ => Kind::Other,
        },
        _ => Kind::Other,
    }
}

fn environment(configured: Option<&Path>) -> Result<Environment, ModelError> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = slot.as_ref() {
        return Ok(environment.clone());
    }
    let path = library::find(configured)?;
    let unusable = |error: &dyn fmt::Display| {
        ModelError::Runtime(format!(
            "ONNX Runtime at {} cannot be used: {error}: run `make onnxruntime`, or set ORT_DYLIB_PATH to a library of version {}",
            path.display(),
            library::VERSION
        ))
    };
    // Why absolute: ort looks for a relative path beside the executable first.
    let absolute = std::path::absolute(&path).map_err(|error| unusable(&error))?;
    let builder = ort::init_from(absolute).map_err(|error| unusable(&error))?;
    let made = builder.with_name("assay").with_telemetry(false).build().map_err(|error| unusable(&error))?;
    Ok(slot.insert(made).clone())
}

/// The session of `bytes`, or one sentence.
fn commit(bytes: &[u8], environment: &Environment, runtime: &Runtime) -> Result<ort::session::Session, String> {
    let device = runtime.device;
    let lost = |what: &str| format!("cannot run on {device}: {what}, {}", way_out(device));
    let text = |error: ort::Error| match device {
        Device::Cpu => format!("ONNX Runtime refuses the model: {}", sentence(&error)),
        Device::Cuda(_) => lost(&sentence(&error)),
    };
    if matches!(device, Device::Cuda(_)) && !CUDA::is_available().map_err(text)? {
        return Err(lost(
            "this ONNX Runtime has no CUDA (`make onnxruntime-gpu` fetches one, model.onnxruntime names it)",
        ));
    }
    let build = || -> ort::Result<SessionBuilder> {
        let builder = configure(SessionBuilder::new(environment)?)?;
        Ok(match device {
            Device::Cpu => builder,
            Device::Cuda(number) => on_cuda(builder, number, runtime.device_memory)?,
        })
    };
    let refused = match build().map_err(text)?.commit_from_memory(bytes) {
        Ok(session) => return Ok(session),
        Err(error) => text(error),
    };
    if device == Device::Cpu {
        return Err(refused);
    }
    // Why again: only a session that logs all its life says what it placed where.
    let log = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&log);
    let logger: LoggerFunction = Arc::new(move |_level, _category, _id, _place, message| {
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
    });
    let tell = || build()?.with_logger(logger)?.with_log_level(LogLevel::Verbose)?.commit_from_memory(bytes);
    // It is refused as before; what counts is what it logs on its way.
    let _refused = tell();
    let left = on_cpu(&log.lock().unwrap_or_else(PoisonError::into_inner));
    Err(if left.is_empty() { refused } else { format!("{} stay on the CPU; {refused}", left.join(", ")) })
}

/// The runtime's words in one line.
fn sentence(error: &ort::Error) -> String {
    let words: Vec<_> = error.message().split_whitespace().collect();
    words.join(" ").trim_end_matches('.').to_owned()
}

#[expect(clippy::result_large_err, reason = "the runtime's error hands the builder back")]
fn configure(builder: SessionBuilder) -> BuilderResult {
    builder
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_memory_pattern(false)?
        .with_optimization_level(GraphOptimizationLevel::All)
}

#[expect(clippy::result_large_err, reason = "the runtime's error hands the builder back")]
fn on_cuda(builder: SessionBuilder, number: u32, memory: Option<u64>) -> BuilderResult {
    let mut cuda = CUDA::default()
        .with_device_id(i32::try_from(number).unwrap_or(i32::MAX))
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        .with_tf32(false);
    if let Some(memory) = memory {
        cuda = cuda.with_memory_limit(usize::try_from(memory).unwrap_or(usize::MAX));
    }
    builder.with_execution_providers([cuda.build().error_on_failure()])?.with_disable_cpu_fallback()
}

/// The operators that the runtime's log says it placed on the CPU, each once.
fn on_cpu(log: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut here = false;
    for line in log {
        if let Some((_, provider)) = line.split_once("placed on [") {
            here = provider.starts_with("CPUExecutionProvider]");
        } else if here && let Some((kind, _)) = line.strip_prefix("  ").and_then(|node| node.split_once(" (")) {
            if !found.iter().any(|known| known == kind) {
                found.push(kind.to_owned());
            }
        } else {
            here = false;
        }
    }
    found
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
