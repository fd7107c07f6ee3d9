//! Evolution strategies (Salimans et al. 2017): antithetic pairs, centred ranks.

use tch::{Kind, Tensor};

/// rank/(2n - 1) - 1/2 of all returns `[..., n, 2]` of a run together (flattened pair by pair, stable ascending sort).
pub fn centred_ranks(fitness: &Tensor) -> Tensor {
    let shape = fitness.size();
    let flat = fitness.flatten(-2, -1);
    let count = *flat.size().last().expect("a dimension");
    let ranks = flat.argsort_stable(true, -1, false).argsort_stable(true, -1, false);
    (ranks.to_kind(Kind::Double) / ((count - 1).max(1)) as f64 - 0.5).view(shape.as_slice())
}

/// g = sum (rank+ - rank-) eps / (2n) for eps `[..., n, d]` and ranks `[..., n, 2]`: `[..., d]`, to be ascended.
pub fn gradient(eps: &Tensor, ranks: &Tensor) -> Tensor {
    let n = eps.size()[eps.dim() - 2] as f64;
    let difference = (ranks.select(-1, 0) - ranks.select(-1, 1)).to_kind(eps.kind());
    (eps * difference.unsqueeze(-1)).sum_dim_intlist(&[-2i64][..], false, eps.kind()) / (2.0 * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_centred_and_ties_keep_their_order() {
        let fitness = Tensor::from_slice(&[3.0, 1.0, 1.0, 9.0]).view([2, 2]);
        let ranks = centred_ranks(&fitness);
        let third = 1.0 / 3.0;
        let expected = Tensor::from_slice(&[2.0 * third - 0.5, -0.5, third - 0.5, 0.5]).view([2, 2]);
        assert!((ranks - expected).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn the_gradient_points_where_returns_are_higher() {
        let eps = Tensor::from_slice(&[1.0, 0.0, 0.0, 1.0]).view([2, 2]);
        let fitness = Tensor::from_slice(&[5.0, 1.0, 2.0, 3.0]).view([2, 2]);
        let g = Vec::<f64>::try_from(gradient(&eps, &centred_ranks(&fitness))).unwrap();
        assert!(g[0] > 0.0 && g[1] < 0.0, "{g:?}");
    }
}
