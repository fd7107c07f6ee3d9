//! Curvature of a loss without its matrix: everything here knows a symmetric p x p operator A by its products alone.
//!
//! [`hutchinson`] estimates tr A and ||A||_F, [`lanczos`] the ends of the spectrum, [`power_iteration`] the eigenvalue of
//! largest magnitude; [`products`] makes products with the Hessian and the Gauss-Newton matrix of any function of leaves,
//! [`NetworkCurvature`] those of a network's loss over a whole set.

mod hutchinson;
mod lanczos;
mod network;
mod power;
pub mod products;

pub use hutchinson::{Hutchinson, hutchinson, rademacher};
pub use lanczos::{Lanczos, lanczos};
pub use network::{Loss, Matrix, NetworkCurvature};
pub use power::{PowerIteration, power_iteration};
