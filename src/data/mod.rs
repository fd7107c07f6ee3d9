//! Data: readers of the sets' own file formats, splits, device-resident sets with augmentation on the device, downloads.
//!
//! [`load`] turns a [`DataConfig`] into host images, [`Splits::to_device`] puts them where the network is, and a step then
//! costs a few launches there: [`DeviceSet::gather`] of a piece of [`epoch_order`]. Nothing goes back to the host.

mod augment;
mod cifar;
mod class_names;
mod config;
mod device_set;
mod digits;
pub mod download;
mod folder;
mod gray;
mod idx;
mod images;
mod list;
mod load;
pub mod mixup;
pub mod noise;
mod order;
mod progress;
mod root;
mod scale;
mod split;

pub use augment::Augment;
pub use config::{Color, DataConfig, DataName, Normalize};
pub use device_set::{Batch, DeviceSet};
pub use digits::read as read_digits;
pub use gray::{Fit, read_gray};
pub use images::Images;
pub use load::{DeviceSplits, Splits, load};
pub use order::epoch_order;
pub use root::data_root;
pub use scale::PixelScale;
