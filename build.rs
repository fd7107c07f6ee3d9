//! Finds libtorch, sets the run path, compiles `src/native` and keeps the CUDA half linked where it is installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=build.rs");
    let root = libtorch().unwrap_or_else(|why| {
        eprintln!("\nerror: {why}\n\n    run  ./scripts/setup.sh  (add --cuda for an NVIDIA GPU), or set LIBTORCH to a libtorch 2.11.0\n");
        std::process::exit(1)
    });
    run_path(&root);
    keep_cuda_linked(&root);
    native(&root);
    revision();
}

/// The libtorch folder (`lib/`, `include/`): LIBTORCH, which `.cargo/config.toml` points at `.libtorch/torch`.
fn libtorch() -> Result<PathBuf, String> {
    let root = PathBuf::from(env::var_os("LIBTORCH").unwrap_or_else(|| ".libtorch/torch".into()));
    for needed in ["lib", "include/ATen/ATen.h"] {
        if !root.join(needed).exists() {
            return Err(format!("libtorch is missing: {} does not exist", root.join(needed).display()));
        }
    }
    fs::canonicalize(&root).map_err(|e| format!("libtorch is missing: {}: {e}", root.display()))
}

/// Plain `cargo build`, `cargo test` and the binary find the libraries without environment variables: first beside the
/// checkout the binary was built in (so that a moved checkout still works), then where libtorch was at build time.
fn run_path(root: &Path) {
    println!("cargo:rustc-link-search=native={}", root.join("lib").display());
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("macos") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,@loader_path/../../.libtorch/torch/lib");
    } else {
        println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../../.libtorch/torch/lib");
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", root.join("lib").display());
}

/// Nothing calls into libtorch_cuda directly, so the linker drops it and the card is never found; ask for it by name
/// when its own libraries are installed too (`scripts/setup.sh --cuda`).
fn keep_cuda_linked(root: &Path) {
    println!("cargo:rustc-check-cfg=cfg(cuda)");
    let wheels = root.join("../nvidia/cu13/lib/libcublas.so.13");
    watch(if wheels.exists() { wheels.clone() } else { root.join("../nvidia") });
    let cuda = root.join("lib/libtorch_cuda.so").exists() && (wheels.exists() || !root.join("../nvidia").exists());
    if cuda {
        println!("cargo:rustc-cfg=cuda");
        println!("cargo:rustc-link-arg=-Wl,--push-state,--no-as-needed,-ltorch_cuda,--pop-state");
    }
}

/// The C++ side: one file per idea under `src/native`, a thin C interface, called from `src/native/mod.rs`.
fn native(root: &Path) {
    // A new C++ file comes with a new line of mod.rs; its Rust halves must not recompile the C++.
    println!("cargo:rerun-if-changed=src/native/mod.rs");
    println!("cargo:rerun-if-changed=src/native/bridge.h");
    let sources: Vec<PathBuf> = fs::read_dir("src/native")
        .expect("src/native is part of the sources")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "cpp"))
        .collect();
    for source in &sources {
        println!("cargo:rerun-if-changed={}", source.display());
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .opt_level(2)
        .files(&sources)
        .compile("reglab_native");
    for lib in ["torch_cpu", "c10"] {
        println!("cargo:rustc-link-lib=dylib={lib}");
    }
}

/// Runs this script again when `path` changes. Cargo takes a path that does not exist as changed at every build, which would
/// compile the C++ each time.
fn watch(path: PathBuf) {
    if path.exists() {
        println!("cargo:rerun-if-changed={}", path.display());
    }
}

/// The source revision, for the record that every run keeps.
fn revision() {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // In a linked worktree `.git` is a file: git knows where the log is.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        watch(log.into());
    }
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=REGLAB_REVISION={revision}");
}
