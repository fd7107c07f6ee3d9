//! Initial values: each tensor's random numbers depend on the seed and its own name, nothing else, so that compared arms
//! and cut or extended networks start from the same values wherever their shapes agree.

use tch::{Device, Kind, Tensor};

use super::{ParamId, ParamStore, Role};
use crate::{native, rng};

/// How a tensor starts.
#[derive(Clone, Copy, Debug)]
pub enum Init {
    Constant(f64),
    /// Uniform in +-bound.
    Uniform(f64),
    /// Normal with mean zero.
    Normal(f64),
}

impl Init {
    /// The standard deviation of the values drawn.
    pub fn std(self) -> f64 {
        match self {
            Init::Constant(_) => 0.0,
            Init::Uniform(bound) => bound / 3f64.sqrt(),
            Init::Normal(std) => std,
        }
    }
}

/// Adds tensors to a store under a dotted prefix.
pub struct Builder<'a> {
    store: &'a mut ParamStore,
    prefix: String,
    seed: u64,
    /// The kind of tensors that are left unset, because a checkpoint will fill them.
    blank: Option<Kind>,
}

impl<'a> Builder<'a> {
    pub fn new(store: &'a mut ParamStore, seed: u64) -> Builder<'a> {
        Builder { store, prefix: String::new(), seed, blank: None }
    }

    /// Adds tensors of this kind without setting their values: a checkpoint is to fill them.
    pub fn blank(store: &'a mut ParamStore, kind: Kind) -> Builder<'a> {
        Builder { blank: Some(kind), ..Builder::new(store, 0) }
    }

    /// A builder for the same part.
    pub fn whole(&mut self) -> Builder<'_> {
        Builder { store: &mut *self.store, prefix: self.prefix.clone(), seed: self.seed, blank: self.blank }
    }

    /// A builder for the part called `name`.
    pub fn part(&mut self, name: impl std::fmt::Display) -> Builder<'_> {
        let prefix = format!("{}{name}.", self.prefix);
        Builder { store: &mut *self.store, prefix, seed: self.seed, blank: self.blank }
    }

    /// The dotted name of the part under construction, without the final dot.
    pub fn name(&self) -> &str {
        self.prefix.trim_end_matches('.')
    }

    pub fn tensor(&mut self, name: &str, role: Role, shape: &[i64], init: Init) -> ParamId {
        let name = format!("{}{name}", self.prefix);
        if let Some(kind) = self.blank {
            // Memory that nobody writes to is not taken from the machine yet.
            return self.store.add(&name, role, Tensor::empty(shape, (kind, self.store.device())));
        }
        let kind = if role == Role::Counter { Kind::Int64 } else { Kind::Float };
        // Drawn on the host: the same values on every device.
        let mut tensor = Tensor::empty(shape, (kind, Device::Cpu));
        let seed = rng::mix(self.seed, &format!("init {name}"));
        let drawn = match init {
            Init::Constant(value) => {
                let _ = tensor.fill_(value);
                Ok(())
            }
            Init::Uniform(bound) => native::draw_uniform(&tensor, -bound, bound, seed),
            Init::Normal(std) => native::draw_normal(&tensor, 0.0, std, seed),
        };
        drawn.expect("a fresh float tensor on the host can be filled");
        self.store.add(&name, role, tensor)
    }
}
