//! Worker processes that take one job after another. A job whose worker dies is recorded as failed with the reason, and tried
//! again if it may be; the others go on.

use anyhow::{Context, Result, anyhow};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::bars::Bars;
use super::job::{Begin, End, Job, Report};
use crate::run::{self, Interrupted, Status, Summary, Verbosity, in_use, physical_cores, record_death};

/// Between two looks at signals and at runs of other processes.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const ELSEWHERE_EVERY: Duration = Duration::from_millis(500);

pub struct Pool {
    pub workers: usize,
    /// CUDA's names of GPUs: worker i sees only the i-th. Empty: workers see what this process sees.
    pub gpus: Vec<String>,
    pub data_root: PathBuf,
    /// Folder of what the workers say on standard error.
    pub logs: PathBuf,
    /// How often a job that failed is tried again.
    pub retries: u32,
    pub verbosity: Verbosity,
}

/// A worker process.
struct Worker {
    child: Child,
    jobs: Option<ChildStdin>,
    /// Index of the job it works on.
    job: Option<usize>,
    /// Tells its reports from those of the one before it in the same place.
    birth: usize,
    log: PathBuf,
    /// Length of its log when the job began.
    log_before: u64,
}

/// What a worker's reader thread passes on; `None`: its output ended.
struct Heard {
    place: usize,
    birth: usize,
    report: Option<Report>,
}

/// Everything that changes while the pool runs.
struct Work<'a> {
    pool: &'a Pool,
    jobs: &'a mut [Job],
    waiting: VecDeque<usize>,
    /// Jobs that other processes work on, and when that was last looked at.
    elsewhere: Vec<usize>,
    looked: Instant,
    tries: Vec<u32>,
    ends: Vec<Option<Result<Summary>>>,
    workers: Vec<Option<Worker>>,
    births: usize,
    tell: Sender<Heard>,
    bars: Bars,
    stopping: Option<Interrupted>,
}

impl Pool {
    /// Makes all runs; how each ended, in the order of `jobs`. A signal to this process stops the workers, each with a
    /// checkpoint, and is the error.
    pub fn run(&self, mut jobs: Vec<Job>) -> Result<Vec<Result<Summary>>> {
        run::install_signals();
        fs::create_dir_all(&self.logs).with_context(|| format!("cannot make {}", self.logs.display()))?;
        let workers = self.workers.min(jobs.len());
        let (tell, hear) = channel();
        let mut work = Work {
            pool: self,
            waiting: (0..jobs.len()).collect(),
            elsewhere: Vec::new(),
            looked: Instant::now(),
            tries: vec![0; jobs.len()],
            ends: jobs.iter().map(|_| None).collect(),
            workers: (0..workers).map(|_| None).collect(),
            births: 0,
            tell,
            bars: Bars::new(self.verbosity, workers, jobs.len()),
            stopping: None,
            jobs: &mut jobs,
        };
        work.go(&hear);
        if let Some(signal) = work.stopping {
            return Err(signal.into());
        }
        Ok(work.ends.into_iter().map(|end| end.unwrap_or_else(|| Err(anyhow!("was not run")))).collect())
    }

    /// CPU threads of each worker.
    fn threads(&self) -> usize {
        let given = std::env::var("OMP_NUM_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
        (physical_cores() / self.workers).clamp(1, given.max(1))
    }

    fn spawn(&self, place: usize, log: &Path) -> Result<Child> {
        let said = File::options().create(true).append(true).open(log);
        let said = said.with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(own_program()?);
        command.arg0("reglab").arg("worker").arg("--data-root").arg(&self.data_root);
        command.env("OMP_NUM_THREADS", self.threads().to_string());
        if !self.gpus.is_empty() {
            command.env("CUDA_VISIBLE_DEVICES", &self.gpus[place % self.gpus.len()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said);
        #[cfg(target_os = "linux")]
        {
            let parent = std::process::id();
            let stop_with_parent = move || {
                // A pool that is killed takes its workers along, each with a checkpoint.
                // SAFETY: plain system calls, allowed between fork and exec.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                    if libc::getppid() as u32 != parent {
                        libc::_exit(1);
                    }
                }
                Ok(())
            };
            // SAFETY: the closure makes system calls only.
            unsafe { command.pre_exec(stop_with_parent) };
        }
        command.spawn().context("cannot start a worker")
    }
}

impl Work<'_> {
    fn go(&mut self, hear: &Receiver<Heard>) {
        loop {
            if self.stopping.is_none()
                && let Some(signal) = run::pending_signal()
            {
                self.stop(signal);
            }
            self.look_elsewhere();
            (0..self.workers.len()).for_each(|place| self.feed(place));
            let busy = self.workers.iter().flatten().any(|w| self.stopping.is_some() || w.job.is_some());
            if !busy && (self.stopping.is_some() || (self.waiting.is_empty() && self.elsewhere.is_empty())) {
                break;
            }
            match hear.recv_timeout(LOOK_EVERY) {
                Ok(heard) => self.hear(heard),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        for worker in self.workers.iter_mut().flatten() {
            worker.jobs = None;
        }
        for worker in self.workers.iter_mut().flatten() {
            let _ = worker.child.wait();
        }
    }

    /// Asks all workers to write a checkpoint and end.
    fn stop(&mut self, signal: Interrupted) {
        self.stopping = Some(signal);
        let pass_on = if signal.wants_more_time() { libc::SIGUSR1 } else { libc::SIGTERM };
        for worker in self.workers.iter_mut().flatten() {
            worker.jobs = None;
            // SAFETY: a plain system call on a process of ours that has not been waited for.
            unsafe { libc::kill(worker.child.id() as i32, pass_on) };
        }
    }

    /// Takes up what other processes have left.
    fn look_elsewhere(&mut self) {
        if self.looked.elapsed() >= ELSEWHERE_EVERY {
            self.looked = Instant::now();
            let jobs = &self.jobs;
            self.waiting.extend(self.elsewhere.extract_if(.., |&mut job| !in_use(&jobs[job].folder)));
        }
    }

    /// Gives the worker at `place` its next job, and starts it if there is none.
    fn feed(&mut self, place: usize) {
        let idle = self.workers[place].as_ref().is_none_or(|w| w.job.is_none());
        if self.stopping.is_some() || !idle {
            return;
        }
        let Some(job) = self.waiting.pop_front() else { return };
        if self.workers[place].is_none() {
            match self.start(place) {
                Ok(worker) => self.workers[place] = Some(worker),
                Err(error) => return self.failed(job, &format!("{error:#}")),
            }
        }
        let worker = self.workers[place].as_mut().expect("started above");
        worker.job = Some(job);
        worker.log_before = fs::metadata(&worker.log).map_or(0, |m| m.len());
        self.bars.begin(place, &self.jobs[job].name());
        let line = serde_json::to_string(&self.jobs[job]).expect("a job is plain data");
        if let Some(pipe) = &mut worker.jobs {
            // If it is dead, the end of its output says so.
            let _ = writeln!(pipe, "{line}").and_then(|()| pipe.flush());
        }
    }

    fn start(&mut self, place: usize) -> Result<Worker> {
        let log = self.pool.logs.join(format!("{place}.log"));
        let mut child = self.pool.spawn(place, &log)?;
        self.births += 1;
        let (birth, tell) = (self.births, self.tell.clone());
        let output = child.stdout.take().context("a worker without output")?;
        std::thread::spawn(move || {
            let reports = BufReader::new(output).lines().map_while(Result::ok);
            for report in reports.filter_map(|line| serde_json::from_str(&line).ok()) {
                if tell.send(Heard { place, birth, report: Some(report) }).is_err() {
                    return;
                }
            }
            let _ = tell.send(Heard { place, birth, report: None });
        });
        let jobs = child.stdin.take();
        Ok(Worker { child, jobs, job: None, birth, log, log_before: 0 })
    }

    fn hear(&mut self, heard: Heard) {
        let place = heard.place;
        let Some(worker) = self.workers[place].as_mut().filter(|w| w.birth == heard.birth) else { return };
        match heard.report {
            Some(Report::At { phase, done, steps }) => self.bars.at(place, &phase, done, steps),
            Some(Report::Ended(end)) => {
                let Some(job) = worker.job.take() else { return };
                self.bars.idle(place);
                match end {
                    End::Done(summary) => self.done(job, summary),
                    End::Elsewhere => self.elsewhere.push(job),
                    End::Interrupted(_) if self.stopping.is_some() => {}
                    // Not by us: somebody stopped this one worker.
                    End::Interrupted(reason) | End::Failed(reason) => self.failed(job, &reason),
                }
            }
            None => self.bury(place),
        }
    }

    /// The worker's output has ended: so has the worker.
    fn bury(&mut self, place: usize) {
        let Some(mut worker) = self.workers[place].take() else { return };
        self.bars.idle(place);
        let status = worker.child.wait();
        let Some(job) = worker.job else { return };
        let folder = &self.jobs[job].folder;
        if Status::of(folder) == Status::Done {
            let summary = run::summary(folder).unwrap_or_default();
            return self.done(job, summary);
        }
        if self.stopping.is_some() {
            return;
        }
        let reason = match &status {
            Ok(status) => cause_of_death(*status, &worker),
            Err(error) => format!("its worker was lost: {error}"),
        };
        if let Err(error) = self.jobs[job].config().and_then(|(_, config)| record_death(folder, &config, &reason)) {
            self.bars.say(&format!("error: cannot record the end of {}: {error:#}", self.jobs[job].name()));
        }
        self.failed(job, &reason);
    }

    fn done(&mut self, job: usize, summary: Summary) {
        self.bars.over(&self.jobs[job].name(), "done");
        self.ends[job] = Some(Ok(summary));
    }

    fn failed(&mut self, job: usize, reason: &str) {
        let name = self.jobs[job].name();
        if self.tries[job] < self.pool.retries {
            self.tries[job] += 1;
            self.jobs[job].begin = Begin::GoOn;
            self.waiting.push_back(job);
            self.bars.say(&format!("warning: {name}: {reason}; trying again ({})", self.tries[job]));
            return;
        }
        self.bars.say(&format!("error: {name}: {reason}"));
        self.bars.over(&name, "failed");
        self.ends[job] = Some(Err(anyhow!("{reason}")));
    }
}

/// This very program, also where it was built anew while it runs.
fn own_program() -> Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        Ok(running)
    } else {
        std::env::current_exe().context("cannot find the reglab program itself")
    }
}

/// How the process ended, and the last thing it said.
fn cause_of_death(status: ExitStatus, worker: &Worker) -> String {
    let how = match (status.signal(), status.code()) {
        (Some(libc::SIGKILL), _) => "killed by signal 9 (out of memory?)".to_owned(),
        (Some(libc::SIGSEGV), _) => "killed by signal 11 (segmentation fault)".to_owned(),
        (Some(libc::SIGABRT), _) => "killed by signal 6 (it gave up)".to_owned(),
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, code) => format!("its worker ended with exit code {}", code.unwrap_or_default()),
    };
    let mut said = String::new();
    let read = File::open(&worker.log).and_then(|mut file| {
        file.seek(SeekFrom::Start(worker.log_before))?;
        file.read_to_string(&mut said)
    });
    let last = read.ok().and_then(|_| said.lines().rfind(|line| !line.trim().is_empty()));
    last.map_or(how.clone(), |line| format!("{how}: {}", line.trim_start_matches("error: ")))
}
