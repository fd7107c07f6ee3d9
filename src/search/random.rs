//! Independent uniform values, in the logarithm where the space says so.

use rand::RngExt;

use super::space::{Dimension, Space};

/// One number a dimension.
pub fn point(space: &Space, rng: &mut impl RngExt) -> Vec<f64> {
    space.iter().map(|(_, dimension)| number(dimension, rng)).collect()
}

pub fn number(dimension: &Dimension, rng: &mut impl RngExt) -> f64 {
    match (dimension, dimension.scale()) {
        (_, Some(scale)) => scale.value(scale.low + (scale.high - scale.low) * rng.random::<f64>()),
        (Dimension::Categorical { choices }, None) => rng.random_range(0..choices.len()) as f64,
        (_, None) => unreachable!("numeric dimensions have a scale"),
    }
}
