//! Client threads: prepared one by one, started together, measured, and
//! stopped at the end of the time or at the first error.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// How long, and whose processor time is counted.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// How long each client works.
    pub time: Duration,
    /// After how many operations each client stops, instead.
    pub count: Option<u64>,
    /// The server's process.
    pub pid: Option<u32>,
}

/// One client's work: each call does some operations and returns how many.
pub type Step = Box<dyn FnMut() -> Result<u64>>;

/// Prepares the client with this number.
pub type Make<'a> = &'a (dyn Fn(usize) -> Result<Step> + Sync);

/// Clients that do the same.
pub struct Group<'a> {
    /// What they do, in the report.
    pub name: &'static str,
    /// How many there are.
    pub clients: usize,
    /// How many steps a second each takes; `None`: as many as it can.
    pub pace: Option<f64>,
    /// Each takes one step, and whoever has done so ends the whole run.
    pub ends_run: bool,
    /// Prepares the client with this number, in its own thread.
    pub make: Make<'a>,
}

/// What one client has done, or all of a group.
#[derive(Default)]
struct Samples {
    operations: u64,
    latencies: Vec<Duration>,
}

/// Runs all groups at once. Reports for each group its operations, their
/// rate, and percentiles of the time that a step took; and the server's
/// processor time.
pub fn drive(run: &Run, groups: &[Group<'_>]) -> Result<Value> {
    let clients: usize = groups.iter().map(|group| group.clients).sum();
    let (barrier, stop) = (Barrier::new(clients + 1), AtomicBool::new(false));
    let (mut all, elapsed, cpu) = thread::scope(|scope| {
        let start = |group, number| {
            let (barrier, stop) = (&barrier, &stop);
            scope.spawn(move || client(run, group, number, barrier, stop))
        };
        let threads: Vec<Vec<_>> = groups
            .iter()
            .map(|group| {
                (0..group.clients)
                    .map(|number| start(group, number))
                    .collect()
            })
            .collect();
        barrier.wait();
        let (begun, cpu) = (Instant::now(), cpu_time(run.pid)?);
        let all: Result<Vec<Samples>> = threads.into_iter().map(join).collect();
        let (elapsed, cpu) = (begun.elapsed(), cpu_time(run.pid)? - cpu);
        Ok::<_, Error>((all?, elapsed, cpu))
    })?;
    let mut report = Map::new();
    for (group, samples) in groups.iter().zip(&mut all) {
        report.insert(group.name.into(), samples.report(group.clients, elapsed));
    }
    if run.pid.is_some() {
        let operations: u64 = all.iter().map(|samples| samples.operations).sum();
        let each = cpu.as_secs_f64() * 1e6 / operations.max(1) as f64;
        report.insert("cpu_us_per_operation".into(), json!(each));
        let busy = cpu.as_secs_f64() / elapsed.as_secs_f64();
        report.insert("cpu_share".into(), json!(busy));
    }
    Ok(Value::Object(report))
}

/// Waits for the clients of one group; the first error counts.
fn join(threads: Vec<thread::ScopedJoinHandle<'_, Result<Samples>>>) -> Result<Samples> {
    let mut all = Samples::default();
    for thread in threads {
        let client = thread.join();
        let samples = client.map_err(|_| Error::Usage("a client thread failed".into()))??;
        all.operations += samples.operations;
        all.latencies.extend(samples.latencies);
    }
    Ok(all)
}

fn client(
    run: &Run,
    group: &Group<'_>,
    number: usize,
    barrier: &Barrier,
    stop: &AtomicBool,
) -> Result<Samples> {
    let prepared = (group.make)(number).and_then(|mut step| {
        let until = Instant::now() + (run.time / 10).min(Duration::from_millis(200));
        let warms_up = run.count.is_none() && group.pace.is_none() && !group.ends_run;
        while warms_up && Instant::now() < until {
            step()?;
        }
        Ok(step)
    });
    stop.fetch_or(prepared.is_err(), Ordering::Relaxed);
    // Whoever fails waits, too: the others wait for all.
    barrier.wait();
    let work = prepared.and_then(|mut step| {
        if group.ends_run {
            once(&mut step)
        } else {
            measure(run, group.pace, &mut step, stop)
        }
    });
    stop.fetch_or(group.ends_run || work.is_err(), Ordering::Relaxed);
    work
}

fn once(step: &mut Step) -> Result<Samples> {
    let begun = Instant::now();
    Ok(Samples {
        operations: step()?,
        latencies: vec![begun.elapsed()],
    })
}

fn measure(run: &Run, pace: Option<f64>, step: &mut Step, stop: &AtomicBool) -> Result<Samples> {
    let mut samples = Samples::default();
    let begun = Instant::now();
    let period = pace.map(|pace| Duration::from_secs_f64(1.0 / pace));
    // Paced clients do not all begin in the same moment.
    let mut due = begun + period.unwrap_or_default().mul_f64(fastrand::f64());
    let mut now = begun;
    while !stop.load(Ordering::Relaxed) {
        let done = match run.count {
            Some(count) => samples.operations >= count,
            None => now - begun >= run.time,
        };
        if done {
            break;
        }
        if let Some(period) = period {
            // Whoever is late counts the wait: the work was due.
            now = match due.checked_duration_since(now) {
                Some(wait) => {
                    thread::sleep(wait);
                    Instant::now()
                }
                None => due,
            };
            due += period;
        }
        samples.operations += step()?;
        let end = Instant::now();
        samples.latencies.push(end - now);
        now = end;
    }
    Ok(samples)
}

impl Samples {
    fn report(&mut self, clients: usize, elapsed: Duration) -> Value {
        let mut report = percentiles(&mut self.latencies);
        report.insert("clients".into(), json!(clients));
        report.insert("operations".into(), json!(self.operations));
        report.insert("seconds".into(), json!(elapsed.as_secs_f64()));
        let rate = self.operations as f64 / elapsed.as_secs_f64();
        report.insert("per_second".into(), json!(rate));
        Value::Object(report)
    }
}

/// Percentiles in microseconds: `p50_us` and so on.
pub fn percentiles(times: &mut [Duration]) -> Map<String, Value> {
    times.sort_unstable();
    let at = |part: f64| {
        let place = (times.len() as f64 * part) as usize;
        let time = times.get(place.min(times.len().saturating_sub(1)));
        json!(time.copied().unwrap_or_default().as_secs_f64() * 1e6)
    };
    let names = [
        ("p50_us", 0.5),
        ("p90_us", 0.9),
        ("p99_us", 0.99),
        ("max_us", 1.0),
    ];
    let found = names.map(|(name, part)| (name.to_owned(), at(part)));
    found.into_iter().collect()
}

/// The processor time that a process has used, in user and system mode
/// (Linux: fields 14 and 15 of `/proc/<pid>/stat`).
pub fn cpu_time(pid: Option<u32>) -> Result<Duration> {
    let Some(pid) = pid else {
        return Ok(Duration::ZERO);
    };
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).map_err(Error::io(path))?;
    // The second field is the command in parentheses, with any characters.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = rest.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    let second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / second as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_runs_report_all_clients() {
        let run = Run {
            time: Duration::ZERO,
            count: Some(10),
            pid: Some(std::process::id()),
        };
        let make = |_| Ok(Box::new(|| Ok(2_u64)) as Step);
        let group = |name, pace| Group {
            name,
            clients: 3,
            pace,
            ends_run: false,
            make: &make,
        };
        let report = drive(&run, &[group("a", None), group("b", Some(1e6))]).expect("works");
        assert_eq!(report["a"]["operations"], 30);
        assert_eq!(report["b"]["operations"], 30);
        assert!(report["cpu_us_per_operation"].is_number());
    }

    #[test]
    fn one_group_can_end_the_run() {
        let run = Run {
            time: Duration::MAX,
            count: None,
            pid: None,
        };
        let make = |_| Ok(Box::new(|| Ok(1_u64)) as Step);
        let group = |name, ends_run, pace| Group {
            name,
            clients: 1,
            pace,
            ends_run,
            make: &make,
        };
        let groups = [group("once", true, None), group("beside", false, Some(1e4))];
        let report = drive(&run, &groups).expect("ends");
        assert_eq!(report["once"]["operations"], 1);
    }

    #[test]
    fn one_failure_stops_all() {
        let run = Run {
            time: Duration::from_secs(600),
            count: None,
            pid: None,
        };
        let no = || Error::Usage("no".into());
        let early = |number: usize| match number {
            1 => Err(no()),
            _ => Ok(Box::new(|| Ok(1_u64)) as Step),
        };
        let late = |number: usize| {
            let mut left = 1000;
            Ok(Box::new(move || {
                left -= i32::from(number == 2);
                if left > 0 { Ok(1_u64) } else { Err(no()) }
            }) as Step)
        };
        for make in [&early as Make<'_>, &late] {
            // Paced, so that nobody warms up for a minute.
            let group = Group {
                name: "a",
                clients: 3,
                pace: Some(1e4),
                ends_run: false,
                make,
            };
            let error = drive(&run, &[group]).expect_err("fails");
            assert_eq!(error.to_string(), "no");
        }
    }

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let mut times: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        let found = percentiles(&mut times);
        assert_eq!(
            (&found["p50_us"], &found["max_us"]),
            (&json!(51.0), &json!(100.0))
        );
        assert_eq!(percentiles(&mut [])["p99_us"], json!(0.0));
    }
}
