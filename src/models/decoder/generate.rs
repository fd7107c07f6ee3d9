//! Continuing texts, token by token, with a cache.

use anyhow::{Result, ensure};
use rand::RngExt;
use tch::{Kind, Tensor, no_grad};

use super::sample::{Sampling, greedy, sample};
use super::{Decoder, Tokens};
use crate::models::Cx;
use crate::params::View;
use crate::rng::stream;

/// How texts are continued.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    /// The most tokens to add.
    pub max_new_tokens: i64,
    /// Tokens that end a row.
    pub end: Vec<i64>,
    /// What fills a row after its end.
    pub pad: i64,
    pub sampling: Sampling,
    /// Seed of the random draws.
    pub seed: u64,
}

/// New tokens between two looks at whether all rows have ended: a look waits for the device.
const LOOK_EVERY: usize = 16;

/// Continues a left-padded batch of ids int64 `[B, T]` (`mask` `[B, T]` is 1 at real tokens): `[B, T + n]`, n at most
/// `max_new_tokens`; it stops when every row has ended.
pub fn generate(
    decoder: &Decoder,
    view: &View,
    ids: &Tensor,
    mask: Option<&Tensor>,
    how: &Generation,
) -> Result<Tensor> {
    how.sampling.check()?;
    let (batch, length) = ids.size2()?;
    ensure!(batch > 0 && length > 0, "there is nothing to continue: the ids have shape [{batch}, {length}]");
    let steps = how.max_new_tokens;
    let device = ids.device();
    let mut random = stream(how.seed, "generate");
    let draws: Vec<f64> = (0..steps * batch).map(|_| random.random_range(0.0..1.0)).collect();
    let draws = Tensor::from_slice(&draws).view([steps, batch]).to_device(device);
    let end = Tensor::from_slice(&how.end).to_device(device);
    no_grad(|| {
        let cx = Cx::eval(view);
        let mut cache = decoder.cache(length + steps);
        let mut mask = mask.map(|mask| mask.to_kind(Kind::Int64));
        let mut next = ids.shallow_clone();
        let mut finished = Tensor::zeros([batch], (Kind::Bool, device));
        let mut columns: Vec<Tensor> = Vec::new();
        // Per new column: whether all rows had ended by it; known on the host up to `looked`.
        let mut all_ended: Vec<Tensor> = Vec::new();
        for step in 0..steps {
            let tokens = Tokens { ids: &next, mask: mask.as_ref(), states: false };
            let hidden = decoder.hidden(&cx, &tokens, Some(&mut cache))?.last;
            let (_, t, _) = hidden.size3()?;
            let logits = decoder.head(&cx, &hidden.narrow(1, t - 1, 1).squeeze_dim(1));
            let token = match how.sampling.temperature {
                0.0 => greedy(&logits),
                _ => sample(&logits, &draws.get(step), &how.sampling).1,
            };
            let token = token.masked_fill(&finished, how.pad);
            if !how.end.is_empty() {
                let ends = token.unsqueeze(-1).eq_tensor(&end).any_dim(-1, false);
                finished = finished.logical_or(&ends);
                all_ended.push(finished.all());
            }
            next = token.unsqueeze(-1);
            columns.push(next.shallow_clone());
            mask = mask.map(|mask| Tensor::cat(&[mask, next.ones_like()], 1));
            let look = all_ended.len().is_multiple_of(LOOK_EVERY) || step + 1 == steps;
            if look && !all_ended.is_empty() {
                let flags = Vec::<bool>::try_from(Tensor::stack(&all_ended, 0))?;
                if let Some(last) = flags.iter().position(|ended| *ended) {
                    columns.truncate(last + 1);
                    break;
                }
            }
        }
        columns.insert(0, ids.shallow_clone());
        Ok(Tensor::cat(&columns, 1))
    })
}
