//! Where the mixing weight comes from, and the losses of the three networks.

use tch::{Device, Kind, Reduction, Tensor};

/// The region of the weight of a pair's first sample: lam in [alpha, alpha + delta] inside (0, 1). All `[B]`.
pub struct Region {
    pub alpha: Tensor,
    pub delta: Tensor,
    /// 1 - alpha - delta.
    pub slack: Tensor,
}

impl Region {
    /// (alpha, delta, slack) = softmax of the generator's logits `[B, 3]`: each positive, their sum 1.
    pub fn of(logits: &Tensor) -> Region {
        let parts = logits.softmax(1, None::<Kind>).unbind(1);
        let [alpha, delta, slack] = <[Tensor; 3]>::try_from(parts).expect("three logits a pair");
        Region { alpha, delta, slack }
    }

    /// The region that training starts from, for `pairs` pairs: [1/3, 2/3].
    pub fn start(pairs: i64, device: Device) -> Region {
        Region::of(&Tensor::zeros([pairs, 3], (Kind::Float, device)))
    }

    /// lam = alpha + delta u for u `[B]` uniform in [0, 1): gradients reach alpha and delta.
    pub fn draw(&self, u: &Tensor) -> Tensor {
        &self.alpha + &self.delta * u
    }
}

/// Phi(-2) of the standard normal distribution.
const PHI_BELOW: f64 = 0.022_750_131_948_179_195;

/// Standard normal values cut to [-2, 2] from u uniform in [0, 1): Phi^-1(Phi(-2) + u (Phi(2) - Phi(-2))).
pub fn truncated_normal(u: &Tensor) -> Tensor {
    (u * (1.0 - 2.0 * PHI_BELOW) + PHI_BELOW).special_ndtri().clamp(-2.0, 2.0)
}

/// The generator's input: (m1 x1 + m2 x2) / 2; without noise the plain average.
pub fn generator_input(x1: &Tensor, x2: &Tensor, noise: Option<(&Tensor, &Tensor)>) -> Tensor {
    match noise {
        Some((m1, m2)) => (x1 * m1 + x2 * m2) / 2.0,
        None => (x1 + x2) / 2.0,
    }
}

/// L_int: mean cross-entropy over the rows of both, real inputs (`[P, 2]`) being class 1 and mixed ones (`[M, 2]`) class 0; and
/// the share of rows that are told right. Both 0-d.
pub fn intrusion_loss(real: &Tensor, mixed: &Tensor) -> (Tensor, Tensor) {
    let logits = Tensor::cat(&[real, mixed], 0);
    let class = |of: &Tensor, class: i64| Tensor::full([of.size()[0]], class, (Kind::Int64, of.device()));
    let classes = Tensor::cat(&[class(real, 1), class(mixed, 0)], 0);
    let right = logits.argmax(1, false).eq_tensor(&classes).to_kind(logits.kind()).mean(None::<Kind>);
    let loss = logits.cross_entropy_loss::<Tensor>(&classes, None, Reduction::Mean, -100, 0.0);
    (loss, right)
}

/// For mixed inputs `[k, ..]`: the row of the nearest of `x` `[n, ..]`, the parents `i` and `j` `[k]` excepted; ties go to the
/// lowest row. By squared differences, in blocks.
pub fn nearest(mixed: &Tensor, x: &Tensor, i: &Tensor, j: &Tensor) -> Tensor {
    const BLOCK: i64 = 1 << 24;
    let (mixed, x) = (mixed.flatten(1, -1), x.flatten(1, -1));
    let (n, values) = (x.size()[0], x.numel().max(1) as i64);
    let size = (BLOCK / values).max(1);
    let rows = Tensor::arange(n, (Kind::Int64, x.device()));
    let blocks = (0..mixed.size()[0]).step_by(size as usize).map(|first| {
        let length = size.min(mixed.size()[0] - first);
        let of = |t: &Tensor| t.narrow(0, first, length).unsqueeze(1);
        let distance = (of(&mixed) - x.unsqueeze(0)).square().sum_dim_intlist(2, false, None::<Kind>);
        let parent = rows.unsqueeze(0).eq_tensor(&of(i)).logical_or(&rows.unsqueeze(0).eq_tensor(&of(j)));
        let distance = distance.masked_fill(&parent, f64::INFINITY);
        let least = distance.amin(1, true);
        let first_of = rows.unsqueeze(0).where_self(&distance.le_tensor(&least), &Tensor::full_like(&rows, n));
        first_of.amin(1, false)
    });
    Tensor::cat(&blocks.collect::<Vec<_>>(), 0)
}

/// Whether the nearest sample of each mixed input has a class that neither parent has (manifold intrusion), `[k]` bool.
pub fn intruded(labels: &Tensor, nearest: &Tensor, i: &Tensor, j: &Tensor) -> Tensor {
    let of = |rows: &Tensor| labels.index_select(0, rows);
    of(nearest).ne_tensor(&of(i)).logical_and(&of(nearest).ne_tensor(&of(j)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.to_kind(Kind::Double)).unwrap()
    }

    #[test]
    fn equal_logits_give_the_middle_third() {
        let region = Region::start(2, Device::Cpu);
        let lam = values(&region.draw(&Tensor::from_slice(&[0f32, 1.0])));
        assert!((lam[0] - 1.0 / 3.0).abs() < 1e-6 && (lam[1] - 2.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn truncated_values_end_at_two_and_are_symmetric() {
        let z = values(&truncated_normal(&Tensor::from_slice(&[0.0, 0.25, 0.5, 0.75, 1.0])));
        assert!((z[0] + 2.0).abs() < 1e-9 && z[2].abs() < 1e-12 && (z[4] - 2.0).abs() < 1e-9);
        assert!((z[1] + z[3]).abs() < 1e-12 && z[3] > 0.6);
    }

    #[test]
    fn the_parents_are_never_the_nearest_and_ties_go_to_the_first() {
        let x = Tensor::from_slice(&[0.0, 1.0, 2.0, 3.0, 1.0]).view([5, 1]);
        let rows = |values: &[i64]| Tensor::from_slice(values);
        let mixed = Tensor::from_slice(&[1.0, 1.5]).view([2, 1]);
        let found = nearest(&mixed, &x, &rows(&[0, 1]), &rows(&[2, 2]));
        assert_eq!(found, rows(&[1, 4]));
        let labels = rows(&[0, 1, 2, 3, 0]);
        let third = intruded(&labels, &found, &rows(&[0, 1]), &rows(&[2, 2]));
        assert_eq!(values(&third.to_kind(Kind::Int64)), [1.0, 1.0]);
    }
}
