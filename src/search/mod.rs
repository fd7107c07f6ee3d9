//! Black-box search over hyper-parameters, the baseline gradient-based tuning is compared with: small, exact, resumable.
//!
//! A [`Space`] names the tuned keys and their ranges; a [`Sampler`] (random, grid, TPE, Nelder-Mead) proposes the next trial's
//! values from those before it; a [`Pruner`] (median, ASHA) stops trials early; a [`Journal`] keeps every event of a [`Study`] on
//! disk, append-only. Everything here is a pure function of the study so far and its seed, so that resuming or adding workers
//! never changes what random and grid propose, nor TPE and Nelder-Mead with one worker.

mod grid;
mod importance;
mod journal;
mod nelder_mead;
mod pruner;
mod random;
mod sampler;
mod space;
mod study;
mod tpe;

pub use importance::{Importance, importance};
pub use journal::{Event, Journal, Report};
pub use pruner::Pruner;
pub use sampler::Sampler;
pub use space::{Dimension, Params, Space};
pub use study::{Header, Mode, Owner, Spent, State, Study, Trial};
