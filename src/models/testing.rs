//! What tests of networks share.

use rand::RngExt;
use tch::{Device, Kind, Tensor};

use super::{Arch, Network};
use crate::params::Role;
use crate::rng::stream;

/// A network of random weights whose normalizations are random too (fresh ones are nearly the identity).
pub fn random_network(arch: Arch, seed: u64) -> Network {
    let net = Network::build(arch, seed, Device::Cpu).unwrap();
    let mut rng = stream(seed, "normalizations");
    for (id, param) in net.store.iter() {
        let variance = param.name.ends_with("running_var") || param.role == Role::NormScale;
        let (low, high) = if variance { (0.5, 1.5) } else { (-0.5, 0.5) };
        if matches!(param.role, Role::NormScale | Role::NormShift | Role::Buffer) {
            let values: Vec<f32> = (0..param.tensor.numel()).map(|_| rng.random_range(low..high)).collect();
            net.store.assign(id, &Tensor::from_slice(&values));
        }
    }
    net
}

/// Trainable values of an architecture.
pub fn parameters(arch: Arch) -> usize {
    Network::build(arch, 0, Device::Cpu).unwrap().store.parameters()
}

/// A batch of standard normal images.
pub fn images(seed: u64, shape: &[i64]) -> Tensor {
    tch::manual_seed(seed as i64);
    Tensor::randn(shape, (Kind::Float, Device::Cpu))
}
