//! Weight compander: "Weight Compander: A Simple Weight Reparameterization for Regularization", Cakaj, Mehnert, Yang, 2023
//! (arXiv 2306.16993).
//!
//! Every weight of a layer is w = Psi(v) of a free parameter v. Psi compresses large weights (no single one dominates) and
//! expands small ones (they leave zero quickly), so more weights take part; at inference w is stored and nothing is left.
//!
//! w = a atan(v / b), |w| < a pi/2, slope a/b at zero, a > 0 and b > 0 a layer (or a filter), fixed or learned.
//!
//! Only the abstract and the introduction of the paper could be read: the function, its initial values, the sharing of a and
//! b and their learning rate are this product's choice. There is no official code.
//!
//! [`psi`] is the method, [`rivals`] what it is compared with, [`statistics`] what is measured of the weights.

mod ops;
pub mod psi;
pub mod rivals;
pub mod statistics;

pub use ops::OPS;
