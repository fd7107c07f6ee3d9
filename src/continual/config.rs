//! The `[stream]` and `[evaluation]` tables of an experiment file.

use anyhow::{Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::stream::{ClassOrder, ClassSplit, Scenario, Stream, equal_sizes};
use super::transform::Transform;
use crate::data::{DataConfig, DataName};

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

/// The stream of tasks. Without `rotations`, `permuted` and `domains` the tasks are groups of classes; with them every task has
/// all classes, in images of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StreamConfig {
    /// class-incremental, task-incremental or domain-incremental. Default class-incremental.
    pub scenario: Scenario,
    /// Number of tasks, 0: as many as `sizes`, `rotations` or `domains` has. Equal groups of classes without `sizes`. Default 0.
    #[schemars(range(min = 0, max = 1000))]
    pub tasks: usize,
    /// Classes of each task; they sum to the classes of the data set. Default none.
    pub sizes: Vec<i64>,
    /// In which order classes enter: natural or shuffled (by the run's seed). Default natural.
    pub class_order: ClassOrder,
    /// The class ids in the order they enter, instead of `class_order`. Default none.
    pub order: Vec<i64>,
    /// The turn of each task in degrees, counter-clockwise. Default none.
    pub rotations: Vec<f64>,
    /// Every task permutes the pixels in its own way. Default false.
    pub permuted: bool,
    /// The folder of each task below `data.path`, each with the same classes (data.name = "folder"). Default none.
    pub domains: Vec<String>,
    /// Class-incremental: the columns of the head in use, seen or all. Default seen.
    pub columns: Columns,
    /// Test on tasks to come too (for forward transfer). Default false.
    pub eval_future: bool,
    /// Learn only the first tasks of the stream, as many as this, tested on the validation samples of `data.val`: to choose
    /// hyper-parameters without a look at the rest. 0: all tasks. Default 0.
    #[schemars(range(min = 0))]
    pub tune_tasks: usize,
    /// Folder of a finished run of the learner `joint` on the same stream: what it knew of each task right after it is the
    /// reference of `intransigence`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joint_run: Option<PathBuf>,
}

impl StreamConfig {
    /// Which field makes tasks of all classes.
    fn domain_field(&self) -> Result<Option<&'static str>> {
        let given = [
            ("rotations", !self.rotations.is_empty()),
            ("permuted", self.permuted),
            ("domains", !self.domains.is_empty()),
        ];
        let names: Vec<&'static str> = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        if let [first, second, ..] = names[..] {
            bail!("stream.{first} and stream.{second} are both set: only one of them can make the tasks");
        }
        Ok(names.first().copied())
    }

    /// What can be said before the data are read.
    pub fn check(&self, data: &DataConfig) -> Result<()> {
        if let Some(field) = self.domain_field()? {
            for (name, set) in [("sizes", !self.sizes.is_empty()), ("order", !self.order.is_empty())] {
                ensure!(!set, "stream.{name} splits classes, but stream.{field} makes tasks of all classes");
            }
        }
        let folder = data.name == DataName::Folder;
        ensure!(
            self.domains.is_empty() || folder,
            "stream.domains names folders below data.path, but data.name = {}: it must be \"folder\"",
            data.name
        );
        ensure!(
            self.order.is_empty() || self.class_order == ClassOrder::Natural,
            "stream.order is given and stream.class_order = shuffled: leave one of them out"
        );
        let lists = [("sizes", self.sizes.len()), ("rotations", self.rotations.len()), ("domains", self.domains.len())];
        for (name, len) in lists {
            ensure!(
                len == 0 || self.tasks == 0 || self.tasks == len,
                "stream.tasks = {}, but stream.{name} has {len} values",
                self.tasks
            );
        }
        let tasks = lists.iter().map(|(_, len)| *len).fold(self.tasks, usize::max);
        ensure!(
            tasks > 0,
            "stream.tasks = 0: how many tasks? Set stream.tasks, stream.sizes, stream.rotations or stream.domains"
        );
        ensure!(
            self.tune_tasks <= tasks,
            "stream.tune_tasks = {} is more than the {tasks} tasks of the stream",
            self.tune_tasks
        );
        if let Some(angle) = self.rotations.iter().find(|angle| !angle.is_finite()) {
            bail!("stream.rotations has {angle}: every turn must be a number of degrees");
        }
        Ok(())
    }

    /// The stream over a data set of `classes` classes.
    pub fn stream(&self, classes: usize, seed: u64) -> Result<Stream> {
        let transforms = match self.domain_field()? {
            Some("rotations") => Transform::rotations(&self.rotations),
            Some("permuted") => Transform::permutations(seed, self.tasks),
            Some(_) => vec![Transform::Natural; self.domains.len()],
            None => {
                let order = if self.order.is_empty() { self.class_order.of(classes, seed) } else { self.order.clone() };
                ensure!(order.len() == classes, "stream.order has {} classes, the data set has {classes}", order.len());
                let sizes = if self.sizes.is_empty() { equal_sizes(classes, self.tasks)? } else { self.sizes.clone() };
                return Stream::of_classes(self.scenario, ClassSplit::new(&order, &sizes)?);
            }
        };
        Stream::of_domains(self.scenario, transforms, classes)
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
        let error = |text: &str| {
            let config = toml::from_str::<StreamConfig>(text).unwrap();
            config.check(&DataConfig::default()).unwrap_err().to_string()
        };
        assert!(error("").contains("how many tasks"));
        assert!(error("tasks = 3\nrotations = [0.0, 90.0]").contains("stream.rotations has 2"));
        assert!(error("tasks = 3\npermuted = true\nrotations = [0.0, 90.0, 180.0]").contains("both set"));
        assert!(error("permuted = true\nsizes = [5, 5]").contains("stream.sizes splits classes"));
        assert!(error("rotations = [0.0]\norder = [1, 0]").contains("stream.order splits classes"));
        assert!(error("tasks = 5\norder = [1, 0]\nclass_order = \"shuffled\"").contains("leave one of them out"));
        assert!(error("domains = [\"real\", \"sketch\"]").contains("it must be \"folder\""));
        assert!(error("tasks = 2\ntune_tasks = 3").contains("stream.tune_tasks = 3"));
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
        let ordered = stream("tasks = 5\norder = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]").unwrap();
        assert_eq!(ordered.class_order().unwrap()[..2], [9, 8]);
        let error = |text: &str| stream(text).err().unwrap().to_string();
        assert!(
            error("tasks = 5\norder = [12, 8, 7, 6, 5, 4, 3, 2, 1, 0]").contains("class 12 is not in the data set")
        );
        assert!(error("tasks = 5\norder = [1, 0]").contains("stream.order has 2 classes"));
    }
}
