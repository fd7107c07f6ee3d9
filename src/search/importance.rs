//! How much of the objective's variance each parameter explains alone.

use super::space::Dimension;
use super::study::Study;

/// Finished trials needed.
const TRIALS: usize = 20;
/// Below this the shares are uncertain.
const CERTAIN: usize = 50;

/// Main-effect shares.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    /// (key, share of the variance), in the space's order.
    pub shares: Vec<(String, f64)>,
    /// Finished trials they rest on.
    pub trials: usize,
    /// Fewer than 50 trials: take the shares as a hint.
    pub uncertain: bool,
}

/// Cuts each parameter at its quartiles (choices as they are); its share is the variance over cells of the mean objective, cells
/// weighted by their trials, over the total variance. `None` below 20 finished trials or without any variance.
pub fn importance(study: &Study) -> Option<Importance> {
    let done: Vec<(Vec<f64>, f64)> = study
        .trials
        .iter()
        .filter(|trial| trial.is_done())
        .filter_map(|trial| Some((study.header.space.numbers(&trial.params).ok()?, trial.value()?)))
        .collect();
    let trials = done.len();
    let mean = done.iter().map(|(_, value)| value).sum::<f64>() / trials as f64;
    let total = done.iter().map(|(_, value)| (value - mean).powi(2)).sum::<f64>();
    if trials < TRIALS || total == 0.0 {
        return None;
    }
    let share = |(i, (key, dimension)): (usize, (&str, &Dimension))| {
        let numbers: Vec<f64> = done.iter().map(|(numbers, _)| numbers[i]).collect();
        let cells: Vec<usize> = match dimension {
            Dimension::Categorical { .. } => numbers.iter().map(|&n| n as usize).collect(),
            _ => quartiles(&numbers),
        };
        let mut sums = vec![(0.0, 0.0); cells.iter().max().map_or(0, |most| most + 1)];
        for (&cell, (_, value)) in cells.iter().zip(&done) {
            sums[cell].0 += 1.0;
            sums[cell].1 += value;
        }
        let between: f64 = sums.iter().filter(|(n, _)| *n > 0.0).map(|(n, sum)| n * (sum / n - mean).powi(2)).sum();
        (key.to_owned(), between / total)
    };
    let shares = study.header.space.iter().enumerate().map(share).collect();
    Some(Importance { shares, trials, uncertain: trials < CERTAIN })
}

/// The quarter each number falls into; equal numbers share a cell.
fn quartiles(numbers: &[f64]) -> Vec<usize> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cuts = [1, 2, 3].map(|q| sorted[q * sorted.len() / 4]);
    numbers.iter().map(|n| cuts.iter().filter(|cut| n >= cut).count()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::journal::Event;
    use super::super::{Header, Mode, Owner, Pruner, Sampler, Space, Spent};
    use super::*;

    #[test]
    fn the_parameter_that_matters_gets_the_share() {
        let space: Space =
            toml::from_str("[x]\nkind='float'\nlow=0.0\nhigh=1.0\n[y]\nkind='float'\nlow=0.0\nhigh=1.0").unwrap();
        let sampler = Sampler::Random;
        let header = Header { metric: "loss".into(), mode: Mode::Min, seed: 1, sampler, pruner: Pruner::None, space };
        let mut study = Study::new(header);
        assert_eq!(importance(&study), None);
        for trial in 0..200 {
            let params = sampler.next(&study).unwrap().unwrap();
            let value = params["x"].as_f64().unwrap();
            study.apply(&Event::Created { trial, params, owner: Owner::this() }).unwrap();
            study.apply(&Event::Done { trial, value, spent: Spent::default() }).unwrap();
        }
        let found = importance(&study).unwrap();
        assert!(found.shares[0].1 > 0.9 && found.shares[1].1 < 0.1, "{found:?}");
        assert!(!found.uncertain);
    }
}
