//! Numeric ground truth: every stored case below `tests/oracles` (or the folder REGLAB_ORACLES names) is fed to the core
//! function it names and compared within its own tolerance.

use reglab::ops::{Report, Verdict};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

#[test]
fn stored_cases() {
    tch::set_num_threads(1);
    let root = std::env::var_os("REGLAB_ORACLES").map_or_else(|| PathBuf::from("tests/oracles"), PathBuf::from);
    let report = reglab::ops::run(&root, reglab::methods::ops(), tch::Device::Cpu).unwrap_or_else(|e| panic!("{e:#}"));
    // Straight to stderr: the summary is of interest when all is well, too.
    let _ = write!(std::io::stderr(), "{}", summary(&root, &report));
    let failures: Vec<String> = report.failed().map(describe).collect();
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
}

/// One line a folder: cases that passed, and the largest difference in units of the tolerance.
fn summary(root: &Path, report: &Report) -> String {
    let mut folders: BTreeMap<&Path, Vec<&Verdict>> = BTreeMap::new();
    for verdict in &report.verdicts {
        let folder = verdict.path.parent().unwrap_or(root);
        folders.entry(folder.strip_prefix(root).unwrap_or(folder)).or_default().push(verdict);
    }
    let line = |(folder, verdicts): (&Path, Vec<&Verdict>)| {
        let passed = verdicts.iter().filter(|v| v.failure.is_none()).count();
        let worst = verdicts.iter().map(|v| v.ratio).fold(0.0, f64::max);
        format!("{}: {passed} of {} cases pass, worst {worst:.1e} of the tolerance\n", folder.display(), verdicts.len())
    };
    folders.into_iter().map(line).collect()
}

fn describe(verdict: &Verdict) -> String {
    let failure = verdict.failure.as_deref().unwrap_or_default();
    format!("  {} ({}): {failure}", verdict.path.display(), verdict.note)
}
