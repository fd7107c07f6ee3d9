//! Host randomness: a counter-based generator per purpose, so that any number of it can be had again in constant time.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// A 63-bit seed for `purpose` under the run's seed.
pub fn mix(seed: u64, purpose: &str) -> u64 {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(purpose).finalize();
    u64::from_le_bytes(digest[..8].try_into().expect("eight bytes")) >> 1
}

/// The generator of one purpose ("order 3", "noise"): a pure function of its arguments.
pub fn stream(seed: u64, purpose: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(mix(seed, purpose))
}

/// A cheap seed per step for the device generator (splitmix64 of seed and step).
pub fn step_seed(seed: u64, step: u64) -> i64 {
    let mut z = seed ^ step.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 1) as i64
}

/// A permutation of 0..n, a pure function of (seed, purpose).
pub fn permutation(seed: u64, purpose: &str, n: usize) -> Vec<i64> {
    use rand::seq::SliceRandom;
    let mut order: Vec<i64> = (0..n as i64).collect();
    order.shuffle(&mut stream(seed, purpose));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_repeat_and_differ_by_purpose() {
        let a = permutation(1, "order 0", 100);
        assert_eq!(a, permutation(1, "order 0", 100));
        assert_ne!(a, permutation(1, "order 1", 100));
        let mut sorted = a;
        sorted.sort();
        assert_eq!(sorted, (0..100).collect::<Vec<i64>>());
    }
}
