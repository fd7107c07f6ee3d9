//! The tables of a run as tests compare them.

use std::path::Path;

/// The table `name` of the run folder without its column time_s, line by line.
pub fn table(run: &Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(run.join(name)).expect("a table");
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let time = header.split(',').position(|c| c == "time_s").expect("a time column");
    let cut = |line: &str| {
        line.split(',').enumerate().filter(|(i, _)| *i != time).map(|(_, c)| c).collect::<Vec<_>>().join(",")
    };
    std::iter::once(header).chain(lines).map(cut).collect()
}
