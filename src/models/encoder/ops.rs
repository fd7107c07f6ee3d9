//! Numeric ground truth of encoders.

use anyhow::{Context, Result, bail, ensure};
use tch::{Kind, no_grad};

use super::{Head, Words, mean_pooled, unit};
use crate::models::{Cx, hub};
use crate::ops::{Case, Op, Outputs};
use crate::params::View;

pub const OPS: &[Op] = &[Op::new("_llm-common.encode", encode)];

fn encode(case: &Case) -> Result<Outputs> {
    let ids = case.tensor("input_ids")?.to_kind(Kind::Int64);
    let mask = case.maybe("attention_mask").unwrap_or_else(|| ids.ones_like());
    ensure!(ids.dim() == 2 && mask.size() == ids.size(), "input_ids and attention_mask must both be [batch, tokens]");
    let folder = case.beside("checkpoint")?;
    let class = if case.has("head") { case.str("head")? } else { "Model" };
    let has_pooler = hub::HubFolder::open(&folder).context("checkpoint")?.names().any(|n| n.contains("pooler."));
    let head = match class {
        c if c.ends_with("ForSequenceClassification") => Head::Classifier,
        c if c.ends_with("ForMaskedLM") => Head::MaskedLm,
        c if c.ends_with("Model") && has_pooler => Head::Pooler,
        c if c.ends_with("Model") => Head::Plain,
        other => bail!(
            "head = {other:?} is not supported; supported are Model, ForSequenceClassification and ForMaskedLM of Bert and Roberta"
        ),
    };
    let net = hub::load(&folder, head, Kind::Float, ids.device()).context("checkpoint")?;
    let (encoder, view) = (net.encoder()?, View::plain(&net.store));
    let types = case.maybe("token_type_ids").map(|types| types.to_kind(Kind::Int64));
    let words = Words { ids: &ids, mask: &mask, types: types.as_ref() };
    let cx = Cx::eval(&view);
    no_grad(|| {
        let hidden = encoder.hidden(&cx, &words)?;
        let counted = mask.unsqueeze(-1);
        let pooled = mean_pooled(&hidden, &mask);
        let mut outputs = Outputs::new()
            .with_where("last_hidden_state", &hidden, &counted)
            .with("embedding", unit(&pooled))
            .with("mean_pooled", pooled);
        if let Some(output) = encoder.pooled(&cx, &hidden) {
            outputs = outputs.with("pooler_output", output);
        }
        Ok(match head {
            Head::Classifier => outputs.with("logits", encoder.head(&cx, &hidden)),
            Head::MaskedLm => outputs.with_where("logits", encoder.head(&cx, &hidden), &counted),
            Head::Plain | Head::Pooler => outputs,
        })
    })
}
