//! The unnormalised Walsh-Hadamard transform of many vectors at once. H of 2^k values is a Kronecker product of small H: each
//! factor is one matrix product along its axis, so a transform is few large kernels and not k small ones.

use tch::{Device, Kind, Tensor};

/// The largest factor, 2^6 on a side.
const FACTOR_BITS: u32 = 6;

pub struct Hadamard {
    length: i64,
    factors: Vec<Tensor>,
}

impl Hadamard {
    /// For vectors of `length`, a power of two.
    pub fn new(length: i64, kind: Kind, device: Device) -> Hadamard {
        assert!(length > 0 && (length as u64).is_power_of_two(), "a Hadamard transform of {length} values");
        let mut bits = (length as u64).trailing_zeros();
        let mut factors = Vec::new();
        while bits > 0 {
            let own = bits.min(FACTOR_BITS);
            factors.push(matrix(own, kind, device));
            bits -= own;
        }
        Hadamard { length, factors }
    }

    /// H x along the last dimension of x `[..., length]`.
    pub fn apply(&self, x: &Tensor) -> Tensor {
        let shape = x.size();
        let mut y = x.contiguous();
        let (mut outer, mut inner) = (x.numel() as i64 / self.length, self.length);
        for factor in &self.factors {
            let n = factor.size()[0];
            inner /= n;
            y = match (outer, inner) {
                (_, 1) => y.view([outer, n]).matmul(factor),
                (1, _) => factor.matmul(&y.view([n, inner])),
                _ => factor.matmul(&y.view([outer, n, inner])),
            };
            outer *= n;
        }
        y.view(shape.as_slice())
    }
}

/// H of 2^bits values.
fn matrix(bits: u32, kind: Kind, device: Device) -> Tensor {
    let mut h = Tensor::ones([1, 1], (kind, device));
    for _ in 0..bits {
        let top = Tensor::cat(&[&h, &h], 1);
        let below = Tensor::cat(&[&h, &-&h], 1);
        h = Tensor::cat(&[top, below], 0);
    }
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_matrix_at_every_length_and_for_batches() {
        tch::manual_seed(1);
        for bits in [0, 1, 3, 7, 10] {
            let length = 1i64 << bits;
            let x = Tensor::randn([3, length], (Kind::Double, Device::Cpu));
            let y = Hadamard::new(length, Kind::Double, Device::Cpu).apply(&x);
            let expected = x.matmul(&matrix(bits, Kind::Double, Device::Cpu));
            assert!((y - expected).abs().max().double_value(&[]) < 1e-9, "{bits}");
        }
    }

    #[test]
    fn twice_is_the_length() {
        let h = Hadamard::new(8192, Kind::Double, Device::Cpu);
        let x = Tensor::arange(8192, (Kind::Double, Device::Cpu));
        assert!((h.apply(&h.apply(&x)) / 8192.0 - x).abs().max().double_value(&[]) < 1e-9);
    }
}
