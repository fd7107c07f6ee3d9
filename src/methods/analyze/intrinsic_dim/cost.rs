//! What a step costs with each projection: time of forward and backward, and bytes of P.

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use std::time::Instant;
use tch::Tensor;

use super::config::Config;
use crate::models::{Cx, Network};
use crate::native::{grad, synchronize};
use crate::params::View;
use crate::params::projection::{ProjectionKind, Subspace};
use crate::rng;
use crate::run::{Run, Stamp, Summary};
use crate::train::{build_network, load_data};

/// Timed steps, after as many that are not.
const STEPS: usize = 5;
/// Projections larger than this are not tried.
const BYTES: f64 = 8e9;

#[derive(Serialize)]
struct CostRow {
    projection: &'static str,
    d: i64,
    parameters: i64,
    projection_bytes: usize,
    /// Median time of forward and backward, without the optimizer.
    step_ms: f64,
    /// Over the step in the full space.
    over_direct: f64,
}

pub fn run(config: &Config, run: &mut Run) -> Result<Summary> {
    let data = load_data(run, &config.data)?;
    let rows = config.train.batch.min(data.train.len());
    let batch = data.train.slice(0, rows);
    let net = build_network(run, &config.model, &data)?;
    let direct = time(&net, None, &batch.x, &batch.y)?;
    let (mut summary, at) = (Summary::new(), Stamp::default());
    let parameters = net.store.parameters() as i64;
    summary.insert("parameters".into(), json!(parameters));
    summary.insert("step_ms.direct".into(), json!(direct));
    for d in config.method.dimensions(run) {
        for kind in [ProjectionKind::Dense, ProjectionKind::Sparse, ProjectionKind::Fastfood] {
            let (big, small) = (parameters as f64, d as f64);
            let bytes = match kind {
                ProjectionKind::Dense => 4.0 * big * small,
                ProjectionKind::Sparse => 20.0 * big.sqrt() * small,
                _ => 0.0,
            };
            if bytes > BYTES || (kind == ProjectionKind::Fastfood && d > parameters) {
                run.progress.say(&format!("{} at d = {d}: too large, left out", kind.name()));
                continue;
            }
            let mut net = build_network(run, &config.model, &data)?;
            let subspace = Subspace::attach(&mut net.store, kind, d, rng::mix(run.seed(), "projection"))?;
            let step_ms = time(&net, Some(&subspace), &batch.x, &batch.y)?;
            let row = CostRow {
                projection: kind.name(),
                d,
                parameters,
                projection_bytes: subspace.projection.bytes(),
                step_ms,
                over_direct: step_ms / direct,
            };
            run.row("cost", at, &row)?;
            let name = format!("{}-{d}", kind.name());
            run.progress.say(&format!("{name}: {step_ms:.2} ms a step, {:.2} of direct", row.over_direct));
            summary.insert(format!("step_ms.{name}"), json!(step_ms));
            summary.insert(format!("over_direct.{name}"), json!(row.over_direct));
            summary.insert(format!("bytes.{name}"), json!(row.projection_bytes));
        }
    }
    Ok(summary)
}

/// Milliseconds, the median of a few.
fn time(net: &Network, subspace: Option<&Subspace>, x: &Tensor, y: &Tensor) -> Result<f64> {
    let leaves: Vec<&Tensor> = net.store.trainable().into_iter().map(|id| net.store.get(id)).collect();
    let step = || -> Result<f64> {
        synchronize(x.device())?;
        let begun = Instant::now();
        let mut view = View::plain(&net.store);
        if let Some(subspace) = subspace {
            subspace.show(&mut view);
        }
        let loss = net.model.forward(&Cx::train(&view), x).cross_entropy_for_logits(y);
        let _ = grad(&loss, &leaves, false, false)?;
        synchronize(x.device())?;
        Ok(1e3 * begun.elapsed().as_secs_f64())
    };
    let mut times = (0..2 * STEPS).map(|_| step()).collect::<Result<Vec<f64>>>()?.split_off(STEPS);
    times.sort_by(f64::total_cmp);
    Ok(times[STEPS / 2])
}
