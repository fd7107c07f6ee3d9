//! A sweep on a real SLURM, which the test installs (Debian's packages) and starts on this machine, on loopback. Skipped, with
//! the reason on standard error, where that cannot be done.

mod common;

use common::{SMALL, Scratch, tables};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A SLURM of one machine with its daemons, which end with it.
struct Slurm {
    folder: tempfile::TempDir,
    daemons: Vec<Child>,
}

impl Slurm {
    fn start() -> Result<Slurm, String> {
        // SAFETY: a plain system call.
        if unsafe { libc::geteuid() } != 0 {
            return Err("SLURM's daemons need root here".into());
        }
        install()?;
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let mut slurm = Slurm { folder, daemons: Vec::new() };
        slurm.configure().map_err(|e| e.to_string())?;
        let place = slurm.folder.path().display().to_string();
        let file = |name: &str| format!("{place}/{name}");
        let key = format!("--key-file={}", file("munge.key"));
        let socket = format!("--socket={}", file("munge.socket"));
        let log = format!("--log-file={}", file("munged.log"));
        let pid = format!("--pid-file={}", file("munged.pid"));
        let seed = format!("--seed-file={}", file("munged.seed"));
        slurm.daemon("munged", &["--foreground", "--force", &key, &socket, &log, &pid, &seed])?;
        slurm.until("munged's socket", || Path::new(&file("munge.socket")).exists())?;
        slurm.daemon("slurmctld", &["-D", "-c"])?;
        slurm.daemon("slurmd", &["-D"])?;
        let idle = || text_of(&slurm.command("sinfo", &["--noheader", "--format=%T"]).output()).contains("idle");
        slurm.until("an idle node", idle)?;
        Ok(slurm)
    }

    fn configure(&self) -> std::io::Result<()> {
        let place = self.folder.path();
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map(|a| a.port());
        let host = text_of(&Command::new("hostname").arg("-s").output()).trim().to_owned();
        let (control, daemon) = (free()?, free()?);
        // The node may claim more processors than there are: one long run must not hold up the others.
        let text = format!(
            "ClusterName=here\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={control}\nSlurmdPort={daemon}\n\
             SlurmUser=root\nAuthType=auth/munge\nAuthInfo=socket={place}/munge.socket,cred_expire=5\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSelectType=select/cons_tres\n\
             SelectTypeParameters=CR_CPU\nSlurmdParameters=config_overrides\nMpiDefault=none\nKillWait=10\n\
             SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1\nMaxArraySize=9\n\
             StateSaveLocation={place}/state\nSlurmdSpoolDir={place}/spool\n\
             SlurmctldPidFile={place}/slurmctld.pid\nSlurmdPidFile={place}/slurmd.pid\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs=3\nPartitionName=all Nodes={host} Default=YES State=UP\n",
            place = place.display()
        );
        std::fs::create_dir(place.join("state"))?;
        std::fs::create_dir(place.join("spool"))?;
        std::fs::write(place.join("slurm.conf"), text)?;
        let mut key = std::fs::OpenOptions::new();
        key.create(true).truncate(true).write(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut key, 0o600);
        let secret: Vec<u8> = (0..1024u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        key.open(place.join("munge.key"))?.write_all(&secret)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("SLURM_CONF", self.folder.path().join("slurm.conf"));
        command
    }

    fn daemon(&mut self, program: &str, arguments: &[&str]) -> Result<(), String> {
        let said =
            std::fs::File::create(self.folder.path().join(format!("{program}.out"))).map_err(|e| e.to_string())?;
        let errors = said.try_clone().map_err(|e| e.to_string())?;
        let child = self.command(program, arguments).stdin(Stdio::null()).stdout(said).stderr(errors).spawn();
        self.daemons.push(child.map_err(|e| format!("cannot start {program}: {e}"))?);
        Ok(())
    }

    /// Waits half a minute at most; what the daemons said last is the reason why not.
    fn until(&self, what: &str, there: impl Fn() -> bool) -> Result<(), String> {
        if (0..300).any(|_| there() || !sleep(100)) {
            return Ok(());
        }
        let said = ["munged", "slurmctld", "slurmd"].map(|name| {
            let text = std::fs::read_to_string(self.folder.path().join(format!("{name}.out"))).unwrap_or_default();
            format!("{name}: {}", text.lines().next_back().unwrap_or_default())
        });
        Err(format!("SLURM was started but came not to {what} ({})", said.join("; ")))
    }

    /// The states of the user's tasks, one a line: `index state`.
    fn queue(&self) -> String {
        text_of(&self.command("squeue", &["--noheader", "--array", "--format=%i %K %T"]).output())
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        let _ = self.command("scancel", &["--me"]).output();
        for daemon in self.daemons.iter_mut().rev() {
            // SAFETY: a plain system call on a process of ours that has not been waited for.
            unsafe { libc::kill(daemon.id() as i32, libc::SIGTERM) };
            let _ = daemon.wait();
        }
    }
}

/// Always true, a while later.
fn sleep(milliseconds: u64) -> bool {
    std::thread::sleep(Duration::from_millis(milliseconds));
    true
}

fn text_of(output: &std::io::Result<Output>) -> String {
    output.as_ref().map_or(String::new(), |o| String::from_utf8_lossy(&o.stdout).into_owned())
}

fn install() -> Result<(), String> {
    let there = || ["munged", "slurmctld", "slurmd", "sbatch"].iter().all(|program| has(program));
    if there() {
        return Ok(());
    }
    // Without a network it must give up soon.
    let apt = "timeout 300 apt-get -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o Acquire::Retries=1";
    let get = format!("{apt} install -y slurm-wlm munge");
    let install = format!("{get} || {{ {apt} update && {get}; }}");
    let output = Command::new("sh").arg("-c").arg(install).env("DEBIAN_FRONTEND", "noninteractive").output();
    if there() { Ok(()) } else { Err(format!("slurm-wlm and munge cannot be installed: {}", last_error(&output))) }
}

fn has(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        .any(|place| Path::new(place).join(program).exists())
}

fn last_error(output: &std::io::Result<Output>) -> String {
    match output {
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().next_back().unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The folder of the run with this seed.
fn run_of(results: &Path, seed: usize) -> Option<PathBuf> {
    let runs = std::fs::read_dir(results.join("prune/wgsef")).ok()?.flatten();
    runs.map(|e| e.path()).find(|p| p.display().to_string().contains(&format!("-s{seed}-")))
}

fn log_of(results: &Path, seed: usize) -> String {
    run_of(results, seed).and_then(|run| std::fs::read_to_string(run.join("log.txt")).ok()).unwrap_or_default()
}

/// Epochs that take about so many seconds on this machine.
fn epochs_of(scratch: &Scratch, seconds: f64) -> u64 {
    const TRIED: u64 = 600;
    scratch
        .succeed(&[SMALL, &["--name", "pace", "--results", "pace", "-q", &format!("train.epochs={TRIED}")]].concat());
    let record = std::fs::read_to_string(scratch.path().join("pace/prune/wgsef/pace/run.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    (TRIED as f64 * seconds / record["seconds"].as_f64().expect("seconds")) as u64
}

/// Twelve runs: ten of a quarter of a second, one of some seconds (to be cancelled), one longer than its time limit allows.
#[test]
fn a_job_array_ends_like_the_local_sweep_whatever_befalls_its_tasks() {
    let slurm = match Slurm::start() {
        Ok(slurm) => slurm,
        Err(reason) => {
            // Past the test harness, which hides what a passing test prints.
            let _ = writeln!(std::io::stderr(), "skipped: no SLURM on this machine: {reason}");
            return;
        }
    };
    let scratch = Scratch::new();
    let (cancelled, late) = (10, 11);
    let quick: Vec<String> = (0..10).map(|seed| format!("{seed}:8")).collect();
    let long = epochs_of(&scratch, 45.0);
    let axis = format!("seed,train.epochs={},{cancelled}:600,{late}:{long}", quick.join(","));
    let rest = SMALL[1..].iter().filter(|word| !word.starts_with("train.epochs") && !word.starts_with("checkpoint"));
    let grid: Vec<&str> = ["sweep"].into_iter().chain(rest.copied()).chain([axis.as_str(), "--name", "s"]).collect();
    // The signal comes when 55 of 60 seconds are left, or up to half a minute later: SLURM looks that often.
    let options = "time=00:01:00,signal=B:USR1@55,throttle=3,comment=\"it's $(touch hacked), \"";
    let submit = || {
        let mut command = scratch.command(&[&grid[..], &["--results", "cluster", "--slurm", options]].concat());
        let output = command.env("SLURM_CONF", slurm.folder.path().join("slurm.conf")).output().expect("reglab starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let status = || {
        let mut command = scratch.command(&["sweep", "status", "--results", "cluster"]);
        text_of(&command.env("SLURM_CONF", slurm.folder.path().join("slurm.conf")).output())
    };
    let results = scratch.path().join("cluster");

    // The cluster's arrays have nine tasks at most: there are two. What is queued is not submitted twice.
    let said = submit();
    assert!(said.contains("12 points, 12 to submit") && said.matches("job ").count() == 2, "{said}");
    assert!(submit().contains("12 points, 0 to submit"));
    assert!(status().contains("in SLURM") || status().contains("running"), "{}", status());
    let begun = Instant::now();
    let patience = Duration::from_secs(400);
    // scancel of the task that makes the one, as soon as it is under way.
    while !log_of(&results, cancelled).contains("train ") {
        assert!(begun.elapsed() < patience, "{}{}", slurm.queue(), status());
        sleep(50);
    }
    let second = said.lines().filter_map(|line| line.strip_prefix("job ")?.split(':').next()).next_back();
    let id = format!("{}_1", second.expect("a second job"));
    let before = log_of(&results, cancelled);
    let output = slurm.command("scancel", &[&id]).output();
    assert!(output.as_ref().is_ok_and(|o| o.status.success()), "{}", last_error(&output));
    // The rest ends, the late one after a time in the queue.
    while !slurm.queue().trim().is_empty() {
        assert!(begun.elapsed() < patience, "{}{}", slurm.queue(), status());
        sleep(500);
    }
    let log = log_of(&results, late);
    assert!(log.contains("interrupted: stopped by SIGUSR1") && log.contains("resumed at step"), "{log}\n{}", status());
    assert!(status().contains("11 done"), "{before}\n{}\n{}", log_of(&results, cancelled), status());

    // The second call submits the cancelled one only.
    assert!(submit().contains("12 points, 1 to submit"));
    while !slurm.queue().trim().is_empty() {
        assert!(begun.elapsed() < patience, "{}{}", slurm.queue(), status());
        sleep(500);
    }
    assert!(log_of(&results, cancelled).contains("resumed at step"), "{}", log_of(&results, cancelled));
    assert!(!scratch.path().join("hacked").exists());

    // The report, and every table, are those of the sweep made here.
    let local = scratch.succeed(&[&grid[..], &["--jobs", "2", "-q"]].concat());
    assert_eq!(status(), local.clone() + "s: 12 points: 12 done\n");
    for seed in 0..12 {
        let run = |tree: &str| run_of(&scratch.path().join(tree), seed).expect("a run folder");
        assert_eq!(tables(&run("cluster")), tables(&run("results")), "seed {seed}");
    }
}
