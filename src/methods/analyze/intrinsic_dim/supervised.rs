//! Classification in random subspaces: an ordinary training run for each d and run, one phase each.

use anyhow::Result;
use serde_json::json;
use tch::{Kind, Tensor, no_grad};

use super::config::{Config, Metric, Shuffle};
use super::curve::{CurveRow, Judge, finish};
use crate::data::{DeviceSet, DeviceSplits};
use crate::models::Network;
use crate::params::projection::Subspace;
use crate::params::{ParamId, ParamStore, Role, View};
use crate::report::plot::Columns;
use crate::rng;
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, Pass, Step, Supervised, Terms, build_network_with, evaluate, load_data};

pub fn run(config: &Config, run: &mut Run) -> Result<Summary> {
    let method = &config.method;
    let data = spoil(load_data(run, &config.data)?, method.shuffle, run.seed())?;
    let dims = method.dimensions(run);
    let tried: Vec<i64> = method.direct.then_some(0).into_iter().chain(dims).collect();
    let (mut rows, mut at) = (Vec::new(), Stamp::default());
    for &d in &tried {
        for replicate in 0..method.runs {
            let row = one(config, &data, d, replicate, &mut at, run)?;
            run.row("curve", at, &row)?;
            rows.push(row);
        }
    }
    let performance = if method.metric == Metric::Train { "training accuracy" } else { "test accuracy" };
    let judge = Judge {
        baseline: method.given_baseline(),
        threshold: method.threshold,
        resamples: method.resamples,
        performance,
    };
    let mut summary = finish(&rows, &judge, at, run)?;
    if let Some(d) = summary.get("d_int").and_then(serde_json::Value::as_i64) {
        summary.insert("slope".into(), json!(slope(run, d, method.runs)?));
    }
    Ok(summary)
}

/// The name of a training: its phase, and its part of the tables.
fn name(d: i64, replicate: u64) -> String {
    if d == 0 { format!("direct-run{replicate}") } else { format!("d{d}-run{replicate}") }
}

/// One training, in the full space for d = 0.
fn one(
    config: &Config,
    data: &DeviceSplits,
    d: i64,
    replicate: u64,
    at: &mut Stamp,
    run: &mut Run,
) -> Result<CurveRow> {
    let method = &config.method;
    // Every run has a theta_0 and a P of its own; the runs at different d share their theta_0.
    let seed = rng::mix(run.seed(), &format!("run {replicate}"));
    let mut net = build_network_with(seed, run, &config.model, data)?;
    let parameters = net.store.parameters() as i64;
    let weights = net.store.iter().filter(|(_, p)| p.role == Role::Weight).map(|(id, _)| id).collect();
    let subspace = match d {
        0 => None,
        _ => Some(Subspace::attach(&mut net.store, method.projection, d, rng::mix(seed, &format!("projection {d}")))?),
    };
    let kind = if d == 0 { "none" } else { method.projection.choose(parameters, d).name() };
    let projection = subspace.as_ref().map(|s| &s.projection);
    let (projection_bytes, empty_directions) = projection.map_or((0, 0), |p| (p.bytes(), p.empty_directions()));
    if replicate == 0 && d > 0 {
        run.progress.say(&format!("d = {d} of D = {parameters}: {kind} projection"));
    }
    if empty_directions > 0 {
        run.progress.warn(&format!("{empty_directions} of {d} directions have no entry: those dimensions are wasted"));
    }
    let mut door = InSubspace { subspace, l2: method.l2, weights };
    let train = if d == 0 { &config.direct } else { &config.train };
    let phase_name = name(d, replicate);
    let phase = Supervised { phase: &phase_name, net: &net, data, config: train, groups: None, start: *at };
    *at = phase.fit(&mut [&mut door], run)?.end;
    let accuracy = |set: &DeviceSet| accuracy(&net, &door, set);
    let (test, train) = (accuracy(&data.test), accuracy(&data.train));
    let (performance, other) = if method.metric == Metric::Train { (train, test) } else { (test, train) };
    let run = replicate;
    let other_accuracy = Some(other);
    Ok(CurveRow {
        d,
        run,
        performance,
        other_accuracy,
        projection: kind,
        parameters,
        projection_bytes,
        empty_directions,
    })
}

fn accuracy(net: &Network, door: &InSubspace, set: &DeviceSet) -> f64 {
    let mut view = View::plain(&net.store);
    no_grad(|| door.view(&net.store, &mut view));
    evaluate(&*net.model, &view, set).accuracy
}

/// The view theta_0 + P theta_d, and the penalty on the full weights.
struct InSubspace {
    subspace: Option<Subspace>,
    l2: f64,
    weights: Vec<ParamId>,
}

impl Doors for InSubspace {
    fn name(&self) -> &'static str {
        "subspace"
    }

    fn terms(&self) -> Vec<&'static str> {
        if self.l2 > 0.0 { vec!["l2"] } else { Vec::new() }
    }

    fn view(&self, _store: &ParamStore, view: &mut View) {
        if let Some(subspace) = &self.subspace {
            subspace.show(view);
        }
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        if self.l2 > 0.0 {
            let squares = self.weights.iter().map(|id| pass.view.get(*id).square().sum(Kind::Float));
            terms.add("l2", Tensor::stack(&squares.collect::<Vec<_>>(), 0).sum(Kind::Float) * self.l2);
        }
        Ok(())
    }
}

/// Shuffles the pixels of all images, or the labels of the training images.
fn spoil(data: DeviceSplits, shuffle: Shuffle, seed: u64) -> Result<DeviceSplits> {
    match shuffle {
        Shuffle::None => Ok(data),
        Shuffle::Pixels => {
            let pixels: i64 = data.train.sample_shape().iter().product();
            let order = Tensor::from_slice(&rng::permutation(seed, "shuffled pixels", pixels as usize));
            let order = order.to_device(data.train.device());
            let shuffled = |set: &DeviceSet| {
                let all = set.slice(0, set.len());
                let x = all.x.flatten(1, -1).index_select(1, &order).view_as(&all.x);
                DeviceSet::from_tensors(x, all.y, set.classes().to_vec())
            };
            let val = data.val.as_ref().map(shuffled).transpose()?;
            Ok(DeviceSplits { train: shuffled(&data.train)?, test: shuffled(&data.test)?, val })
        }
        Shuffle::Labels => {
            let order = rng::permutation(seed, "shuffled labels", data.train.len());
            let labels =
                data.train.labels().index_select(0, &Tensor::from_slice(&order).to_device(data.train.device()));
            Ok(DeviceSplits { train: data.train.with_labels(&labels)?, ..data })
        }
    }
}

/// How much the test accuracy at d still rose in the last epoch, mean over the runs: a curve that is not trained to its end
/// looks like a higher dimension.
fn slope(run: &Run, d: i64, runs: u64) -> Result<f64> {
    let table = Columns::read(run.folder(), "eval")?;
    let last = |replicate: u64| -> Result<f64> {
        let points = table.points("epoch", "test_accuracy", Some(("phase", &name(d, replicate))))?;
        Ok(points.windows(2).last().map_or(0.0, |pair| pair[1].1 - pair[0].1))
    };
    Ok((0..runs).map(last).sum::<Result<f64>>()? / runs as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn splits() -> DeviceSplits {
        let set = |n: i64| {
            let x = Tensor::arange(n * 4, (Kind::Float, Device::Cpu)).view([n, 1, 2, 2]);
            let y = Tensor::arange(n, (Kind::Int64, Device::Cpu)).remainder(2);
            DeviceSet::from_tensors(x, y, vec!["a".into(), "b".into()]).unwrap()
        };
        DeviceSplits { train: set(8), test: set(4), val: None }
    }

    #[test]
    fn pixels_move_alike_in_all_images_and_labels_only_in_training() {
        let pixels = spoil(splits(), Shuffle::Pixels, 1).unwrap();
        let (plain, moved) = (splits().test.slice(0, 4), pixels.test.slice(0, 4));
        assert_eq!((&plain.y, plain.x.size()), (&moved.y, moved.x.size()));
        let steps = |x: &Tensor| x.get(1) - x.get(0);
        assert_eq!(steps(&plain.x), steps(&moved.x));
        assert_ne!(plain.x, moved.x);
        let labels = spoil(splits(), Shuffle::Labels, 1).unwrap();
        assert_ne!(labels.train.labels(), splits().train.labels());
        assert_eq!(labels.test.labels(), splits().test.labels());
    }
}
