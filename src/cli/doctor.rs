//! `reglab doctor`: what this machine offers, and the fix for what is wrong.

use anyhow::Result;
use clap::Args;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

use crate::run::physical_cores;
use crate::{data, first_line};

#[derive(Args)]
pub struct Doctor {
    /// The results tree to check
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    /// Where data sets lie (default: $REGLAB_DATA, else data/)
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
}

/// One line: what was looked at, what was found, and what to do if it is wrong.
struct Finding {
    what: &'static str,
    found: String,
    fix: Option<String>,
}

impl Doctor {
    pub fn execute(self) -> Result<i32> {
        let root = data::data_root(self.data_root.as_deref());
        let findings = [libtorch(), blas(), cuda(), threads(), data_root(&root), disk(&self.results)];
        for finding in &findings {
            println!("{} {:<12} {}", if finding.fix.is_some() { "!!" } else { "ok" }, finding.what, finding.found);
            if let Some(fix) = &finding.fix {
                println!("   {:<12} fix: {fix}", "");
            }
        }
        Ok(i32::from(findings.iter().any(|f| f.fix.is_some())))
    }
}

fn libtorch() -> Finding {
    let works = std::panic::catch_unwind(|| {
        let x = Tensor::arange(4, (Kind::Float, Device::Cpu)).view([2, 2]);
        x.matmul(&x).sum(Kind::Float).double_value(&[]) == 22.0
    });
    let works = works.map_err(|cause| first_line(cause.as_ref()));
    let found = format!("libtorch 2.11.0, reglab {} ({})", env!("CARGO_PKG_VERSION"), env!("REGLAB_REVISION"));
    let fix = match works {
        Ok(true) => None,
        Ok(false) => Some("a matrix product came out wrong: run ./scripts/setup.sh again, then reglab selftest".into()),
        Err(why) => Some(format!("libtorch fails ({why}): run ./scripts/setup.sh again")),
    };
    Finding { what: "libtorch", found, fix }
}

fn blas() -> Finding {
    let parts = [
        ("mkl", tch::utils::has_mkl()),
        ("oneDNN", tch::utils::has_mkldnn()),
        ("OpenMP", tch::utils::has_openmp()),
        ("LAPACK", tch::utils::has_lapack()),
    ];
    let has = parts.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    Finding { what: "kernels", found: has, fix: None }
}

fn cuda() -> Finding {
    let count = tch::Cuda::device_count();
    if count > 0 {
        return Finding {
            what: "cuda",
            found: format!("{count} GPU(s), cuDNN {}", tch::utils::version_cudnn()),
            fix: None,
        };
    }
    let driver = Path::new("/proc/driver/nvidia/version").exists();
    if !driver {
        return Finding { what: "cuda", found: "no NVIDIA driver: everything runs on the CPU".into(), fix: None };
    }
    let fix = if cfg!(cuda) {
        "the driver is there but libtorch sees no GPU: check CUDA_VISIBLE_DEVICES and that the driver supports CUDA 13"
    } else {
        "this reglab was built without CUDA: run ./scripts/setup.sh --cuda and build again"
    };
    Finding { what: "cuda", found: "an NVIDIA driver, but no usable GPU".into(), fix: Some(fix.into()) }
}

fn threads() -> Finding {
    let cores = physical_cores();
    let wanted = std::env::var("OMP_NUM_THREADS").ok().and_then(|n| n.parse::<usize>().ok());
    let found = match wanted {
        Some(n) => format!("{cores} physical cores, OMP_NUM_THREADS={n}"),
        None => format!("{cores} physical cores"),
    };
    let many = wanted.is_some_and(|n| n > cores);
    let fix = many
        .then(|| format!("more threads than cores slow small networks down tenfold: export OMP_NUM_THREADS={cores}"));
    Finding { what: "threads", found, fix }
}

fn data_root(root: &Path) -> Finding {
    let found =
        if root.is_dir() { format!("{}", root.display()) } else { format!("{} (not there yet)", root.display()) };
    Finding { what: "data root", found: format!("{found}; reglab data list shows what it holds"), fix: None }
}

fn disk(results: &Path) -> Finding {
    let place = results.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("."));
    let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
    let free = free_bytes(place);
    let probe = place.join(format!(".reglab-probe-{}", std::process::id()));
    let writable = std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe));
    let found = match free {
        Some(bytes) => format!("{:.1} GiB free for {}", bytes as f64 / (1u64 << 30) as f64, results.display()),
        None => format!("{}", results.display()),
    };
    let fix = match (writable, free) {
        (Err(error), _) => {
            Some(format!("cannot write in {}: {error}; choose another place with --results", place.display()))
        }
        (_, Some(bytes)) if bytes < 1 << 30 => {
            Some("less than 1 GiB is free: make room, or choose another place with --results".into())
        }
        _ => None,
    };
    Finding { what: "disk", found, fix }
}

fn free_bytes(path: &Path) -> Option<u64> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).ok()?;
    // SAFETY: statvfs is plain numbers, for which all-zero is valid; the call fills it.
    unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut stat) == 0).then(|| stat.f_bavail as u64 * stat.f_frsize as u64)
    }
}
