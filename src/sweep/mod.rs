//! Many runs from one line, each made exactly once.
//!
//! The data's way:
//!
//! 1. **words -> axes** ([`grid`]): `method.sparsity=0.5,0.7 seed=0..5` becomes a list of axes, an axis a list of settings.
//! 2. **axes -> points** ([`point`]): every combination, laid over file and arm, is resolved to a whole configuration. The
//!    configuration's SHA-256 is the point's **id**, and the id is part of the name of its run folder: the same
//!    configuration is found again by the same sweep, and shared with any other.
//! 3. **points -> folder of the sweep** ([`store`]): `results/sweeps/<name>/` holds the words (`grid.toml`), the points with
//!    their configurations (`points.jsonl`), the workers' output and the scripts of a cluster. Whether a point is done is not
//!    written there: its run folder knows.
//! 4. **points -> workers** ([`pool`]): worker processes (`reglab worker`, [`job`]) take one job after another from their
//!    standard input, so that libtorch is loaded once a worker and not once a run. A worker that dies is replaced, and its
//!    run's record says why it died.
//! 5. **or points -> tasks** ([`slurm`]): the missing points, a few a task, become one job array; a task feeds its own
//!    points to a pool of one worker.

pub mod bars;
pub mod grid;
pub mod job;
pub mod point;
pub mod pool;
pub mod slurm;
pub mod store;

pub use job::Job;
pub use point::Point;
pub use pool::Pool;
pub use store::Store;
