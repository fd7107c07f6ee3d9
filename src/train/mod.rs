//! Training: optimizers, learning-rate schedules, gradient clipping, averaged weights.

mod clip;
mod ema;
mod optimizer;
mod schedule;

pub use clip::{clip_grad_norm, clip_grad_value, total_norm};
pub use ema::{Ema, ramped};
pub use optimizer::{Optimizer, OptimizerConfig, OptimizerKind, ParamGroup};
pub use schedule::{Clock, ScheduleConfig, ScheduleKind};
