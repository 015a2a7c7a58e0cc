//! What a piece of work takes.

use std::error::Error;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Why there is no measurement.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Does some work, which returns how many operations that was. Reports them with the seconds they
/// took, processor time, and memory: what was taken and what the process has, in bytes.
pub fn measured(work: impl FnOnce() -> Result<u64, Failure>) -> Result<Value, Failure> {
    let (memory, cpu, began) = (resident()?, cpu(), Instant::now());
    let operations = work()?;
    let seconds = began.elapsed().as_secs_f64();
    let resident = resident()?;
    Ok(json!({
        "operations": operations,
        "seconds": seconds,
        "cpu": (self::cpu() - cpu).as_secs_f64(),
        "memory": resident as i64 - memory as i64,
        "resident": resident,
    }))
}

/// Processor time of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec as u32)
}

/// Resident bytes of this process.
fn resident() -> Result<u64, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("statm")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}
