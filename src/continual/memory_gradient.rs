//! The gradient of a loss on stored samples, outside the loop's own backward pass.

use anyhow::Result;
use tch::Tensor;

use super::flat;
use super::output::Output;
use super::replay::Replayed;
use crate::models::{Cx, Model};
use crate::native;
use crate::params::{ParamId, ParamStore, View};

/// How the network is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Train,
    Eval,
}

/// The flat gradient `[P]` of the mean cross entropy of `samples` with respect to `leaves`, over the columns in use once
/// `seen` tasks have been started.
pub fn memory_gradient(
    model: &dyn Model,
    store: &ParamStore,
    leaves: &[ParamId],
    samples: &Replayed,
    (output, seen): (&Output, usize),
    mode: Mode,
) -> Result<Tensor> {
    let view = View::plain(store);
    let cx = if mode == Mode::Train { Cx::train(&view) } else { Cx::eval(&view) };
    let (x, labels) = samples;
    let loss = output.cross_entropy(&model.forward(&cx, x), labels, seen);
    let tensors: Vec<&Tensor> = leaves.iter().map(|&id| store.get(id)).collect();
    Ok(flat::gradient(&native::grad(&loss, &tensors, false, false)?, &tensors))
}
