//! What the cluster has in its queue, and what a task of it does there.

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs;
use std::process::Command;

use crate::sweep::{Point, Store};

/// A task in the queue and the ids of its points.
pub struct Queued {
    /// As squeue names it: PENDING, RUNNING...
    pub state: String,
    pub ids: Vec<String>,
}

/// The name of the sweep's job array number `array`, by which the queue is searched.
pub fn job_name(store: &Store, array: usize) -> String {
    let folder = fs::canonicalize(&store.folder).unwrap_or_else(|_| store.folder.clone());
    let digest = Sha256::digest(folder.display().to_string());
    let tail: String = digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{tail}-{array}", store.name())
}

/// The sweep's tasks in the queue; none where there is no SLURM.
pub fn queue(store: &Store) -> Vec<Queued> {
    let place = store.folder.join("slurm");
    let numbers = fs::read_dir(&place).into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|e| e.file_name().to_string_lossy().parse::<usize>().ok());
    let arrays: HashMap<String, usize> = numbers.map(|n| (job_name(store, n), n)).collect();
    if arrays.is_empty() {
        return Vec::new();
    }
    let squeue = Command::new("squeue").args(["--me", "--noheader", "--array", "--format=%K %T %j"]).output();
    let Ok(output) = squeue else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let entry = |line: &str| {
        let mut words = line.trim().splitn(3, ' ');
        let (index, state, name) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
        let ids = task_ids(store, *arrays.get(name)?, index).ok()?;
        Some(Queued { state: state.to_owned(), ids })
    };
    text.lines().filter_map(entry).collect()
}

/// The points of a task.
pub fn task(store: &Store, array: usize, index: usize) -> Result<Vec<&Point>> {
    let ids = task_ids(store, array, index)?;
    let find = |id: &String| {
        let point = store.points.iter().find(|p| p.id == *id);
        point.with_context(|| format!("the sweep has no point {id}"))
    };
    ids.iter().map(find).collect()
}

fn task_ids(store: &Store, array: usize, index: usize) -> Result<Vec<String>> {
    let path = store.folder.join("slurm").join(array.to_string()).join("tasks.txt");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.lines().nth(index).with_context(|| format!("{} has no task {index}", path.display()))?;
    Ok(line.split_whitespace().map(str::to_owned).collect())
}

/// Asks SLURM to start this very task again, later.
pub fn requeue() -> Result<()> {
    let number =
        |name: &str| std::env::var(name).with_context(|| format!("{name} is not set: this is no task of SLURM"));
    // Not SLURM_JOB_ID: the last task's is that of the whole array, all of whose tasks would start again.
    let job = format!("{}_{}", number("SLURM_ARRAY_JOB_ID")?, number("SLURM_ARRAY_TASK_ID")?);
    let output = Command::new("scontrol").args(["requeue", &job]).output().context("cannot start scontrol")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "scontrol would not requeue the job {job}: {}", said.trim());
    eprintln!("job {job} goes back to the queue and will go on from its checkpoint");
    Ok(())
}
