//! Training through low-rank adapters.

use super::Doors;
use crate::params::lora::Lora;
use crate::params::{ParamStore, View};

/// Shows the network with its adapters, with their dropout in training.
pub struct Adapted(pub Lora);

impl Doors for Adapted {
    fn name(&self) -> &'static str {
        "lora"
    }

    fn view(&self, _store: &ParamStore, view: &mut View) {
        self.0.apply(view, true);
    }

    fn eval_view(&self, _store: &ParamStore, view: &mut View) {
        self.0.apply(view, false);
    }
}
