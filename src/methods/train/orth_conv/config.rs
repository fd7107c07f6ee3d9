//! The experiment file of `reglab train orth-conv`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exists::{Borders, Existence, existence, refusal};
use super::lorth::Shape;
use crate::config::Experiment;
use crate::data::DataConfig;
use crate::models::Arch;
use crate::train::TrainConfig;

/// What is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A classifier, with the regularizer beside its loss.
    #[default]
    Classify,
    /// Single kernels, with L_orth as the only loss: the paper's synthetic study.
    Synthetic,
}

/// What is added to the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Regulariser {
    /// Nothing.
    None,
    /// The method: L_orth of the layer.
    #[default]
    Lorth,
    /// ||m m^t - I||^2 of the reshaped kernel, on its smaller side.
    So,
    /// The same on both sides.
    Dso,
    /// The spectral norm of m^t m - I by power iteration.
    Srip,
    /// The first public implementation of L_orth: fixed padding 1, norms that are not squared, some layers left out.
    Wang,
}

impl Regulariser {
    /// The column of its term in train.csv.
    pub fn term(self) -> &'static str {
        match self {
            Regulariser::None => "none",
            Regulariser::Lorth => "lorth",
            Regulariser::So => "so",
            Regulariser::Dso => "dso",
            Regulariser::Srip => "srip",
            Regulariser::Wang => "wang",
        }
    }
}

/// How kernels start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// As the model has them; synthetic: Glorot's uniform values.
    #[default]
    Model,
    /// An orthogonal layer of unit taps.
    Delta,
    /// The orthogonal matrix nearest to the reshaped initial kernel.
    Orthogonal,
    /// The initial kernel scaled to Glorot's standard deviation.
    Glorot,
}

/// What happens to a layer of which no orthogonal one exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnImpossible {
    /// The run ends before it begins and says which layer it is.
    #[default]
    Refuse,
    /// It gets the regularizer of the reshaped kernel (so) instead.
    RowOrth,
}

/// How singular values are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// All of them, by Fourier transform, in float64.
    #[default]
    Exact,
    /// The largest, by 100 power steps: for wide layers.
    Power,
}

/// Ranges whose every combination is tried.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grid {
    /// Numbers of outputs.
    pub m: Vec<i64>,
    /// Numbers of inputs.
    pub c: Vec<i64>,
    /// Sides of the kernel.
    pub k: Vec<i64>,
    /// Strides.
    pub s: Vec<i64>,
}

/// The attack at the end of a classifier's run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Attack {
    /// L2 radii in units of the network's input (of pixel values in [0, 1] with data.normalize = "unit" and for digits).
    pub eps: Vec<f64>,
    /// Steps of projected gradient descent.
    #[schemars(range(min = 1))]
    pub steps: u64,
    /// Length of a step over the radius, above 0.
    pub step: f64,
}

impl Default for Attack {
    fn default() -> Attack {
        Attack { eps: Vec::new(), steps: 20, step: 0.2 }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    pub task: Task,
    pub regulariser: Regulariser,
    /// Weight of the regularizer, the sum over the layers (0: it is left out).
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    /// Regularize the first convolution too.
    pub first_layer: bool,
    /// Add lambda ||W W^t - I||^2 of every Linear layer, on its smaller side.
    pub dense: bool,
    pub init: Start,
    pub on_impossible: OnImpossible,
    /// Weight decay of what is regularized; more than 0 pulls the singular values below 1.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// srip: power steps.
    #[schemars(range(min = 1))]
    pub iters: u64,
    /// Sides N of the output maps at which singular values are measured. Those of N are among those of its multiples.
    pub probe_n: Vec<i64>,
    pub probe: Probe,
    /// Epochs between two measurements (the start and the last epoch are always measured).
    #[schemars(range(min = 1))]
    pub probe_every: u64,
    /// classify: the attack at the end.
    pub attack: Attack,
    /// synthetic: the layers [M, C, k, S].
    pub shapes: Vec<[i64; 4]>,
    /// synthetic: more layers, those of all combinations of which an orthogonal one exists.
    pub grid: Grid,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            task: Task::default(),
            regulariser: Regulariser::default(),
            lambda: 1.0,
            first_layer: true,
            dense: true,
            init: Start::default(),
            on_impossible: OnImpossible::default(),
            weight_decay: 0.0,
            iters: 2,
            probe_n: vec![8],
            probe: Probe::default(),
            probe_every: 1,
            attack: Attack::default(),
            shapes: Vec::new(),
            grid: Grid::default(),
        }
    }
}

impl Method {
    /// Whether anything is added to the loss.
    pub fn regularizes(&self) -> bool {
        self.regulariser != Regulariser::None && self.lambda > 0.0
    }

    /// What the field ranges cannot say.
    pub fn check(&self) -> Result<()> {
        ensure!(self.lambda.is_finite(), "method.lambda = {} should be a finite number", self.lambda);
        let small = self.probe_n.iter().find(|&&n| n < 1);
        ensure!(small.is_none(), "method.probe_n has {}: sides must be at least 1", small.unwrap_or(&0));
        ensure!(!self.probe_n.is_empty(), "method.probe_n is empty; it should list sides of output maps, 8 say");
        let Attack { eps, step, .. } = &self.attack;
        let bad = eps.iter().find(|&&eps| !(eps.is_finite() && eps > 0.0));
        ensure!(bad.is_none(), "method.attack.eps has {}: radii must be above 0", bad.unwrap_or(&0.0));
        ensure!(step.is_finite() && *step > 0.0, "method.attack.step = {step} must be above 0");
        let synthetic = self.task == Task::Synthetic;
        let Grid { m, c, k, s } = &self.grid;
        let lists = [m, c, k, s];
        let given = lists.iter().filter(|list| !list.is_empty()).count();
        ensure!(given == 0 || given == 4, "method.grid needs all of m, c, k and s");
        ensure!(
            lists.iter().all(|list| list.iter().all(|&n| n >= 1)),
            "method.grid has a number below 1; M, C, k and S must be at least 1"
        );
        ensure!(
            synthetic || (self.shapes.is_empty() && given == 0),
            "method.shapes and method.grid are for method.task = \"synthetic\" only"
        );
        if !synthetic {
            return Ok(());
        }
        ensure!(
            given == 4 || !self.shapes.is_empty(),
            "method.task = \"synthetic\" needs method.shapes or method.grid"
        );
        ensure!(
            self.regulariser == Regulariser::Lorth,
            "method.task = \"synthetic\" minimizes L_orth: method.regulariser should be \"lorth\""
        );
        for &shape in &self.shapes {
            ensure!(shape.iter().all(|&n| n >= 1), "method.shapes has {shape:?}: M, C, k and S must be at least 1");
            let shape = layer(shape);
            let there = existence(shape, Borders::Circular) == Existence::Yes;
            ensure!(there, "method.shapes: {}", refusal(shape, Borders::Circular));
        }
        Ok(())
    }

    /// The layers of the synthetic study, and how many combinations of the grid are impossible.
    pub fn layers(&self) -> (Vec<Shape>, usize) {
        let mut layers: Vec<Shape> = self.shapes.iter().copied().map(layer).collect();
        let mut impossible = 0;
        let Grid { m, c, k, s } = &self.grid;
        for (&s, &k) in s.iter().flat_map(|s| k.iter().map(move |k| (s, k))) {
            for (&c, &m) in c.iter().flat_map(|c| m.iter().map(move |m| (c, m))) {
                let shape = layer([m, c, k, s]);
                match existence(shape, Borders::Circular) {
                    Existence::Yes => layers.push(shape),
                    _ => impossible += 1,
                }
            }
        }
        (layers, impossible)
    }
}

fn layer([m, c, k, stride]: [i64; 4]) -> Shape {
    Shape { m, c, k, stride, dim: 2 }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub method: Method,
    pub data: DataConfig,
    pub model: Arch,
    pub train: TrainConfig,
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        self.method.check()?;
        ensure!(
            self.method.task == Task::Classify || self.train.steps > 0,
            "train.steps = 0, but method.task = \"synthetic\" has no epochs: it should be the steps for each layer"
        );
        self.data.check()?;
        self.train.check("train")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        toml::from_str::<Config>(text).unwrap().validate().unwrap_err().to_string()
    }

    #[test]
    fn bad_values_are_refused_with_the_field_and_the_value() {
        for (text, part) in [
            ("method.probe_n = [0]", "method.probe_n has 0"),
            ("method.probe_n = []", "method.probe_n is empty"),
            ("method.attack.eps = [0.3, -1.0]", "method.attack.eps has -1"),
            ("method.attack.step = 0.0", "method.attack.step = 0"),
            ("method.shapes = [[8, 4, 3, 1]]", "synthetic"),
            ("method.task = \"synthetic\"", "method.shapes or method.grid"),
            ("method = { task = \"synthetic\", shapes = [[8, 4, 3, 0]] }", "[8, 4, 3, 0]"),
            ("method = { task = \"synthetic\", shapes = [[8, 4, 3, 1]] }", "train.steps = 0"),
            ("method = { task = \"synthetic\", grid = { m = [1], c = [1], k = [1] } }", "all of m, c, k and s"),
            ("method = { task = \"synthetic\", shapes = [[4, 4, 3, 1]], regulariser = \"so\" }", "\"lorth\""),
        ] {
            assert!(refusal(text).contains(part), "{text}: {}", refusal(text));
        }
    }

    #[test]
    fn an_impossible_layer_is_refused_in_the_words_of_the_theorem() {
        let message = refusal("method = { task = \"synthetic\", shapes = [[10, 1, 3, 4]] }\ntrain.steps = 1");
        let expected = "no orthogonal layer exists for M=10, C=1, k=3, S=4 with circular padding: M > C k^2";
        assert!(message.ends_with(expected), "{message}");
    }

    #[test]
    fn a_grid_is_the_product_of_its_lists_without_what_cannot_be() {
        let text = "task = \"synthetic\"\ngrid = { m = [1, 10], c = [1], k = [3], s = [1, 4] }";
        let (layers, impossible) = toml::from_str::<Method>(text).unwrap().layers();
        assert_eq!((layers.len(), impossible), (3, 1));
    }
}
