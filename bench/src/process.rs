//! The CPU time and memory of a process, and the cores it may use.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Raises the limit of open files of this process and its children to the hard limit.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // With a lower limit, connections fail, and that is reported.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Nanoseconds of a monotonic clock.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// The CPU time of all live threads of a process.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(folder(pid).join("task"))? {
        let stat = fs::read_to_string(task?.path().join("schedstat"));
        // A thread may have ended since the folder was read.
        let Ok(stat) = stat else { continue };
        let on_cpu = stat.split_whitespace().next().context("an empty schedstat")?;
        nanos += on_cpu.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// The resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    status(pid, "VmRSS:")
}

/// The peak of the resident memory in bytes.
pub(crate) fn peak(pid: u32) -> anyhow::Result<u64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(folder(pid).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line
        .context("not in the process's status")?
        .trim()
        .trim_end_matches(" kB");
    Ok(kibibytes.parse::<u64>()? * 1024)
}

fn folder(pid: u32) -> PathBuf {
    PathBuf::from("/proc").join(pid.to_string())
}

/// Pins this thread, and the threads and processes it starts, to one core until dropped.
pub(crate) struct Pinned(CpuSet);

impl Pinned {
    /// Pins to the last core that this thread may use.
    pub(crate) fn to_one_core() -> anyhow::Result<Self> {
        let before = sched_getaffinity(None)?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|&core| before.is_set(core));
        let mut one = CpuSet::new();
        one.set(last.context("no core")?);
        sched_setaffinity(None, &one)?;
        Ok(Self(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // These cores were allowed before.
        let _ = sched_setaffinity(None, &self.0);
    }
}
