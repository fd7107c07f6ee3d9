//! The run: train (or load), measure, compare with what the rate can hold.

use anyhow::Result;
use serde_json::json;

use super::config::{Config, Problem};
use super::measure::summarize;
use super::sweep::Sweep;
use super::{network, pictures};
use crate::run::{Run, Summary};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    match config.method.problem {
        Problem::Network => network::run(&config, run),
        Problem::Diagonal | Problem::Relu => model_problem(&config, run),
    }
}

fn model_problem(config: &Config, run: &mut Run) -> Result<Summary> {
    let method = &config.method;
    let mut sweep = Sweep::new(method, run.seed(), run.device);
    sweep.train(run)?;
    let rows = sweep.measure();
    for row in &rows {
        run.row("sharpness", sweep.stamp(), row)?;
        if row.trace.is_none() {
            run.progress.warn(&format!("{} diverged (method.clip = {})", row.model, method.clip));
        } else if row.loss > NOT_SMALL {
            run.progress.warn(&format!(
                "{}: the loss is {:.1e}: this is no minimum yet, G and H differ and the bounds are not about it",
                row.model, row.loss
            ));
        }
    }
    let mut summary = summarize(&rows, &sweep.models(), method.tolerance);
    summary.insert("steps".into(), json!(sweep.stamp().step));
    pictures::model_problem(method, &rows, run)?;
    Ok(summary)
}

/// Above this loss a point is not called a minimum.
pub const NOT_SMALL: f64 = 1e-2;
