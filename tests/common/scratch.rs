//! The program as a user runs it, in a folder of its own.

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A scratch folder with a results tree in it.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// `reglab ARGS` with this folder as the working directory: results land in `results/`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reglab"));
        command.args(args).current_dir(self.path()).env("OMP_NUM_THREADS", "1").env_remove("REGLAB_DATA");
        command
    }

    pub fn reglab(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("reglab starts")
    }

    /// The same, and it must succeed; what it printed.
    pub fn succeed(&self, args: &[&str]) -> String {
        let output = self.reglab(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "reglab {} failed: {error}", args.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
