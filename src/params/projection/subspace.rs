//! A network restricted to a random affine subspace: theta = theta_0 + P theta_d, one P over all its trainable tensors.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{Projection, ProjectionKind};
use crate::params::{ParamId, ParamStore, Role, View};

/// The name under which theta_d joins the store.
pub const THETA: &str = "theta_d";

pub struct Subspace {
    pub projection: Projection,
    /// theta_d, the only trainable tensor left, zeros at first.
    pub theta: ParamId,
    /// The tensors that move, in order; the store holds theta_0 there.
    moved: Vec<ParamId>,
    sizes: Vec<i64>,
}

impl Subspace {
    /// Freezes all trainable tensors of `store` at what they are (theta_0) and adds theta_d.
    pub fn attach(store: &mut ParamStore, kind: ProjectionKind, dimension: i64, seed: u64) -> Result<Subspace> {
        let moved = store.trainable();
        let sizes: Vec<i64> = moved.iter().map(|id| store.get(*id).numel() as i64).collect();
        let projection = Projection::draw(kind, &sizes, dimension, seed, store.device())?;
        moved.iter().for_each(|&id| store.set_trainable(id, false));
        let zeros = Tensor::zeros([dimension], (Kind::Float, store.device()));
        let theta = store.add(THETA, Role::Reparameterization, zeros);
        Ok(Subspace { projection, theta, moved, sizes })
    }

    /// D.
    pub fn parameters(&self) -> i64 {
        self.sizes.iter().sum()
    }

    /// Shows theta_0 + P theta_d.
    pub fn show(&self, view: &mut View) {
        let offset = self.projection.offset(view.get(self.theta));
        for (&id, part) in self.moved.iter().zip(offset.split_with_sizes(&self.sizes, 0)) {
            let origin = view.get(id);
            let moved = origin + part.view(origin.size().as_slice());
            view.set(id, moved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::grad;
    use tch::Device;

    fn store() -> ParamStore {
        let mut store = ParamStore::new(Device::Cpu);
        store.add("w", Role::Weight, Tensor::ones([3, 2], (Kind::Float, Device::Cpu)));
        store.add("mean", Role::Buffer, Tensor::zeros([3], (Kind::Float, Device::Cpu)));
        store.add("b", Role::Bias, Tensor::zeros([3], (Kind::Float, Device::Cpu)));
        store
    }

    #[test]
    fn it_begins_at_the_initial_weights_and_pulls_gradients_back() {
        let mut store = store();
        let subspace = Subspace::attach(&mut store, ProjectionKind::Dense, 2, 1).unwrap();
        assert_eq!((store.trainable(), subspace.parameters()), (vec![subspace.theta], 9));
        let mut view = View::plain(&store);
        subspace.show(&mut view);
        let (w, b) = (view.get(ParamId(0)), view.get(ParamId(2)));
        assert_eq!(w, &Tensor::ones([3, 2], (Kind::Float, Device::Cpu)));
        let loss = w.sum(Kind::Float) + b.sum(Kind::Float);
        let gradient = grad(&loss, &[store.get(subspace.theta)], false, false).unwrap().remove(0).unwrap();
        // P^T 1: the sums of the directions.
        let Projection::Dense(p) = &subspace.projection else { panic!() };
        let sums = p.directions.sum_dim_intlist(&[1i64][..], false, Kind::Float);
        assert!((gradient - sums).abs().max().double_value(&[]) < 1e-5);
    }
}
