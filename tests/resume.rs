//! A run that is killed and resumed ends with the same numbers as one that was never stopped.

mod common;

use common::{SMALL, Scratch, tables};
use std::process::{Child, Stdio};
use std::time::Duration;

const RUN: &str = "results/prune/wgsef/r";

fn undisturbed() -> (Scratch, Vec<(String, String)>) {
    let scratch = Scratch::new();
    scratch.succeed(&[SMALL, &["--name", "r", "-q"]].concat());
    let expected = tables(&scratch.path().join(RUN));
    assert!(expected.iter().any(|(name, text)| name == "train.csv" && text.lines().count() > 8), "{expected:?}");
    (scratch, expected)
}

fn start(scratch: &Scratch) -> Child {
    scratch.command(&[SMALL, &["--name", "r", "-q"]].concat()).stderr(Stdio::piped()).spawn().expect("reglab starts")
}

/// The loop is running once there is a checkpoint.
fn wait_for_checkpoint(scratch: &Scratch) {
    let last = scratch.path().join(RUN).join("checkpoints/last");
    for _ in 0..20_000 {
        if last.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no checkpoint after 20 seconds");
}

/// Resumes until the run is done, and compares.
fn assert_same(scratch: &Scratch, expected: &[(String, String)], what: &str) {
    let run = scratch.path().join(RUN);
    // A run killed before its folder was whole starts from its first command.
    if run.join("config.toml").exists() {
        scratch.succeed(&["resume", RUN, "-q"]);
    } else {
        scratch.succeed(&[SMALL, &["--name", "r", "-q", "--force"]].concat());
    }
    for ((name, expected), (_, actual)) in expected.iter().zip(tables(&run)) {
        assert_eq!(expected, &actual, "{name} after {what}");
    }
    assert!(run.join("summary.json").exists());
}

#[test]
fn killed_at_three_instants_and_resumed_the_tables_are_byte_equal() {
    let (_undisturbed, expected) = undisturbed();
    let mut caught = 0;
    for delay in [0, 20, 70] {
        let scratch = Scratch::new();
        let mut child = start(&scratch);
        wait_for_checkpoint(&scratch);
        std::thread::sleep(Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().expect("it ends");
        caught += usize::from(!scratch.path().join(RUN).join("summary.json").exists());
        assert_same(&scratch, &expected, &format!("kill -9 {delay} ms after the first checkpoint"));
    }
    assert!(caught > 0, "every run was over before it was killed");
}

#[test]
fn stopped_by_sigterm_it_says_so_and_resumes() {
    let (_undisturbed, expected) = undisturbed();
    let scratch = Scratch::new();
    let child = start(&scratch);
    wait_for_checkpoint(&scratch);
    let run = scratch.path().join(RUN);
    // SAFETY: a plain system call on our own child.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(0) {
        assert_eq!(output.status.code(), Some(143), "{said}");
        assert!(said.contains("go on with: reglab resume"), "{said}");
        let record = std::fs::read_to_string(run.join("run.json")).expect("a record");
        assert!(record.contains("\"interrupted\""), "{record}");
        assert_same(&scratch, &expected, "SIGTERM");
    }
}

#[test]
fn its_own_config_repeats_a_run() {
    let (scratch, expected) = undisturbed();
    scratch.succeed(&["run", &format!("{RUN}/config.toml"), "--name", "again", "-q"]);
    assert_eq!(tables(&scratch.path().join("results/prune/wgsef/again")), expected);
}
