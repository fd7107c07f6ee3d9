//! What is measured of every step, and what becomes of it: chain.csv, the summary, the plots.

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use tch::{Kind, Tensor, no_grad};

use crate::data::noise::WrongRates;
use crate::report::plot::{Chart, Curve};
use crate::run::{Run, Stamp, Summary};

/// One thing for each part of the data.
pub struct Parts<T> {
    pub train: T,
    pub val: Option<T>,
    pub test: T,
}

impl<T> Parts<T> {
    pub fn map<U>(&self, f: impl Fn(&T) -> U) -> Parts<U> {
        Parts { train: f(&self.train), val: self.val.as_ref().map(&f), test: f(&self.test) }
    }
}

/// The targets of a problem, all `[m,c]`: one-hot rows of classes, or values.
pub struct Targets {
    pub y: Parts<Tensor>,
    /// Whether the arg max of a row is a class, so that there is an accuracy.
    pub classes: bool,
}

/// A row of chain.csv: one model of a chain.
#[derive(Clone, Debug, Serialize)]
pub struct StepRow {
    /// Which chain: `alpha 0.3`, `steps`, `optimal`, `limit`, ... (`probe`: the teacher-only student of a network's step).
    pub chain: String,
    /// The step of the paper; the first model is fitted to labels alone. None: the chain's limit.
    pub tau: Option<usize>,
    /// The weight of the labels; none for the first model.
    pub alpha: Option<f64>,
    /// The penalty of the fit (kernels).
    pub lambda: Option<f64>,
    /// Mean squared error over samples and outputs; training and validation targets are as noisy as they are.
    pub train_mse: f64,
    pub val_mse: Option<f64>,
    pub test_mse: f64,
    pub train_accuracy: Option<f64>,
    pub val_accuracy: Option<f64>,
    pub test_accuracy: Option<f64>,
    /// Root mean square of f on the test inputs: goes to 0 where accuracy alone would not show it.
    pub rms: f64,
    /// ||f||_K, all outputs together (kernels).
    pub norm: Option<f64>,
    /// max |y^(tau) - y^(inf)| on the training inputs (kernels, constant alpha).
    pub to_limit: Option<f64>,
}

/// Mean squared error and accuracy of outputs f `[m,c]`.
fn score(f: &Tensor, y: &Tensor, classes: bool) -> (f64, Option<f64>) {
    no_grad(|| {
        let mse = (f - y).square().mean(Kind::Double);
        if !classes {
            return (mse.double_value(&[]), None);
        }
        let right = f.argmax(1, false).eq_tensor(&y.argmax(1, false)).to_kind(Kind::Double).mean(Kind::Double);
        let both = Vec::<f64>::try_from(Tensor::stack(&[mse, right], 0)).expect("two numbers");
        (both[0], Some(both[1]))
    })
}

impl StepRow {
    /// Measures the outputs `f` of a model.
    pub fn new(chain: &str, tau: Option<usize>, alpha: Option<f64>, f: &Parts<Tensor>, targets: &Targets) -> StepRow {
        let y = &targets.y;
        let (train_mse, train_accuracy) = score(&f.train, &y.train, targets.classes);
        let val = f.val.as_ref().zip(y.val.as_ref()).map(|(f, y)| score(f, y, targets.classes));
        let (test_mse, test_accuracy) = score(&f.test, &y.test, targets.classes);
        StepRow {
            chain: chain.to_owned(),
            tau,
            alpha,
            lambda: None,
            train_mse,
            val_mse: val.map(|(mse, _)| mse),
            test_mse,
            train_accuracy,
            val_accuracy: val.and_then(|(_, accuracy)| accuracy),
            test_accuracy,
            rms: f.test.square().mean(Kind::Double).sqrt().double_value(&[]),
            norm: None,
            to_limit: None,
        }
    }

    /// Writes the row and says it.
    pub fn write(&self, at: Stamp, run: &mut Run) -> Result<()> {
        run.row("chain", at, self)?;
        let step = self.tau.map_or("limit".to_owned(), |tau| format!("step {tau}"));
        let alpha = self.alpha.map_or(String::new(), |alpha| format!("label weight {alpha:.3}, "));
        let accuracy = self.test_accuracy.map_or(String::new(), |a| format!(", accuracy {:.2}%", 100.0 * a));
        run.progress.numbers(&format!("{} {step}: {alpha}test mse {:.5}{accuracy}", self.chain, self.test_mse));
        Ok(())
    }
}

/// The models of one chain, the first of them fitted to labels alone.
pub struct Chain {
    pub name: String,
    pub rows: Vec<StepRow>,
    /// Where more steps would lead (kernels, constant alpha).
    pub limit: Option<StepRow>,
}

/// The chain with the smallest validation error at its last step; the first, if there is but one.
pub fn choose(chains: &[Chain]) -> usize {
    let error = |chain: &Chain| chain.rows.last().and_then(|row| row.val_mse).unwrap_or(f64::INFINITY);
    let better = |best: usize, i: usize| if error(&chains[i]) < error(&chains[best]) { i } else { best };
    (1..chains.len()).fold(0, better)
}

/// The summary of the chosen chain. `accuracy_best` alone looks at all chains and steps, and at test labels: a bound.
pub fn summary(chains: &[Chain]) -> Summary {
    let chain = &chains[choose(chains)];
    let mut summary = Summary::new();
    let (Some(first), Some(last)) = (chain.rows.first(), chain.rows.last()) else { return summary };
    summary.insert("chain".into(), json!(chain.name));
    for (key, row) in [("", last), ("_first", first)] {
        summary.insert(format!("accuracy{key}"), json!(row.test_accuracy));
        summary.insert(format!("mse{key}"), json!(row.test_mse));
        summary.insert(format!("val_mse{key}"), json!(row.val_mse));
        summary.insert(format!("rms{key}"), json!(row.rms));
    }
    for row in chain.rows.iter().chain(&chain.limit) {
        let step = row.tau.map_or("limit".to_owned(), |tau| format!("step{tau}"));
        summary.insert(format!("mse_{step}"), json!(row.test_mse));
        summary.insert(format!("accuracy_{step}"), json!(row.test_accuracy));
        summary.insert(format!("val_mse_{step}"), json!(row.val_mse));
        summary.insert(format!("alpha_{step}"), json!(row.alpha));
    }
    summary.insert("lambda".into(), json!(last.lambda));
    let alphas = || chain.rows.iter().filter_map(|row| row.alpha);
    summary.insert("alpha_min".into(), json!(alphas().reduce(f64::min)));
    summary.insert("alpha_max".into(), json!(alphas().reduce(f64::max)));
    let all = || chains.iter().flat_map(|chain| &chain.rows);
    summary.insert("accuracy_best".into(), json!(all().filter_map(|row| row.test_accuracy).reduce(f64::max)));
    summary.insert("mse_best".into(), json!(all().map(|row| row.test_mse).reduce(f64::min)));
    summary
}

/// The shares of labels that are wrong, for the summary.
pub fn wrong_rates(wrong: WrongRates) -> Summary {
    [("wrong_labels_train", json!(wrong.train)), ("wrong_labels_val", json!(wrong.val))]
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect()
}

/// Test error, accuracy and weight of each step.
pub fn pictures(run: &Run, chains: &[Chain]) -> Result<()> {
    let picture = |file: &str, y: &str, of: fn(&StepRow) -> Option<f64>| {
        let curve = |chain: &Chain| Curve {
            name: chain.name.clone(),
            points: chain.rows.iter().filter_map(|row| Some((row.tau? as f64, of(row)?))).collect(),
        };
        let curves: Vec<Curve> = chains.iter().map(curve).filter(|curve| !curve.points.is_empty()).collect();
        draw(run, file, &format!("{y} by step"), "step", y, &curves)
    };
    picture("test_mse", "test mse", |row| Some(row.test_mse))?;
    picture("accuracy", "test accuracy", |row| row.test_accuracy)?;
    picture("alpha", "alpha", |row| row.alpha)
}

/// A chart with marked points in the run's plots folder; without curves there is none.
pub fn draw(run: &Run, file: &str, title: &str, x: &str, y: &str, curves: &[Curve]) -> Result<()> {
    if curves.is_empty() {
        return Ok(());
    }
    let few = curves.iter().all(|curve| curve.points.len() <= 30);
    let svg = Chart { title, x, y, curves, dots: few, marks: &[] }.svg()?;
    run.write(&format!("plots/{file}.svg"), svg.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tau: usize, f: &[f64], alpha: Option<f64>) -> StepRow {
        let tensor = |values: &[f64]| Tensor::from_slice(values).view([-1, 2]);
        let y = || tensor(&[1.0, 0.0, 0.0, 1.0]);
        let targets = Targets { y: Parts { train: y(), val: Some(y()), test: y() }, classes: true };
        let f = Parts { train: tensor(f), val: Some(tensor(f)), test: tensor(f) };
        StepRow::new("x", Some(tau), alpha, &f, &targets)
    }

    #[test]
    fn the_chain_that_is_best_on_validation_data_is_summed_up() {
        let chain = |name: &str, last: &[f64]| Chain {
            name: name.into(),
            rows: vec![row(1, &[1.0, 0.0, 0.5, 0.0], None), row(2, last, Some(0.25))],
            limit: None,
        };
        let chains = [chain("0", &[0.0, 1.0, 1.0, 0.0]), chain("0.5", &[0.5, 0.0, 0.0, 1.0])];
        assert_eq!(choose(&chains), 1);
        let summary = summary(&chains);
        assert_eq!((&summary["accuracy"], &summary["accuracy_first"]), (&json!(1.0), &json!(0.5)));
        assert_eq!((&summary["mse_step1"], &summary["mse_step2"]), (&json!(1.25 / 4.0), &json!(0.0625)));
        assert_eq!((&summary["alpha_step2"], &summary["alpha_min"]), (&json!(0.25), &json!(0.25)));
    }
}
