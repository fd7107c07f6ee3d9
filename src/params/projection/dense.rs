//! Normal directions, each divided by its norm over all tensors. Memory and time O(d D).

use tch::{Device, Kind, Tensor};

use crate::native::draw_normal;

pub struct Dense {
    /// `[d, D]`, one direction a row, normalised.
    pub directions: Tensor,
}

impl Dense {
    /// From directions `[d, D]` of any length; also their norms `[d]`. A zero direction stays zero.
    pub fn new(directions: Tensor) -> (Dense, Tensor) {
        let norms = normalise(&directions);
        (Dense { directions }, norms)
    }

    pub fn draw(sizes: &[i64], dimension: i64, per_tensor: bool, seed: u64, device: Device) -> Dense {
        let all = Tensor::empty([dimension, sizes.iter().sum()], (Kind::Float, Device::Cpu));
        draw_normal(&all, 0.0, 1.0, seed).expect("a fresh float tensor on the host can be filled");
        let directions = all.to_device(device);
        if per_tensor {
            for part in directions.split_with_sizes(sizes, 1) {
                let _ = normalise(&part);
            }
        } else {
            let _ = normalise(&directions);
        }
        Dense { directions }
    }

    pub fn offset(&self, theta: &Tensor) -> Tensor {
        self.directions.tr().mv(theta)
    }
}

/// Divides each row by its norm, in place.
fn normalise(rows: &Tensor) -> Tensor {
    let norms = rows.norm_scalaropt_dim(2, [1], true);
    let divisor = norms.where_self(&norms.gt(0.0), &norms.ones_like());
    let _ = rows.shallow_clone().divide_(&divisor);
    norms.squeeze_dim(1)
}
