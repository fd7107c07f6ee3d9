//! The training loop and what it is made of.

mod adapted;
mod balance;
mod clip;
mod config;
mod doors;
mod ema;
mod evaluate;
mod fit;
pub mod language;
mod optimizer;
mod schedule;
mod setup;
mod source;
mod window;

pub use adapted::Adapted;
pub use balance::Balance;
pub use clip::{clip_grad_norm, clip_grad_value};
pub use config::{Precision, TrainConfig};
pub use doors::{Doors, EpochEnd, Pass, Step, Terms};
pub use ema::Ema;
pub use evaluate::{Evaluation, batch_size, evaluate, evaluate_pass, logits};
pub use fit::{Fit, Outcome, Trainer, eval_view, fit, view};
pub use optimizer::{Optimizer, OptimizerConfig, OptimizerKind, ParamGroup};
pub use schedule::{Clock, ScheduleConfig, ScheduleKind};
pub use setup::{Supervised, build_network, build_network_with, evaluated, load_data, load_pretrained, load_weights};
pub use source::{Shuffled, Source};
