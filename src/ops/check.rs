//! Checks of what a case feeds to an op. They read values back to the host: ops only, never a training step.

use anyhow::{Result, bail, ensure};
use tch::{Kind, Tensor};

/// `tensor` has exactly this shape.
pub fn shape(name: &str, tensor: &Tensor, expected: &[i64]) -> Result<()> {
    ensure!(tensor.size() == expected, "{name} has shape {:?}, expected {expected:?}", tensor.size());
    Ok(())
}

/// The two sizes of a matrix.
pub fn matrix(name: &str, tensor: &Tensor) -> Result<(i64, i64)> {
    match tensor.size()[..] {
        [rows, columns] if rows > 0 && columns > 0 => Ok((rows, columns)),
        ref size => bail!("{name} has shape {size:?}, a matrix that is not empty is needed"),
    }
}

/// Every value is positive and finite.
pub fn positive(name: &str, tensor: &Tensor) -> Result<()> {
    let values = Vec::<f64>::try_from(tensor.to_kind(Kind::Double).reshape(-1))?;
    let bad = values.iter().find(|x| !(x.is_finite() && **x > 0.0));
    ensure!(bad.is_none(), "{name} = {} must be positive and finite", bad.unwrap_or(&0.0));
    Ok(())
}

/// Whole numbers in 0..limit (labels, row numbers), as int64.
pub fn below(name: &str, tensor: &Tensor, limit: i64) -> Result<Tensor> {
    let whole = matches!(tensor.kind(), Kind::Int64 | Kind::Int | Kind::Int16 | Kind::Int8 | Kind::Uint8);
    ensure!(whole, "{name} has type {:?}, whole numbers are needed", tensor.kind());
    let tensor = tensor.to_kind(Kind::Int64);
    let values = Vec::<i64>::try_from(tensor.reshape(-1))?;
    let bad = values.iter().position(|x| !(0..limit).contains(x));
    if let Some(at) = bad {
        bail!("{name}[{at}] = {} is outside 0..{limit}", values[at]);
    }
    Ok(tensor)
}

/// No value appears twice.
pub fn distinct(name: &str, tensor: &Tensor) -> Result<()> {
    let mut values = Vec::<i64>::try_from(tensor.reshape(-1))?;
    values.sort_unstable();
    let twice = values.windows(2).find(|pair| pair[0] == pair[1]);
    ensure!(twice.is_none(), "{name} holds {} twice, every value must be distinct", twice.map_or(0, |pair| pair[0]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(result: Result<impl Sized>) -> String {
        result.err().expect("must be refused").to_string()
    }

    #[test]
    fn refusals_name_the_input_the_value_and_what_would_be_right() {
        let labels = Tensor::from_slice(&[0i64, 3, 3]);
        assert_eq!(refusal(below("label", &labels, 3)), "label[1] = 3 is outside 0..3");
        assert!(below("label", &labels, 4).is_ok());
        assert!(refusal(below("label", &Tensor::from_slice(&[0.0]), 3)).contains("whole numbers"));
        assert_eq!(refusal(distinct("index", &labels)), "index holds 3 twice, every value must be distinct");
        assert_eq!(refusal(positive("a", &Tensor::from_slice(&[1.0, 0.0]))), "a = 0 must be positive and finite");
        assert!(refusal(positive("a", &Tensor::from(f64::NAN))).contains("NaN"));
        assert_eq!(refusal(shape("w", &labels, &[2])), "w has shape [3], expected [2]");
        assert!(refusal(matrix("x", &labels)).contains("[3]"));
    }
}
