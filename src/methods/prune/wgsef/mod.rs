//! WGSEF: weighted group sparse envelope regularization (Refael, Arbel, Huleihel, arXiv 2212.12921).
//!
//! Trains a network so that at most k of its m predefined groups of weights (filters, neurons, ...) are non-zero at the
//! end. The penalty is the tightest convex function below "half the squared norm if at most k groups are non-zero, else
//! infinity"; training is proximal SGD. With z_j = sqrt(d_j) ||theta_j||:
//!
//! ```text
//! GS_k(theta)             = 1/2 min { sum_j z_j^2 / u_j : 0 <= u_j <= 1, sum_j u_j <= k }
//! prox_{lambda GS_k}(y)_j = u_j / (u_j + lambda d_j) y_j,   u_j = clip(eta z_j - lambda d_j, 0, 1),   sum_j u_j = k
//! ```
//!
//! The core works on the m norms (`search`, `envelope`, `prox`, `group_lasso`, `half_space`, `topk`); [`groups`] takes
//! norms of a flat vector, [`crate::params::groups`] those of a network's tensors; [`penalty`] is the sum over the layers.
//! The paper's own placement of the weights d_j could not be read; here they sit in the quadratic.

pub mod checks;
pub mod device;
pub mod envelope;
pub mod group_lasso;
pub mod groups;
pub mod half_space;
mod ops;
pub mod penalty;
pub mod prox;
pub mod search;
pub mod topk;

pub use ops::OPS;
