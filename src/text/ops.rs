//! Numeric ground truth of tokenizers.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tch::Tensor;

use super::Tokenizer;
use crate::ops::{Case, Op, Outputs};

pub const OPS: &[Op] = &[Op::new("_llm-common.tokenize", tokenize)];

/// Ids padded on the right, and their numbers; decoding gives `decoded` back.
fn tokenize(case: &Case) -> Result<Outputs> {
    let texts = strings(case, "texts")?;
    let tokenizer = Tokenizer::load(&case.beside("tokenizer")?)?;
    let encoded: Vec<Vec<i64>> = texts.iter().map(|text| tokenizer.encode(text)).collect::<Result<_>>()?;
    if case.has("decoded") {
        for (ids, expected) in encoded.iter().zip(strings(case, "decoded")?) {
            let decoded = tokenizer.decode(ids)?;
            ensure!(decoded == expected, "{ids:?} decodes to {decoded:?}, expected {expected:?}");
        }
    }
    let longest = encoded.iter().map(Vec::len).max().unwrap_or(0);
    let pad = case.i64("pad_id")?;
    let rows = encoded.iter().flat_map(|ids| {
        let fill = std::iter::repeat_n(pad, longest - ids.len());
        ids.iter().copied().chain(fill)
    });
    let flat: Vec<i64> = rows.collect();
    let ids = Tensor::from_slice(&flat).view([texts.len() as i64, longest as i64]);
    let lengths: Vec<usize> = encoded.iter().map(Vec::len).collect();
    Ok(Outputs::new().with("ids", ids).with("lengths", lengths))
}

fn strings(case: &Case, key: &str) -> Result<Vec<String>> {
    let list = case.params.get(key).and_then(Value::as_array).with_context(|| format!("parameter {key} is missing"))?;
    let texts: Option<Vec<String>> = list.iter().map(|v| Some(v.as_str()?.to_owned())).collect();
    texts.with_context(|| format!("parameter {key} is not a list of texts"))
}
