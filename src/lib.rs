//! reglab: published methods that regularize, prune, quantize, distill, fine-tune, continually train and tune neural
//! networks, as one program on libtorch.
//!
//! The house, from the ground up (a module imports only from those above it):
//!
//! | module | what it holds |
//! |---|---|
//! | [`rng`] | seeded host randomness, one counter-based stream a purpose |
//! | [`native`] | what libtorch can do and its binding leaves out |
//! | [`params`] | parameters as data: store, view, state-dict files, channel groups |
//! | [`models`] | networks as pure functions of (parameters, input) |
//! | [`search`] | black-box search over hyper-parameters: space, samplers, pruners, journal |
//! | [`ops`] | numeric ground truth: named core functions and their stored cases |
//! | [`config`] | experiment files: layers, overrides, schema, complaints |
//! | [`run`] | the run folder: tables, checkpoints, resume, lock, progress |
//! | [`data`] | readers, device-resident sets, augmentation, downloads |
//! | [`text`] | tokenizers, packed token streams, readers of language data |
//! | [`metrics`] | cost, latency, accuracy, sparsity |
//! | [`train`] | the loop and its doors, optimizers, schedules |
//! | [`bilevel`] | Hessian-vector products, conjugate gradients, certified inner solves |
//! | [`continual`] | streams of tasks, heads, memory, metrics of continual learning |
//! | [`pruning`] | what the pruning methods share: scores, plans, structural removal |
//! | [`methods`] | the methods themselves, and the registry |
//! | [`sweep`] | grids of runs, the pool of worker processes, job arrays |
//! | [`report`] | tables, plots, verdicts |
//! | [`cli`] | the command line |

pub mod bilevel;
pub mod cli;
pub mod config;
pub mod continual;
pub mod data;
pub mod methods;
pub mod metrics;
pub mod models;
pub mod native;
pub mod ops;
pub mod params;
pub mod pruning;
pub mod report;
pub mod rng;
pub mod run;
pub mod search;
pub mod sweep;
pub mod text;
pub mod train;

/// A mistake in what the user asked for, found before any work started: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

impl From<anyhow::Error> for Usage {
    fn from(error: anyhow::Error) -> Usage {
        Usage(format!("{error:#}"))
    }
}

/// The first line of a panic's message: libtorch's errors carry a C++ stack trace after it.
pub fn first_line(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str).or(cause.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("a panic without a message");
    let text = text.split("Torch(\"").nth(1).unwrap_or(text);
    text.split(['\n', '\r']).next().unwrap_or(text).split("\\n").next().unwrap_or(text).to_owned()
}
