//! What a run ran on.

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value, json};
use tch::Device;

/// UTC time as in `2026-01-31T12:00:00Z`.
pub fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Versions, machine and command line.
pub struct Environment {
    device: String,
}

impl Environment {
    pub fn now(device: &str) -> Environment {
        Environment { device: device.to_owned() }
    }

    pub fn record(&self) -> Map<String, Value> {
        let command: Vec<String> = std::env::args().collect();
        let record = json!({
            "command": command,
            "reglab": env!("CARGO_PKG_VERSION"),
            "revision": env!("REGLAB_REVISION"),
            "libtorch": "2.11.0",
            "device": self.device,
            "threads": tch::get_num_threads(),
            "host": host_name(),
            "pid": std::process::id(),
        });
        let Value::Object(record) = record else { unreachable!("an object was written above") };
        record
    }
}

fn host_name() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is writable for its whole length.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) } != 0;
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    if failed { "unknown".into() } else { String::from_utf8_lossy(&name[..end]).into_owned() }
}

/// The most memory this process has held, in bytes.
pub fn peak_memory_bytes() -> i64 {
    // SAFETY: rusage is plain numbers, for which all-zero is valid; getrusage fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    if cfg!(target_os = "macos") { usage.ru_maxrss } else { usage.ru_maxrss * 1024 }
}

/// Physical cores this process may use: OpenMP threads beyond them slow small networks down tenfold.
pub fn physical_cores() -> usize {
    let logical = std::thread::available_parallelism().map_or(1, usize::from);
    let Ok(text) = std::fs::read_to_string("/proc/cpuinfo") else { return logical };
    let value = |block: &str, key: &str| {
        let line = block.lines().find(|l| l.starts_with(key))?;
        line.split(':').nth(1).map(|v| v.trim().to_owned())
    };
    let cores: std::collections::HashSet<(Option<String>, Option<String>)> = text
        .split("\n\n")
        .filter(|b| b.contains("core id"))
        .map(|b| (value(b, "physical id"), value(b, "core id")))
        .collect();
    if cores.is_empty() { logical } else { cores.len().min(logical) }
}

/// Sets libtorch's threads: `wanted`, or one for each physical core.
pub fn set_threads(wanted: usize) {
    let threads = if wanted > 0 { wanted } else { physical_cores() };
    let limit = std::env::var("OMP_NUM_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    tch::set_num_threads(threads.min(if wanted > 0 { usize::MAX } else { limit }) as i32);
}

/// The device a configuration names, checked.
pub fn device(name: &str) -> Result<Device> {
    let count = tch::Cuda::device_count().max(0) as usize;
    let wanted = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" if count == 0 => return Ok(Device::Cpu),
        "auto" | "cuda" => 0,
        other => match other.strip_prefix("cuda:").and_then(|n| n.parse::<usize>().ok()) {
            Some(index) => index,
            None => bail!("device = {other:?} should be cpu, cuda, cuda:N or auto"),
        },
    };
    ensure!(count > 0, "device = {name:?}, but no CUDA GPU is visible; `reglab doctor` says why");
    ensure!(wanted < count, "device = {name:?}, but there are only {count} GPUs (cuda:0 .. cuda:{})", count - 1);
    Ok(Device::Cuda(wanted))
}
