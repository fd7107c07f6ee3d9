//! Early-learning regularization: "Early-Learning Regularization Prevents Memorization of Noisy Labels", Liu, Niles-Weed,
//! Razavian, Fernandez-Granda, NeurIPS 2020 (arXiv 2007.00151); official code `shengliu66/ELR`.
//!
//! Networks fit the clean labels first and memorize the wrong ones later. ELR keeps a moving average t_i of the model's own
//! predictions of every training sample and pulls the prediction towards it, which cancels the gradient of wrong labels:
//!
//! L = CE + lambda mean_i log(1 - <t_i, p_i>),  t_i <- beta t_i + (1-beta) p_i
//!
//! ELR+ adds mixup, weight averaging and a second network that makes the targets.
//!
//! Where paper and official code differ, the code is followed: predictions are clamped to [c, 1-c] (c = 1e-4), for the target
//! also renormalized; CIFAR-100 pair noise runs in blocks of five consecutive class ids (`group = "superclass"` for the paper's).
//!
//! [`loss`], [`memory`] and [`plus`] are the method, [`robust`] and [`coteaching`] what it is compared with, [`memorization`]
//! what is measured. The wrong labels come from [`crate::data::noise`], the mixing of samples from [`crate::data::mixup`].

pub mod coteaching;
pub mod loss;
pub mod memorization;
pub mod memory;
mod ops;
pub mod plus;
pub mod robust;

pub use ops::OPS;
