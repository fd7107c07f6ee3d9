//! Parameters are data: named tensors in a store, handed to a model through a view.

pub mod channels;
pub mod file;
pub mod groups;
mod init;
pub mod lora;
mod store;
mod view;

pub use init::{Builder, Init};
pub use store::{Param, ParamId, ParamStore, Role};
pub use view::{LowRank, View};
