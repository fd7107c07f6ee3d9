//! Where batches come from.

use tch::{Device, Tensor};

use crate::data::{Batch, DeviceSet, epoch_order};

/// A stream of batches, each a pure function of (epoch, index): resume needs no replay.
pub trait Source {
    fn batches_per_epoch(&self) -> u64;

    fn batch(&mut self, epoch: u64, index: u64) -> Batch;
}

/// A data set in a new order every epoch, augmented if the set says so.
pub struct Shuffled<'a> {
    set: &'a DeviceSet,
    batch: usize,
    drop_last: bool,
    seed: u64,
    order: Option<(u64, Tensor)>,
}

impl<'a> Shuffled<'a> {
    pub fn new(set: &'a DeviceSet, batch: usize, drop_last: bool, seed: u64) -> Shuffled<'a> {
        Shuffled { set, batch, drop_last, seed, order: None }
    }
}

impl Source for Shuffled<'_> {
    fn batches_per_epoch(&self) -> u64 {
        let n = self.set.len();
        let batches = if self.drop_last { n / self.batch } else { n.div_ceil(self.batch) };
        batches as u64
    }

    fn batch(&mut self, epoch: u64, index: u64) -> Batch {
        let n = self.set.len();
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            self.order = Some((epoch, to_device(&epoch_order(self.seed, epoch, n), self.set.device())));
        }
        let (_, order) = self.order.as_ref().expect("made above");
        let start = index as i64 * self.batch as i64;
        let length = (self.batch as i64).min(n as i64 - start);
        self.set.gather(&order.narrow(0, start, length))
    }
}

fn to_device(order: &[i64], device: Device) -> Tensor {
    Tensor::from_slice(order).to_device(device)
}
