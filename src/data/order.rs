//! The order of one epoch.

use crate::rng;

/// A permutation of 0..n, a pure function of (seed, epoch): any epoch's order can be had again in constant time.
pub fn epoch_order(seed: u64, epoch: u64, n: usize) -> Vec<i64> {
    rng::permutation(seed, &format!("order {epoch}"), n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_repeat_and_differ_by_epoch_and_seed() {
        let order = epoch_order(3, 7, 50);
        assert_eq!(order, epoch_order(3, 7, 50));
        assert_ne!(order, epoch_order(3, 8, 50));
        assert_ne!(order, epoch_order(4, 7, 50));
    }
}
