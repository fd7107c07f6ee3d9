//! Which values the next trial gets.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::space::{Dimension, Params, Scale};
use super::study::{State, Study};
use super::{grid, nelder_mead, random, tpe};
use crate::rng;

/// How values are proposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// Independent uniform values (in the logarithm if `log`).
    Random,
    /// All combinations, the last key fastest.
    Grid,
    /// The tree-structured Parzen estimator.
    #[default]
    Tpe,
    /// The simplex method: one trial at a time, at most ten float parameters.
    NelderMead,
}

impl Sampler {
    /// The values of trial number `study.trials.len()`; `None` where the grid is done. A pure function of the study.
    pub fn next(self, study: &Study) -> Result<Option<Params>> {
        let index = study.trials.len();
        let space = &study.header.space;
        // Of the study's seed and the trial's number alone: neither workers nor resuming change it.
        let mut rng = rng::stream(study.header.seed, &format!("trial {index}"));
        let numbers = match self {
            Sampler::Random => Some(random::point(space, &mut rng)),
            Sampler::Grid => grid::point(space, index as u64)?,
            Sampler::Tpe => Some(tpe::point(space, &observed(study)?, &mut rng)),
            Sampler::NelderMead => Some(simplex_point(study)?),
        };
        Ok(numbers.map(|numbers| space.params(&numbers)))
    }
}

fn observed(study: &Study) -> Result<tpe::Observed> {
    let numbers = |i: usize| study.header.space.numbers(&study.trials[i].params);
    let running = |i: &usize| matches!(study.trials[*i].state, State::Running(_) | State::Interrupted);
    Ok(tpe::Observed {
        ranked: study.ranked().into_iter().map(numbers).collect::<Result<_>>()?,
        running: (0..study.trials.len()).filter(running).map(numbers).collect::<Result<_>>()?,
    })
}

fn simplex_point(study: &Study) -> Result<Vec<f64>> {
    let space = &study.header.space;
    let continuous = |(key, dimension): (&str, &Dimension)| {
        let continuous = matches!(dimension, Dimension::Float { step: None, .. });
        ensure!(continuous, "[space.{key}]: nelder-mead needs kind = \"float\" without step");
        Ok(dimension.scale())
    };
    let scales: Vec<Scale> = space.iter().map(continuous).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let most = nelder_mead::MOST_PARAMETERS;
    ensure!(scales.len() <= most, "nelder-mead tunes at most {most} parameters, the space has {}", scales.len());
    let open = study.trials.iter().position(|t| matches!(t.state, State::Running(_) | State::Interrupted));
    ensure!(open.is_none(), "nelder-mead needs the value of trial {} first: use --jobs 1", open.unwrap_or_default());
    // A failed trial is as bad as can be.
    let loss = |value: Option<f64>| value.map_or(f64::INFINITY, |value| study.header.mode.loss(value));
    let values: Vec<f64> = study.trials.iter().map(|trial| loss(trial.value())).collect();
    let point = nelder_mead::next_point(&vec![0.5; scales.len()], &values);
    Ok(scales.iter().zip(point).map(|(scale, p)| scale.value(scale.low + p * (scale.high - scale.low))).collect())
}
