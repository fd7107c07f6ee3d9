//! A run that dies in its middle.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

/// Kills the process when the number of the newest checkpoint in the run folder (0: none yet) is one of those `wanted`; that
/// number at its death. Checkpoints at the end of a phase that share their step with another do not count.
pub fn kill_when(mut child: Child, run: &Path, wanted: impl Fn(u64) -> bool) -> u64 {
    let newest = || {
        let entries = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok()).max().unwrap_or(0)
    };
    let reached = (0..20_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        wanted(newest())
    });
    child.kill().expect("it runs or has ended");
    child.wait().expect("it ends");
    assert!(reached, "no checkpoint after 20 seconds");
    newest()
}
