//! When an orthogonal convolution layer exists (the paper's theorem 4 for circular borders), and one that is.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use super::lorth::Shape;

/// What the layer sees beyond the borders of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Borders {
    /// The image itself, which wraps around.
    Circular,
    /// Nothing: the window stays inside.
    Valid,
    /// Zeros, as many as keep the image's size.
    Same,
}

/// Whether an orthogonal layer exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existence {
    Yes,
    /// Only with all taps zero but the centre: a 1x1 convolution in disguise.
    OnlyPointwise,
    No,
}

/// Circular: RO iff M <= C k^d, CO iff S <= k. Valid: RO likewise, CO iff k = S. Same, for S = 1 and odd k: a 1x1 convolution
/// only; with a larger stride or an even k there is no statement, and the layer counts as impossible.
pub fn existence(shape: Shape, borders: Borders) -> Existence {
    let there = match borders {
        Borders::Same if shape.stride > 1 || shape.k % 2 == 0 => false,
        Borders::Same if shape.k > 1 => return Existence::OnlyPointwise,
        Borders::Valid if !shape.is_row() => shape.k == shape.stride,
        _ if shape.is_row() => shape.m <= shape.taps(),
        _ => shape.stride <= shape.k,
    };
    if there { Existence::Yes } else { Existence::No }
}

/// The sentence that refuses a layer of which no orthogonal one exists.
pub fn refusal(shape: Shape, borders: Borders) -> String {
    let Shape { m, c, k, stride, dim } = shape;
    let why = match borders {
        Borders::Same => "zeros around the image break it unless S = 1 and the kernel is 1x1".to_owned(),
        _ if shape.is_row() => format!("M > C k^{dim}"),
        Borders::Circular => "S > k".to_owned(),
        Borders::Valid => format!("M > C S^{dim} needs k = S"),
    };
    let borders = match borders {
        Borders::Circular => "circular",
        Borders::Valid => "valid",
        Borders::Same => "zero",
    };
    format!("no orthogonal layer exists for M={m}, C={c}, k={k}, S={stride} with {borders} padding: {why}")
}

/// An orthogonal kernel (float64) with circular borders: filter m is a unit tap at slot m of the list (c, i, j), i, j <
/// min(S, k), c slowest and j fastest; the filters that are left over are zero.
pub fn delta_kernel(shape: Shape) -> Result<Tensor> {
    ensure!(existence(shape, Borders::Circular) == Existence::Yes, refusal(shape, Borders::Circular));
    let Shape { m, c, k, stride, dim } = shape;
    let side = k.min(stride);
    let slots = c * side.pow(dim);
    let kernel = Tensor::zeros([&[m, c][..], &vec![k; dim as usize]].concat(), (Kind::Double, Device::Cpu));
    for filter in 0..m.min(slots) {
        let mut tap = kernel.get(filter).get(filter / side.pow(dim));
        for axis in (0..dim).rev() {
            tap = tap.get(filter / side.pow(axis) % side);
        }
        let _ = tap.fill_(1.0);
    }
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exists(m: i64, c: i64, k: i64, stride: i64, borders: Borders) -> Existence {
        existence(Shape { m, c, k, stride, dim: 2 }, borders)
    }

    #[test]
    fn the_papers_grid_has_as_many_possible_shapes_as_it_says() {
        let mut possible = 0;
        for m in 1..=64 {
            for c in 1..=64 {
                for k in [1, 3, 5, 7] {
                    let yes = |s: &i64| exists(m, c, k, *s, Borders::Circular) == Existence::Yes;
                    possible += [1, 2, 4].iter().filter(|s| yes(s)).count();
                }
            }
        }
        assert_eq!(possible, 44_924);
    }

    #[test]
    fn zeros_around_the_image_leave_only_pointwise_layers() {
        assert_eq!(exists(4, 4, 3, 1, Borders::Same), Existence::OnlyPointwise);
        assert_eq!(exists(4, 4, 1, 1, Borders::Same), Existence::Yes);
        assert_eq!(exists(4, 4, 3, 2, Borders::Same), Existence::No);
    }

    #[test]
    fn an_impossible_layer_is_refused_with_its_numbers() {
        let message = delta_kernel(Shape { m: 10, c: 1, k: 3, stride: 4, dim: 2 }).unwrap_err().to_string();
        assert_eq!(message, "no orthogonal layer exists for M=10, C=1, k=3, S=4 with circular padding: M > C k^2");
    }
}
