//! Mixture of experts: y = sum_j w_j Expert_j(x) over the top-k experts of the router, plus shared experts; and the loss that
//! balances their load.

use tch::{Device, Kind, Tensor};

use super::config::DecoderConfig;
use super::mlp::Mlp;
use crate::models::Cx;
use crate::models::layers::Linear;
use crate::params::Builder;

/// How a token's experts are chosen.
#[derive(Clone, Copy)]
pub struct Routing {
    pub top_k: i64,
    /// Divide the chosen weights by their sum.
    pub normalize: bool,
    /// Factor on the sum of the experts.
    pub scale: f64,
}

/// The experts of each of N tokens.
pub struct Choice {
    /// `[N, k]`, from the largest weight down.
    pub weight: Tensor,
    /// int64 `[N, k]`.
    pub index: Tensor,
}

impl Routing {
    /// From router logits `[N, E]`: p = softmax over ALL experts in float32 at least, the k largest, renormalized on request.
    pub fn choose(&self, logits: &Tensor) -> Choice {
        let (weight, index) = probabilities(logits).topk(self.top_k, -1, true, true);
        let weight = if self.normalize { &weight / weight.sum_dim_intlist(-1, true, None) } else { weight };
        Choice { weight, index }
    }

    /// scale * sum_j w_j Expert_j(x) for tokens `x` `[N, D]`; `expert(e, rows)` computes expert `e` for some of them. No
    /// capacity limit, no dropping. How many tokens each of the `experts` got is read back once: the pieces differ in size.
    pub fn mix(&self, x: &Tensor, choice: &Choice, experts: i64, expert: impl Fn(usize, &Tensor) -> Tensor) -> Tensor {
        let chosen = choice.index.flatten(0, -1);
        let order = chosen.argsort_stable(true, 0, false);
        let counts = chosen.unsqueeze(-1).eq_tensor(&Tensor::arange(experts, (Kind::Int64, x.device())));
        let counts = counts.sum_dim_intlist(0, false, Kind::Int64).to_device(Device::Cpu);
        let counts = Vec::<i64>::try_from(counts).expect("counts on the host");
        let sorted = x.index_select(0, &order.floor_divide_scalar(self.top_k));
        let mut start = 0;
        let mut parts = Vec::with_capacity(counts.len());
        for (e, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            parts.push(expert(e, &sorted.narrow(0, start, count)));
            start += count;
        }
        let (tokens, width) = x.size2().expect("[tokens, width]");
        let back = order.argsort(0, false);
        let each = Tensor::cat(&parts, 0).index_select(0, &back).view([tokens, self.top_k, width]);
        let weight = choice.weight.to_kind(x.kind()).unsqueeze(-1);
        let sum = (each * weight).sum_dim_intlist(1, false, None);
        if self.scale == 1.0 { sum } else { sum * self.scale }
    }
}

/// Router probabilities, in float32 at least.
fn probabilities(logits: &Tensor) -> Tensor {
    let kind = if logits.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    logits.softmax(-1, kind)
}

/// A mixture layer of a decoder.
pub struct Moe {
    gate: Linear,
    experts: Vec<Mlp>,
    shared: Option<Mlp>,
    routing: Routing,
}

impl Moe {
    pub fn new(mut b: Builder, c: &DecoderConfig) -> Moe {
        let (d, inner, std) = (c.hidden_size, c.moe_intermediate_size, c.initializer_range);
        let gate = Linear::normal(&mut b.part("gate"), d, c.num_experts, false, std);
        let mut expert = |e: i64| Mlp::new(b.part(format_args!("experts.{e}")), d, inner, false, std);
        let experts = (0..c.num_experts).map(&mut expert).collect();
        let shared = c.n_shared_experts;
        let shared = (shared > 0).then(|| Mlp::new(b.part("shared_experts"), d, shared * inner, false, std));
        let routing =
            Routing { top_k: c.num_experts_per_tok, normalize: c.norm_topk_prob, scale: c.routed_scaling_factor };
        Moe { gate, experts, shared, routing }
    }

    /// `[B, T, D]` to `[B, T, D]`, and the router logits `[B T, E]` (before the soft-max), which also pass the tap
    /// `<layer>.mlp.gate`.
    pub fn forward(&self, cx: &Cx, x: &Tensor) -> (Tensor, Tensor) {
        let tokens = x.flatten(0, 1);
        let logits = cx.tap(&self.gate.name, self.gate.forward(cx, &tokens));
        let choice = self.routing.choose(&logits);
        let experts = self.experts.len() as i64;
        let mut y = self.routing.mix(&tokens, &choice, experts, |e, rows| self.experts[e].forward(cx, rows));
        if let Some(shared) = &self.shared {
            y += shared.forward(cx, &tokens);
        }
        (y.view_as(x), logits)
    }
}

/// The load-balancing loss and what it is made of.
pub struct Balance {
    /// E sum_e f_e P_e.
    pub loss: Tensor,
    /// f_e `[E]`: mean over tokens and layers of how often e is among the top k.
    pub fraction: Tensor,
    /// P_e `[E]`: mean router probability.
    pub probability: Tensor,
}

/// Switch-Transformer balance over all mixture layers together: router logits `[layers, B T, E]`; padding tokens
/// (`mask` `[B, T]` is 0) are left out. Gradients flow through P alone.
pub fn load_balance(router_logits: &Tensor, mask: Option<&Tensor>, top_k: i64) -> Balance {
    let p = probabilities(router_logits);
    let (layers, tokens, experts) = p.size3().expect("[layers, tokens, experts]");
    let chosen = p.detach().topk(top_k, -1, true, true).1;
    let hits = chosen.one_hot(experts).sum_dim_intlist(2, false, p.kind());
    let counted = match mask {
        Some(mask) => mask.reshape([1, tokens, 1]).to_kind(p.kind()),
        None => Tensor::ones([1, tokens, 1], (p.kind(), p.device())),
    };
    let number = counted.sum(p.kind()).clamp_min(1.0) * layers as f64;
    let mean = |x: &Tensor| (x * &counted).sum_dim_intlist([0i64, 1].as_slice(), false, None) / &number;
    let (fraction, probability) = (mean(&hits), mean(&p));
    let loss = (&fraction * &probability).sum(None::<Kind>) * experts as f64;
    Balance { loss, fraction, probability }
}
