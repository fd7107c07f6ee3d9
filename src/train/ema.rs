//! Averaged weights: an exponential moving average of a network's store, itself a store.

use anyhow::{Result, bail, ensure};
use std::collections::HashMap;
use tch::Tensor;

use crate::native::foreach;
use crate::params::ParamStore;

/// The running average of every floating tensor of a network, running statistics included; counters are copied. It starts
/// as the network itself, so no zero start needs correcting.
pub struct Ema {
    pub store: ParamStore,
    /// How many updates it has seen.
    pub updates: u64,
}

impl Ema {
    pub fn new(network: &ParamStore) -> Ema {
        Ema { store: network.deep_clone(), updates: 0 }
    }

    /// average = decay average + (1 - decay) network.
    pub fn update(&mut self, network: &ParamStore, decay: f64) -> Result<()> {
        let (averages, tensors): (Vec<&Tensor>, Vec<&Tensor>) = self
            .store
            .iter()
            .filter(|(_, param)| param.tensor.is_floating_point())
            .map(|(id, param)| (&param.tensor, network.get(id)))
            .unzip();
        foreach::lerp_(&averages, &tensors, 1.0 - decay)?;
        for (id, _) in self.store.iter().filter(|(_, param)| !param.tensor.is_floating_point()) {
            self.store.assign(id, network.get(id));
        }
        self.updates += 1;
        Ok(())
    }

    /// The averages as `average.<parameter>` and the number of updates as `updates`. The tensors are the average's own: copy
    /// what must outlive the next update.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let average = |name: &str, tensor: &Tensor| (format!("average.{name}"), tensor.detach());
        let mut state: Vec<_> = self.store.iter().map(|(_, param)| average(&param.name, &param.tensor)).collect();
        state.push(("updates".to_owned(), Tensor::from(self.updates as i64)));
        state
    }

    /// Puts back what [`Ema::state`] gave. A missing or misshapen tensor is an error that names it, and then nothing has
    /// changed.
    pub fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let given: HashMap<&str, &Tensor> = state.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let own = self.state();
        for (name, tensor) in &own {
            let Some(found) = given.get(name.as_str()) else {
                bail!("the averaged weights have no {name}: they are of another model")
            };
            let (found, needed) = (found.size(), tensor.size());
            ensure!(found == needed, "the averaged weights have {name} of shape {found:?}, the model needs {needed:?}");
        }
        tch::no_grad(|| own.iter().for_each(|(name, tensor)| tensor.shallow_clone().copy_(given[name.as_str()])));
        self.updates = given["updates"].f_int64_value(&[])? as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Role;
    use tch::Device;

    fn network(weight: f32, seen: i64) -> ParamStore {
        let mut store = ParamStore::new(Device::Cpu);
        store.add("weight", Role::Weight, Tensor::from_slice(&[weight]));
        store.add("seen", Role::Counter, Tensor::from(seen));
        store
    }

    fn values(store: &ParamStore) -> (f64, i64) {
        let get = |name| store.get(store.id(name).expect(name));
        (get("weight").double_value(&[0]), get("seen").int64_value(&[]))
    }

    #[test]
    fn floating_tensors_are_averaged_and_counters_copied() {
        let mut ema = Ema::new(&network(1.0, 0));
        ema.update(&network(3.0, 7), 0.75).expect("an update");
        assert_eq!(values(&ema.store), (1.5, 7));
        assert_eq!(ema.updates, 1);
    }

    #[test]
    fn state_comes_back_and_foreign_state_is_an_error() {
        let mut ema = Ema::new(&network(1.0, 3));
        ema.update(&network(2.0, 4), 0.5).expect("an update");
        let mut other = Ema::new(&network(0.0, 0));
        other.load_state(&ema.state()).expect("its own state");
        assert_eq!((values(&other.store), other.updates), ((1.5, 4), 1));
        let error = other.load_state(&ema.state()[1..]).expect_err("incomplete").to_string();
        assert!(error.contains("average.weight"), "{error}");
    }
}
