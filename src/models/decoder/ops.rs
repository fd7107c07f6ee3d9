//! Numeric ground truth of decoders.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tch::{Kind, Tensor, no_grad};

use super::{
    Decoder, Generation, RopeScaling, Rotation, Routing, Sampling, Tokens, generate, inverse_frequencies, load_balance,
    next_token_loss, sample,
};
use crate::models::encoder::Head;
use crate::models::{Cx, Network, hub};
use crate::ops::{Case, Op, Outputs};
use crate::params::View;
use crate::params::lora::Lora;

pub const OPS: &[Op] = &[
    Op::new("_llm-common.forward", forward),
    Op::new("_llm-common.generate", generate_op),
    Op::new("_llm-common.lora", lora),
    Op::new("_llm-common.rope", rope),
    Op::new("_llm-common.moe_block", moe_block),
    Op::new("_llm-common.aux_loss", aux_loss),
    Op::new("_llm-common.sample", sample_op),
];

fn network(case: &Case, device: tch::Device) -> Result<Network> {
    hub::load(&case.beside("checkpoint")?, Head::Plain, Kind::Float, device).context("checkpoint")
}

/// The ids and the mask (all ones if the case has none).
fn batch(case: &Case) -> Result<(Tensor, Tensor)> {
    let ids = case.tensor("input_ids")?.to_kind(Kind::Int64);
    let mask = case.maybe("attention_mask").unwrap_or_else(|| ids.ones_like());
    ensure!(ids.dim() == 2 && mask.size() == ids.size(), "input_ids and attention_mask must both be [batch, tokens]");
    Ok((ids, mask))
}

fn logits(decoder: &Decoder, view: &View, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
    no_grad(|| decoder.logits(&Cx::eval(view), &Tokens::masked(ids, mask)))
}

fn forward(case: &Case) -> Result<Outputs> {
    let (ids, mask) = batch(case)?;
    let net = network(case, ids.device())?;
    let (decoder, view) = (net.decoder()?, View::plain(&net.store));
    let cx = Cx::eval(&view);
    no_grad(|| {
        let hidden = decoder.hidden(&cx, &Tokens::masked(&ids, &mask).with_states(), None)?;
        let logits = decoder.head(&cx, &hidden.last);
        let counted = mask.unsqueeze(-1);
        let mut outputs = Outputs::new().with_where("logits", &logits, &counted).with_where(
            "hidden_states",
            Tensor::stack(&hidden.states, 0),
            &counted,
        );
        if let Some(labels) = case.maybe("labels") {
            outputs = outputs.with("loss", next_token_loss(&logits, &labels.to_kind(Kind::Int64), Some(&mask)));
        }
        if !hidden.router_logits.is_empty() {
            let router = Tensor::stack(&hidden.router_logits, 0);
            outputs = outputs.with_where("router_logits", router, &mask.reshape([-1, 1]));
        }
        Ok(outputs)
    })
}

fn generate_op(case: &Case) -> Result<Outputs> {
    let (ids, mask) = batch(case)?;
    let net = network(case, ids.device())?;
    let end = match case.params.get("eos_token_id") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(_)) => case.list_i64("eos_token_id")?,
        Some(_) => vec![case.i64("eos_token_id")?],
    };
    let pad = if case.has("pad_token_id") { case.i64("pad_token_id")? } else { 0 };
    let how = Generation { max_new_tokens: case.i64("max_new_tokens")?, end, pad, ..Generation::default() };
    let tokens = generate(net.decoder()?, &View::plain(&net.store), &ids, Some(&mask), &how)?;
    Ok(Outputs::new().with("tokens", tokens))
}

/// Logits with the adapter as a view; they must not change when it is merged.
fn lora(case: &Case) -> Result<Outputs> {
    let (ids, mask) = batch(case)?;
    let mut net = network(case, ids.device())?;
    let head = net.model.classifier();
    let lora = Lora::load(&mut net.store, &head, &case.beside("adapter")?)?;
    let mut view = View::plain(&net.store);
    lora.apply(&mut view, false);
    let adapted = logits(net.decoder()?, &view, &ids, &mask)?;
    let merged = net.folded(&view)?;
    let merged = logits(merged.decoder()?, &View::plain(&merged.store), &ids, &mask)?;
    let apart = f64::try_from(((&adapted - merged) * mask.unsqueeze(-1)).abs().max())?;
    ensure!(apart < 1e-3, "merging the adapter changes the logits by {apart}");
    Ok(Outputs::new().with_where("logits", adapted, &mask.unsqueeze(-1)))
}

fn rope(case: &Case) -> Result<Outputs> {
    let (positions, x) = (case.tensor("positions")?, case.tensor("x")?);
    let dim = case.i64("dim")?;
    ensure!(dim > 0 && dim % 2 == 0, "dim = {dim} must be even and positive");
    let scaling = case.params.get("scaling").filter(|s| !s.is_null());
    let scaling = scaling.map_or(Ok(RopeScaling::default()), RopeScaling::read)?;
    let frequencies = inverse_frequencies(dim, case.f64("theta")?, &scaling, x.device());
    let rotation = Rotation::new(&positions, &frequencies, Kind::Double);
    let y = rotation.apply(&x);
    Ok(Outputs::new().with("inv_freq", frequencies).with("cos", &rotation.cos).with("sin", &rotation.sin).with("y", y))
}

fn moe_block(case: &Case) -> Result<Outputs> {
    let (x, gate) = (case.tensor("x")?, case.tensor("gate")?);
    let (gate_proj, up, down) = (case.tensor("gate_proj")?, case.tensor("up_proj")?, case.tensor("down_proj")?);
    let experts = gate.size()[0];
    let top_k = case.i64("top_k")?;
    ensure!((1..=experts).contains(&top_k), "top_k = {top_k} must be from 1 to the {experts} experts");
    let scale = if case.has("routed_scaling_factor") { case.f64("routed_scaling_factor")? } else { 1.0 };
    let routing = Routing { top_k, normalize: case.bool("norm_topk_prob")?, scale };
    let linear = |x: &Tensor, w: &Tensor| x.linear(w, None::<&Tensor>);
    let mlp =
        |x: &Tensor, gate: &Tensor, up: &Tensor, down: &Tensor| linear(&(linear(x, gate).silu() * linear(x, up)), down);
    let tokens = x.reshape([-1, x.size()[x.dim() - 1]]);
    let choice = routing.choose(&linear(&tokens, &gate));
    let expert = |e: usize, rows: &Tensor| {
        let e = e as i64;
        mlp(rows, &gate_proj.get(e), &up.get(e), &down.get(e))
    };
    let mut y = routing.mix(&tokens, &choice, experts, expert);
    if let Some(shared) = case.maybe("shared_gate_proj") {
        y += mlp(&tokens, &shared, &case.tensor("shared_up_proj")?, &case.tensor("shared_down_proj")?);
    }
    Ok(Outputs::new().with("y", y.view_as(&x)).with("topk_index", &choice.index).with("topk_weight", &choice.weight))
}

fn aux_loss(case: &Case) -> Result<Outputs> {
    let logits = case.tensor("router_logits")?.set_requires_grad(true);
    let (experts, top_k) = (logits.size3()?.2, case.i64("top_k")?);
    ensure!((1..=experts).contains(&top_k), "top_k = {top_k} must be from 1 to the {experts} experts");
    let balance = load_balance(&logits, case.maybe("attention_mask").as_ref(), top_k);
    let gradient = Tensor::run_backward(&[&balance.loss], &[&logits], false, false).remove(0);
    Ok(Outputs::new()
        .with("loss", balance.loss.detach())
        .with("fraction", balance.fraction)
        .with("prob", balance.probability.detach())
        .with("grad_router_logits", gradient))
}

fn sample_op(case: &Case) -> Result<Outputs> {
    let sampling =
        Sampling { temperature: case.f64("temperature")?, top_k: case.i64("top_k")?, top_p: case.f64("top_p")? };
    sampling.check()?;
    let (probabilities, tokens) = sample(&case.tensor("logits")?, &case.tensor("u")?, &sampling);
    Ok(Outputs::new().with("probs", probabilities).with("tokens", tokens))
}
