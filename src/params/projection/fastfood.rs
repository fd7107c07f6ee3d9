//! Fastfood (Le, Sarlos, Smola 2013) as one draw for all parameters:
//!
//! v = H G Pi H B pad(theta_d), L = power of two >= D; offset = v[0:D] / (sqrt(L sum G^2) sqrt(D/L)),
//!
//! B random signs, Pi a permutation, G standard normal, H the unnormalised Hadamard matrix. theta_d fills only the first d of
//! L places, and H_L of such a vector is H of its first l = power of two >= d values, repeated: the first transform takes
//! O(l log l).

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use super::Hadamard;
use crate::native::{draw_normal, draw_uniform};
use crate::rng;

pub struct Fastfood {
    /// Signs of the first d places, `[d]`.
    pub sign: Tensor,
    /// Where each place takes its value from, in 0..l: the permutation of 0..L modulo l, int64 `[L]`.
    pub perm: Tensor,
    /// G `[L]` with the divisor in it.
    pub gauss: Tensor,
    small: Hadamard,
    large: Hadamard,
    /// D.
    parameters: i64,
}

/// The power of two that is at least n.
fn padded(n: i64) -> i64 {
    (n as u64).next_power_of_two() as i64
}

impl Fastfood {
    /// From signs `[>= d]`, a permutation int64 `[L]` and normal numbers `[L]`. d > D is an error: there is no room for it.
    pub fn new(sign: &Tensor, perm: &Tensor, gauss: &Tensor, parameters: i64, dimension: i64) -> Result<Fastfood> {
        ensure!(
            dimension <= parameters,
            "Fastfood has no subspace of dimension {dimension} in {parameters} parameters; d may be {parameters} at most"
        );
        let (length, small) = (padded(parameters), padded(dimension));
        let given = (perm.numel() as i64, gauss.numel() as i64);
        ensure!(given == (length, length), "Fastfood needs {length} values for perm and gauss, got {given:?}");
        let (kind, device) = (gauss.kind(), gauss.device());
        let divisor =
            (gauss.square().sum(Kind::Double) * length as f64).sqrt() * (parameters as f64 / length as f64).sqrt();
        Ok(Fastfood {
            sign: sign.narrow(0, 0, dimension).to_kind(kind),
            perm: perm.remainder(small),
            gauss: (gauss / divisor).to_kind(kind),
            small: Hadamard::new(small, kind, device),
            large: Hadamard::new(length, kind, device),
            parameters,
        })
    }

    pub fn draw(parameters: i64, dimension: i64, seed: u64, device: Device) -> Result<Fastfood> {
        let length = padded(parameters);
        let filled = "a fresh float tensor on the host can be filled";
        let sign = Tensor::empty([dimension], (Kind::Float, Device::Cpu));
        draw_uniform(&sign, -1.0, 1.0, rng::mix(seed, "fastfood signs")).expect(filled);
        let sign = sign.ge(0.0).to_kind(Kind::Float) * 2.0 - 1.0;
        let gauss = Tensor::empty([length], (Kind::Float, Device::Cpu));
        draw_normal(&gauss, 0.0, 1.0, rng::mix(seed, "fastfood normals")).expect(filled);
        let perm = Tensor::from_slice(&rng::permutation(seed, "fastfood permutation", length as usize));
        let [sign, perm, gauss] = [sign, perm, gauss].map(|t| t.to_device(device));
        Fastfood::new(&sign, &perm, &gauss, parameters, dimension)
    }

    pub fn offset(&self, theta: &Tensor) -> Tensor {
        let (d, l) = (self.sign.size()[0], padded(self.sign.size()[0]));
        let first = self.small.apply(&(theta * &self.sign).constant_pad_nd([0, l - d]));
        let v = self.large.apply(&(first.index_select(0, &self.perm) * &self.gauss));
        v.narrow(0, 0, self.parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_first_transform_is_the_padded_one() {
        let (parameters, d, length) = (27, 5, 32);
        tch::manual_seed(2);
        let sign = Tensor::from_slice(&[1.0, -1.0, 1.0, 1.0, -1.0]);
        let perm = Tensor::randperm(length, (Kind::Int64, Device::Cpu));
        let gauss = Tensor::randn([length], (Kind::Double, Device::Cpu));
        let theta = Tensor::randn([d], (Kind::Double, Device::Cpu));
        let fast = Fastfood::new(&sign, &perm, &gauss, parameters, d).unwrap();
        let h = Hadamard::new(length, Kind::Double, Device::Cpu);
        let padded = h.apply(&(&theta * &sign).constant_pad_nd([0, length - d])).index_select(0, &perm);
        let divisor = (gauss.square().sum(Kind::Double) * length as f64).sqrt() * (27f64 / 32.0).sqrt();
        let expected = h.apply(&(padded * &gauss)).narrow(0, 0, parameters) / divisor;
        assert!((fast.offset(&theta) - expected).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn more_dimensions_than_parameters_are_refused() {
        let error = Fastfood::draw(10, 11, 0, Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("11") && error.contains("10 parameters"), "{error}");
    }
}
