//! The stream of tasks. A class order and task sizes split the classes of a data set; a scenario says what the labels
//! of a task are and which columns of the head may answer at test time (van de Ven and Tolias' naming).

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::ops::Range;
use tch::Tensor;

use super::transform::Transform;
use crate::rng;

/// In which order classes enter the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClassOrder {
    /// 0, 1, 2, ...
    #[default]
    Natural,
    /// A permutation drawn from the run's seed.
    Shuffled,
}

impl ClassOrder {
    /// The class ids in the order of the stream.
    pub fn of(self, classes: usize, seed: u64) -> Vec<i64> {
        match self {
            ClassOrder::Natural => (0..classes as i64).collect(),
            ClassOrder::Shuffled => rng::permutation(seed, "class order", classes),
        }
    }
}

/// `tasks` equal task sizes; an error when they do not divide the classes.
pub fn equal_sizes(classes: usize, tasks: usize) -> Result<Vec<i64>> {
    ensure!((1..=classes).contains(&tasks), "tasks = {tasks} must be between 1 and the number of classes, {classes}");
    ensure!(
        classes.is_multiple_of(tasks),
        "{classes} classes cannot be split into {tasks} equal tasks: give sizes that sum to {classes}"
    );
    Ok(vec![(classes / tasks) as i64; tasks])
}

/// Classes in order, cut into tasks. A class's new label is its position in the order, so task t owns
/// `edges[t]..edges[t+1]`.
#[derive(Clone, Debug)]
pub struct ClassSplit {
    order: Vec<i64>,
    /// Old label -> new label.
    positions: Vec<i64>,
    edges: Vec<i64>,
}

impl ClassSplit {
    /// `order`: a permutation of the class ids 0..C; `sizes`: classes per task, positive, summing to C.
    pub fn new(order: &[i64], sizes: &[i64]) -> Result<ClassSplit> {
        let classes = order.len() as i64;
        let mut met = HashSet::new();
        for &class in order {
            ensure!(
                (0..classes).contains(&class),
                "class order: class {class} is not in the data set of {classes} classes"
            );
            ensure!(met.insert(class), "class order: class {class} comes twice");
        }
        ensure!(
            !sizes.is_empty() && sizes.len() <= order.len(),
            "{} tasks do not fit {classes} classes: every task needs at least one",
            sizes.len()
        );
        ensure!(sizes.iter().all(|&n| n > 0), "sizes = {sizes:?}: every task needs at least one class");
        let total: i64 = sizes.iter().sum();
        ensure!(total == classes, "sizes = {sizes:?} sum to {total}, the data set has {classes} classes");
        let mut positions = vec![0; order.len()];
        for (position, &class) in order.iter().enumerate() {
            positions[class as usize] = position as i64;
        }
        Ok(ClassSplit { order: order.to_vec(), positions, edges: edges(sizes) })
    }

    pub fn order(&self) -> &[i64] {
        &self.order
    }

    /// `[T+1]`: task t owns the new labels `edges[t]..edges[t+1]`.
    pub fn edges(&self) -> &[i64] {
        &self.edges
    }

    /// New labels of old ones, `[N]` to `[N]` int64 on the same device. A label that is no class is an error.
    pub fn map(&self, labels: &Tensor) -> Result<Tensor> {
        check_labels(labels, self.order.len())?;
        Ok(Tensor::from_slice(&self.positions).to_device(labels.device()).index_select(0, labels))
    }

    /// The task that owns each new label, `[N]` to `[N]` int64.
    pub fn task_of(&self, mapped: &Tensor) -> Tensor {
        let columns = super::heads::column_tasks(&self.edges, self.order.len() as i64, mapped.device());
        columns.index_select(0, mapped)
    }
}

fn edges(sizes: &[i64]) -> Vec<i64> {
    let rising = sizes.iter().scan(0, |edge, size| {
        *edge += size;
        Some(*edge)
    });
    std::iter::once(0).chain(rising).collect()
}

fn check_labels(labels: &Tensor, classes: usize) -> Result<()> {
    let wrong = labels.lt(0).logical_or(&labels.ge(classes as i64));
    let wrong = Vec::<i64>::try_from(labels.masked_select(&wrong))?;
    if let Some(label) = wrong.first() {
        anyhow::bail!("label {label} is not one of the {classes} classes 0..{}", classes.saturating_sub(1));
    }
    Ok(())
}

/// What the labels of a task are, and what is known at test time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Every task has labels of its own; the answer is among all classes seen.
    #[default]
    ClassIncremental,
    /// Every task has labels of its own; the task is told, the answer is among its classes.
    TaskIncremental,
    /// All tasks share their labels and the whole head.
    DomainIncremental,
}

/// Images `[N, C, H, W]` uint8 and labels `[N]` int64 on one device.
pub struct Samples {
    pub pixels: Tensor,
    pub labels: Tensor,
}

impl Samples {
    pub fn len(&self) -> usize {
        self.labels.numel()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples of all `parts`, one after the other.
    pub fn concat(parts: &[Samples]) -> Samples {
        let all = |field: fn(&Samples) -> &Tensor| Tensor::cat(&parts.iter().map(field).collect::<Vec<_>>(), 0);
        Samples { pixels: all(|s| &s.pixels), labels: all(|s| &s.labels) }
    }

    pub fn rows(&self, rows: &Tensor) -> Samples {
        Samples { pixels: self.pixels.index_select(0, rows), labels: self.labels.index_select(0, rows) }
    }

    /// At most `most` samples, drawn once by (seed, purpose) and kept in their order; all of them if there are no more.
    pub fn subset(&self, most: usize, seed: u64, purpose: &str) -> Samples {
        let mut rows = rng::permutation(seed, purpose, self.len());
        rows.truncate(most);
        rows.sort_unstable();
        self.rows(&Tensor::from_slice(&rows).to_device(self.labels.device()))
    }
}

/// Where the tasks come from.
enum Source {
    Classes(ClassSplit),
    Domains { transforms: Vec<Transform>, classes: i64 },
}

/// T tasks over any set of samples of one data set (its training part, its test part).
pub struct Stream {
    scenario: Scenario,
    source: Source,
    /// `[T+1]`: the labels of each task if every task has its own.
    edges: Vec<i64>,
}

impl Stream {
    /// Tasks are groups of classes. Domain-incremental: the label is the position within the task, so all sizes must be
    /// equal.
    pub fn of_classes(scenario: Scenario, split: ClassSplit) -> Result<Stream> {
        let edges = split.edges.clone();
        let equal = edges.windows(2).all(|e| e[1] - e[0] == edges[1]);
        ensure!(
            scenario != Scenario::DomainIncremental || equal,
            "domain-incremental tasks share their labels: all task sizes must be equal, the edges are {edges:?}"
        );
        Ok(Stream { scenario, source: Source::Classes(split), edges })
    }

    /// Tasks are changed copies of the whole data set of `classes` classes. Class- and task-incremental: task t has the
    /// labels t classes .. (t+1) classes.
    pub fn of_domains(scenario: Scenario, transforms: Vec<Transform>, classes: usize) -> Result<Stream> {
        ensure!(!transforms.is_empty(), "a stream needs at least one domain");
        ensure!(classes > 0, "a stream needs at least one class");
        let edges = edges(&vec![classes as i64; transforms.len()]);
        Ok(Stream { scenario, source: Source::Domains { transforms, classes: classes as i64 }, edges })
    }

    pub fn scenario(&self) -> Scenario {
        self.scenario
    }

    /// T.
    pub fn tasks(&self) -> usize {
        self.edges.len() - 1
    }

    /// The data set's class ids in the order of the stream; `None` where every task has all of them.
    pub fn class_order(&self) -> Option<&[i64]> {
        match &self.source {
            Source::Classes(split) => Some(split.order()),
            Source::Domains { .. } => None,
        }
    }

    /// `[T+1]`: the columns that each task owns in the class- and task-incremental scenarios.
    pub fn edges(&self) -> &[i64] {
        &self.edges
    }

    /// Columns of the head, from the start of the stream on.
    pub fn head_width(&self) -> i64 {
        match self.scenario {
            Scenario::DomainIncremental => self.edges[1],
            _ => self.edges[self.tasks()],
        }
    }

    /// The columns of task `task`'s labels.
    pub fn columns(&self, task: usize) -> Range<i64> {
        match self.scenario {
            Scenario::DomainIncremental => 0..self.edges[1],
            _ => self.edges[task]..self.edges[task + 1],
        }
    }

    /// The columns among which a sample of `task` is answered once `seen` tasks have been started.
    pub fn answer_columns(&self, task: usize, seen: usize) -> Range<i64> {
        match self.scenario {
            Scenario::ClassIncremental => 0..self.edges[seen],
            _ => self.columns(task),
        }
    }

    /// The samples of task `task` with the labels of the scenario; maybe none. `samples` carries the data set's own
    /// labels.
    pub fn task(&self, task: usize, samples: &Samples) -> Result<Samples> {
        ensure!(task < self.tasks(), "task {task} is not one of the {} tasks of the stream", self.tasks());
        let (pixels, within) = match &self.source {
            Source::Classes(split) => {
                let mapped = split.map(&samples.labels)?;
                let rows = split.task_of(&mapped).eq(task as i64).nonzero().squeeze_dim(1);
                (samples.pixels.index_select(0, &rows), mapped.index_select(0, &rows) - self.edges[task])
            }
            Source::Domains { transforms, classes } => {
                check_labels(&samples.labels, *classes as usize)?;
                (transforms[task].apply(&samples.pixels)?, samples.labels.shallow_clone())
            }
        };
        Ok(Samples { pixels, labels: within + self.columns(task).start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn data() -> Samples {
        let labels = Tensor::from_slice(&[0i64, 1, 2, 3, 4, 5, 0, 3]);
        // Every pixel of an image is its row number: rows can be recognized.
        let pixels = Tensor::arange(8, (Kind::Uint8, Device::Cpu)).view([8, 1, 1, 1]).expand([8, 1, 2, 2], false);
        Samples { pixels: pixels.contiguous(), labels }
    }

    fn numbers(tensor: &Tensor) -> Vec<i64> {
        Vec::try_from(tensor).unwrap()
    }

    #[test]
    fn class_tasks_own_contiguous_labels() {
        let split = ClassSplit::new(&[3, 1, 5, 0, 2, 4], &[1, 3, 2]).unwrap();
        let stream = Stream::of_classes(Scenario::ClassIncremental, split).unwrap();
        assert_eq!((stream.edges(), stream.head_width()), (&[0, 1, 4, 6][..], 6));
        let task = stream.task(1, &data()).unwrap();
        assert_eq!(numbers(&task.pixels.flatten(0, 3)), [0, 0, 0, 0, 1, 1, 1, 1, 5, 5, 5, 5, 6, 6, 6, 6]);
        assert_eq!(numbers(&task.labels), [3, 1, 2, 3]);
        assert_eq!((stream.columns(1), stream.answer_columns(0, 2)), (1..4, 0..4));
        let samples: usize = (0..3).map(|t| stream.task(t, &data()).unwrap().len()).sum();
        assert_eq!(samples, 8, "every sample belongs to one task");
    }

    #[test]
    fn scenarios_differ_in_labels_and_in_who_may_answer() {
        let split = || ClassSplit::new(&ClassOrder::Natural.of(6, 0), &equal_sizes(6, 3).unwrap()).unwrap();
        let tasks = Stream::of_classes(Scenario::TaskIncremental, split()).unwrap();
        assert_eq!(
            (tasks.answer_columns(1, 3), numbers(&tasks.task(1, &data()).unwrap().labels)),
            (2..4, vec![2, 3, 3])
        );
        let domains = Stream::of_classes(Scenario::DomainIncremental, split()).unwrap();
        assert_eq!((domains.head_width(), domains.answer_columns(1, 3)), (2, 0..2));
        assert_eq!(numbers(&domains.task(1, &data()).unwrap().labels), [0, 1, 1]);
        let unequal = ClassSplit::new(&[0, 1, 2], &[1, 2]).unwrap();
        assert!(Stream::of_classes(Scenario::DomainIncremental, unequal).is_err());
    }

    #[test]
    fn domains_hold_the_whole_data_set_each() {
        let turns = || Transform::rotations(&[0.0, 90.0, 180.0]);
        let shared = Stream::of_domains(Scenario::DomainIncremental, turns(), 6).unwrap();
        assert_eq!((shared.tasks(), shared.head_width(), shared.columns(2)), (3, 6, 0..6));
        assert_eq!(shared.task(2, &data()).unwrap().labels, data().labels);
        let own = Stream::of_domains(Scenario::ClassIncremental, turns(), 6).unwrap();
        assert_eq!((own.head_width(), own.columns(2)), (18, 12..18));
        assert_eq!(own.task(2, &data()).unwrap().labels, data().labels + 12);
        assert!(Stream::of_domains(Scenario::DomainIncremental, turns(), 5).unwrap().task(0, &data()).is_err());
    }

    #[test]
    fn wrong_orders_and_sizes_are_named() {
        let error = |order: &[i64], sizes: &[i64]| ClassSplit::new(order, sizes).unwrap_err().to_string();
        assert!(error(&[0, 1, 12], &[3]).contains("class 12 is not in the data set"));
        assert!(error(&[0, 1, 1], &[3]).contains("class 1 comes twice"));
        assert!(error(&[0, 1, 2], &[1, 1]).contains("sum to 2"));
        assert!(error(&[0, 1, 2], &[3, 0]).contains("at least one class"));
        assert!(error(&[0, 1], &[1, 1, 1]).contains("3 tasks"));
        assert!(equal_sizes(10, 3).is_err() && equal_sizes(2, 3).is_err() && equal_sizes(2, 0).is_err());
        let split = ClassSplit::new(&[0, 1], &[2]).unwrap();
        assert!(split.map(&Tensor::from_slice(&[0i64, 7])).unwrap_err().to_string().contains("label 7"));
    }

    #[test]
    fn order_and_subsets_are_functions_of_the_seed() {
        assert_eq!(ClassOrder::Shuffled.of(10, 1), ClassOrder::Shuffled.of(10, 1));
        assert_ne!(ClassOrder::Shuffled.of(10, 1), ClassOrder::Shuffled.of(10, 2));
        let subset = data().subset(3, 5, "evaluation 0");
        assert_eq!(subset.len(), 3);
        assert_eq!(subset.labels, data().subset(3, 5, "evaluation 0").labels);
        assert_eq!(data().subset(100, 5, "evaluation 0").labels, data().labels);
    }
}
