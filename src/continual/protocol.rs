//! The tasks one after the other as phases of training, each with a fresh optimizer and schedule, and the accuracy matrix
//! at their ends.

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::Path;
use tch::{Device, Kind, Tensor, no_grad};

use super::config::{EvaluationConfig, StreamConfig};
use super::evaluator::Evaluator;
use super::gradients::{self, GradientNorms};
use super::heads::hits;
use super::metrics::{AccuracyMatrix, Metrics};
use super::new_task::NewTask;
use super::output::Output;
use super::replay::Replay;
use super::results::Results;
use super::stream::Scenario;
use super::tasks::Tasks;
use crate::data::DeviceSet;
use crate::models::Network;
use crate::params::View;
use crate::report::plot::columns;
use crate::rng;
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, Fit, ParamGroup, Shuffled, TrainConfig, fit, logits, view};

/// A task as a learner meets it.
pub struct Task<'a> {
    /// From 0.
    pub index: usize,
    /// What it is trained on.
    pub train: &'a DeviceSet,
    pub net: &'a Network,
    pub output: &'a Output,
    /// Samples a step.
    pub batch: usize,
}

/// A way to learn a stream. The new task's cross entropy is there already, as the term `ce` ([`NewTask`]). Both ends of a task
/// must be pure functions of the weights, the learner's state and the data: a resumed run does them again.
pub trait Learner: Doors {
    fn task_start(&mut self, _task: &Task) -> Result<()> {
        Ok(())
    }

    /// Fill the memory, measure importance, keep the old model.
    fn task_end(&mut self, _task: &Task) -> Result<()> {
        Ok(())
    }

    /// Whether `ce` compares the current task's own columns only (local softmax), not all in use (global softmax).
    fn local(&self) -> bool {
        false
    }

    /// The factors of the new task's loss and of what protects the old ones, in the task that has started.
    fn weights(&self) -> (f64, f64) {
        (1.0, 1.0)
    }

    /// Whether it trains on the data of all tasks so far: the upper bound.
    fn joint(&self) -> bool {
        false
    }

    /// Parameter groups; `None`: all trainable tensors.
    fn groups(&self, _net: &Network, _train: &TrainConfig) -> Option<Vec<ParamGroup>> {
        None
    }

    /// The past samples it keeps; `None`: rehearsal-free.
    fn memory(&self) -> Option<&Replay<'_>> {
        None
    }
}

/// A stream, a network, and how they meet.
pub struct Protocol<'a> {
    pub tasks: &'a Tasks,
    pub net: &'a Network,
    /// Training of each task.
    pub train: &'a TrainConfig,
    pub stream: &'a StreamConfig,
    pub evaluation: &'a EvaluationConfig,
}

/// Accuracy matrices so far; `told`: with the task told at test time.
struct Matrices {
    main: AccuracyMatrix,
    told: Option<AccuracyMatrix>,
}

/// What the matrix is compared with, `[T]` each: the untrained network, and one trained on all tasks so far.
#[derive(Default)]
struct Compared {
    random: Option<Vec<f64>>,
    reference: Option<Vec<f64>>,
}

/// A row of memory.csv: what is remembered after a task.
#[derive(Serialize)]
struct MemoryRow {
    after_task: usize,
    samples: usize,
    /// Classes of which there is a sample, and the smallest and largest number of samples of one of them.
    classes: usize,
    fewest: usize,
    most: usize,
}

/// memory.csv; a learner that is rehearsal-free has none.
fn remember(learner: &dyn Learner, after_task: usize, at: Stamp, run: &mut Run) -> Result<()> {
    let Some(memory) = learner.memory() else { return Ok(()) };
    let counts: Vec<usize> = memory.class_counts().into_iter().filter(|&count| count > 0).collect();
    let (fewest, most) = (counts.iter().copied().min().unwrap_or(0), counts.iter().copied().max().unwrap_or(0));
    run.row("memory", at, &MemoryRow { after_task, samples: memory.len(), classes: counts.len(), fewest, most })
}

impl Protocol<'_> {
    /// Learns the whole stream and returns every metric: those of the accuracy matrix under the names of
    /// [`Metrics::scalars`], and those of the curves ([`Results`]).
    pub fn learn(&self, learner: &mut dyn Learner, run: &mut Run) -> Result<Summary> {
        let mut evaluator = Evaluator::new(self.evaluation, self.tasks, run.seed())?;
        let mut norms = self.evaluation.gradient_norms.then(GradientNorms::default);
        let count = self.tasks.len();
        let told = (self.tasks.output.scenario() == Scenario::ClassIncremental).then(|| AccuracyMatrix::new(count));
        let mut matrices = Matrices { main: AccuracyMatrix::new(count), told };
        let sizes = evaluator.sizes().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        run.progress.say(&format!("{count} tasks, evaluated on {sizes} test samples"));
        self.describe(evaluator.sizes(), run)?;
        let reference = self.stream.joint_run.as_deref().map(|joint| self.reference(joint)).transpose()?;
        let untrained = View::plain(&self.net.store);
        evaluator.before(&*self.net.model, &untrained, run)?;
        let random = match self.stream.eval_future {
            true => Some(self.accuracies(&untrained, None)?.into_iter().map(|(main, _)| main).collect::<Vec<f64>>()),
            false => None,
        };
        let compared = Compared { random, reference };
        let mut at = Stamp::default();
        for index in 0..count {
            let first = if learner.joint() { 0 } else { index };
            let train = self.tasks.train(first..=index)?;
            let output = &self.tasks.output;
            let task = Task { index, train: &train, net: self.net, output, batch: self.train.batch };
            learner.task_start(&task)?;
            at = self.train(&task, learner, &mut evaluator, norms.as_mut(), at, run)?;
            learner.task_end(&task)?;
            let doors: [&mut dyn Doors; 1] = [&mut *learner];
            let row = self.accuracies(&view(&self.net.store, &doors), Some(index))?;
            self.record(index, &row, &compared, &mut matrices, at, run)?;
            remember(learner, index, at, run)?;
        }
        let mut summary = Summary::new();
        let metrics = self.metrics(&matrices.main, count, &compared)?;
        summary.extend(metrics.scalars().map(|(name, value)| (name.to_owned(), json!(value))));
        if let Some(told) = &matrices.told {
            summary.insert("avg_acc_til".into(), json!(self.metrics(told, count, &Compared::default())?.avg_acc));
        }
        let results = Results::read(run, count)?;
        summary.extend(results.summary()?);
        results.write(run, at)?;
        results.draw(run, &matrices.main)?;
        if norms.is_some() {
            gradients::draw(run)?;
        }
        summary.insert("memory_samples".into(), json!(learner.memory().map_or(0, Replay::len)));
        summary.insert("steps".into(), json!(at.step));
        Ok(summary)
    }

    /// stream.json: what the tasks are. A resumed run must find the stream it was begun with.
    fn describe(&self, evaluation_samples: &[usize], run: &Run) -> Result<()> {
        let stream = json!({
            "scenario": self.tasks.output.scenario(),
            "class_order": self.tasks.stream.class_order(),
            "edges": self.tasks.output.edges(),
            "head_width": self.tasks.output.width(),
            "tasks_learnt": self.tasks.len(),
            "evaluation_samples": evaluation_samples,
        });
        let path = run.folder().join("stream.json");
        if let Ok(text) = std::fs::read(&path) {
            let begun: Value = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
            let changed = stream.as_object().into_iter().flatten().find(|(name, value)| begun[*name] != **value);
            if let Some((name, value)) = changed {
                bail!(
                    "{}: the run was begun with {name} = {}, its configuration now says {value}: a run is resumed as it was",
                    path.display(),
                    begun[name]
                );
            }
        }
        run.write("stream.json", &serde_json::to_vec_pretty(&stream)?)
    }

    /// `ref[j]`: the accuracy on task j of the run in `joint` right after task j.
    fn reference(&self, joint: &Path) -> Result<Vec<f64>> {
        let table = self.table();
        let column = |task: usize| -> Result<f64> {
            let only = Some(("after_task", task.to_string()));
            let only = only.as_ref().map(|(column, value)| (*column, value.as_str()));
            let points = columns(joint, table, "after_task", &format!("task{task}"), only)
                .context("stream.joint_run must be a finished run of the learner joint on the same stream")?;
            let (_, percent) = points.first().with_context(|| {
                format!("stream.joint_run = {}: its {table}.csv has no row after task {task}", joint.display())
            })?;
            Ok(percent / 100.0)
        };
        (0..self.tasks.len()).map(column).collect()
    }

    /// The accuracy matrix's file.
    fn table(&self) -> &'static str {
        match self.tasks.output.scenario() {
            Scenario::ClassIncremental => "acc_matrix_cil",
            Scenario::TaskIncremental => "acc_matrix_til",
            Scenario::DomainIncremental => "acc_matrix_dil",
        }
    }

    fn train(
        &self,
        task: &Task,
        learner: &mut dyn Learner,
        evaluator: &mut Evaluator,
        norms: Option<&mut GradientNorms>,
        start: Stamp,
        run: &mut Run,
    ) -> Result<Stamp> {
        let phase = format!("task{}", task.index);
        evaluator.start(task.index);
        let groups = learner.groups(self.net, self.train);
        // Every task has orders of its own.
        let seed = rng::mix(run.seed(), &phase);
        let mut source = Shuffled::new(task.train, self.train.batch, self.train.drop_last, seed);
        let weights = learner.weights();
        let mut new_task = NewTask { output: task.output, task: task.index, local: learner.local() };
        let mut doors: Vec<&mut dyn Doors> = vec![&mut new_task, learner];
        if let Some(norms) = norms {
            let ids = |groups: &Vec<ParamGroup>| groups.iter().flat_map(|group| group.ids.clone()).collect();
            norms.start(task.index, weights, groups.as_ref().map_or_else(|| self.net.store.trainable(), ids));
            doors.push(norms);
        }
        doors.push(evaluator);
        let job =
            Fit { phase: &phase, net: self.net, source: &mut source, evaluate: &[], config: self.train, groups, start };
        let outcome = fit(job, &mut doors, run).with_context(|| format!("task {}", task.index))?;
        Ok(outcome.end)
    }

    /// Accuracy on the test sets of the tasks up to `after` (all, with `eval_future` or before any task): in the stream's
    /// own scenario, and with the task told. A task to come is answered as if it had just been seen.
    fn accuracies(&self, view: &View, after: Option<usize>) -> Result<Vec<(f64, f64)>> {
        let seen = after.map_or(0, |task| task + 1);
        let measured = if self.stream.eval_future { self.tasks.len() } else { seen };
        let output = &self.tasks.output;
        let counts = (0..measured).map(|task| {
            let test = self.tasks.test(task);
            let logits = logits(&*self.net.model, view, test);
            let main = hits(&logits, test.labels(), output.answer_columns(task, seen.max(task + 1)));
            let told = hits(&logits, test.labels(), output.own_columns(task));
            Tensor::stack(&[main, told], 0)
        });
        let counts = no_grad(|| Tensor::stack(&counts.collect::<Vec<_>>(), 0));
        let counts = Vec::<Vec<f64>>::try_from(counts.to_device(Device::Cpu).to_kind(Kind::Double))?;
        let mut row = Vec::new();
        for (task, pair) in counts.iter().enumerate() {
            let samples = self.tasks.test(task).len() as f64;
            ensure!(pair[1] >= pair[0], "task {task}: being told the task has cost accuracy, which cannot be");
            row.push((pair[0] / samples, pair[1] / samples));
        }
        Ok(row)
    }

    /// A row of the matrices' tables and of metrics.csv after task `after`.
    fn record(
        &self,
        after: usize,
        row: &[(f64, f64)],
        compared: &Compared,
        matrices: &mut Matrices,
        at: Stamp,
        run: &mut Run,
    ) -> Result<()> {
        for (on, &(main, told)) in row.iter().enumerate() {
            matrices.main.set(after, on, main);
            if let Some(matrix) = &mut matrices.told {
                matrix.set(after, on, told);
            }
        }
        run.append(self.table(), at, matrix_row(&matrices.main, after))?;
        if let Some(told) = &matrices.told {
            run.append("acc_matrix_til", at, matrix_row(told, after))?;
        }
        let metrics = self.metrics(&matrices.main, after + 1, compared)?;
        let mut fields = Map::from_iter([("task".to_owned(), json!(after))]);
        fields.insert("stage_acc".into(), json!(metrics.stage_acc[after]));
        fields.extend(metrics.scalars().map(|(name, value)| (name.to_owned(), json!(value))));
        run.append("metrics", at, fields)?;
        let told = &matrices
            .told
            .as_ref()
            .map_or(String::new(), |m| format!(", {:.2}% with the task told", 100.0 * mean_of(m, after)));
        run.progress.say(&format!("after task {after}: average accuracy {:.2}%{told}", 100.0 * metrics.avg_acc));
        Ok(())
    }

    /// The metrics of the stream's first `seen` tasks.
    fn metrics<'b>(&self, matrix: &AccuracyMatrix, seen: usize, compared: &'b Compared) -> Result<Metrics> {
        let values = (0..seen).flat_map(|after| (0..seen).map(move |on| matrix.get(after, on))).collect();
        let sizes: Vec<i64> = (0..seen).map(|task| self.tasks.test(task).len() as i64).collect();
        let first = |accuracies: &'b Option<Vec<f64>>| accuracies.as_ref().map(|all| &all[..seen]);
        AccuracyMatrix::from_rows(seen, values)?.metrics(first(&compared.random), first(&compared.reference), &sizes)
    }
}

fn mean_of(matrix: &AccuracyMatrix, after: usize) -> f64 {
    (0..=after).map(|on| matrix.get(after, on)).sum::<f64>() / (after + 1) as f64
}

/// In percent; nothing where nothing was measured.
fn matrix_row(matrix: &AccuracyMatrix, after: usize) -> Map<String, Value> {
    let mut row = Map::from_iter([("after_task".to_owned(), json!(after))]);
    row.extend((0..matrix.tasks()).map(|on| (format!("task{on}"), json!(100.0 * matrix.get(after, on)))));
    row
}
