//! The paper's toy problem: eleven noisy points of a sine.

use tch::{Kind, Tensor};

pub const GAMMA: f64 = 80.0;
pub const LAMBDA: f64 = 0.2;

/// Noisy values at x = 0, 0.1, ..., 1.
const Y: [f64; 11] = [
    0.38476636465198066,
    1.2333967683416893,
    1.33232242217057,
    0.6920159488889518,
    -0.29756145531871736,
    -0.24189291901377769,
    -0.7964485769175675,
    -0.9616480167034174,
    -0.49672509509916934,
    -0.3469066003991437,
    0.5589512650600734,
];

/// Training points and the exact function between them.
pub struct Toy {
    /// [11,1].
    pub x: Tensor,
    pub y: Tensor,
    /// x = 0, 0.01, ..., 1 [101,1].
    pub test_x: Tensor,
    /// sin(2 pi x).
    pub test_y: Tensor,
}

pub fn data() -> Toy {
    let grid = |n: i64| Tensor::arange(n, (Kind::Double, tch::Device::Cpu)).unsqueeze(1) / (n - 1) as f64;
    let test_x = grid(101);
    Toy { x: grid(11), y: Tensor::from_slice(&Y).unsqueeze(1), test_y: (&test_x * std::f64::consts::TAU).sin(), test_x }
}
