//! The protocol's numeric ground truth.

use anyhow::{Result, ensure};

use super::heads::ScenarioHits;
use super::metrics::{AccuracyMatrix, trace_metrics};
use super::stream::ClassSplit;
use crate::ops::{Case, Op, Outputs};

pub const OPS: &[Op] = &[
    Op::new("continual.metrics", metrics),
    Op::new("continual.trace_metrics", trace),
    Op::new("continual.split", split),
    Op::new("continual.scenario_acc", scenario_acc),
];

fn metrics(case: &Case) -> Result<Outputs> {
    let (rows, tasks) = case.tensor("acc")?.size2()?;
    ensure!(rows == tasks, "acc has shape [{rows}, {tasks}], it must be square");
    let matrix = AccuracyMatrix::from_rows(tasks as usize, case.f64s("acc")?)?;
    let (random, joint) = (case.f64s("random_acc")?, case.f64s("joint_acc")?);
    let metrics = matrix.metrics(Some(&random), Some(&joint), &case.i64s("sizes")?)?;
    let outputs = Outputs::new().with("stage_acc", metrics.stage_acc.as_slice());
    Ok(metrics.scalars().into_iter().fold(outputs, |outputs, (name, value)| outputs.with(name, value)))
}

fn trace(case: &Case) -> Result<Outputs> {
    let (tasks, task_end) = (case.tensor("acc")?.size2()?.1, case.i64s("task_end")?);
    ensure!(tasks == task_end.len() as i64, "acc has {tasks} tasks, task_end {}", task_end.len());
    let metrics = trace_metrics(&case.f64s("acc")?, &task_end)?;
    Ok(Outputs::new()
        .with("min_acc", metrics.min_acc)
        .with("wc_acc", metrics.wc_acc)
        .with("avg_acc", metrics.avg_acc)
        .with("forgetting", metrics.forgetting))
}

fn split(case: &Case) -> Result<Outputs> {
    let split = ClassSplit::new(&case.i64s("order")?, &case.i64s("sizes")?)?;
    let mapped = split.map(&case.tensor("labels")?)?;
    Ok(Outputs::new().with("task", split.task_of(&mapped)).with("mapped", mapped).with("edges", split.edges().to_vec()))
}

fn scenario_acc(case: &Case) -> Result<Outputs> {
    let (logits, labels) = (case.tensor("logits")?, case.tensor("labels")?);
    let seen = usize::try_from(case.i64("seen")?)?;
    let mut hits = ScenarioHits::new(&case.i64s("edges")?, seen, logits.device())?;
    hits.add(&logits, &labels)?;
    let accuracy = hits.accuracy()?;
    Ok(Outputs::new()
        .with("class_il", accuracy.class_il)
        .with("task_il", accuracy.task_il)
        .with("count", accuracy.count))
}
