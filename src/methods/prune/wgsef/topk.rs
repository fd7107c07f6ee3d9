//! Hard selection: the k groups with the largest z_j. Applied once after training it is the final projection; applied after
//! every step it is iterative hard thresholding (the baseline `iht`).

use tch::{Kind, Tensor};

/// Flags of the k largest of z `[m]`; ties go to the lowest index, so there are always exactly k.
pub fn largest(z: &Tensor, k: usize) -> Tensor {
    let k = Tensor::full([1, 1], k as i64, (Kind::Int64, z.device()));
    largest_of_rows(&z.unsqueeze(0), &k).squeeze_dim(0)
}

/// Flags of the k_l largest of each row of z `[L, M]`, k `[L, 1]` int64. Nothing is read back to the host.
pub fn largest_of_rows(z: &Tensor, k: &Tensor) -> Tensor {
    let order = z.sort_stable(true, 1, true).1;
    let ranks = Tensor::arange(z.size()[1], (Kind::Int64, z.device()));
    let chosen = ranks.unsqueeze(0).lt_tensor(k);
    chosen.zeros_like().scatter(1, &order, &chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(t: &Tensor) -> Vec<i64> {
        Vec::<i64>::try_from(t.to_kind(Kind::Int64).reshape(-1)).unwrap()
    }

    #[test]
    fn ties_go_to_the_lowest_index() {
        let z = Tensor::from_slice(&[1.0, 2.0, 1.0, 2.0, 0.0, 1.0]);
        assert_eq!(flags(&largest(&z, 3)), [1, 1, 0, 1, 0, 0]);
        assert_eq!(flags(&largest(&z, 0)), [0; 6]);
        assert_eq!(flags(&largest(&z, 6)), [1; 6]);
    }

    #[test]
    fn every_row_has_its_own_k() {
        let z = Tensor::from_slice2(&[[3.0, 1.0, 2.0], [0.0, 0.0, 5.0]]);
        assert_eq!(flags(&largest_of_rows(&z, &Tensor::from_slice2(&[[1i64], [2]]))), [1, 0, 0, 1, 0, 1]);
    }
}
