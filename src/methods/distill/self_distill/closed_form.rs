//! The run of the kernel model: K is made and factored once, then every step costs two triangular solves.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, json};
use tch::{Kind, Tensor};

use super::chain::{Eigen, Fit, Ridge, Spectral, limit, spectral_limit};
use super::config::{Alpha, Config, Method, Procedure, Rule, Source};
use super::problem::{Problem, check_memory};
use super::record::{Chain, Parts, StepRow, choose, draw, pictures, summary, wrong_rates};
use crate::data::noise::{WrongRates, noisy_splits};
use crate::params::{ParamStore, Role};
use crate::report::plot::Curve;
use crate::run::{Phase, Run, Stamp, State, Summary, Weights};
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
    let eigen = (method.spectral && method.procedure == Procedure::Chain).then(|| Eigen::new(&problem.k));
    let job = Job { method, problem, eigen };
    let fitted = job.fit()?;
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
    job.save(chosen, run)?;
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

impl Job<'_> {
    fn fit(&self) -> Result<Vec<Fitted>> {
        let (method, k, y) = (self.method, &self.problem.k, &self.problem.targets.y);
        let single = |name: String, lambda: f64, fit: Fit| Fitted {
            name,
            lambda,
            alphas: vec![1.0],
            fits: vec![fit],
            limit: None,
        };
        match (method.procedure, &method.alpha) {
            (Procedure::TunedLambda, _) => {
                let fit = |&lambda: &f64| Ok(single("ridge".into(), lambda, Ridge::new(k, lambda)?.fit(&y.train)));
                method.lambdas.iter().map(fit).collect()
            }
            (Procedure::Limit, Alpha::Constant(alpha)) => {
                let fit = limit(k, &y.train, *alpha, method.lambda)?;
                Ok(vec![single("limit".into(), method.lambda / alpha, fit)])
            }
            _ => self.chains(&Ridge::new(k, method.lambda)?),
        }
    }

    fn chains(&self, ridge: &Ridge) -> Result<Vec<Fitted>> {
        let (method, y) = (self.method, &self.problem.targets.y);
        let constant = |&alpha: &f64| {
            let alphas = vec![alpha; method.steps];
            let limit = self.eigen.as_ref().filter(|_| (0.0..=1.0).contains(&alpha));
            Fitted {
                limit: limit.map(|eigen| eigen.limit(&y.train, alpha, method.lambda)),
                fits: ridge.chain(&y.train, &alphas),
                ..self.chain(format!("alpha {alpha}"), alphas)
            }
        };
        match &method.alpha {
            Alpha::Constant(alpha) => Ok(vec![constant(alpha)]),
            Alpha::Rule(Rule::Grid) => Ok(method.grid.iter().map(constant).collect()),
            Alpha::PerStep(alphas) => {
                let fits = ridge.chain(&y.train, alphas);
                Ok(vec![Fitted { fits, ..self.chain("steps".into(), alphas.clone()) }])
            }
            Alpha::Rule(Rule::Optimal) => {
                let (Some(val), Some(target)) = (&self.problem.val, &y.val) else {
                    anyhow::bail!("method.alpha = \"optimal\" needs validation data");
                };
                let best = ridge.alpha_chain(&y.train, &val.matrix()?, target, method.steps, method.clip)?;
                Ok(vec![Fitted { fits: best.steps, ..self.chain("optimal".into(), best.alphas) }])
            }
        }
    }

    fn chain(&self, name: String, alphas: Vec<f64>) -> Fitted {
        Fitted { name, lambda: self.method.lambda, alphas, fits: Vec::new(), limit: None }
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

    /// The model of the last step as a checkpoint. All that led to it is a function of the seed and simply happens again when a
    /// run that was killed is resumed.
    fn save(&self, chosen: &Fitted, run: &mut Run) -> Result<()> {
        let mut store = ParamStore::new(run.device);
        if let Some(x) = &self.problem.x {
            store.add("x", Role::Buffer, x.shallow_clone());
        }
        let last = chosen.fits.last().context("a chain has at least one step")?;
        store.add("coef", Role::Buffer, last.coef.shallow_clone());
        if let Phase::Fresh = run.phase("chain")? {
            let mut state = State::default();
            let steps =
                chosen.fits.iter().enumerate().map(|(i, fit)| (format!("step{}", i + 1), fit.coef.shallow_clone()));
            state.put("coef", steps.collect());
            state.put("chain", vec![("alphas".into(), Tensor::from_slice(&chosen.alphas))]);
            let step = chosen.fits.len() as u64;
            let arch = serde_json::to_string(&json!({"kernel": self.method.kernel, "lambda": chosen.lambda}))?;
            run.checkpoint(
                "chain",
                Stamp { step, epoch: step as f64 },
                true,
                &Weights { store: &store, arch },
                &state,
            )?;
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
