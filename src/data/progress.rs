//! One bar for whatever takes time. indicatif draws nothing where the output is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Starts to count `total` things on `bar`.
pub(super) fn count(bar: &ProgressBar, what: String, total: usize) {
    start(bar, "{msg} [{bar:30}] {pos}/{len} ({eta})", what, total as u64);
}

/// Starts to count `total` bytes on `bar`.
pub(super) fn bytes(bar: &ProgressBar, what: String, total: u64) {
    start(bar, "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} ({eta})", what, total);
}

fn start(bar: &ProgressBar, template: &str, what: String, total: u64) {
    bar.set_style(ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> "));
    bar.reset();
    bar.set_length(total);
    bar.set_message(what);
}
