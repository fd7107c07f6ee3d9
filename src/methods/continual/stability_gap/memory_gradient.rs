//! The gradient of a loss on stored samples, outside the loop's own backward pass.

use anyhow::Result;
use tch::Tensor;

use crate::continual::flat;
use crate::models::{Cx, Model};
use crate::native;
use crate::params::{ParamId, ParamStore, View};

/// How the network is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Train,
    Eval,
}

/// The flat gradient `[P]` of `loss` of the logits of `x` with respect to `leaves`.
pub fn of(
    model: &dyn Model,
    store: &ParamStore,
    leaves: &[ParamId],
    x: &Tensor,
    mode: Mode,
    loss: impl Fn(&Tensor) -> Tensor,
) -> Result<Tensor> {
    let view = View::plain(store);
    let cx = if mode == Mode::Train { Cx::train(&view) } else { Cx::eval(&view) };
    let tensors: Vec<&Tensor> = leaves.iter().map(|&id| store.get(id)).collect();
    let grads = native::grad(&loss(&model.forward(&cx, x)), &tensors, false, false)?;
    Ok(flat::gradient(&grads, &tensors))
}
