//! The `[stream]` and `[evaluation]` tables of an experiment file.

use anyhow::{Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stream::{ClassOrder, ClassSplit, Scenario, Stream, equal_sizes};
use super::transform::Transform;

/// Which columns of the head a class-incremental stream uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Columns {
    /// Those of the classes seen so far: classes to come enter neither the loss nor the answers.
    #[default]
    Seen,
    /// All of them: classes to come are pushed down from the start, as with a fixed head.
    All,
}

/// The stream of tasks. Without `rotations` and `permuted` the tasks are groups of classes; with them every task is the
/// whole data set, changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StreamConfig {
    /// class-incremental, task-incremental or domain-incremental. Default class-incremental.
    pub scenario: Scenario,
    /// Number of tasks, 0: as many as `sizes` or `rotations` has. Equal groups of classes without `sizes`. Default 0.
    #[schemars(range(min = 0, max = 1000))]
    pub tasks: usize,
    /// Classes of each task; they sum to the classes of the data set. Default none.
    pub sizes: Vec<i64>,
    /// In which order classes enter: natural or shuffled (by the run's seed). Default natural.
    pub class_order: ClassOrder,
    /// The turn of each task in degrees, counter-clockwise. Default none.
    pub rotations: Vec<f64>,
    /// Every task permutes the pixels in its own way. Default false.
    pub permuted: bool,
    /// Class-incremental: the columns of the head in use, seen or all. Default seen.
    pub columns: Columns,
    /// Test on tasks to come too (for forward transfer). Default false.
    pub eval_future: bool,
}

impl StreamConfig {
    /// What can be said before the data are read.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.rotations.is_empty() || !self.permuted,
            "stream.rotations and stream.permuted are both set: a task is turned or permuted, not both"
        );
        let domains = self.permuted || !self.rotations.is_empty();
        ensure!(
            !domains || self.sizes.is_empty(),
            "stream.sizes = {:?} splits classes, but stream.{} makes tasks of the whole data set",
            self.sizes,
            if self.permuted { "permuted" } else { "rotations" }
        );
        for (name, len) in [("sizes", self.sizes.len()), ("rotations", self.rotations.len())] {
            ensure!(
                len == 0 || self.tasks == 0 || self.tasks == len,
                "stream.tasks = {}, but stream.{name} has {len} values",
                self.tasks
            );
        }
        let given = self.tasks > 0 || !self.sizes.is_empty() || !self.rotations.is_empty();
        ensure!(given, "stream.tasks = 0: how many tasks? Set stream.tasks, stream.sizes or stream.rotations");
        if let Some(angle) = self.rotations.iter().find(|angle| !angle.is_finite()) {
            bail!("stream.rotations has {angle}: every turn must be a number of degrees");
        }
        Ok(())
    }

    /// The stream over a data set of `classes` classes.
    pub fn stream(&self, classes: usize, seed: u64) -> Result<Stream> {
        self.check()?;
        if self.permuted {
            return Stream::of_domains(self.scenario, Transform::permutations(seed, self.tasks), classes);
        }
        if !self.rotations.is_empty() {
            return Stream::of_domains(self.scenario, Transform::rotations(&self.rotations), classes);
        }
        let sizes = if self.sizes.is_empty() { equal_sizes(classes, self.tasks)? } else { self.sizes.clone() };
        Stream::of_classes(self.scenario, ClassSplit::new(&self.class_order.of(classes, seed), &sizes)?)
    }
}

/// Evaluation while a task is learnt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Steps between two evaluations of all seen tasks, counted over the stream, at least 1; a task's last step is
    /// always evaluated. Default 1.
    #[schemars(range(min = 1))]
    pub rho: u64,
    /// Evaluate at task ends only, whatever `rho` says. Default false.
    pub task_ends_only: bool,
    /// Test samples of each task, drawn once a run, at least 1. Default 1000.
    #[schemars(range(min = 1))]
    pub samples: usize,
    /// Write the norms of the plasticity and the stability part of every gradient (one more backward pass a step).
    /// Default false.
    pub gradient_norms: bool,
}

impl Default for EvaluationConfig {
    fn default() -> EvaluationConfig {
        EvaluationConfig { rho: 1, task_ends_only: false, samples: 1000, gradient_norms: false }
    }
}

impl EvaluationConfig {
    pub fn check(&self) -> Result<()> {
        ensure!(self.rho >= 1, "evaluation.rho = 0, but it must be at least 1 step");
        ensure!(self.samples >= 1, "evaluation.samples = 0, but it must be at least 1");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_named() {
        let error = |text: &str| toml::from_str::<StreamConfig>(text).unwrap().check().unwrap_err().to_string();
        assert!(error("").contains("how many tasks"));
        assert!(error("tasks = 3\nrotations = [0.0, 90.0]").contains("stream.rotations has 2"));
        assert!(error("tasks = 3\npermuted = true\nrotations = [0.0, 90.0, 180.0]").contains("both set"));
        assert!(error("permuted = true\nsizes = [5, 5]").contains("stream.sizes = [5, 5]"));
        assert!(error("rotations = [0.0, inf]").contains("inf"));
        assert!(EvaluationConfig { rho: 0, ..EvaluationConfig::default() }.check().is_err());
    }

    #[test]
    fn tasks_come_from_whatever_is_given() {
        let stream = |text: &str| toml::from_str::<StreamConfig>(text).unwrap().stream(10, 0);
        assert_eq!(stream("tasks = 5").unwrap().edges(), [0, 2, 4, 6, 8, 10]);
        assert_eq!(stream("sizes = [4, 6]").unwrap().edges(), [0, 4, 10]);
        let turned = stream("scenario = \"domain-incremental\"\nrotations = [0.0, 45.0]").unwrap();
        assert_eq!((turned.tasks(), turned.head_width()), (2, 10));
        assert_eq!(stream("tasks = 3\npermuted = true").unwrap().head_width(), 30);
        assert!(stream("tasks = 3").is_err());
    }
}
