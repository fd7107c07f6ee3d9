//! Unstructured magnitude pruning.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{check_fraction, cut_count};

/// uint8 flags of the shape of `w`: the floor(fraction * n) values of smallest |w| are cut (0), ties by the lower index.
pub fn magnitude_mask(w: &Tensor, fraction: f64) -> Result<Tensor> {
    check_fraction(fraction)?;
    let flat = w.detach().abs().reshape(-1);
    let nan = flat.isnan();
    if nan.any().int64_value(&[]) != 0 {
        anyhow::bail!("w[{}] is NaN: it has no rank", nan.to_kind(Kind::Int64).argmax(0, false).int64_value(&[]));
    }
    let order = flat.sort_stable(true, 0, false).1;
    let cut = order.narrow(0, 0, cut_count(fraction, flat.numel()) as i64);
    let keep = Tensor::ones_like(&flat).to_kind(Kind::Uint8).index_fill(0, &cut, 0);
    Ok(keep.view(w.size().as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_by_rank_with_ties_by_index() {
        let w = Tensor::from_slice(&[1.0, -1.0, 0.5, 1.0, -2.0, 1.0]).view([2, 3]);
        let keep = |fraction| Vec::<i64>::try_from(magnitude_mask(&w, fraction).unwrap().to_kind(Kind::Int64).view(-1));
        assert_eq!(keep(0.0).unwrap(), [1; 6]);
        assert_eq!(keep(0.5).unwrap(), [0, 0, 0, 1, 1, 1]);
        assert_eq!(keep(0.99).unwrap(), [0, 0, 0, 0, 1, 0]);
        assert!(magnitude_mask(&w, 1.0).is_err());
        assert!(magnitude_mask(&Tensor::from_slice(&[0.0, f64::NAN]), 0.5).is_err());
    }
}
