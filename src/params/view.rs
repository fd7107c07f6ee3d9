//! The tensors a model uses in one call.

use std::collections::HashMap;
use tch::Tensor;

use super::{ParamId, ParamStore};

/// A low-rank addition to a matrix W `[out, in]`: the layer that reads W computes W x + scale B (A dropout(x)).
pub struct LowRank {
    /// A `[r, in]`.
    pub a: Tensor,
    /// B `[out, r]`.
    pub b: Tensor,
    pub scale: f64,
    /// Share of x that the branch does not see in this call (0 in evaluation).
    pub dropout: f64,
}

impl LowRank {
    /// What the branch adds to the layer's output: `[.., in]` to `[.., out]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let x = if self.dropout > 0.0 { x.dropout(self.dropout, true) } else { x.shallow_clone() };
        let branch = x.to_kind(self.a.kind()).linear(&self.a, None::<&Tensor>).linear(&self.b, None::<&Tensor>);
        (branch * self.scale).to_kind(x.kind())
    }

    /// scale B A `[out, in]`.
    pub fn delta(&self) -> Tensor {
        self.b.matmul(&self.a) * self.scale
    }
}

/// A store with some tensors replaced: how a method acts on parameters without touching the model.
pub struct View<'a> {
    store: &'a ParamStore,
    replaced: Vec<Option<Tensor>>,
    low_rank: HashMap<ParamId, LowRank>,
}

impl<'a> View<'a> {
    /// The store's own tensors.
    pub fn plain(store: &'a ParamStore) -> View<'a> {
        View { store, replaced: Vec::new(), low_rank: HashMap::new() }
    }

    pub fn store(&self) -> &'a ParamStore {
        self.store
    }

    /// The tensor itself, without a low-rank addition.
    pub fn get(&self, id: ParamId) -> &Tensor {
        match self.replaced.get(id.0) {
            Some(Some(tensor)) => tensor,
            _ => self.store.get(id),
        }
    }

    /// Uses `tensor` (same shape) in place of what the view showed at `id` so far. A low-rank addition stays on top.
    pub fn set(&mut self, id: ParamId, tensor: Tensor) {
        if self.replaced.is_empty() {
            self.replaced.resize_with(self.store.len(), || None);
        }
        self.replaced[id.0] = Some(tensor);
    }

    /// Adds a low-rank branch to the Linear layer whose weight is `id` (in place of an earlier one). The sum W + scale B A is
    /// never formed.
    pub fn add_low_rank(&mut self, id: ParamId, branch: LowRank) {
        self.low_rank.insert(id, branch);
    }

    pub fn low_rank(&self, id: ParamId) -> Option<&LowRank> {
        self.low_rank.get(&id)
    }

    /// The tensor with its low-rank addition, as one.
    pub fn dense(&self, id: ParamId) -> Tensor {
        let tensor = self.get(id);
        match self.low_rank(id) {
            Some(branch) => tensor + branch.delta().to_kind(tensor.kind()),
            None => tensor.shallow_clone(),
        }
    }

    /// Writes what the view shows into a store of its own: folds masks, reparameterizations and deltas into plain weights.
    pub fn fold(&self) -> ParamStore {
        let folded = self.store.deep_clone();
        for id in folded.ids() {
            folded.assign(id, &tch::no_grad(|| self.dense(id)));
        }
        folded
    }
}
