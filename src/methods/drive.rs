//! From an open run folder to a finished run.

use anyhow::{Result, anyhow};

use super::Method;
use crate::first_line;
use crate::run::{Interrupted, Run, Summary};

/// Runs the method in its open folder and closes it, whatever happens; a panic of the binding becomes an error.
pub fn drive(method: &Method, mut run: Run) -> Result<Summary> {
    let path = run.folder().display().to_string();
    run.progress.say(&format!("{} {} -> {path}", method.verb.name(), method.name));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (method.run)(&mut run)));
    let outcome = outcome.unwrap_or_else(|cause| Err(anyhow!("{}", first_line(cause.as_ref()))));
    let outcome = run.finish(outcome);
    if outcome.as_ref().is_err_and(|e| e.is::<Interrupted>()) {
        eprintln!("stopped; go on with: reglab resume {path}");
    }
    outcome
}
