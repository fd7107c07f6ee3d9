//! The toy problem as a run: closed form, no training.

use anyhow::Result;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::config::Config;
use super::curve::{CurveRow, Judge, finish};
use super::toy;
use crate::native::draw_normal;
use crate::params::projection::Dense;
use crate::rng;
use crate::run::{Run, Stamp, Summary};

pub fn run(config: &Config, run: &mut Run) -> Result<Summary> {
    let method = &config.method;
    let (parameters, groups, at) = (method.toy_parameters, method.toy_groups, Stamp::default());
    let (mut rows, mut solvable) = (Vec::new(), Summary::new());
    for d in method.dimensions(run) {
        let mut solved = 0;
        for replicate in 0..method.runs {
            let seed = rng::mix(run.seed(), &format!("run {replicate}"));
            let theta0 = Tensor::empty([parameters], (Kind::Double, Device::Cpu));
            draw_normal(&theta0, 0.0, 1.0, rng::mix(seed, "theta_0"))?;
            let projection =
                Dense::draw(&[parameters], d, false, rng::mix(seed, &format!("projection {d}")), Device::Cpu);
            let least = toy::smallest_loss(&projection.directions.to_kind(Kind::Double), &theta0, groups);
            solved += u64::from(least < toy::SOLVED);
            let row = CurveRow {
                d,
                run: replicate,
                performance: (-least).exp(),
                other_accuracy: None,
                projection: "dense",
                parameters,
                projection_bytes: projection.directions.numel() * 4,
                empty_directions: 0,
            };
            run.row("curve", at, &row)?;
            rows.push(row);
        }
        solvable.insert(format!("solvable.d{d}"), json!(solved as f64 / method.runs as f64));
    }
    let judge = Judge {
        baseline: Some(method.given_baseline().unwrap_or(1.0)),
        threshold: method.threshold,
        resamples: method.resamples,
        performance: "exp(-loss)",
    };
    let mut summary = finish(&rows, &judge, at, run)?;
    summary.extend(solvable);
    Ok(summary)
}
