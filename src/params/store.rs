//! Every tensor of a network, in order, under its PyTorch state-dict name.

use anyhow::{Result, bail, ensure};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

/// A tensor's place in its store. Ids are positions: a clone of a store (teacher, EMA, previous task) has the same ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub usize);

/// What a tensor is to its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Matrix or filter bank, first dimension = outputs.
    Weight,
    Bias,
    /// Gamma of a normalization.
    NormScale,
    /// Beta of a normalization.
    NormShift,
    /// A row per symbol: never decayed or reparameterized by default.
    Embedding,
    /// A number of a reparameterization (the compander's log a and log b, say), added by a method after the network's own
    /// tensors: part of training checkpoints, gone from the folded network.
    Reparameterization,
    /// Running statistics: not trained, part of the state dict.
    Buffer,
    /// `num_batches_tracked`: int64, not trained.
    Counter,
}

impl Role {
    pub fn trainable(self) -> bool {
        !matches!(self, Role::Buffer | Role::Counter)
    }
}

pub struct Param {
    pub name: String,
    pub role: Role,
    pub tensor: Tensor,
    pub trainable: bool,
}

/// The named tensors of one network. Trainable ones are autograd leaves.
pub struct ParamStore {
    params: Vec<Param>,
    by_name: HashMap<String, ParamId>,
    device: Device,
}

impl ParamStore {
    pub fn new(device: Device) -> ParamStore {
        ParamStore { params: Vec::new(), by_name: HashMap::new(), device }
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// Adds a tensor (moved to the store's device); a name that is taken is a mistake in the model and panics.
    pub fn add(&mut self, name: &str, role: Role, tensor: Tensor) -> ParamId {
        let id = ParamId(self.params.len());
        let taken = self.by_name.insert(name.to_owned(), id);
        assert!(taken.is_none(), "two parameters are named {name}");
        let tensor = tensor.detach().to_device(self.device).set_requires_grad(role.trainable());
        self.params.push(Param { name: name.to_owned(), role, tensor, trainable: role.trainable() });
        id
    }

    pub fn len(&self) -> usize {
        self.params.len()
    }

    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    pub fn ids(&self) -> impl Iterator<Item = ParamId> + use<> {
        (0..self.params.len()).map(ParamId)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &Param)> {
        self.params.iter().enumerate().map(|(i, p)| (ParamId(i), p))
    }

    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.0]
    }

    pub fn get(&self, id: ParamId) -> &Tensor {
        &self.params[id.0].tensor
    }

    pub fn name(&self, id: ParamId) -> &str {
        &self.params[id.0].name
    }

    pub fn role(&self, id: ParamId) -> Role {
        self.params[id.0].role
    }

    pub fn id(&self, name: &str) -> Option<ParamId> {
        self.by_name.get(name).copied()
    }

    /// The ids of all trainable tensors, in order.
    pub fn trainable(&self) -> Vec<ParamId> {
        self.iter().filter(|(_, p)| p.trainable).map(|(id, _)| id).collect()
    }

    /// Freezes or thaws one tensor.
    pub fn set_trainable(&mut self, id: ParamId, trainable: bool) {
        let param = &mut self.params[id.0];
        param.trainable = trainable;
        param.tensor = param.tensor.detach().set_requires_grad(trainable);
    }

    /// Overwrites the values of one tensor in place (same shape; the kind is converted).
    pub fn assign(&self, id: ParamId, value: &Tensor) {
        tch::no_grad(|| self.get(id).detach().copy_(value));
    }

    /// Puts another tensor in place of one: same shape, but its kind (float64, say) is taken over.
    pub fn replace(&mut self, id: ParamId, tensor: &Tensor) -> Result<()> {
        let device = self.device;
        let param = &mut self.params[id.0];
        let (name, given, needed) = (&param.name, tensor.size(), param.tensor.size());
        ensure!(given == needed, "tensor {name} has shape {given:?}, the model needs {needed:?}");
        param.tensor = tensor.detach().to_device(device).copy().set_requires_grad(param.trainable);
        Ok(())
    }

    /// A store of its own with equal values: a teacher, an EMA, the previous task.
    pub fn deep_clone(&self) -> ParamStore {
        self.map(|p| p.tensor.detach().copy())
    }

    /// The same values on another device.
    pub fn to_device(&self, device: Device) -> ParamStore {
        let mut moved = self.map(|p| p.tensor.detach().to_device(device).copy());
        moved.device = device;
        moved
    }

    fn map(&self, value: impl Fn(&Param) -> Tensor) -> ParamStore {
        let copy = |p: &Param| Param {
            name: p.name.clone(),
            role: p.role,
            tensor: value(p).set_requires_grad(p.trainable),
            trainable: p.trainable,
        };
        ParamStore {
            params: self.params.iter().map(copy).collect(),
            by_name: self.by_name.clone(),
            device: self.device,
        }
    }

    /// Overwrites all values with those of a store of the same network.
    pub fn copy_from(&self, other: &ParamStore) {
        assert_eq!(self.len(), other.len(), "stores of different networks");
        for id in self.ids() {
            self.assign(id, other.get(id));
        }
    }

    /// Number of trainable values.
    pub fn parameters(&self) -> usize {
        self.params.iter().filter(|p| p.role.trainable()).map(|p| p.tensor.numel()).sum()
    }

    /// Names of floating tensors that hold a NaN or an infinity (one transfer to the host for the whole store).
    pub fn non_finite(&self) -> Vec<String> {
        let floating: Vec<&Param> = self.params.iter().filter(|p| p.tensor.is_floating_point()).collect();
        if floating.is_empty() {
            return Vec::new();
        }
        let flags: Vec<Tensor> =
            tch::no_grad(|| floating.iter().map(|p| p.tensor.sum(Kind::Float).isfinite()).collect());
        let finite = Vec::<bool>::try_from(Tensor::stack(&flags, 0)).expect("flags on the host");
        // A sum can overflow although every value is finite: look at the suspects themselves.
        let suspects = floating.iter().zip(finite).filter(|(_, finite)| !finite).map(|(p, _)| p);
        suspects.filter(|p| p.tensor.isfinite().all().int64_value(&[]) == 0).map(|p| p.name.clone()).collect()
    }

    /// Looks a tensor up by name, or says which names there are.
    pub fn find(&self, name: &str) -> Result<ParamId> {
        let Some(id) = self.id(name) else {
            let names: Vec<&str> = self.params.iter().map(|p| p.name.as_str()).collect();
            bail!("no parameter is named {name}; there are {}", names.join(", "))
        };
        Ok(id)
    }
}
