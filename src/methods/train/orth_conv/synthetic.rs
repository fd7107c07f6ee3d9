//! The paper's synthetic study: L_orth of single kernels is all that is minimized. One row of synthetic.csv a layer; a run over
//! thousands of them goes on after the last layer that was done.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use super::config::{Config, Start};
use super::layers::start;
use super::lorth::{Shape, lorth, measure, target};
use super::spectrum::Errors;
use crate::native;
use crate::params::{Builder, Init, ParamStore, Role};
use crate::report::plot::{Chart, Columns, Curve, Format, Look};
use crate::run::{Phase, Run, Stamp, State, Summary, Weights};
use crate::train::{Optimizer, ParamGroup};

const PHASE: &str = "synthetic";
/// Up to so many layers the summary names each, and train.csv follows their losses.
const FEW: usize = 64;
/// An orthogonal layer's singular values lie within 1 +- this.
const NEAR_ONE: f64 = 0.01;
/// Losses below this are rounding: the identity of error and loss is not judged relative to them.
const ROUNDING: f64 = 1e-6;

/// What came of one layer. In float64, over all sizes that were probed.
#[derive(Clone, Copy, Debug)]
struct Found {
    lorth: f64,
    sigma_min: f64,
    sigma_max: f64,
    /// |err_F^2 / N^2 - L_orth| / L_orth, at the start and at the end.
    identity: f64,
    /// err_s^2 / (alpha L_orth), at most 1 by the theorem.
    bound: f64,
}

impl Found {
    fn numbers(&self) -> [f64; 5] {
        [self.lorth, self.sigma_min, self.sigma_max, self.identity, self.bound]
    }

    fn from(n: &[f64]) -> Found {
        Found { lorth: n[0], sigma_min: n[1], sigma_max: n[2], identity: n[3], bound: n[4] }
    }

    fn is_orthogonal(&self) -> bool {
        self.sigma_min >= 1.0 - NEAR_ONE && self.sigma_max <= 1.0 + NEAR_ONE
    }
}

pub fn run(config: &Config, run: &mut Run) -> Result<Summary> {
    let (layers, impossible) = config.method.layers();
    if impossible > 0 {
        run.progress.say(&format!("{impossible} layers of method.grid are left out: none of them can be orthogonal"));
    }
    let empty = ParamStore::new(run.device);
    let weights = || Weights { store: &empty, arch: String::new() };
    let mut found: Vec<Found> = Vec::new();
    if let Phase::Resumed(checkpoint) | Phase::Done(checkpoint) = run.phase(PHASE)? {
        let state = checkpoint.state.take(PHASE);
        let numbers = state.get("found").context("the checkpoint has no layers that were done")?;
        found = Vec::<f64>::try_from(numbers.reshape(-1))?.chunks(5).map(Found::from).collect();
    }
    let steps = config.train.steps;
    let stamp = |done: usize| Stamp { step: done as u64 * steps, epoch: done as f64 };
    let state = |found: &[Found]| {
        let numbers: Vec<f64> = found.iter().flat_map(Found::numbers).collect();
        let mut state = State::default();
        state.put(PHASE, vec![("found".into(), Tensor::from_slice(&numbers))]);
        state
    };
    run.progress.start(PHASE, stamp(found.len()).step, stamp(layers.len()).step);
    while found.len() < layers.len() {
        let shape = layers[found.len()];
        let study = Study { config, shape, follow: layers.len() <= FEW };
        found.push(study.minimize(stamp(found.len()), run)?);
        let at = stamp(found.len());
        run.progress.step(at.step);
        let over = found.len() == layers.len();
        let signal = run.signalled();
        if !over && (signal.is_some() || run.checkpoint_due(at.step)) {
            run.checkpoint(PHASE, at, false, &weights(), &state(&found))?;
        }
        match signal {
            Some(signal) if !over => return Err(signal.into()),
            _ => {}
        }
    }
    run.checkpoint(PHASE, stamp(found.len()), true, &weights(), &state(&found))?;
    run.progress.finish();
    pictures(&layers, &found, run)?;
    Ok(summary(&layers, &found, impossible))
}

/// `8x4x3s1`: M, C, k and S.
fn name(shape: Shape) -> String {
    format!("{}x{}x{}s{}", shape.m, shape.c, shape.k, shape.stride)
}

struct Study<'a> {
    config: &'a Config,
    shape: Shape,
    follow: bool,
}

impl Study<'_> {
    /// Minimizes L_orth of one kernel; `at` is where the run stands before.
    fn minimize(&self, at: Stamp, run: &mut Run) -> Result<Found> {
        let (shape, train) = (self.shape, &self.config.train);
        let Shape { m, c, k, .. } = shape;
        let glorot = (6.0 / ((m + c) * k * k) as f64).sqrt();
        let mut store = ParamStore::new(run.device);
        let mut builder = Builder::new(&mut store, run.seed());
        let id = builder.part(name(shape)).tensor("kernel", Role::Weight, &[m, c, k, k], Init::Uniform(glorot));
        if self.config.method.init != Start::Model {
            store.assign(id, &start(store.get(id), shape, self.config.method.init)?);
        }
        let before = self.measure(store.get(id));
        let group = ParamGroup { ids: vec![id], lr_mult: 1.0, weight_decay: train.optimizer.weight_decay };
        let mut optimizer = Optimizer::new(&train.optimizer, vec![group], &store)?;
        let i0 = target(&store.get(id).detach(), shape, shape.padding());
        let mut losses = Vec::new();
        for step in 0..train.steps {
            let loss = lorth(store.get(id), shape, &i0);
            let gradients = native::grad(&loss, &[store.get(id)], false, false)?;
            if self.follow && step % train.log_every == 0 {
                losses.push((step, loss.detach()));
            }
            let lr = train.schedule.lr(train.optimizer.lr, step, train.steps, train.steps);
            optimizer.step(&store, &gradients, lr)?;
        }
        let after = self.measure(store.get(id));
        let end = at.step + train.steps;
        if !after.lorth.is_finite() {
            return Err(run.non_finite(&format!("L_orth of {}", name(shape)), end));
        }
        for (step, loss) in losses {
            let loss = json!(loss.double_value(&[]));
            let row = [("layer", json!(name(shape))), ("layer_step", json!(step)), ("lorth", loss)];
            let stamp = Stamp { step: at.step + step + 1, epoch: at.epoch + step as f64 / train.steps as f64 };
            run.append("train", stamp, Map::from_iter(row.map(|(key, value)| (key.to_owned(), value))))?;
        }
        let found =
            Found { identity: after.identity.max(before.identity), bound: after.bound.max(before.bound), ..after };
        self.row(before, found, Stamp { step: end, epoch: at.epoch + 1.0 }, store.get(id), run)?;
        Ok(found)
    }

    fn measure(&self, kernel: &Tensor) -> Found {
        let kernel = kernel.detach().to_kind(Kind::Double);
        let loss = measure(&kernel, self.shape);
        let start = Found { lorth: loss, sigma_min: f64::INFINITY, sigma_max: 0.0, identity: 0.0, bound: 0.0 };
        // The theorem needs an image at least as large as the kernel with its shifts.
        let fits = |n: i64| n * self.shape.stride >= 2 * self.shape.k - 1;
        self.config.method.probe_n.iter().filter(|&&n| fits(n)).fold(start, |found, &n| {
            let errors = Errors::at(&kernel, self.shape, n);
            let squared = errors.frobenius.powi(2) / n.pow(self.shape.dim) as f64;
            let floor = self.shape.alpha() as f64 * loss.max(f64::EPSILON);
            Found {
                sigma_min: found.sigma_min.min(errors.sigma_min),
                sigma_max: found.sigma_max.max(errors.sigma_max),
                identity: found.identity.max((squared - loss).abs() / loss.max(ROUNDING)),
                bound: found.bound.max(errors.spectral.powi(2) / floor),
                ..found
            }
        })
    }

    fn row(&self, before: Found, found: Found, at: Stamp, kernel: &Tensor, run: &mut Run) -> Result<()> {
        let Shape { m, c, k, stride, .. } = self.shape;
        let mut row: Map<String, Value> = Map::new();
        let mut put = |key: &str, value: Value| row.insert(key.to_owned(), value);
        put("layer", json!(name(self.shape)));
        for (key, value) in [("m", m), ("c", c), ("k", k), ("stride", stride)] {
            put(key, json!(value));
        }
        put("case", json!(if self.shape.is_row() { "row" } else { "column" }));
        put("square", json!(self.shape.is_square()));
        put("lorth_start", json!(before.lorth));
        put("lorth", json!(found.lorth));
        for &n in &self.config.method.probe_n {
            let errors = Errors::at(kernel, self.shape, n);
            put(&format!("sigma_min_{n}"), json!(errors.sigma_min));
            put(&format!("sigma_max_{n}"), json!(errors.sigma_max));
        }
        put("identity_error", json!(found.identity));
        put("bound_ratio", json!(found.bound));
        run.append("synthetic", at, row)
    }
}

fn summary(layers: &[Shape], found: &[Found], impossible: usize) -> Summary {
    let mut summary = Summary::new();
    let mut put = |key: String, value: f64| summary.insert(key, json!(value));
    let worst = |of: fn(&Found) -> f64| found.iter().map(of).fold(0.0, f64::max);
    put("layers".into(), layers.len() as f64);
    put("impossible".into(), impossible as f64);
    put("identity_error".into(), worst(|f| f.identity));
    put("bound_ratio".into(), worst(|f| f.bound));
    for (key, square) in [("orthogonal", false), ("orthogonal_square", true)] {
        let own = || layers.iter().zip(found).filter(|(shape, _)| shape.is_square() == square);
        if own().next().is_some() {
            let share = own().filter(|(_, f)| f.is_orthogonal()).count() as f64 / own().count() as f64;
            put(key.into(), share);
        }
    }
    if layers.len() <= FEW {
        for (shape, found) in layers.iter().zip(found) {
            for (key, value) in [("lorth", found.lorth), ("sigma_min", found.sigma_min), ("sigma_max", found.sigma_max)]
            {
                put(format!("{key}.{}", name(*shape)), value);
            }
        }
    }
    summary
}

/// The losses as they fall, and the extreme singular values of each layer over M / (C S^2), where 1 is the square case.
fn pictures(layers: &[Shape], found: &[Found], run: &Run) -> Result<()> {
    losses(run)?;
    let curve = |name: &str, of: fn(&Found) -> f64| {
        let point = |(shape, found): (&Shape, &Found)| (shape.m as f64 / shape.inputs() as f64, of(found));
        Curve { name: name.into(), points: layers.iter().zip(found).map(point).collect() }
    };
    let curves = [curve("smallest", |f| f.sigma_min), curve("largest", |f| f.sigma_max)];
    let chart = Chart {
        title: "singular values of each layer",
        x: "M / (C S^2)",
        y: "singular value",
        curves: &curves,
        dots: true,
        marks: &[1.0],
    };
    let look = Look { scatter: true, log_x: true, ..Look::default() };
    run.write("plots/singular_values.svg", &chart.picture(look, Format::Svg)?)
}

/// The loss of each layer over its own steps.
fn losses(run: &Run) -> Result<()> {
    if !run.folder().join("train.csv").exists() {
        return Ok(());
    }
    let rows = Columns::read(run.folder(), "train")?;
    let curve = |name: String| Ok(Curve { points: rows.points("layer_step", "lorth", Some(("layer", &name)))?, name });
    let curves = rows.values("layer")?.into_iter().map(curve).collect::<Result<Vec<_>>>()?;
    let chart = Chart { title: "L_orth by step", x: "step", y: "L_orth", curves: &curves, dots: false, marks: &[] };
    let picture = chart.picture(Look { log_y: true, ..Look::default() }, Format::Svg)?;
    run.write("plots/lorth.svg", &picture)
}
