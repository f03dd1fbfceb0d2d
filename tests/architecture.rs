//! Imports go one way: the order of the modules is the order of the line, and each imports only what stands before it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules in order. What shares a place may not import each other either.
const ORDER: &[&[&str]] = &[
    &["base"],
    &["ops"],
    &["transaction"],
    &["features"],
    &["model"],
    &["decision"],
    &["evaluation"],
    &["engine"],
    &["store"],
    &["stream", "simulate"],
    &["api"],
    &["config"],
    &["app"],
    &["cli"],
    &["main", "lib"],
];

/// Modules of values in, values out.
const PURE: &[&str] = &["transaction", "features", "decision", "evaluation"];
/// What a pure module does not name.
const IMPURE: &[&str] = &["tokio", "std::fs", "std::net", "SystemTime", "Instant::now"];
/// The one file that names the runtime of models.
const ORT_FILE: &str = "model/session.rs";

/// Breaks of the rules in one file; `path` is relative to `src/`.
fn faults(path: &str, text: &str) -> Vec<String> {
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let Some(own) = place(module) else { return vec![format!("{path}: {module} has no place in the order")] };
    let code = code_of(text);
    let mut faults = Vec::new();
    for named in modules_named(&code) {
        match place(&named) {
            _ if named == module => {}
            None => faults.push(format!("{path}: {named} has no place in the order")),
            Some(other) if other >= own => {
                faults.push(format!("{path}: {module} imports {named}, which stands after it"))
            }
            Some(_) => {}
        }
    }
    if PURE.contains(&module) {
        let production = code.split("#[cfg(test)]").next().unwrap_or_default();
        faults.extend(
            IMPURE
                .iter()
                .filter(|word| production.contains(**word))
                .map(|word| format!("{path}: pure, and names {word}")),
        );
    }
    if path != ORT_FILE && ["use ort", "ort::"].iter().any(|word| names(&code, word)) {
        faults.push(format!("{path}: names ort, which only {ORT_FILE} may"));
    }
    faults
}

fn place(module: &str) -> Option<usize> {
    ORDER.iter().position(|modules| modules.contains(&module))
}

/// The text without comments, so that a sentence about a module is no import of it.
fn code_of(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Whether `word` stands in `code` as a path of its own (`sort::` does not name `ort::`).
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let inside = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        !inside(before) && before != Some(':') && (word.ends_with(':') || !inside(after))
    })
}

/// First segments after `crate::`, also out of `crate::{a, b::c}`.
fn modules_named(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with('$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut start) = (0, true);
            let mut word = String::new();
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        named.push(std::mem::take(&mut word));
                        start = true;
                    }
                    ':' if depth == 0 => start = false,
                    letter if depth == 0 && start && !letter.is_whitespace() => word.push(letter),
                    _ => {}
                }
            }
            named.push(word);
        } else {
            named.push(rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect());
        }
    }
    named.retain(|name| !name.is_empty() && name.chars().next().is_some_and(char::is_lowercase));
    named
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn imports_go_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "only {} files were found", files.len());
    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            faults(&path, &fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn wrong_examples_are_caught() {
    for (path, text, part) in [
        ("features/history.rs", "use crate::engine::Engine;", "features imports engine"),
        ("engine/mod.rs", "use crate::{base::clock, store::sqlite};", "engine imports store"),
        ("api/mod.rs", "let x = crate::app::serve();", "api imports app"),
        ("transaction/json.rs", "use tokio::fs;", "names tokio"),
        ("decision/mod.rs", "let now = std::time::Instant::now();", "names Instant::now"),
        ("model/workers.rs", "use ort::session::Session;", "names ort"),
        ("drawer/mod.rs", "", "no place in the order"),
        ("ops/mod.rs", "use crate::drawer::Thing;", "drawer has no place"),
    ] {
        let found = faults(path, text);
        assert!(found.iter().any(|fault| fault.contains(part)), "{path}: {text}: {found:?}");
    }
}

#[test]
fn right_examples_pass() {
    for (path, text) in [
        ("engine/mod.rs", "use crate::{base::clock::{Millis, DAY}, decision};\nuse crate::features::Catalogue;"),
        ("features/mod.rs", "// unlike crate::engine, which uses tokio\nuse crate::base::clock;"),
        ("model/session.rs", "use ort::session::Session;"),
        ("features/rows.rs", "values.sort::<u8>();\n#[cfg(test)]\nmod tests { use std::fs; }"),
    ] {
        assert_eq!(faults(path, text), Vec::<String>::new(), "{path}");
    }
}
