//! What the kernel says of this process (`/proc/self`): memory, open files, threads. Elsewhere than on Linux: nothing.

use std::fs;

/// One reading. A figure that cannot be read is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Process {
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors, the one of this reading not counted.
    pub open_files: Option<u64>,
}

impl Process {
    /// Reads `/proc/self`.
    #[must_use]
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mut process = Self::parse(&status);
        process.open_files = fs::read_dir("/proc/self/fd")
            .ok()
            .and_then(|entries| u64::try_from(entries.count()).ok())
            .map(|count| count.saturating_sub(1));
        process
    }

    /// Bytes of resident memory of another process; `None` where it has ended or does not tell.
    #[must_use]
    pub fn resident_of(pid: u32) -> Option<u64> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?).resident_bytes
    }

    /// The figures of a `status` text (proc(5)).
    fn parse(status: &str) -> Self {
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        Self {
            resident_bytes: number("VmRSS:").map(|kib| kib.saturating_mul(1024)),
            threads: number("Threads:"),
            open_files: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_it_wants() {
        let text = "Name:\tassay\nVmRSS:\t   2048 kB\nThreads:\t7\n";
        let read = Process::parse(text);
        assert_eq!((read.resident_bytes, read.threads), (Some(2_097_152), Some(7)));
        assert_eq!(Process::parse("nothing of use"), Process::default());
    }

    #[test]
    fn this_process_uses_memory_and_none_that_is_not_there() {
        let bytes = Process::resident_of(std::process::id()).unwrap();
        assert!((1_000_000..10_000_000_000).contains(&bytes), "{bytes}");
        assert_eq!(Process::resident_of(u32::MAX), None);
    }
}
