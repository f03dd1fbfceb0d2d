//! One ONNX Runtime session. The only file that names `ort`.
//!
//! In: the bytes of a model and what its manifest says of inputs and outputs. Out: one score a row.
//! A session computes on the thread that calls it (intra-op 1, inter-op 1, no spinning): threads are the workers' matter.
//! Rows go in by reference and only the score's output is asked for: one row costs no copy and no label.
//! The arena stays on and the memory pattern off: batch sizes vary, and warm-up has grown the arena for all of them.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::builder::{BuilderResult, GraphOptimizationLevel, SessionBuilder};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};

use super::manifest::OutputShape;
use super::workers::Scorer;
use super::{InferError, ModelError, library};

/// ONNX Runtime allows one environment a process, and it must outlive every session.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// The output that is preferred where nothing names one.
const PREFERRED_OUTPUT: &str = "probabilities";

/// What a session is held against: `None` is discovered from the graph.
#[derive(Debug, Clone, Default)]
pub(super) struct Contract {
    /// Values of a row.
    pub(super) width: usize,
    /// Name of the one input, f32 `[N, width]`.
    pub(super) input: Option<String>,
    /// Name of the output that holds the scores, f32.
    pub(super) output: Option<String>,
    /// Its shape.
    pub(super) shape: Option<OutputShape>,
}

/// A loaded graph, ready to score.
pub(super) struct Session {
    graph: ort::session::Session,
    options: RunOptions<HasSelectedOutputs>,
    shape: OutputShape,
    width: usize,
}

impl Session {
    /// Loads `bytes` and checks the graph's input and output against `contract`. `file` names the model in faults.
    pub(super) fn open(
        bytes: &[u8],
        contract: &Contract,
        library: Option<&Path>,
        file: &Path,
    ) -> Result<Self, ModelError> {
        let refused = |what: String| ModelError::Package(format!("{}: {what}", file.display()));
        let graph = commit(bytes, &environment(library)?)
            .map_err(|error| refused(format!("ONNX Runtime refuses the model: {error}")))?;
        check_input(graph.inputs(), contract).map_err(refused)?;
        let (output, shape) = choose_output(graph.outputs(), contract).map_err(refused)?;
        let selected = OutputSelector::no_default().with(output);
        let options = RunOptions::new().map_err(|error| refused(error.to_string()))?.with_outputs(selected);
        Ok(Self { graph, options, shape, width: contract.width })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Session({} values to {})", self.width, self.shape.as_str())
    }
}

impl Scorer for Session {
    fn width(&self) -> usize {
        self.width
    }

    fn score(&mut self, rows: &[f32], scores: &mut Vec<f32>) -> Result<(), InferError> {
        let failed = |error: ort::Error| InferError::Failed(error.to_string());
        let count = rows.len() / self.width;
        let input = TensorRef::from_array_view(([count, self.width], rows)).map_err(failed)?;
        let outputs = self.graph.run_with_options(ort::inputs![input], &self.options).map_err(failed)?;
        let Some(output) = outputs.values().next() else {
            return Err(InferError::Failed("the model gave no output".to_owned()));
        };
        let (_, values) = output.try_extract_tensor::<f32>().map_err(failed)?;
        if values.len() != count * self.shape.columns() {
            return Err(InferError::Failed(format!("the model gave {} values for {count} rows", values.len())));
        }
        match self.shape {
            OutputShape::TwoColumns => scores.extend(values.iter().skip(1).step_by(2)),
            OutputShape::OneColumn | OutputShape::Flat => scores.extend_from_slice(values),
        }
        Ok(())
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

fn commit(bytes: &[u8], environment: &Environment) -> Result<ort::session::Session, String> {
    fn text<T>(error: ort::Error<T>) -> String {
        error.to_string()
    }
    #[expect(clippy::result_large_err, reason = "the runtime's error hands the builder back")]
    let configure = |builder: SessionBuilder| -> BuilderResult {
        builder
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .with_memory_pattern(false)?
            .with_optimization_level(GraphOptimizationLevel::All)
    };
    let mut builder = configure(SessionBuilder::new(environment).map_err(text)?).map_err(text)?;
    builder.commit_from_memory(bytes).map_err(text)
}

fn check_input(inputs: &[Outlet], contract: &Contract) -> Result<(), String> {
    let [input] = inputs else {
        let names: Vec<_> = inputs.iter().map(Outlet::name).collect();
        return Err(format!("the graph has the inputs {names:?}, and one of shape [N, features] is needed"));
    };
    if let Some(wanted) = contract.input.as_deref().filter(|wanted| *wanted != input.name()) {
        return Err(format!("[input] name is {wanted:?}, but the graph's input is {:?}", input.name()));
    }
    let Some(shape) = float_shape(input.dtype()) else {
        return Err(format!("the input {:?} is {}, and a tensor of f32 is needed", input.name(), input.dtype()));
    };
    match *shape {
        [_, columns] if columns < 0 || usize::try_from(columns) == Ok(contract.width) => {}
        [_, columns] => {
            return Err(format!(
                "the input {:?} takes {columns} values a row, but {} features are named",
                input.name(),
                contract.width
            ));
        }
        _ => return Err(format!("the input {:?} has the shape {shape:?}, not [N, features]", input.name())),
    }
    if let [rows, _] = *shape
        && rows > 0
    {
        return Err(format!(
            "the input {:?} takes {rows} rows exactly; export it with a free batch size",
            input.name()
        ));
    }
    Ok(())
}

fn choose_output(outputs: &[Outlet], contract: &Contract) -> Result<(String, OutputShape), String> {
    let output = match contract.output.as_deref() {
        Some(wanted) => outputs.iter().find(|output| output.name() == wanted).ok_or_else(|| {
            let names: Vec<_> = outputs.iter().map(Outlet::name).collect();
            format!("[output] name is {wanted:?}, but the graph's outputs are {names:?}")
        })?,
        None => discover_output(outputs)?,
    };
    let (name, dtype) = (output.name(), output.dtype());
    if matches!(dtype, ValueType::Sequence(_) | ValueType::Map { .. }) {
        return Err(format!("the output {name:?} is {dtype}, not a tensor: export the model without zipmap"));
    }
    let shape =
        float_shape(dtype).ok_or_else(|| format!("the output {name:?} is {dtype}, and a tensor of f32 is needed"))?;
    let found = match *shape {
        [_, 2] => Some(OutputShape::TwoColumns),
        [_, 1] => Some(OutputShape::OneColumn),
        [_] => Some(OutputShape::Flat),
        _ => None,
    };
    // A graph may leave its columns open (negative); then the manifest's word is taken, and every run checks the count.
    let open = matches!(*shape, [_, columns] if columns < 0);
    match (contract.shape, found) {
        (Some(wanted), Some(found)) if wanted != found => Err(format!(
            "[output] shape is {:?}, but the output {name:?} has the shape {shape:?}, which is {:?}",
            wanted.as_str(),
            found.as_str()
        )),
        (Some(wanted), None) if open => Ok((name.to_owned(), wanted)),
        (_, Some(found)) => Ok((name.to_owned(), found)),
        (_, None) => Err(format!("the output {name:?} has the shape {shape:?}, and [N, 2], [N, 1] or [N] is needed")),
    }
}

fn discover_output(outputs: &[Outlet]) -> Result<&Outlet, String> {
    if let Some(preferred) = outputs.iter().find(|output| output.name() == PREFERRED_OUTPUT) {
        return Ok(preferred);
    }
    let floats: Vec<_> = outputs.iter().filter(|output| float_shape(output.dtype()).is_some()).collect();
    match (floats.as_slice(), outputs) {
        ([only], _) => Ok(only),
        // A lone wrong output is refused by what it is.
        (_, [only]) => Ok(only),
        ([], [.., last]) if matches!(last.dtype(), ValueType::Sequence(_)) => Ok(last),
        _ => {
            let names: Vec<_> = outputs.iter().map(Outlet::name).collect();
            Err(format!("which of the outputs {names:?} holds the score is unclear: name it {PREFERRED_OUTPUT:?}"))
        }
    }
}

fn float_shape(dtype: &ValueType) -> Option<&[i64]> {
    match dtype {
        ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => Some(shape),
        _ => None,
    }
}
