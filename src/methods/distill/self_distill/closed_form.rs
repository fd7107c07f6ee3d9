//! The run of the kernel model: K is made and factored once, then every step costs two triangular solves. A resumed run makes
//! K and its factor anew, for they are larger than all else, but no step again.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, json};
use std::cell::OnceCell;
use tch::{Kind, Tensor};

use super::chain::{Eigen, Fit, Ridge, Spectral, limit, spectral_limit};
use super::config::{Alpha, Config, Method, Procedure, Rule, Source};
use super::problem::{Problem, check_memory};
use super::record::{Chain, Parts, StepRow, choose, draw, pictures, summary, wrong_rates};
use crate::data::noise::{WrongRates, noisy_splits};
use crate::params::{ParamStore, Role};
use crate::report::plot::Curve;
use crate::run::{Checkpoint, Phase, Run, Stamp, State, Summary, Weights};
use crate::train::load_data;

/// Directions of K whose B and ratios are drawn; the rest are in spectral.csv.
const DRAWN: usize = 50;

pub fn run(config: &Config, run: &mut Run) -> Result<Summary> {
    let (problem, wrong) = load(config, run)?;
    let method = &config.method;
    ensure!(
        !method.needs_validation() || problem.val.is_some(),
        "{} needs validation data, and method.file holds no k_val and y_val",
        method.validated_field()
    );
    let mut job = Job { method, problem, eigen: None };
    let mut fitted = job.fit(run)?;
    if method.spectral && method.procedure == Procedure::Chain {
        job.eigen = Some(Eigen::new(&job.problem.k));
        job.limits(&mut fitted);
    }
    let mut chains = Vec::with_capacity(fitted.len());
    for fitted in &fitted {
        chains.push(job.measure(fitted, run)?);
        if let Some(signal) = run.signalled() {
            return Err(signal.into());
        }
    }
    let chosen = &fitted[choose(&chains)];
    let mut summary = summary(&chains);
    summary.extend(wrong_rates(wrong));
    summary.insert("n".into(), json!(job.problem.k.size()[0]));
    job.spectrum(chosen, run, &mut summary)?;
    let steps = fitted.iter().map(|chain| chain.fits.len() as u64).sum();
    job.save(chosen, steps, run)?;
    match method.procedure {
        Procedure::TunedLambda => by_lambda(run, &chains)?,
        _ => pictures(run, &chains)?,
    }
    Ok(summary)
}

fn load(config: &Config, run: &Run) -> Result<(Problem, WrongRates)> {
    let method = &config.method;
    // K, its shifted copy and its factor; the eigenvectors and as much again to find them.
    let copies = if method.spectral { 6 } else { 3 };
    match method.source {
        Source::Toy => Ok((Problem::toy(method.kernel, run.device)?, WrongRates::default())),
        Source::Images => {
            let (data, wrong) = noisy_splits(load_data(run, &config.data)?, &config.noise, run.seed())?;
            check_memory(data.train.len() as i64, copies, run.device)?;
            Ok((Problem::images(method.kernel, &data)?, wrong))
        }
        Source::File => {
            let path = method.file.as_ref().context("method.file is not set")?;
            let problem = Problem::file(path, run.device)?;
            check_memory(problem.k.size()[0], copies, run.device)?;
            Ok((problem, WrongRates::default()))
        }
    }
}

struct Job<'a> {
    method: &'a Method,
    problem: Problem,
    eigen: Option<Eigen>,
}

/// A chain as it was fitted.
struct Fitted {
    name: String,
    lambda: f64,
    /// One a step; the first has no effect on the fit.
    alphas: Vec<f64>,
    fits: Vec<Fit>,
    limit: Option<Fit>,
}

impl Fitted {
    fn new(name: String, lambda: f64) -> Fitted {
        Fitted { name, lambda, alphas: Vec::new(), fits: Vec::new(), limit: None }
    }

    /// The steps done so far, for a checkpoint in the middle of the chain.
    fn state(&self) -> State {
        let named = |name: &str, of: fn(&Fit) -> &Tensor| -> Vec<(String, Tensor)> {
            self.fits.iter().enumerate().map(|(i, fit)| (format!("{name}{i}"), of(fit).shallow_clone())).collect()
        };
        let mut state = State::default();
        state.put("steps", named("coef", |fit| &fit.coef));
        state.put("steps", named("fit", |fit| &fit.fit));
        state.put("chain", vec![("alphas".into(), Tensor::from_slice(&self.alphas))]);
        state
    }

    fn load(&mut self, checkpoint: &Checkpoint, device: tch::Device) -> Result<()> {
        let place = || format!("{} is not of this chain", checkpoint.path.display());
        let alphas = checkpoint.state.take("chain").remove("alphas").with_context(place)?;
        self.alphas = Vec::try_from(alphas)?;
        let mut steps = checkpoint.state.take("steps");
        for i in 0..self.alphas.len() {
            let mut take = |name: &str| steps.remove(&format!("{name}{i}")).map(|t| t.to_device(device));
            let (coef, fit) = take("coef").zip(take("fit")).with_context(place)?;
            self.fits.push(Fit { coef, fit });
        }
        Ok(())
    }
}

/// From the fits so far to the weight of the labels in the next one, and that one.
type NextFit<'a> = dyn Fn(&[Fit]) -> Result<(f64, Fit)> + 'a;

impl Job<'_> {
    /// All chains. Each is a phase with a checkpoint after every step: a kill loses one step.
    fn fit(&self, run: &mut Run) -> Result<Vec<Fitted>> {
        let (method, k, y) = (self.method, &self.problem.k, &self.problem.targets.y);
        let ridge = OnceCell::new();
        let factored = |lambda: f64| -> Result<&Ridge> {
            if ridge.get().is_none() {
                let _ = ridge.set(Ridge::new(k, lambda)?);
            }
            ridge.get().context("K is factored")
        };
        let mut done = 0;
        let mut chain = |name: String, phase: String, lambda, steps, next: &NextFit| {
            let mut fitted = Fitted::new(name, lambda);
            self.advance(&mut fitted, &phase, (done, steps), next, run)?;
            done += steps as u64;
            Ok(fitted)
        };
        let lambda = method.lambda;
        let mut by_weights = |name: String, alphas: Vec<f64>| {
            let next = |before: &[Fit]| {
                let alpha = alphas[before.len()];
                Ok((alpha, factored(lambda)?.step(&y.train, before.last(), alpha)))
            };
            chain(name.clone(), name, lambda, alphas.len(), &next)
        };
        match (method.procedure, &method.alpha) {
            (Procedure::TunedLambda, _) => {
                let fit = |&lambda: &f64| {
                    let next = |_: &[Fit]| Ok((1.0, Ridge::new(k, lambda)?.fit(&y.train)));
                    chain("ridge".into(), format!("ridge {lambda:e}"), lambda, 1, &next)
                };
                method.lambdas.iter().map(fit).collect()
            }
            (Procedure::Limit, Alpha::Constant(alpha)) => {
                let next = |_: &[Fit]| Ok((1.0, limit(k, &y.train, *alpha, lambda)?));
                Ok(vec![chain("limit".into(), "limit".into(), lambda / alpha, 1, &next)?])
            }
            (_, Alpha::Constant(alpha)) => Ok(vec![by_weights(format!("alpha {alpha}"), vec![*alpha; method.steps])?]),
            (_, Alpha::Rule(Rule::Grid)) => {
                let grid = method.grid.iter();
                grid.map(|alpha| by_weights(format!("alpha {alpha}"), vec![*alpha; method.steps])).collect()
            }
            (_, Alpha::PerStep(alphas)) => Ok(vec![by_weights("steps".into(), alphas.clone())?]),
            (_, Alpha::Rule(Rule::Optimal)) => {
                let (Some(val), Some(target)) = (&self.problem.val, &y.val) else {
                    anyhow::bail!("method.alpha = \"optimal\" needs validation data");
                };
                let kx = val.matrix()?;
                let next = |before: &[Fit]| {
                    let ridge = factored(lambda)?;
                    if before.is_empty() {
                        return Ok((1.0, ridge.fit(&y.train)));
                    }
                    let (alpha, _, fit) = ridge.best_step(before, &kx, target, method.clip);
                    Ok((alpha, fit))
                };
                Ok(vec![chain("optimal".into(), "optimal".into(), lambda, method.steps, &next)?])
            }
        }
    }

    /// Makes the steps of a chain that are missing. `counts` are the steps of the chains before and of this one.
    fn advance(
        &self,
        fitted: &mut Fitted,
        phase: &str,
        counts: (u64, usize),
        next: &NextFit,
        run: &mut Run,
    ) -> Result<()> {
        let (before, steps) = counts;
        if let Phase::Resumed(checkpoint) | Phase::Done(checkpoint) = run.phase(phase)? {
            fitted.load(&checkpoint, run.device)?;
        }
        run.progress.start(phase, fitted.fits.len() as u64, steps as u64);
        let (store, arch) = (ParamStore::new(run.device), self.arch(fitted.lambda)?);
        while fitted.fits.len() < steps {
            let (alpha, fit) = next(&fitted.fits)?;
            fitted.alphas.push(alpha);
            fitted.fits.push(fit);
            let tau = fitted.fits.len();
            run.progress.step(tau as u64);
            let at = Stamp { step: before + tau as u64, epoch: tau as f64 };
            let weights = Weights { store: &store, arch: arch.clone() };
            run.checkpoint(phase, at, tau == steps, &weights, &fitted.state())?;
            if let Some(signal) = run.signalled().filter(|_| tau < steps) {
                return Err(signal.into());
            }
        }
        Ok(())
    }

    /// What a checkpoint says of its model.
    fn arch(&self, lambda: f64) -> Result<String> {
        Ok(serde_json::to_string(&json!({"kernel": self.method.kernel, "lambda": lambda}))?)
    }

    /// Where the chains with a constant weight lead.
    fn limits(&self, fitted: &mut [Fitted]) {
        let constant = matches!(self.method.alpha, Alpha::Constant(_) | Alpha::Rule(Rule::Grid));
        let Some(eigen) = self.eigen.as_ref().filter(|_| constant) else { return };
        for chain in fitted.iter_mut().filter(|chain| (0.0..=1.0).contains(&chain.alphas[0])) {
            chain.limit = Some(eigen.limit(&self.problem.targets.y.train, chain.alphas[0], chain.lambda));
        }
    }

    /// The rows of a chain and its limit, written.
    fn measure(&self, fitted: &Fitted, run: &mut Run) -> Result<Chain> {
        let all: Vec<&Fit> = fitted.fits.iter().chain(&fitted.limit).collect();
        // One pass over the kernel's blocks serves all steps.
        let coefs: Vec<&Tensor> = all.iter().map(|fit| &fit.coef).collect();
        let coefs = Tensor::cat(&coefs, 1);
        let pieces = |f: Tensor| f.chunk(all.len() as i64, 1);
        let test = pieces(self.problem.test.times(&coefs)?);
        let val = self.problem.val.as_ref().map(|val| val.times(&coefs)).transpose()?.map(pieces);
        let mut rows = Vec::with_capacity(all.len());
        for (i, fit) in all.iter().enumerate() {
            let f = Parts {
                train: fit.fit.shallow_clone(),
                val: val.as_ref().map(|val| val[i].shallow_clone()),
                test: test[i].shallow_clone(),
            };
            let tau = (i < fitted.fits.len()).then_some(i + 1);
            let alpha = fitted.alphas.get(i.min(fitted.alphas.len() - 1)).copied().filter(|_| i > 0);
            let squared = (&fit.coef * &fit.fit).sum(Kind::Double).double_value(&[]);
            let distance = |limit: &Fit| (&fit.fit - &limit.fit).abs().max().double_value(&[]);
            let row = StepRow {
                lambda: Some(fitted.lambda),
                norm: Some(squared.max(0.0).sqrt()),
                to_limit: fitted.limit.as_ref().map(distance),
                ..StepRow::new(&fitted.name, tau, alpha, &f, &self.problem.targets)
            };
            let step = i as u64 + 1;
            row.write(Stamp { step, epoch: step as f64 }, run)?;
            rows.push(row);
        }
        let limit = fitted.limit.as_ref().and_then(|_| rows.pop());
        Ok(Chain { name: fitted.name.clone(), rows, limit })
    }

    /// spectral.csv and its plots: a row for each direction of K, the largest first.
    fn spectrum(&self, chosen: &Fitted, run: &mut Run, summary: &mut Summary) -> Result<()> {
        let Some(eigen) = &self.eigen else { return Ok(()) };
        let (y, lambda) = (&self.problem.targets.y.train, chosen.lambda);
        let last = chosen.fits.last().context("a chain has at least one step")?;
        let error = (eigen.fit(y, &chosen.alphas, lambda) - &last.fit).abs().max().double_value(&[]);
        summary.insert("spectral_error".into(), json!(error));
        let d = eigen.d.flip([0]);
        let spectral = Spectral::new(&d, &chosen.alphas, lambda);
        let columns = |t: &Tensor| -> Result<Vec<f64>> { Ok(Vec::try_from(t.to_device(tch::Device::Cpu))?) };
        let steps = |t: &Tensor| -> Result<Vec<Vec<f64>>> {
            (0..chosen.alphas.len()).map(|tau| columns(&t.get(tau as i64))).collect()
        };
        let (b, ratios) = (steps(&spectral.b)?, steps(&spectral.ratios())?);
        let limit =
            chosen.limit.as_ref().map(|_| columns(&spectral_limit(&d, chosen.alphas[0], lambda))).transpose()?;
        let (d, a) = (columns(&d)?, columns(&spectral.a)?);
        let at = Stamp { step: chosen.alphas.len() as u64, epoch: chosen.alphas.len() as f64 };
        for k in 0..d.len() {
            let mut row = Map::new();
            row.insert("k".into(), json!(k + 1));
            row.insert("d".into(), json!(d[k]));
            row.insert("a".into(), json!(a[k]));
            row.extend(b.iter().enumerate().map(|(tau, b)| (format!("b_step{}", tau + 1), json!(b[k]))));
            row.extend(ratios.iter().enumerate().map(|(tau, r)| (format!("ratio_step{}", tau + 1), json!(r.get(k)))));
            row.insert("limit".into(), json!(limit.as_ref().map(|limit| limit[k])));
            run.append("spectral", at, row)?;
        }
        let curve = |name: String, values: &[f64]| Curve {
            name,
            points: values.iter().take(DRAWN).enumerate().map(|(k, &v)| (k as f64 + 1.0, v)).collect(),
        };
        let curves = |all: &[Vec<f64>]| -> Vec<Curve> {
            all.iter().enumerate().map(|(tau, values)| curve(format!("step {}", tau + 1), values)).collect()
        };
        let mut diagonals = curves(&b);
        diagonals.extend(limit.map(|limit| curve("limit".into(), &limit)));
        let title = "What is left of each direction of K: B_k by step";
        draw(run, "b_diagonals", title, "k (largest eigenvalue first)", "B_k", &diagonals)?;
        if d.len() > 1 {
            let title = "Small directions fade first: R_k = B_k / B_{k+1} by step";
            draw(run, "ratios", title, "k (largest eigenvalue first)", "R_k", &curves(&ratios))?;
        }
        Ok(())
    }

    /// The chosen model of the last step as a checkpoint of its own, with the coefficients of all its steps.
    fn save(&self, chosen: &Fitted, steps: u64, run: &mut Run) -> Result<()> {
        let mut store = ParamStore::new(run.device);
        if let Some(x) = &self.problem.x {
            store.add("x", Role::Buffer, x.shallow_clone());
        }
        let last = chosen.fits.last().context("a chain has at least one step")?;
        store.add("coef", Role::Buffer, last.coef.shallow_clone());
        if let Phase::Fresh = run.phase("chain")? {
            let weights = Weights { store: &store, arch: self.arch(chosen.lambda)? };
            let at = Stamp { step: steps, epoch: chosen.fits.len() as f64 };
            run.checkpoint("chain", at, true, &weights, &chosen.state())?;
        }
        Ok(())
    }
}

/// Errors of the single fits by their penalty.
fn by_lambda(run: &Run, chains: &[Chain]) -> Result<()> {
    let curve = |name: &str, of: fn(&StepRow) -> Option<f64>| Curve {
        name: name.into(),
        points: chains.iter().flat_map(|c| &c.rows).filter_map(|r| Some((r.lambda?.log10(), of(r)?))).collect(),
    };
    let curves = [curve("validation", |row| row.val_mse), curve("test", |row| Some(row.test_mse))];
    draw(run, "lambda", "Mean squared error by penalty", "log10 lambda", "mse", &curves)
}
