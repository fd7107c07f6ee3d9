//! A sweep as job arrays of a SLURM cluster.
//!
//! A task is `reglab sweep task` in the place of its batch script's shell, so that the signal that SLURM sends before the time
//! is over (`--signal=B:USR1@120`) reaches reglab itself: it has its worker write a checkpoint, asks SLURM to queue the task
//! again and ends with 75. Preemption and node failures do the same by SLURM's own hand (`--requeue`). The restarted task
//! finds its runs as they are: those done are skipped, the one under way resumes from its checkpoint. All values reach a task
//! through `points.jsonl`, never through a shell.

mod cluster;
mod queue;

pub use cluster::{Array, Cluster, quote};
pub use queue::{Queued, queue, requeue, task};
