//! Where ONNX Runtime's shared library lies. In: the configured path, the environment, the places below. Out: a path.
//!
//! The first of: the configuration; `ORT_DYLIB_PATH`; `.cache/onnxruntime/<version>/` in the working directory and in
//! every folder above the executable; `/usr/local/lib`; `/usr/lib`. What is *named* must be there: a wrong name is a
//! fault, never a reason to look elsewhere.

use std::env;
use std::path::{Path, PathBuf};

use super::ModelError;

/// The version that `scripts/onnxruntime.txt` pins; a test compares the two.
pub(super) const VERSION: &str = "1.31.1";
const FILE: &str = "libonnxruntime.so";
const VARIABLE: &str = "ORT_DYLIB_PATH";

/// Finds the library; `configured` is the configuration's `model.library`.
pub(super) fn find(configured: Option<&Path>) -> Result<PathBuf, ModelError> {
    let variable = env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let executable = env::current_exe().ok();
    let working = env::current_dir().unwrap_or_default();
    search(configured, variable.as_deref(), &places(&working, executable.as_deref()), |path| path.is_file())
}

fn search(
    configured: Option<&Path>,
    variable: Option<&Path>,
    places: &[PathBuf],
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf, ModelError> {
    for (named, by) in [(configured, "the configuration"), (variable, VARIABLE)] {
        let Some(path) = named else { continue };
        if exists(path) {
            return Ok(path.to_owned());
        }
        return Err(ModelError::Runtime(format!(
            "ONNX Runtime is not at {}, where {by} says it is: correct the path, or remove it and run `make onnxruntime`",
            path.display()
        )));
    }
    places.iter().find(|place| exists(place)).cloned().ok_or_else(|| {
        ModelError::Runtime(format!(
            "ONNX Runtime's {FILE} was not found: run `make onnxruntime`, or set {VARIABLE} to a library of version {VERSION}"
        ))
    })
}

fn places(working: &Path, executable: Option<&Path>) -> Vec<PathBuf> {
    let above = executable.into_iter().flat_map(|path| path.ancestors().skip(1));
    std::iter::once(working)
        .chain(above)
        .map(|folder| folder.join(".cache/onnxruntime").join(VERSION).join(FILE))
        .chain(["/usr/local/lib", "/usr/lib"].map(|folder| Path::new(folder).join(FILE)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(there: &'static str) -> impl Fn(&Path) -> bool {
        move |path| path == Path::new(there)
    }

    #[test]
    fn what_is_named_goes_before_what_is_found() {
        let found = places(Path::new("/srv/assay"), None);
        let all = |_: &Path| true;
        let [a, b] = ["/a.so", "/b.so"].map(Path::new);
        assert_eq!(search(Some(a), Some(b), &found, all).unwrap(), a);
        assert_eq!(search(None, Some(b), &found, all).unwrap(), b);
        assert_eq!(search(None, None, &found, all).unwrap(), found[0]);
    }

    #[test]
    fn a_wrong_name_is_a_fault_and_names_its_source() {
        let found = places(Path::new("/srv/assay"), None);
        let there = "/srv/assay/.cache/onnxruntime/1.31.1/libonnxruntime.so";
        let fault = search(Some(Path::new("/a.so")), None, &found, at(there)).unwrap_err().to_string();
        assert!(fault.contains("/a.so") && fault.contains("the configuration"), "{fault}");
        let fault = search(None, Some(Path::new("/b.so")), &found, at(there)).unwrap_err().to_string();
        assert!(fault.contains("/b.so") && fault.contains("ORT_DYLIB_PATH"), "{fault}");
    }

    #[test]
    fn folders_above_the_executable_are_searched_then_the_system() {
        let found = places(Path::new("/elsewhere"), Some(Path::new("/opt/assay/bin/assay")));
        let there = "/opt/assay/.cache/onnxruntime/1.31.1/libonnxruntime.so";
        assert_eq!(search(None, None, &found, at(there)).unwrap(), Path::new(there));
        assert_eq!(found.last().unwrap(), Path::new("/usr/lib/libonnxruntime.so"));
    }

    #[test]
    fn absence_says_what_to_do() {
        let fault = search(None, None, &places(Path::new("/srv/assay"), None), |_| false).unwrap_err().to_string();
        assert!(fault.contains("make onnxruntime") && fault.contains("ORT_DYLIB_PATH"), "{fault}");
    }

    #[test]
    fn the_script_fetches_the_version_that_is_looked_for() {
        assert!(include_str!("../../scripts/onnxruntime.txt").contains(&format!("\nonnxruntime=={VERSION} ")));
        assert!(include_str!("../../scripts/onnxruntime-gpu.txt").contains(&format!("\nonnxruntime-gpu=={VERSION} ")));
    }
}
