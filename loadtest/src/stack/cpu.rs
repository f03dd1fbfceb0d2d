//! Processor time of a process and everything below it, out of /proc.

use std::collections::BTreeMap;

use anyhow::Context as _;

/// Ticks of `/proc/<pid>/stat` in a second: the kernel's USER_HZ, 100 on every platform of Linux that assay runs on.
const TICKS: f64 = 100.0;

/// A process as /proc tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    parent: u32,
    /// Its own and that of children that have ended.
    ticks: u64,
}

/// Seconds of processor time that the process and those below it have used so far.
pub(crate) fn seconds(root: u32) -> anyhow::Result<f64> {
    let processes = processes()?;
    processes.get(&root).with_context(|| format!("there is no process {root}"))?;
    #[expect(clippy::cast_precision_loss, reason = "ticks of a measurement are far below 2^53")]
    Ok(below(root, &processes) as f64 / TICKS)
}

/// The process and those below it, parents first.
pub(crate) fn tree(root: u32) -> anyhow::Result<Vec<u32>> {
    let processes = processes()?;
    processes.get(&root).with_context(|| format!("there is no process {root}"))?;
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(processes.iter().filter(|(_, process)| process.parent == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(tree)
}

fn processes() -> anyhow::Result<BTreeMap<u32, Process>> {
    Ok(std::fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        // One that ends meanwhile is counted by its parent the next time.
        .filter_map(|pid| Some((pid, parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect())
}

fn below(root: u32, processes: &BTreeMap<u32, Process>) -> u64 {
    let own = processes.get(&root).map_or(0, |process| process.ticks);
    let children = processes.iter().filter(|(_, process)| process.parent == root);
    own + children.map(|(pid, _)| below(*pid, processes)).sum::<u64>()
}

/// Reads a line of `/proc/<pid>/stat`; the program's name may hold anything, so what counts begins after its last bracket.
fn parse(line: &str) -> Option<Process> {
    let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
    Some(Process { parent: u32::try_from(number(1)?).ok()?, ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_no_trap() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6";
        assert_eq!(parse(line), Some(Process { parent: 7, ticks: 127 }));
        assert_eq!(parse("nothing"), None);
    }

    #[test]
    fn a_tree_is_summed_and_others_are_not() {
        let process = |parent, ticks| Process { parent, ticks };
        let all = BTreeMap::from([
            (1, process(0, 1_000)),
            (2, process(1, 10)),
            (3, process(2, 5)),
            (4, process(3, 2)),
            (5, process(1, 100)),
        ]);
        assert_eq!(below(2, &all), 17);
    }

    #[test]
    fn this_process_uses_time() {
        let before = seconds(std::process::id()).unwrap();
        let begun = std::time::Instant::now();
        while begun.elapsed() < std::time::Duration::from_millis(60) {
            std::hint::spin_loop();
        }
        assert!(seconds(std::process::id()).unwrap() > before);
        assert!(seconds(u32::MAX).is_err() && tree(u32::MAX).is_err());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let tree = tree(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(tree.unwrap().contains(&child.id()));
    }
}
