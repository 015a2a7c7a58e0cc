//! What the system tells of this process.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// This process at one moment. What can't be found out is `None`.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// Resident memory, in bytes.
    pub memory: Option<u64>,
    /// Processor time, in seconds.
    pub cpu: Option<f64>,
    pub threads: Option<u64>,
    /// Open file descriptors, and how many there may be.
    pub descriptors: Option<u64>,
    pub descriptor_limit: Option<u64>,
}

impl Process {
    /// As it is now.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").ok();
        Self {
            memory: number(&status, "VmRSS:").map(|kilobytes| kilobytes << 10),
            cpu: cpu(&stat),
            threads: number(&status, "Threads:"),
            // Without the one that lists them.
            descriptors: descriptors.map(|all| (all.count() as u64).saturating_sub(1)),
            descriptor_limit: getrlimit(Resource::Nofile).current,
        }
    }
}

/// The number behind a name in `/proc/self/status`.
fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User's and system's time in `/proc/self/stat`; in Linux, a tick is a hundredth of a second for
/// programs.
fn cpu(stat: &str) -> Option<f64> {
    // The name of the program comes second, in parentheses, and may be anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    let ticks = user.parse::<u64>().ok()? + system.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_of_this_process() {
        let process = Process::now();
        assert!(
            process.memory.is_some_and(|bytes| bytes > 1 << 20),
            "{process:?}"
        );
        assert!(process.threads.is_some_and(|threads| threads > 0));
        assert!(process.descriptors <= process.descriptor_limit);
        assert!(process.cpu.is_some());
    }

    #[test]
    fn a_program_may_have_any_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(cpu("garbage"), None);
    }
}
