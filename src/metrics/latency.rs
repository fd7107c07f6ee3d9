//! How long a forward pass takes, measured so that two networks can be compared: both see the same batch in turns, which
//! cancels clock drift; evaluation mode, no gradients, the device synchronised around every timed run.

use anyhow::{Result, ensure};
use serde::Serialize;
use std::time::Instant;
use tch::{Cuda, Device, Tensor, no_grad};

use crate::models::{Cx, Model};
use crate::params::View;

/// Untimed runs of each network before the first timed one.
pub const WARM_UP: usize = 20;
/// The fewest timed runs that make a median.
pub const MIN_RUNS: usize = 100;

/// Milliseconds per batch, and under which conditions.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    pub median_ms: f64,
    pub p90_ms: f64,
    /// First and third quartile: half of the runs lie between.
    pub quartiles_ms: [f64; 2],
    pub runs: usize,
    pub batch: i64,
    pub threads: i32,
}

/// Times `runs` (at least 100) forward passes of the batch `x` through each of two networks, in turns.
pub fn latency(nets: [(&dyn Model, &View); 2], x: &Tensor, runs: usize) -> Result<[Latency; 2]> {
    ensure!(runs >= MIN_RUNS, "{runs} timed runs are too few for a latency, {MIN_RUNS} are needed");
    let mut times = [Vec::with_capacity(runs), Vec::with_capacity(runs)];
    no_grad(|| {
        for run in 0..WARM_UP + runs {
            for ((model, view), times) in nets.iter().zip(&mut times) {
                let cx = Cx::eval(view);
                synchronize(x.device());
                let start = Instant::now();
                let _ = model.forward(&cx, x);
                synchronize(x.device());
                if run >= WARM_UP {
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
    });
    Ok(times.map(|times| summary(times, x.size()[0])))
}

fn synchronize(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

fn summary(mut times: Vec<f64>, batch: i64) -> Latency {
    times.sort_by(f64::total_cmp);
    let quantile = |q| quantile(&times, q);
    Latency {
        median_ms: quantile(0.5),
        p90_ms: quantile(0.9),
        quartiles_ms: [quantile(0.25), quantile(0.75)],
        runs: times.len(),
        batch,
        threads: tch::get_num_threads(),
    }
}

/// Linear interpolation between the neighbours in `sorted`.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::testing::images;
    use crate::models::{Arch, MlpArch, Network};

    #[test]
    fn quantiles_interpolate() {
        let latency = summary((1..=101).rev().map(f64::from).collect(), 4);
        assert_eq!((latency.median_ms, latency.p90_ms, latency.quartiles_ms), (51.0, 91.0, [26.0, 76.0]));
        assert_eq!((latency.runs, latency.batch), (101, 4));
        assert_eq!(quantile(&[1.0, 2.0], 0.25), 1.25);
    }

    #[test]
    fn the_bigger_network_takes_longer() {
        let net = |hidden| {
            let arch = Arch::Mlp(MlpArch { inputs: 64, hidden, classes: 10, ..MlpArch::default() });
            Network::build(arch, 0, Device::Cpu).unwrap()
        };
        let (small, big) = (net(vec![8]), net(vec![256; 8]));
        let (small_view, big_view) = (View::plain(&small.store), View::plain(&big.store));
        let nets = [(small.model.as_ref(), &small_view), (big.model.as_ref(), &big_view)];
        let [fast, slow] = latency(nets, &images(0, &[16, 64]), 100).unwrap();
        assert!(fast.median_ms < slow.median_ms && fast.median_ms <= fast.p90_ms, "{fast:?} {slow:?}");
        assert!(latency(nets, &images(0, &[16, 64]), 10).is_err());
    }
}
