//! Sweeps as a user makes them: each point once, whatever is killed.

mod common;

use common::{SMALL, Scratch, tables};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

/// `reglab sweep` of runs of a quarter of a second, with more words.
fn quick<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["sweep"], &SMALL[1..], more].concat()
}

/// Runs of a second, with checkpoints on the way.
const LONG: &[&str] = &[
    "sweep",
    "wgsef",
    "--arm",
    "wgsef",
    "train.epochs=45",
    "finetune.epochs=1",
    "method.latency_runs=0",
    "checkpoint.every_steps=20",
];

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The run folders of wgsef.
fn runs(scratch: &Scratch) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(scratch.path().join("results/prune/wgsef"));
    let mut runs: Vec<PathBuf> = entries.into_iter().flatten().flatten().map(|e| e.path()).collect();
    runs.sort();
    runs
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    let came = (0..20_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        there()
    });
    assert!(came, "{what}: not after 20 seconds");
}

/// The process that works in the folder, once it has written a checkpoint.
fn pid_of(run: &Path) -> Option<i32> {
    if !run.join("checkpoints/last").exists() {
        return None;
    }
    let record: serde_json::Value = serde_json::from_str(&text(&run.join("run.json"))).ok()?;
    record["pid"].as_i64().filter(|_| record["status"] == "running").map(|pid| pid as i32)
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[test]
fn a_grid_is_run_once_and_a_second_call_runs_nothing() {
    let scratch = Scratch::new();
    let grid = quick(&["method.k,method.lambda=8:0.4,16:0.2", "seed=0..1", "--jobs", "2"]);
    let plan = scratch.succeed(&[&grid[..], &["--dry-run"]].concat());
    assert!(plan.contains("4 points, 4 to run; no estimate") && runs(&scratch).is_empty(), "{plan}");
    let table = scratch.succeed(&grid);
    for setting in ["method.k = 8", "method.k = 16"] {
        assert!(table.contains(&setting.replace(" = ", "=")) || table.contains(setting), "{table}");
    }
    let first: Vec<String> = runs(&scratch).iter().map(|run| text(&run.join("run.json"))).collect();
    assert_eq!(first.len(), 4);
    let again = scratch.reglab(&grid);
    assert!(error_of(&again).contains("4 points, 4 done already, 0 to run"), "{}", error_of(&again));
    assert_eq!(String::from_utf8_lossy(&again.stdout), table);
    assert_eq!(first, runs(&scratch).iter().map(|run| text(&run.join("run.json"))).collect::<Vec<_>>());
    // Another sweep shares the points that it has in common, and the estimate comes from what is done.
    let more = quick(&["method.k=8", "method.lambda=0.4", "seed=0..3", "--dry-run"]);
    let plan = scratch.succeed(&more);
    assert!(plan.contains("4 points, 2 to run, about"), "{plan}");
    // A sweep is an ordinary set of runs otherwise: the same numbers as a run of its own.
    scratch.succeed(&[SMALL, &["--name", "alone", "method.k=16", "method.lambda=0.2", "seed=1"]].concat());
    let alone = scratch.path().join("results/prune/wgsef/alone");
    let config = text(&alone.join("config.toml"));
    let same = runs(&scratch).into_iter().find(|run| *run != alone && text(&run.join("config.toml")) == config);
    assert_eq!(tables(&same.expect("the same point")), tables(&alone));
}

/// The README's example, word for word, and its shorter form with a method's name.
#[test]
fn the_worked_example_is_a_grid_of_twelve() {
    let readme = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let line = readme.lines().find(|line| line.starts_with("reglab sweep experiments/")).expect("the example");
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let scratch = Scratch::new();
    let plan = |words: &[&str]| {
        let mut command = scratch.command(words);
        let place = scratch.path().join("results").display().to_string();
        command.args(["--dry-run", "--results", &place]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = command.output().expect("reglab starts");
        assert!(output.status.success(), "{}", error_of(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let example = plan(&words);
    assert!(example.contains("12 points, 12 to run"), "{example}");
    assert_eq!(example.matches("arm=magnitude method.k=16").count(), 3, "{example}");
    let short: Vec<&str> = words.iter().map(|w| if w.ends_with(".toml") { "wgsef" } else { w }).collect();
    assert_eq!(plan(&short), example);
}

#[test]
fn a_killed_worker_is_recorded_replaced_and_retried() {
    let scratch = Scratch::new();
    let grid = [LONG, &["seed=0..1", "--name", "s"]].concat();
    let sweep =
        scratch.command(&[&grid[..], &["--retries", "1"]].concat()).stderr(std::process::Stdio::piped()).spawn();
    let sweep = sweep.expect("reglab starts");
    let mut pid = 0;
    wait_until("a checkpoint", || runs(&scratch).iter().find_map(|run| pid_of(run)).inspect(|p| pid = *p).is_some());
    kill(pid, libc::SIGKILL);
    let output = sweep.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", error_of(&output));
    assert!(
        error_of(&output).contains("killed by signal 9 (out of memory?); trying again (1)"),
        "{}",
        error_of(&output)
    );
    let resumed = runs(&scratch).iter().filter(|run| text(&run.join("log.txt")).contains("resumed at step")).count();
    assert_eq!((resumed, runs(&scratch).len()), (1, 2));

    // Without retries it is a failed point with a reason, the other goes on, and the next call tries it again.
    let grid = [LONG, &["seed=2..3", "--name", "t"]].concat();
    let sweep = scratch.command(&grid).stderr(std::process::Stdio::piped()).spawn().expect("reglab starts");
    let unfinished = |run: &&PathBuf| !run.join("summary.json").exists();
    wait_until("a checkpoint", || {
        runs(&scratch).iter().filter(unfinished).find_map(|run| pid_of(run)).inspect(|p| pid = *p).is_some()
    });
    kill(pid, libc::SIGKILL);
    let output = sweep.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", error_of(&output));
    let status = scratch.succeed(&["sweep", "status", "t"]);
    assert!(
        status.contains("failed: killed by signal 9 (out of memory?)") && status.contains("1 failed, 1 done"),
        "{status}"
    );
    scratch.succeed(&grid);
    assert!(scratch.succeed(&["sweep", "status", "t"]).contains("2 points: 2 done"));
}

#[test]
fn ctrl_c_stops_cleanly_and_the_same_command_goes_on() {
    let scratch = Scratch::new();
    let grid = [LONG, &["seed=0..2", "--jobs", "2"]].concat();
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGUSR1, 75)] {
        let unfinished = |run: &&PathBuf| !run.join("summary.json").exists();
        let sweep =
            scratch.command(&grid).process_group(0).stderr(std::process::Stdio::piped()).spawn().expect("starts");
        let group = -(sweep.id() as i32);
        wait_until("a checkpoint", || runs(&scratch).iter().filter(unfinished).any(|run| pid_of(run).is_some()));
        // Ctrl-C reaches the whole group of the terminal, a cluster's signal the sweep only.
        kill(if signal == libc::SIGINT { group } else { -group }, signal);
        let output = sweep.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{}", error_of(&output));
        assert!(error_of(&output).contains("the same command goes on"), "{}", error_of(&output));
        assert!(text(&runs(&scratch)[0].join("run.json")).contains("\"interrupted\""));
    }
    scratch.succeed(&grid);
    assert_eq!(runs(&scratch).len(), 3);
    assert!(runs(&scratch).iter().any(|run| text(&run.join("log.txt")).contains("resumed at step")));
    let whole = Scratch::new();
    whole.succeed(&grid);
    for (stopped, whole) in runs(&scratch).iter().zip(runs(&whole)) {
        assert_eq!(tables(stopped), tables(&whole));
    }
}

#[test]
fn any_text_arrives_as_it_is() {
    let scratch = Scratch::new();
    let odd = "it's \"$(touch hacked)\" `touch hacked`\\ ; &";
    let output = scratch.reglab(&quick(&[&format!("method.start={odd}")]));
    let error = error_of(&output);
    assert!(output.status.code() == Some(1) && error.contains(odd), "{error}");
    let config = text(&runs(&scratch)[0].join("config.toml"));
    let config: toml::Table = config.parse().expect("a configuration");
    assert_eq!(config["method"]["start"].as_str(), Some(odd));
    assert!(!scratch.path().join("hacked").exists());
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    let scratch = Scratch::new();
    let refused = |arguments: &[&str], needle: &str| {
        let output = scratch.reglab(&[&["sweep"], arguments].concat());
        let error = error_of(&output);
        assert!(output.status.code() == Some(2) && error.contains(needle), "{arguments:?}: {error}");
    };
    refused(&["wgsfe", "seed=0..1"], "did you mean wgsef");
    refused(&["missing.toml", "seed=0..1"], "cannot read the experiment file missing.toml");
    refused(&["wgsef", "seed"], "not of the form KEY=VALUES");
    refused(&["wgsef", "seed=3..1"], "the range 3..1 is empty");
    refused(&["wgsef", "seed=0,1", "seed=2"], "seed is given twice");
    refused(&["wgsef", "method.lamda=0.1,0.2"], "did you mean");
    refused(&["wgsef", "method.k=8,-1"], "method.k");
    refused(&["wgsef", "--arm", "wgsfe"], "did you mean wgsef");
    refused(&["wgsef", "--gpus", "99"], "--gpus names 99");
    refused(&["wgsef", "--name", "a/b"], "cannot be the name of a folder");
    refused(&["wgsef", "--slurm-script"], "needs --slurm");
    refused(&["wgsef", "--slurm", "array=1-5"], "set by reglab itself");
    refused(&["status"], "there is no sweep");
    refused(&["status", "nothing"], "is not the folder of a sweep");
    assert!(!scratch.path().join("results").exists());
}

/// The script alone, on a machine without SLURM.
#[test]
fn a_job_array_is_written() {
    let scratch = Scratch::new();
    let grid = quick(&["seed=0..4", "--name", "odd name's", "--slurm-script"]);
    let options = "time=00:10:00,mem=2G,chunk=2,throttle=3,array-size=2,comment=\"a, $(touch hacked) 'b'\"";
    let said = scratch.succeed(&[&grid[..], &["--slurm", options]].concat());
    assert_eq!(said.lines().filter(|line| line.starts_with("sbatch ")).count(), 2, "{said}");
    let script = text(&scratch.path().join("results/sweeps/odd name's/slurm/1/job.sh"));
    for line in [
        "#SBATCH --array=0-1%3",
        "#SBATCH --signal=B:USR1@120",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --time=00:10:00",
        r"#SBATCH --comment='a, $(touch hacked) '\''b'\'''",
    ] {
        assert!(script.lines().any(|l| l == line), "{line} is missing in\n{script}");
    }
    // A task runs its own points, without a cluster as well.
    let output = scratch.reglab(&[
        "sweep",
        "task",
        "results/sweeps/odd name's",
        "2",
        "0",
        "--data-root",
        "data",
        "--retries",
        "0",
    ]);
    assert!(output.status.success(), "{}", error_of(&output));
    let status = scratch.succeed(&["sweep", "status"]);
    assert!(status.contains("5 points: 4 missing, 1 done"), "{status}");
}
