//! Where a model's sessions run. A model runs whole on its device or whole on the CPU: a graph torn between the two would
//! copy every batch over and back, and nobody would see why it is slow.
//!
//! In: a package, the device that is wanted, and how a model is made somewhere. Out: what was made and its [`Placement`],
//! or why not. Invariant: a model runs elsewhere than on the device that was asked for only by
//! [`OnDeviceFailure::Cpu`], with a WARN, and its placement says why.
//!
//! ONNX Runtime has no kernel of the domain `ai.onnx.ml` (trees, zipmap, scalers) for CUDA: such a graph is known to stay
//! on the CPU before a device is needed. Of every other graph the runtime itself says so when its session is made.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::package::{Package, fault};
use super::{ModelError, RuntimeOptions, trees};

/// The operators of this domain have kernels for the CPU alone
/// (<https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md>).
const CPU_ONLY_DOMAIN: &str = "ai.onnx.ml";

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number, as CUDA counts them.
    Cuda(u32),
}

impl Device {
    /// `cpu` or `cuda:N`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None => (text == "cpu").then_some(Self::Cpu),
            Some(("cuda", number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().ok().filter(|number| *number <= MOST_DEVICE).map(Self::Cuda)
            }
            Some(_) => None,
        }
    }
}

/// The highest number of a device.
const MOST_DEVICE: u32 = 63;

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

/// What is done when a model cannot run whole on its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDeviceFailure {
    /// It is refused.
    #[default]
    Refuse,
    /// It runs on the CPU, and says so.
    Cpu,
}

/// Where a model runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// Where all its operators run.
    pub device: Device,
    /// The operators that kept it off the device that was asked for, where they are known: each once, in order.
    pub cpu_operators: Vec<String>,
    /// Why it does not run on the device that was asked for; `None` when it does.
    pub fell_back: Option<String>,
}

impl fmt::Display for Placement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "runs on {}", self.device)?;
        self.fell_back.iter().try_for_each(|why| write!(formatter, ": {why}"))
    }
}

/// How a session is made.
#[derive(Debug, Clone, Default)]
pub(super) struct Runtime {
    /// See [`RuntimeOptions::library`].
    pub(super) library: Option<PathBuf>,
    pub(super) device: Device,
    /// The most bytes of the device that a session's arena takes.
    pub(super) device_memory: Option<u64>,
}

/// What `make` gives on the device of `options`, or on the CPU where `options` allow it.
pub(super) fn placed<T>(
    package: &Package,
    options: &RuntimeOptions,
    mut make: impl FnMut(&Runtime) -> Result<T, ModelError>,
) -> Result<(T, Runtime, Placement), ModelError> {
    let device = options.device;
    let wanted = Runtime { library: options.library.clone(), device, device_memory: options.device_memory };
    let cpu_operators = if device == Device::Cpu { Vec::new() } else { cpu_only(package)? };
    let made = match cpu_operators.as_slice() {
        [] => make(&wanted),
        kinds => {
            let (kinds, verb) = (kinds.join(", "), if kinds.len() == 1 { "runs" } else { "run" });
            Err(fault(&package.graph.file, &format!("{kinds} {verb} on the CPU only, {}", way_out(device))))
        }
    };
    let error = match made {
        Ok(made) => return Ok((made, wanted, Placement { device, ..Placement::default() })),
        Err(error) if device == Device::Cpu || options.on_device_failure == OnDeviceFailure::Refuse => {
            return Err(error);
        }
        Err(error) => error.to_string(),
    };
    let runtime = Runtime { device: Device::Cpu, ..wanted };
    let made = make(&runtime)?;
    tracing::warn!(model = package.name, version = package.version, %device, why = error, "the model runs on the CPU");
    Ok((made, runtime, Placement { device: Device::Cpu, cpu_operators, fell_back: Some(error) }))
}

/// What to do about a model that cannot run on its device.
pub(super) fn way_out(device: Device) -> String {
    format!(
        "and model.device is \"{device}\": set model.device = \"cpu\", or model.on_device_failure = \"cpu\" to run it \
         there whenever its device cannot"
    )
}

/// The graph's operators that have no kernel but the CPU's, each once, in order.
fn cpu_only(package: &Package) -> Result<Vec<String>, ModelError> {
    let operators = trees::operators(&package.graph.bytes).map_err(|what| fault(&package.graph.file, &what))?;
    let only: BTreeSet<_> =
        operators.into_iter().filter(|(domain, _)| domain == CPU_ONLY_DOMAIN).map(|(_, kind)| kind).collect();
    Ok(only.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::super::Model;
    use super::super::testing::{Shape, onnx, options, package, package_with, rows, tree_package};
    use super::*;

    fn load(folder: &std::path::Path, on_device_failure: OnDeviceFailure) -> Result<Model, ModelError> {
        let options = RuntimeOptions { device: Device::Cuda(0), on_device_failure, ..options() };
        Model::load(Package::read(folder).unwrap(), &options)
    }

    #[test]
    fn devices_are_read_and_printed_back() {
        for (text, device) in [("cpu", Device::Cpu), ("cuda:0", Device::Cuda(0)), ("cuda:63", Device::Cuda(63))] {
            assert_eq!((Device::parse(text), device.to_string().as_str()), (Some(device), text));
        }
        for wrong in ["", "CPU", "gpu", "cuda", "cuda:", "cuda:+1", "cuda:-1", "cuda:64", "cpu:0", "rocm:0"] {
            assert_eq!(Device::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn trees_are_refused_on_a_device_by_name() {
        let fault = load(tree_package(|_| {}).path(), OnDeviceFailure::Refuse).unwrap_err().to_string();
        for said in ["model.onnx: TreeEnsembleRegressor runs on the CPU only", "\"cuda:0\"", "model.on_device_failure"]
        {
            assert!(fault.contains(said), "{said}: {fault}");
        }
        let maps = package_with(&onnx(Shape::Maps), |text| {
            text.replace("\"probabilities\"", "\"score\"").replace("two_columns", "zipmap")
        });
        let fault = load(maps.path(), OnDeviceFailure::Refuse).unwrap_err().to_string();
        assert!(fault.contains("ZipMap runs on the CPU only"), "{fault}");
    }

    #[test]
    fn trees_fall_back_where_that_is_asked_for_and_say_so() {
        let model = load(tree_package(|_| {}).path(), OnDeviceFailure::Cpu).unwrap();
        let Placement { device, cpu_operators, fell_back } = model.placement();
        assert_eq!((*device, cpu_operators.as_slice()), (Device::Cpu, ["TreeEnsembleRegressor".to_owned()].as_slice()));
        assert!(fell_back.as_deref().unwrap().contains("\"cuda:0\""), "{fell_back:?}");
        model.infer_matrix(&rows(3).concat()).unwrap();
    }

    #[test]
    fn what_is_not_asked_to_run_on_a_device_does_not_speak_of_it() {
        let model = Model::load(Package::read(tree_package(|_| {}).path()).unwrap(), &options()).unwrap();
        assert_eq!(*model.placement(), Placement::default());
    }

    /// Where the library has CUDA and a device is there, the model runs on it; elsewhere it is refused, or falls back.
    #[test]
    fn a_graph_runs_on_its_device_or_says_why_not() {
        let folder = package();
        match load(folder.path(), OnDeviceFailure::Refuse) {
            Ok(model) => assert_eq!(*model.placement(), Placement { device: Device::Cuda(0), ..Placement::default() }),
            Err(error) => {
                let refused = error.to_string();
                for said in ["model.onnx: cannot run on cuda:0: ", ", and model.device is \"cuda:0\": set model.device"]
                {
                    assert!(refused.contains(said), "{said}: {refused}");
                }
                assert!(!refused.contains('\n') && !refused.contains(".,"), "one sentence: {refused}");
                let model = load(folder.path(), OnDeviceFailure::Cpu).unwrap();
                assert_eq!(
                    (model.placement().device, model.placement().fell_back.as_deref()),
                    (Device::Cpu, Some(&*refused))
                );
                assert!(model.placement().cpu_operators.is_empty(), "nothing is known to be the CPU's");
                model.infer_matrix(&rows(3).concat()).unwrap();
            }
        }
    }

    #[test]
    fn a_package_that_is_wrong_is_wrong_on_every_device() {
        for on_device_failure in [OnDeviceFailure::Refuse, OnDeviceFailure::Cpu] {
            let fault = load(package_with(b"no model", |text| text).path(), on_device_failure).unwrap_err().to_string();
            assert!(fault.contains("model.onnx: is no ONNX file"), "{fault}");
        }
    }
}
