//! Deep Q-learning on cart-pole with the settings of the published code: replay of every fifth and every terminal transition,
//! one update an environment step, a target network that moves by 1%, gradients clipped to 5 a variable.

use anyhow::Result;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::collections::VecDeque;
use tch::{Device, Kind, Tensor, no_grad};

use super::config::Config;
use super::curve::CurveRow;
use super::es::summarize;
use super::policy::Policy;
use crate::native::{draw_normal, foreach, grad};
use crate::params::projection::Projection;
use crate::params::{ParamStore, Role};
use crate::rng;
use crate::run::{Phase, Run, Stamp, State, Summary, Weights};
use crate::train::{Optimizer, OptimizerConfig, OptimizerKind, ParamGroup};

const GAMMA: f64 = 0.95;
const EXPLORE: (f64, f64) = (0.5, 0.1);
/// Updates over which exploration falls.
const EXPLORE_STEPS: f64 = 10_000.0;
const REPLAY: usize = 10_000;
const KEEP_EVERY: u64 = 5;
const BATCH: usize = 32;
const TARGET_RATE: f64 = 0.01;
const CLIP: f64 = 5.0;
/// Penalty on the Q values, and on the weights.
const Q_PENALTY: f64 = 0.01;
const L2: f64 = 1e-4;
/// Episodes whose mean return decides.
const WINDOW: usize = 100;

/// r + gamma max_a Q_target(s', a), r alone where the episode is over: `[B]` from q_next `[B, A]`.
pub fn target(q_next: &Tensor, reward: &Tensor, done: &Tensor, gamma: f64) -> Tensor {
    let best = q_next.max_dim(1, false).0;
    reward + best * (1.0 - done.to_kind(q_next.kind())) * gamma
}

/// Mean squared error of the Q values of the actions taken, q `[B, A]`, action int64 `[B]`.
pub fn loss(q: &Tensor, action: &Tensor, target: &Tensor) -> Tensor {
    (q.gather(1, &action.unsqueeze(1), false).squeeze_dim(1) - target).square().mean(q.kind())
}

pub fn run(config: &Config, run: &mut Run) -> Result<Summary> {
    let method = &config.method;
    let (mut rows, mut at) = (Vec::new(), Stamp::default());
    for d in method.dimensions(run) {
        for replicate in 0..method.runs {
            let learner = Learner::new(config, d, replicate, run)?;
            let (best, row) = learner.learn(&format!("d{d}-run{replicate}"), replicate, &mut at, run)?;
            run.row("curve", at, &row)?;
            run.progress.say(&format!("d = {d}, run {replicate}: best mean return {best:.1}"));
            rows.push(row);
        }
    }
    summarize(&rows, config, config.rl.variant, at, run)
}

struct Transition {
    state: [f32; 4],
    action: i64,
    next: [f32; 4],
    done: f32,
}

struct Learner<'a> {
    config: &'a Config,
    d: i64,
    policy: Policy,
    projection: Projection,
    /// theta_0 `[D]`; the store holds theta_d.
    origin: Tensor,
    weights: Tensor,
    store: ParamStore,
    optimizer: Optimizer,
    replay: VecDeque<Transition>,
    draw: ChaCha8Rng,
}

impl<'a> Learner<'a> {
    fn new(config: &'a Config, d: i64, replicate: u64, run: &Run) -> Result<Learner<'a>> {
        let policy = Policy::new(4, &config.rl.hidden, 2);
        let sizes = policy.sizes();
        let seed = rng::mix(run.seed(), &format!("run {replicate}"));
        let device = run.device;
        let std = Tensor::from_slice(&policy.initial_std());
        let origin = Tensor::empty([sizes.iter().sum()], (Kind::Float, Device::Cpu));
        draw_normal(&origin, 0.0, 1.0, rng::mix(seed, "theta_0"))?;
        let own = rng::mix(seed, &format!("projection {d}"));
        let mut store = ParamStore::new(device);
        let theta = store.add("theta_d", Role::Weight, Tensor::zeros([d], (Kind::Float, device)));
        let adam = OptimizerConfig { kind: OptimizerKind::Adam, lr: config.rl.lr, ..OptimizerConfig::default() };
        let group = ParamGroup { ids: vec![theta], lr_mult: 1.0, weight_decay: 0.0 };
        Ok(Learner {
            config,
            d,
            projection: Projection::draw(config.method.projection, &sizes, d, own, device)?,
            origin: (origin * &std).to_device(device),
            weights: std.gt(0.0).to_kind(Kind::Float).to_device(device),
            optimizer: Optimizer::new(&adam, vec![group], &store)?,
            store,
            policy,
            replay: VecDeque::new(),
            draw: rng::stream(seed, &format!("q-learning d{d}")),
        })
    }

    fn theta(&self) -> &Tensor {
        self.store.get(crate::params::ParamId(0))
    }

    fn full(&self) -> Tensor {
        &self.origin + self.projection.offset(self.theta())
    }

    fn values(&self, parameters: &Tensor, states: &Tensor) -> Tensor {
        self.policy.forward(&parameters.unsqueeze(0), &states.unsqueeze(0), Tensor::relu).squeeze_dim(0)
    }

    /// Episodes until it is solved; the best mean return of a window, which is the performance. A training that was not over
    /// when the run stopped begins again: it is a function of its seed alone.
    fn learn(mut self, phase: &str, replicate: u64, at: &mut Stamp, run: &mut Run) -> Result<(f64, CurveRow)> {
        let rl = &self.config.rl;
        let (env, steps) = (rl.variant.environment(), rl.variant.steps());
        let (mut best, mut updates, mut seen) = (0.0f64, 0u64, 0u64);
        if let Phase::Done(checkpoint) = run.phase(phase)? {
            let stored = checkpoint.state.take("q-learning");
            let number = |name: &str| stored.get(name).map_or(0.0, |t| t.double_value(&[]));
            *at = Stamp { step: at.step + number("updates") as u64, epoch: at.epoch + number("episodes") };
            best = number("best");
            return Ok((best, self.row(replicate, best)));
        }
        run.progress.start(phase, 0, rl.episodes);
        let mut target = no_grad(|| self.full());
        let mut window: VecDeque<f64> = VecDeque::new();
        let mut episodes = 0;
        while episodes < rl.episodes {
            let mut state: [f32; 4] = std::array::from_fn(|_| self.draw.random_range(-0.05..0.05));
            let mut total = 0.0;
            // The environment moves with the parameters of the episode's last update.
            for step in 1..=steps {
                let explore = EXPLORE.1 + (EXPLORE.0 - EXPLORE.1) * (1.0 - updates as f64 / EXPLORE_STEPS).max(0.0);
                let action = if self.draw.random_bool(explore) {
                    self.draw.random_range(0..2)
                } else {
                    no_grad(|| self.values(&self.full(), &tensor(&[state]))).argmax(1, false).int64_value(&[0])
                };
                let force = env.discrete(&Tensor::from_slice(&[action]), Kind::Float);
                let (next, fallen) = env.step(&tensor(&[state]), &force);
                let next: [f32; 4] = Vec::<f32>::try_from(next.get(0))?.try_into().unwrap_or([0.0; 4]);
                let done = fallen.int64_value(&[0]) == 1;
                total += 1.0;
                seen += 1;
                if seen.is_multiple_of(KEEP_EVERY) || done {
                    self.replay.push_back(Transition { state, action, next, done: f32::from(done) });
                    if self.replay.len() > REPLAY {
                        self.replay.pop_front();
                    }
                }
                if self.replay.len() >= BATCH {
                    self.update(&mut target)?;
                    updates += 1;
                }
                state = next;
                if done || step == steps {
                    break;
                }
            }
            episodes += 1;
            window.push_back(total);
            if window.len() > WINDOW {
                window.pop_front();
            }
            let mean = window.iter().sum::<f64>() / WINDOW as f64;
            best = best.max(mean);
            run.progress.step(episodes);
            if episodes.is_multiple_of(WINDOW as u64) {
                let now = Stamp { step: at.step + updates, epoch: at.epoch + episodes as f64 };
                let row = [("d", json!(self.d)), ("run", json!(replicate)), ("mean_return", json!(mean))];
                run.append("episodes", now, row.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())?;
                run.progress.numbers(&format!("mean return {mean:.1}"));
            }
            if let Some(signal) = run.signalled() {
                return Err(signal.into());
            }
            if mean >= rl.variant.solved() {
                break;
            }
        }
        *at = Stamp { step: at.step + updates, epoch: at.epoch + episodes as f64 };
        let mut state = State::default();
        let numbers = [("best", best), ("updates", updates as f64), ("episodes", episodes as f64)];
        state.put("q-learning", numbers.map(|(name, value)| (name.to_owned(), Tensor::from(value))).into());
        run.checkpoint(phase, *at, true, &Weights { store: &self.store, arch: String::new() }, &state)?;
        Ok((best, self.row(replicate, best)))
    }

    fn row(&self, replicate: u64, performance: f64) -> CurveRow {
        CurveRow {
            d: self.d,
            run: replicate,
            performance,
            other_accuracy: None,
            projection: self.config.method.projection.choose(self.origin.numel() as i64, self.d).name(),
            parameters: self.origin.numel() as i64,
            projection_bytes: self.projection.bytes(),
            empty_directions: self.projection.empty_directions(),
        }
    }

    fn update(&mut self, target_parameters: &mut Tensor) -> Result<()> {
        let picks: Vec<usize> = (0..BATCH).map(|_| self.draw.random_range(0..self.replay.len())).collect();
        let of = |part: fn(&Transition) -> [f32; 4]| {
            tensor(&picks.iter().map(|&i| part(&self.replay[i])).collect::<Vec<_>>()).to_device(self.origin.device())
        };
        let (states, nexts) = (of(|t| t.state), of(|t| t.next));
        let action = Tensor::from_slice(&picks.iter().map(|&i| self.replay[i].action).collect::<Vec<_>>());
        let done = Tensor::from_slice(&picks.iter().map(|&i| self.replay[i].done).collect::<Vec<_>>());
        let [action, done] = [action, done].map(|t| t.to_device(self.origin.device()));
        let target = no_grad(|| {
            let reward = Tensor::ones([BATCH as i64], (Kind::Float, self.origin.device()));
            target(&self.values(target_parameters, &nexts), &reward, &done, GAMMA)
        });
        let full = self.full();
        let q = self.values(&full, &states);
        let penalty = (&full * &self.weights).square().sum(Kind::Float) * L2;
        let loss = loss(&q, &action, &target) + q.square().mean(Kind::Float) * Q_PENALTY + penalty;
        let mut gradients = grad(&loss, &[self.theta()], false, false)?;
        for gradient in gradients.iter_mut().flatten() {
            let factor = ((gradient.norm() + 1e-6).reciprocal() * CLIP).clamp_max(1.0);
            *gradient = foreach::scaled(&[&*gradient], &factor)?.remove(0);
        }
        self.optimizer.step(&self.store, &gradients, self.config.rl.lr)?;
        no_grad(|| {
            *target_parameters = target_parameters.lerp(&self.full(), TARGET_RATE);
        });
        Ok(())
    }
}

fn tensor(rows: &[[f32; 4]]) -> Tensor {
    Tensor::from_slice(rows.as_flattened()).view([rows.len() as i64, 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_expected_after_the_end() {
        let q_next = Tensor::from_slice(&[1.0, 3.0, 5.0, 2.0]).view([2, 2]);
        let target = target(&q_next, &Tensor::from_slice(&[1.0, 1.0]), &Tensor::from_slice(&[0u8, 1]), 0.5);
        assert_eq!(Vec::<f64>::try_from(&target).unwrap(), [2.5, 1.0]);
        let q = Tensor::from_slice(&[0.5, 9.0, 9.0, 1.0]).view([2, 2]);
        assert_eq!(loss(&q, &Tensor::from_slice(&[0i64, 1]), &target).double_value(&[]), 2.0);
    }
}
