//! Cart-pole by evolution strategies: all runs of one d side by side, every candidate in an environment of its own.

use anyhow::{Context, Result};
use serde_json::{Map, json};
use tch::{Device, Kind, Tensor, no_grad};

use super::config::{Config, Reinforcement, Variant};
use super::curve::{CurveRow, Judge, finish};
use super::evolution::{centred_ranks, gradient};
use super::policy::Policy;
use crate::native::draw_normal;
use crate::params::ParamStore;
use crate::params::projection::{Projection, ProjectionKind};
use crate::rng;
use crate::run::{Phase, Run, Stamp, State, Summary, Weights};

/// Adam's decay rates and floor.
const BETAS: (f64, f64) = (0.9, 0.999);
const FLOOR: f64 = 1e-8;
/// Environment steps between two looks at whether all episodes are over.
const LOOK: i64 = 20;

pub fn run(config: &Config, run: &mut Run) -> Result<Summary> {
    let (method, rl) = (&config.method, &config.rl);
    let (mut rows, mut at) = (Vec::new(), Stamp::default());
    for d in method.dimensions(run) {
        let mut search = Search::new(config, d, run.seed(), run.device)?;
        search.evolve(&mut at, run)?;
        for (replicate, performance) in search.judge().into_iter().enumerate() {
            let row = CurveRow {
                d,
                run: replicate as u64,
                performance,
                other_accuracy: None,
                projection: search.kind,
                parameters: search.parameters(),
                projection_bytes: search.bytes,
                empty_directions: 0,
            };
            run.row("curve", at, &row)?;
            rows.push(row);
        }
    }
    summarize(&rows, config, rl.variant, at, run)
}

/// The dimension, and how many of the runs at each d are solved.
pub fn summarize(rows: &[CurveRow], config: &Config, variant: Variant, at: Stamp, run: &mut Run) -> Result<Summary> {
    let method = &config.method;
    let judge = Judge {
        baseline: Some(method.given_baseline().unwrap_or(variant.solved())),
        threshold: method.threshold,
        resamples: method.resamples,
        performance: "mean return",
    };
    let mut summary = finish(rows, &judge, at, run)?;
    let mut dims: Vec<i64> = rows.iter().map(|r| r.d).collect();
    dims.dedup();
    for d in dims {
        let solved = rows.iter().filter(|r| r.d == d && r.performance >= variant.solved()).count();
        summary.insert(format!("solved.d{d}"), json!(solved));
    }
    Ok(summary)
}

/// The runs of one d.
struct Search<'a> {
    rl: &'a Reinforcement,
    policy: Policy,
    d: i64,
    kind: &'static str,
    bytes: usize,
    /// theta_0 `[R, D]`.
    origin: Tensor,
    /// P^T of each run times the scale, `[R, d, D]`.
    directions: Tensor,
    /// theta_d and Adam's moments, `[R, d]`.
    theta: Tensor,
    first: Tensor,
    second: Tensor,
    iteration: u64,
    seed: u64,
}

impl<'a> Search<'a> {
    fn new(config: &'a Config, d: i64, seed: u64, device: Device) -> Result<Search<'a>> {
        let (method, rl) = (&config.method, &config.rl);
        let outputs = if rl.variant == Variant::InvertedPendulum { 1 } else { 2 };
        let policy = Policy::new(4, &rl.hidden, outputs);
        let sizes = policy.sizes();
        let parameters: i64 = sizes.iter().sum();
        let std = Tensor::from_slice(&policy.initial_std());
        let eye = Tensor::eye(d, (Kind::Float, device));
        let (mut origins, mut directions, mut bytes) = (Vec::new(), Vec::new(), 0);
        for replicate in 0..method.runs {
            let own = rng::mix(seed, &format!("run {replicate}"));
            let origin = Tensor::empty([parameters], (Kind::Float, Device::Cpu));
            draw_normal(&origin, 0.0, 1.0, rng::mix(own, "theta_0"))?;
            origins.push((origin * &std).to_device(device));
            let projection = rng::mix(own, &format!("projection {d}"));
            let p = Projection::draw(method.projection, &sizes, d, projection, device)?;
            bytes = p.bytes();
            let columns: Vec<Tensor> = (0..d).map(|i| p.offset(&eye.get(i))).collect();
            directions.push(Tensor::stack(&columns, 0) * rl.scale);
        }
        let zeros = || Tensor::zeros([method.runs as i64, d], (Kind::Float, device));
        Ok(Search {
            rl,
            policy,
            d,
            kind: ProjectionKind::choose(method.projection, parameters, d).name(),
            bytes,
            origin: Tensor::stack(&origins, 0),
            directions: Tensor::stack(&directions, 0),
            theta: zeros(),
            first: zeros(),
            second: zeros(),
            iteration: 0,
            seed: rng::mix(seed, &format!("evolution d{d}")),
        })
    }

    fn parameters(&self) -> i64 {
        self.origin.size()[1]
    }

    fn evolve(&mut self, at: &mut Stamp, run: &mut Run) -> Result<()> {
        let name = format!("d{}", self.d);
        let begin = *at;
        let stamp = |iteration: u64| Stamp { step: begin.step + iteration, epoch: begin.epoch + iteration as f64 };
        *at = stamp(self.rl.iterations);
        match run.phase(&name)? {
            Phase::Fresh => {}
            Phase::Resumed(checkpoint) => self.load(&checkpoint.state)?,
            Phase::Done(checkpoint) => return self.load(&checkpoint.state),
        }
        run.progress.start(&name, self.iteration, self.rl.iterations);
        while self.iteration < self.rl.iterations {
            let returns = no_grad(|| self.iterate());
            let now = stamp(self.iteration);
            let mean = returns.mean(Kind::Double).double_value(&[]);
            let row = Map::from_iter([
                ("d".to_owned(), json!(self.d)),
                ("iteration".to_owned(), json!(self.iteration)),
                ("mean_return".to_owned(), json!(mean)),
            ]);
            run.append("evolution", now, row)?;
            run.progress.step(self.iteration);
            run.progress.numbers(&format!("d {} mean return {mean:.1}", self.d));
            let signal = run.signalled();
            let over = self.iteration == self.rl.iterations;
            if over || signal.is_some() || run.checkpoint_due(now.step) {
                self.checkpoint(&name, now, over, run)?;
            }
            if let Some(signal) = signal.filter(|_| !over) {
                return Err(signal.into());
            }
        }
        Ok(())
    }

    /// One update of all runs; the returns of the candidates, `[R, n, 2]`.
    fn iterate(&mut self) -> Tensor {
        // Whatever is drawn in this iteration depends on the seed and its number alone.
        tch::manual_seed(rng::step_seed(self.seed, self.iteration));
        let (r, n, d) = (self.theta.size()[0], self.rl.pairs, self.d);
        let eps = Tensor::randn([r, n, d], (Kind::Float, self.theta.device()));
        let noise = Tensor::stack(&[&eps, &-&eps], 2) * self.rl.sigma;
        let candidates = (self.theta.view([r, 1, 1, d]) + noise).view([r, 2 * n, d]);
        let returns = self.play(&candidates).view([r, n, 2]);
        let g = gradient(&eps, &centred_ranks(&returns));
        self.iteration += 1;
        let t = self.iteration as i32;
        self.first = &self.first * BETAS.0 + &g * (1.0 - BETAS.0);
        self.second = &self.second * BETAS.1 + g.square() * (1.0 - BETAS.1);
        let step = (&self.first / (1.0 - BETAS.0.powi(t))) / ((&self.second / (1.0 - BETAS.1.powi(t))).sqrt() + FLOOR);
        self.theta += step * self.rl.lr;
        returns
    }

    /// Returns of one episode of each candidate `[R, N, d]`: `[R, N]`.
    fn play(&self, candidates: &Tensor) -> Tensor {
        let (r, n) = (candidates.size()[0], candidates.size()[1]);
        let parameters = (candidates.matmul(&self.directions) + self.origin.unsqueeze(1)).flatten(0, 1);
        let options = (Kind::Float, candidates.device());
        let env = self.rl.variant.environment();
        let mut state = Tensor::rand([r * n, 4], options) * 0.1 - 0.05;
        let mut alive = Tensor::ones([r * n], options);
        let mut returns = Tensor::zeros([r * n], options);
        for step in 1..=self.rl.variant.steps() {
            let out = self.policy.forward(&parameters, &state.unsqueeze(1), Tensor::tanh).squeeze_dim(1);
            let force = match self.rl.variant {
                Variant::InvertedPendulum => env.continuous(&out.squeeze_dim(1)),
                _ => env.discrete(&out.argmax(1, false), Kind::Float),
            };
            let (next, fallen) = env.step(&state, &force);
            returns += &alive;
            alive *= fallen.logical_not();
            state = next;
            if step % LOOK == 0 && alive.sum(Kind::Float).double_value(&[]) == 0.0 {
                break;
            }
        }
        returns.view([r, n])
    }

    /// The mean return of each run over fresh episodes.
    fn judge(&self) -> Vec<f64> {
        no_grad(|| {
            tch::manual_seed(rng::step_seed(self.seed, u64::MAX));
            let copies = self.theta.unsqueeze(1).expand([-1, self.rl.judged, -1], false);
            let means = self.play(&copies).mean_dim(&[1i64][..], false, Kind::Double);
            Vec::<f64>::try_from(means.to_device(Device::Cpu)).expect("float64 numbers on the host")
        })
    }

    fn checkpoint(&self, phase: &str, at: Stamp, complete: bool, run: &mut Run) -> Result<()> {
        let weights = Weights { store: &ParamStore::new(run.device), arch: String::new() };
        let mut state = State::default();
        let tensors = [("theta", &self.theta), ("first", &self.first), ("second", &self.second)];
        let mut own: Vec<(String, Tensor)> = tensors.map(|(name, t)| (name.to_owned(), t.shallow_clone())).into();
        own.push(("iteration".into(), Tensor::from(self.iteration as i64)));
        state.put("evolution", own);
        run.checkpoint(phase, at, complete, &weights, &state)
    }

    fn load(&mut self, state: &State) -> Result<()> {
        let stored = state.take("evolution");
        let of = |name: &str| stored.get(name).with_context(|| format!("the checkpoint holds no {name}"));
        for (name, tensor) in [("theta", &mut self.theta), ("first", &mut self.first), ("second", &mut self.second)] {
            tensor.copy_(of(name)?);
        }
        self.iteration = of("iteration")?.int64_value(&[]) as u64;
        Ok(())
    }
}
