//! 1,797 gray 8x8 images of handwritten digits (values 0..=16), compiled into the program, in the order of scikit-learn's
//! `load_digits`, from which `scripts/make_digits.py` made the file.
//!
//! They are the test part of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
//! Repository, 1998, doi:10.24432/C50P49, licensed under CC BY 4.0; as shipped by scikit-learn.

use anyhow::Result;
use flate2::read::GzDecoder;
use std::io::Read;

use super::{Images, class_names};

const COUNT: usize = 1797;

/// All of them, in the set's own order.
pub fn read() -> Result<Images> {
    let packed = include_bytes!("digits.bin.gz");
    let mut bytes = Vec::with_capacity(COUNT * 65);
    GzDecoder::new(&packed[..]).read_to_end(&mut bytes)?;
    let (labels, pixels) = bytes.split_at(COUNT);
    let labels: Vec<i64> = labels.iter().map(|&label| label.into()).collect();
    Images::new(pixels, [1, 8, 8], &labels, class_names::digits(), "digits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Kind, Tensor};

    #[test]
    fn they_are_those_of_scikit_learn() {
        let digits = read().unwrap();
        assert_eq!(digits.pixels.size(), [1797, 1, 8, 8]);
        let rows = |from, to| Vec::<i64>::try_from(digits.labels.slice(0, from, to, 1)).unwrap();
        assert_eq!(rows(0, 12), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
        assert_eq!(rows(1792, 1797), [9, 0, 8, 9, 8]);
        let first = Vec::<u8>::try_from(digits.pixels.get(0).view(-1)).unwrap();
        assert_eq!(first[..16], [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]);
        let sums = digits.pixels.flatten(1, -1).sum_dim_intlist(1, false, Kind::Int64);
        assert_eq!(sums.sum(Kind::Int64).int64_value(&[]), 561_718);
        let by_position = (sums * Tensor::arange_start(1, 1798, (Kind::Int64, tch::Device::Cpu))).sum(Kind::Int64);
        assert_eq!(by_position.int64_value(&[]), 503_904_265);
    }
}
