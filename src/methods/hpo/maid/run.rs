//! The run: outer iterations until the descent says why it ends.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::ops::ControlFlow::{Break, Continue};

use super::algorithm::{Algorithm, Row, from_tensor, to_tensor};
use super::build::Task;
use super::config::{Config, Problem};
use super::descent::Stop;
use crate::params::ParamStore;
use crate::report::plot::{Chart, Curve, columns};
use crate::run::{Phase, Run, Stamp, State, Summary, Weights};

const PHASE: &str = "descent";
/// The table, and the part of a checkpoint.
const NAME: &str = "maid";

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let method = &config.method;
    let task = Task::build(&config, run.seed(), run.device, &run.data_root)?;
    let mut summary = task.untouched();
    let (start, _) = task.judge(method, &task.theta, &task.x)?;
    summary.extend(start.into_iter().map(|(key, value)| (format!("{key}_start"), value)));

    let mut descent = Descent {
        algorithm: Algorithm::start(&task, method, run.seed())?,
        tally: Tally::default(),
        config: &config,
        task: &task,
    };
    descent.descend(run)?;
    let Descent { algorithm, tally, .. } = &descent;

    let (end, reached) = task.judge(method, algorithm.theta(), algorithm.x())?;
    if reached > method.judge.eps {
        let (wanted, cap) = (method.judge.eps, method.judge.cap);
        run.progress.warn(&format!(
            "method.judge.cap = {cap} gradients left the last solution known to {reached:.1e} only, not to {wanted:.1e}"
        ));
    }
    summary.extend(end);
    let work = algorithm.work();
    summary.insert("accepted_steps".into(), json!(tally.accepted));
    summary.insert("outer_iterations".into(), json!(algorithm.iteration()));
    summary.insert("inner_gradients".into(), json!(work.gradients));
    summary.insert("hessian_products".into(), json!(work.hessian_products));
    summary.insert("cost".into(), json!(work.units()));
    if method.problem == Problem::Quadratic {
        summary.insert("gap_iterations".into(), json!(tally.reached.map(|at| at.iterations)));
        summary.insert("gap_gradients".into(), json!(tally.reached.map(|at| at.inner_gradients)));
        summary.insert("gap_products".into(), json!(tally.reached.map(|at| at.hessian_products)));
    }
    summary.insert("stop".into(), json!(tally.stop));
    summary.insert("seconds".into(), json!(work.seconds));
    pictures(run)?;
    Ok(summary)
}

/// What is counted beside the algorithm's own state.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Tally {
    /// Outer iterations that moved theta.
    accepted: u64,
    /// Why the descent is over.
    stop: Option<Stop>,
    /// Where the gap to the minimum was first within `quadratic.target_gap`.
    reached: Option<Reached>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Reached {
    iterations: u64,
    inner_gradients: u64,
    hessian_products: u64,
}

struct Descent<'a> {
    algorithm: Algorithm<'a>,
    tally: Tally,
    config: &'a Config,
    task: &'a Task,
}

impl Descent<'_> {
    fn descend(&mut self, run: &mut Run) -> Result<()> {
        match run.phase(PHASE)? {
            Phase::Fresh => {}
            Phase::Resumed(checkpoint) | Phase::Done(checkpoint) => self.load(&checkpoint.state)?,
        }
        let settings = &self.config.method.settings;
        let steps = if settings.budget > 0 { settings.budget } else { settings.iterations };
        run.progress.start(PHASE, self.done(), steps);
        if self.tally.stop.is_some() {
            return Ok(());
        }
        loop {
            match self.algorithm.iterate()? {
                Break(stop) => {
                    self.tally.stop = Some(stop);
                    self.announce(stop, run);
                    return self.checkpoint(true, run);
                }
                Continue(row) => self.record(&row, run)?,
            }
        }
    }

    /// What the bar shows: the work done where there is a budget, else iterations.
    fn done(&self) -> u64 {
        let budget = self.config.method.settings.budget > 0;
        if budget { self.algorithm.work().units() } else { self.algorithm.iteration() }
    }

    fn stamp(&self) -> Stamp {
        let iteration = self.algorithm.iteration();
        Stamp { step: iteration, epoch: iteration as f64 }
    }

    fn record(&mut self, row: &Row, run: &mut Run) -> Result<()> {
        self.tally.accepted += u64::from(row.step_size > 0.0);
        if self.tally.reached.is_none()
            && self.task.gap(self.algorithm.theta()).is_some_and(|gap| gap <= self.config.method.quadratic.target_gap)
        {
            let &Row { iteration, inner_gradients, hessian_products, .. } = row;
            self.tally.reached = Some(Reached { iterations: iteration, inner_gradients, hessian_products });
        }
        run.row(NAME, self.stamp(), row)?;
        run.progress.step(self.done());
        run.progress.numbers(&format!("loss {:.5} eps {:.1e} step {:.1e}", row.loss, row.eps, row.step_size));
        let signal = run.signalled();
        if signal.is_some() || run.checkpoint_due(row.iteration) {
            self.checkpoint(false, run)?;
        }
        signal.map_or(Ok(()), |signal| Err(signal.into()))
    }

    fn announce(&self, stop: Stop, run: &mut Run) {
        let eps = self.config.method.settings.eps_min;
        match stop {
            Stop::LineSearchFailed => run.progress.warn(
                "no step certifies a decrease at this fixed accuracy: the run ends here; algorithm = \"maid\" would solve more accurately",
            ),
            Stop::StalledAtAccuracyFloor => {
                run.progress.warn(&format!("stalled at the accuracy floor method.eps_min = {eps:e}"));
            }
            Stop::Iterations | Stop::Budget | Stop::Stationary => {}
        }
    }

    /// There is no network: theta, x and the numbers are all in the state.
    fn checkpoint(&self, complete: bool, run: &mut Run) -> Result<()> {
        let weights = Weights { store: &ParamStore::new(run.device), arch: String::new() };
        let mut state = State::default();
        state.put(NAME, self.algorithm.tensors()?);
        state.put("run", vec![("tally".into(), to_tensor(&self.tally)?)]);
        run.checkpoint(PHASE, self.stamp(), complete, &weights, &state)
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.algorithm.load(&state.take(NAME))?;
        let run = state.take("run");
        self.tally = from_tensor(run.get("tally").context("the checkpoint holds no tally")?)?;
        Ok(())
    }
}

/// Loss against cost, eps and alpha against iterations (logarithms: both span orders of magnitude).
fn pictures(run: &Run) -> Result<()> {
    if !run.folder().join(format!("{NAME}.csv")).exists() {
        return Ok(()); // no step was accepted
    }
    let column = |x: &str, y: &str| columns(run.folder(), NAME, x, y, None);
    let log = |name: &str| -> Result<Curve> {
        let points = column("iteration", name)?;
        Ok(Curve { name: name.into(), points: points.into_iter().map(|(x, y)| (x, y.log10())).collect() })
    };
    let loss = [Curve { name: "loss".into(), points: column("cost", "loss")? }];
    let accuracy = [log("eps")?, log("alpha")?];
    let draw = |file: &str, chart: Chart| run.write(&format!("plots/{file}.svg"), chart.svg()?.as_bytes());
    let cost = "inner gradients and Hessian products";
    draw(
        "loss",
        Chart { title: "upper loss by cost", x: cost, y: "upper loss", curves: &loss, dots: false, marks: &[] },
    )?;
    let title = "accuracy and step by outer iteration";
    draw("accuracy", Chart { title, x: "outer iteration", y: "log10", curves: &accuracy, dots: false, marks: &[] })
}
