//! Drawing the next token.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// How the next token is drawn: divide by the temperature, keep the top k, keep the nucleus, renormalize.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Divisor of the logits (0: always the most probable token).
    #[schemars(range(min = 0.0))]
    pub temperature: f64,
    /// How many tokens are kept (0: all); ties of the last one stay.
    #[schemars(range(min = 0))]
    pub top_k: i64,
    /// Keep the smallest set whose mass reaches this (1: all).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: f64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 }
    }
}

impl Sampling {
    pub fn check(&self) -> Result<()> {
        let Sampling { temperature, top_k, top_p } = *self;
        ensure!(temperature >= 0.0 && temperature.is_finite(), "temperature = {temperature} must be 0 or more");
        ensure!(top_k >= 0, "top_k = {top_k} must be 0 or more");
        ensure!((0.0..=1.0).contains(&top_p), "top_p = {top_p} must be from 0 to 1");
        Ok(())
    }
}

/// The most probable token of logits `[.., V]`, the lowest id among equals.
pub fn greedy(logits: &Tensor) -> Tensor {
    let best = logits.amax([-1i64].as_slice(), true);
    logits.eq_tensor(&best).to_kind(Kind::Uint8).argmax(-1, false)
}

/// (probabilities `[.., V]`, tokens `[..]`) for logits `[.., V]` and uniform numbers `u` `[..]` in [0, 1): the token is the first
/// index, in the order of the vocabulary, whose cumulative probability exceeds u.
pub fn sample(logits: &Tensor, u: &Tensor, sampling: &Sampling) -> (Tensor, Tensor) {
    let vocabulary = logits.size()[logits.dim() - 1];
    if sampling.temperature == 0.0 {
        let tokens = greedy(logits);
        return (tokens.one_hot(vocabulary).to_kind(logits.kind()), tokens);
    }
    let kind = if logits.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let mut logits = logits.to_kind(kind) / sampling.temperature;
    if (1..vocabulary).contains(&sampling.top_k) {
        let kth = logits.topk(sampling.top_k, -1, true, true).0.narrow(-1, sampling.top_k - 1, 1);
        logits = logits.masked_fill(&logits.lt_tensor(&kth), f64::NEG_INFINITY);
    }
    let mut probabilities = logits.softmax(-1, None::<Kind>);
    if sampling.top_p < 1.0 {
        let (sorted, order) = probabilities.sort_stable(true, -1, true);
        // A token stays while the mass before it has not reached top_p: the first one always.
        let before = sorted.cumsum(-1, None::<Kind>) - &sorted;
        let dropped = before.ge(sampling.top_p);
        let _ = dropped.narrow(-1, 0, 1).fill_(0);
        let dropped = dropped.zeros_like().scatter(-1, &order, &dropped);
        probabilities = probabilities.masked_fill(&dropped, 0.0);
        probabilities = &probabilities / probabilities.sum_dim_intlist(-1, true, None::<Kind>);
    }
    let cumulative = probabilities.cumsum(-1, None::<Kind>);
    // Rounding may leave the last sum below u: in units of that sum it is not.
    let u = u.to_kind(cumulative.kind()).unsqueeze(-1) * cumulative.narrow(-1, vocabulary - 1, 1).clamp_max(1.0);
    let tokens = cumulative.le_tensor(&u).sum_dim_intlist(-1, false, Kind::Int64).clamp_max(vocabulary - 1);
    (probabilities, tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lowest_id_and_stay_in_the_top_k() {
        let logits = Tensor::from_slice(&[0.0, 2.0, 2.0, 1.0]).view([1, 4]);
        assert_eq!(greedy(&logits).int64_value(&[0]), 1);
        let sampling = Sampling { temperature: 1.0, top_k: 1, top_p: 1.0 };
        let (p, token) = sample(&logits, &Tensor::from_slice(&[0.6]), &sampling);
        assert_eq!(Vec::<f64>::try_from(p.view(-1)).unwrap(), [0.0, 0.5, 0.5, 0.0]);
        assert_eq!(token.int64_value(&[0]), 2);
    }

    #[test]
    fn the_nucleus_holds_at_least_one_token() {
        let logits = Tensor::from_slice(&[0.0, 5.0, 1.0]).view([1, 3]);
        let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 0.0 };
        let (p, token) = sample(&logits, &Tensor::from_slice(&[0.999]), &sampling);
        assert_eq!(Vec::<f64>::try_from(p.view(-1)).unwrap(), [0.0, 1.0, 0.0]);
        assert_eq!(token.int64_value(&[0]), 1);
    }
}
