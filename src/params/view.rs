//! The tensors a model uses in one call.

use tch::Tensor;

use super::{ParamId, ParamStore, Role};

/// A store with some tensors replaced: how a method acts on parameters without touching the model.
pub struct View<'a> {
    store: &'a ParamStore,
    replaced: Vec<Option<Tensor>>,
}

impl<'a> View<'a> {
    /// The store's own tensors.
    pub fn plain(store: &'a ParamStore) -> View<'a> {
        View { store, replaced: Vec::new() }
    }

    pub fn store(&self) -> &'a ParamStore {
        self.store
    }

    pub fn get(&self, id: ParamId) -> &Tensor {
        match self.replaced.get(id.0) {
            Some(Some(tensor)) => tensor,
            _ => self.store.get(id),
        }
    }

    /// Uses `tensor` (same shape) in place of what the view showed at `id` so far.
    pub fn set(&mut self, id: ParamId, tensor: Tensor) {
        if self.replaced.is_empty() {
            self.replaced.resize_with(self.store.len(), || None);
        }
        self.replaced[id.0] = Some(tensor);
    }

    /// The same view with copies of the running statistics: a training pass through it leaves them as they are.
    pub fn with_scratch_statistics(&self) -> View<'a> {
        let mut view = View::plain(self.store);
        for (id, param) in self.store.iter() {
            if matches!(param.role, Role::Buffer | Role::Counter) {
                view.set(id, self.get(id).detach().copy());
            } else if let Some(Some(tensor)) = self.replaced.get(id.0) {
                view.set(id, tensor.shallow_clone());
            }
        }
        view
    }

    /// Writes what the view shows into a store of its own: folds masks, reparameterizations and deltas into plain weights.
    pub fn fold(&self) -> ParamStore {
        let folded = self.store.deep_clone();
        for id in folded.ids() {
            folded.assign(id, self.get(id));
        }
        folded
    }
}
