//! From `--slurm partition=gpu,time=02:00:00` and the missing points to job-array scripts.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::queue::job_name;
use crate::config::Resolved;
use crate::run::write_atomically;
use crate::sweep::grid::split;
use crate::sweep::{Point, Store};

/// SLURM's own default for the tasks of one array.
const ARRAY_SIZE: usize = 1001;

/// What reglab sets itself.
const OURS: &[&str] = &[
    "array",
    "chdir",
    "error",
    "job-name",
    "no-requeue",
    "open-mode",
    "output",
    "parsable",
    "requeue",
    "wait",
    "wrap",
];

pub struct Cluster {
    /// Options of sbatch; a value may be missing (`exclusive`).
    options: Vec<(String, Option<String>)>,
    /// Points a task.
    chunk: usize,
    /// Tasks at a time.
    throttle: Option<usize>,
    /// Tasks an array.
    array_size: Option<usize>,
}

/// A job array, written and not yet submitted.
pub struct Array {
    pub script: PathBuf,
    pub tasks: usize,
}

impl Cluster {
    /// Reads `KEY=VALUE,...`: any long option of sbatch, and `chunk`, `throttle`, `array-size`. A value with commas is quoted.
    pub fn parse(words: &[String]) -> Result<Cluster> {
        let mut cluster = Cluster { options: Vec::new(), chunk: 1, throttle: None, array_size: None };
        for item in words.iter().flat_map(|word| split(word, ',')) {
            let (key, value) = match item.split_once('=') {
                Some((key, value)) => (key.trim(), Some(unquoted(value.trim()))),
                None => (item, None),
            };
            ensure!(
                !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "--slurm: {item:?} is not of the form KEY=VALUE with a long option of sbatch (for example partition=gpu)"
            );
            let value_text = value.clone().unwrap_or_default();
            ensure!(!value_text.chars().any(char::is_control), "--slurm: the value of {key} may not hold line breaks");
            let number = || match value_text.parse::<usize>() {
                Ok(n) if n > 0 => Ok(n),
                _ => bail!("--slurm: {key}={value_text} should be a whole number >= 1"),
            };
            match key {
                "chunk" => cluster.chunk = number()?,
                "throttle" => cluster.throttle = Some(number()?),
                "array-size" => cluster.array_size = Some(number()?),
                ours if OURS.contains(&ours) => bail!("--slurm: {key} is set by reglab itself"),
                "signal" if !value_text.starts_with("B:USR1@") => {
                    bail!("--slurm: signal={value_text} should be B:USR1@SECONDS, which reglab's checkpoint needs")
                }
                _ => cluster.options.push((key.to_owned(), value)),
            }
        }
        Ok(cluster)
    }

    /// Where the runs will compute, which this machine need not have: `auto` is a GPU if one is asked for.
    pub fn settle_device(&self, config: &mut Resolved) -> Result<()> {
        let asks = |(key, value): &(String, Option<String>)| {
            key.starts_with("gpus") || (key == "gres" && value.as_ref().is_some_and(|v| v.contains("gpu")))
        };
        let device = &mut config.header.device;
        if device == "auto" {
            *device = if self.options.iter().any(asks) { "cuda:0" } else { "cpu" }.into();
        }
        let number = device.strip_prefix("cuda:").map(str::parse::<usize>);
        ensure!(
            device == "cpu" || device == "cuda" || matches!(number, Some(Ok(_))),
            "device = {device:?} should be cpu, cuda, cuda:N or auto"
        );
        Ok(())
    }

    /// Writes the arrays of `points` under the sweep's folder: one, or several where a cluster's largest array is too small.
    pub fn write(&self, store: &Store, points: &[&Point], data_root: &Path, retries: u32) -> Result<Vec<Array>> {
        let size = self.array_size.or_else(largest_array).unwrap_or(ARRAY_SIZE);
        let tasks: Vec<String> = points
            .chunks(self.chunk)
            .map(|points| points.iter().map(|p| p.id.as_str()).collect::<Vec<_>>().join(" "))
            .collect();
        let place = std::path::absolute(store.folder.join("slurm"))?;
        let mut arrays = Vec::new();
        for tasks in tasks.chunks(size) {
            let number = (1..).find(|n| !place.join(n.to_string()).exists()).expect("there are numbers enough");
            let folder = place.join(number.to_string());
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            write_atomically(&folder.join("tasks.txt"), (tasks.join("\n") + "\n").as_bytes())?;
            let script = folder.join("job.sh");
            let text = self.script(store, number, tasks.len(), data_root, retries)?;
            write_atomically(&script, text.as_bytes())?;
            arrays.push(Array { script, tasks: tasks.len() });
        }
        Ok(arrays)
    }

    fn script(&self, store: &Store, number: usize, tasks: usize, data_root: &Path, retries: u32) -> Result<String> {
        let sweep = std::path::absolute(&store.folder)?;
        let program = std::env::current_exe().context("cannot find the reglab program itself")?;
        let throttle = self.throttle.map_or(String::new(), |n| format!("%{n}"));
        // A % in an output file's name stands for something else.
        let said = sweep.join("slurm").join(number.to_string()).display().to_string().replace('%', "%%");
        let mut text =
            format!("#!/bin/bash\n# Written by reglab sweep: {tasks} tasks, the points of each in tasks.txt.\n");
        let mut option = |key: &str, value: Option<&str>| {
            let value = value.map_or(String::new(), |value| format!("={}", quote(value)));
            text += &format!("#SBATCH --{key}{value}\n");
        };
        option("job-name", Some(&job_name(store, number)));
        option("array", Some(&format!("0-{}{throttle}", tasks - 1)));
        option("chdir", Some(&std::env::current_dir()?.display().to_string()));
        option("output", Some(&format!("{said}/%a.txt")));
        option("open-mode", Some("append"));
        option("requeue", None);
        if !self.options.iter().any(|(key, _)| key == "signal") {
            option("signal", Some("B:USR1@120"));
        }
        for (key, value) in &self.options {
            option(key, value.as_deref());
        }
        text += &format!(
            "exec {} sweep task {} {number} \"$SLURM_ARRAY_TASK_ID\" --data-root {} --retries {retries}\n",
            quote(&program.display().to_string()),
            quote(&sweep.display().to_string()),
            quote(&data_root.display().to_string()),
        );
        Ok(text)
    }
}

impl Array {
    /// Submits it; the job's number.
    pub fn submit(&self) -> Result<String> {
        let output = Command::new("sbatch").arg("--parsable").arg(&self.script).output();
        let output =
            output.context("cannot start sbatch: is this a machine of the cluster? --slurm-script only writes")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "sbatch refused {}: {}", self.script.display(), said.trim());
        let job = String::from_utf8_lossy(&output.stdout);
        Ok(job.trim().split(';').next().unwrap_or_default().to_owned())
    }
}

/// Tasks that the cluster takes in one array.
fn largest_array() -> Option<usize> {
    let output = Command::new("scontrol").args(["show", "config"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("MaxArraySize"))?;
    line.split('=').nth(1)?.trim().parse().ok().filter(|&size| size > 0)
}

/// As one word of a shell, whatever is in it; sbatch reads its `#SBATCH` lines by the same rules.
pub fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A value without the quotes around it.
fn unquoted(text: &str) -> String {
    let inside = |q: char| text.strip_prefix(q).and_then(|t| t.strip_suffix(q));
    inside('"').or_else(|| inside('\'')).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(word: &str) -> Result<Cluster> {
        Cluster::parse(&[word.to_owned()])
    }

    #[test]
    fn options_are_read() {
        let cluster =
            parse("partition=gpu,time=02:00:00,gres=gpu:1,chunk=4,throttle=8,exclusive,comment=\"a, b\"").unwrap();
        assert_eq!((cluster.chunk, cluster.throttle, cluster.array_size), (4, Some(8), None));
        let comment = cluster.options.iter().find(|(key, _)| key == "comment").unwrap();
        assert_eq!(comment.1.as_deref(), Some("a, b"));
        assert!(cluster.options.contains(&("exclusive".into(), None)));
        let refused = |word: &str| parse(word).err().unwrap().to_string();
        assert!(refused("array=1-3").contains("set by reglab"));
        assert!(refused("chunk=0").contains(">= 1"));
        assert!(refused("signal=USR2@5").contains("B:USR1@SECONDS"));
        assert!(refused("Partition gpu").contains("long option of sbatch"));
    }

    #[test]
    fn any_text_is_one_word_of_a_shell() {
        for text in ["plain", "it's \"$(touch x)\" `id` \\ # %", "", "two words"] {
            let echo = Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(text))).output().unwrap();
            assert_eq!(String::from_utf8(echo.stdout).unwrap(), text);
        }
    }
}
