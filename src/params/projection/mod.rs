//! Random projections P `[D, d]` from few numbers theta_d to all D parameters of a network, and the subspace they span as a view:
//! theta = theta_0 + P theta_d (Li et al. 2018). The columns of P (the directions) have unit norm over all parameters together
//! and are nearly orthogonal.

mod dense;
mod fastfood;
mod hadamard;
mod sparse;
mod subspace;

pub use dense::Dense;
pub use fastfood::Fastfood;
pub use hadamard::Hadamard;
pub use sparse::Sparse;
pub use subspace::Subspace;

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

/// How P is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProjectionKind {
    /// Dense where d D <= 2e8, else sparse where d sqrt(D) <= 1e8, else Fastfood.
    #[default]
    Auto,
    /// Normal numbers: d D of them.
    Dense,
    /// Very sparse random projection: about d sqrt(D) numbers.
    Sparse,
    /// Products of structured matrices: O(D) numbers, O(D log D) time, whatever d is.
    Fastfood,
    /// Dense with each tensor's part of a direction normalised by itself: an ablation, not the paper's.
    DensePerTensor,
}

impl ProjectionKind {
    /// What `Auto` stands for at these sizes.
    pub fn choose(self, parameters: i64, dimension: i64) -> ProjectionKind {
        let (big, small) = (parameters as f64, dimension as f64);
        match self {
            ProjectionKind::Auto if small * big <= 2e8 => ProjectionKind::Dense,
            ProjectionKind::Auto if small * big.sqrt() <= 1e8 => ProjectionKind::Sparse,
            ProjectionKind::Auto => ProjectionKind::Fastfood,
            chosen => chosen,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            ProjectionKind::Auto => "auto",
            ProjectionKind::Dense => "dense",
            ProjectionKind::Sparse => "sparse",
            ProjectionKind::Fastfood => "fastfood",
            ProjectionKind::DensePerTensor => "dense-per-tensor",
        }
    }
}

/// A drawn P.
pub enum Projection {
    Dense(Dense),
    Sparse(Sparse),
    Fastfood(Fastfood),
}

impl Projection {
    /// For tensors of these sizes in order, float32: a pure function of the seed.
    pub fn draw(kind: ProjectionKind, sizes: &[i64], dimension: i64, seed: u64, device: Device) -> Result<Projection> {
        let parameters: i64 = sizes.iter().sum();
        ensure!(dimension > 0, "a subspace needs a dimension above 0, got {dimension}");
        Ok(match kind.choose(parameters, dimension) {
            ProjectionKind::Sparse => Projection::Sparse(Sparse::draw(sizes, dimension, seed, device)),
            ProjectionKind::Fastfood => Projection::Fastfood(Fastfood::draw(parameters, dimension, seed, device)?),
            ProjectionKind::DensePerTensor => Projection::Dense(Dense::draw(sizes, dimension, true, seed, device)),
            _ => Projection::Dense(Dense::draw(sizes, dimension, false, seed, device)),
        })
    }

    /// P theta for theta `[d]`: `[D]`, differentiable in theta.
    pub fn offset(&self, theta: &Tensor) -> Tensor {
        match self {
            Projection::Dense(p) => p.offset(theta),
            Projection::Sparse(p) => p.offset(theta),
            Projection::Fastfood(p) => p.offset(theta),
        }
    }

    /// Bytes that P takes.
    pub fn bytes(&self) -> usize {
        let tensors: Vec<&Tensor> = match self {
            Projection::Dense(p) => vec![&p.directions],
            Projection::Sparse(p) => vec![&p.row, &p.col, &p.val],
            Projection::Fastfood(p) => vec![&p.sign, &p.perm, &p.gauss],
        };
        tensors.iter().map(|t| t.numel() * t.kind().elt_size_in_bytes()).sum()
    }

    /// Directions without any entry: dimensions that are wasted (sparse only).
    pub fn empty_directions(&self) -> i64 {
        match self {
            Projection::Sparse(p) => p.empty,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn the_choice_follows_the_size() {
        let auto = ProjectionKind::Auto;
        assert_eq!(auto.choose(199_210, 750), ProjectionKind::Dense);
        assert_eq!(auto.choose(959_610, 10_000), ProjectionKind::Sparse);
        assert_eq!(auto.choose(959_610, 190_000), ProjectionKind::Fastfood);
    }

    #[test]
    fn directions_have_unit_norm_over_all_tensors_and_are_nearly_orthogonal() {
        let kinds = [ProjectionKind::Dense, ProjectionKind::Sparse, ProjectionKind::Fastfood];
        for kind in kinds {
            let p = Projection::draw(kind, &[4000, 40, 10], 5, 3, Device::Cpu).unwrap();
            let eye = Tensor::eye(5, (Kind::Float, Device::Cpu));
            let columns: Vec<Tensor> = (0..5).map(|i| p.offset(&eye.get(i))).collect();
            let gram = Tensor::stack(&columns, 0).matmul(&Tensor::stack(&columns, 1));
            let off = (&gram - &eye).abs();
            // Fastfood's unit norm holds on average only.
            let within = if kind == ProjectionKind::Fastfood { 0.1 } else { 1e-5 };
            assert!(off.diag(0).max().double_value(&[]) < within, "{kind:?} {}", off.diag(0));
            assert!(off.max().double_value(&[]) < 0.2, "{kind:?}");
            assert_eq!(p.empty_directions(), 0);
        }
    }

    #[test]
    fn a_projection_is_a_function_of_its_seed() {
        for kind in [ProjectionKind::Dense, ProjectionKind::Sparse, ProjectionKind::Fastfood] {
            let theta = Tensor::from_slice(&[1.0f32, -1.0, 2.0]);
            let of = |seed| Projection::draw(kind, &[50, 7], 3, seed, Device::Cpu).unwrap().offset(&theta);
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2));
        }
    }
}
