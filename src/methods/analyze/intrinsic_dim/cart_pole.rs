//! Cart-pole (Barto, Sutton, Anderson 1983) by the classic explicit Euler step, many at a time.

use tch::{Kind, Tensor};

const GRAVITY: f64 = 9.8;
const CART_MASS: f64 = 1.0;
const POLE_MASS: f64 = 0.1;
/// Half the pole.
const LENGTH: f64 = 0.5;

/// What ends an episode and how time and force go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CartPole {
    /// Seconds a step.
    pub dt: f64,
    pub force: f64,
    /// Radians; infinite: the pole may fall.
    pub angle_limit: f64,
    /// Infinite: the cart may leave.
    pub position_limit: f64,
}

impl Default for CartPole {
    fn default() -> CartPole {
        CartPole { dt: 0.02, force: 10.0, angle_limit: 12f64.to_radians(), position_limit: 2.4 }
    }
}

impl CartPole {
    /// The force of actions 0 (left) and 1 (right).
    pub fn discrete(&self, action: &Tensor, kind: Kind) -> Tensor {
        (action.to_kind(kind) * 2.0 - 1.0) * self.force
    }

    /// The force of actions in [-1, 1]; beyond they are clipped.
    pub fn continuous(&self, action: &Tensor) -> Tensor {
        action.clamp(-1.0, 1.0) * self.force
    }

    /// From states `[B, 4]` (position, velocity, angle, angular velocity) and forces `[B]`: the next states, and where they
    /// are beyond a limit, strictly (bool `[B]`). Positions move with the old velocities.
    pub fn step(&self, state: &Tensor, force: &Tensor) -> (Tensor, Tensor) {
        let parts = state.unbind(1);
        let [position, velocity, angle, turning] = [&parts[0], &parts[1], &parts[2], &parts[3]];
        let (sin, cos) = (angle.sin(), angle.cos());
        let total = CART_MASS + POLE_MASS;
        let pole = POLE_MASS * LENGTH;
        let push = (force + turning.square() * &sin * pole) / total;
        let angular = (&sin * GRAVITY - &cos * &push) / ((cos.square() * (-POLE_MASS / total) + 4.0 / 3.0) * LENGTH);
        let linear = push - &angular * &cos * (pole / total);
        let next = [
            position + velocity * self.dt,
            velocity + linear * self.dt,
            angle + turning * self.dt,
            turning + angular * self.dt,
        ];
        let fallen = next[2].abs().gt(self.angle_limit).logical_or(&next[0].abs().gt(self.position_limit));
        (Tensor::stack(&next, 1), fallen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_step_of_the_upright_pole_is_the_one_on_paper() {
        let state = Tensor::zeros([1, 4], (Kind::Double, Device::Cpu));
        let env = CartPole::default();
        let right = env.discrete(&Tensor::from_slice(&[1i64]), Kind::Double);
        let (next, fallen) = env.step(&state, &right);
        let push = 10.0 / 1.1;
        let angular = -push / (0.5 * (4.0 / 3.0 - 0.1 / 1.1));
        let linear = push - 0.05 * angular / 1.1;
        let expected = Tensor::from_slice(&[0.0, 0.02 * linear, 0.0, 0.02 * angular]);
        assert!((next.get(0) - expected).abs().max().double_value(&[]) < 1e-12);
        assert_eq!(fallen.int64_value(&[0]), 0);
    }

    #[test]
    fn a_limit_that_is_not_there_ends_nothing() {
        let far = Tensor::from_slice(&[9.0, 0.0, 0.0, 0.0]).view([1, 4]);
        let none = Tensor::from_slice(&[0.0]);
        assert_eq!(CartPole::default().step(&far, &none).1.int64_value(&[0]), 1);
        let pole_only = CartPole { position_limit: f64::INFINITY, ..CartPole::default() };
        assert_eq!(pole_only.step(&far, &none).1.int64_value(&[0]), 0);
    }
}
