//! Rotary positions in the half-split layout: y = x cos + [-x_2, x_1] sin with x = [x_1, x_2] its halves.

use anyhow::{Context, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::f64::consts::TAU;
use tch::{Device, Kind, Tensor};

use crate::models::hub::Fields;

/// How the frequencies are changed for longer texts than the model was trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RopeKind {
    /// Not at all.
    #[default]
    Default,
    /// All divided by `factor`.
    Linear,
    /// Long waves divided by `factor`, short ones kept, a ramp between (LLaMA 3).
    Llama3,
}

/// `rope_scaling` of a `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RopeScaling {
    pub rope_type: RopeKind,
    pub factor: f64,
    /// llama3: wavelengths above `original_max_position_embeddings / low_freq_factor` are divided.
    pub low_freq_factor: f64,
    /// llama3: wavelengths below `original_max_position_embeddings / high_freq_factor` are kept.
    pub high_freq_factor: f64,
    /// llama3: the length the model was trained on, in tokens.
    pub original_max_position_embeddings: i64,
}

impl Default for RopeScaling {
    fn default() -> RopeScaling {
        RopeScaling {
            rope_type: RopeKind::Default,
            factor: 1.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        }
    }
}

impl RopeScaling {
    /// Reads `rope_scaling` or `rope_parameters`, whose kind is called `rope_type` or, in older files, `type`.
    pub fn read(value: &Value) -> Result<RopeScaling> {
        let fields = Fields::new(value, "rope_scaling")?;
        let kind = match fields.text("rope_type")?.or(fields.text("type")?) {
            None | Some("default") => return Ok(RopeScaling::default()),
            Some("linear") => RopeKind::Linear,
            Some("llama3") => RopeKind::Llama3,
            Some(other) => bail!("rope_type = {other:?} is not supported; supported are default, linear, llama3"),
        };
        let needed = |key: &str| -> Result<f64> {
            fields.value(key).with_context(|| format!("rope_scaling has no {key}"))?;
            fields.float(key, 0.0)
        };
        let mut scaling = RopeScaling { rope_type: kind, factor: needed("factor")?, ..RopeScaling::default() };
        if kind == RopeKind::Llama3 {
            scaling.low_freq_factor = needed("low_freq_factor")?;
            scaling.high_freq_factor = needed("high_freq_factor")?;
            scaling.original_max_position_embeddings = fields.int("original_max_position_embeddings")?;
        }
        scaling.check()?;
        Ok(scaling)
    }

    pub fn check(&self) -> Result<()> {
        let RopeScaling { factor, low_freq_factor: low, high_freq_factor: high, .. } = *self;
        ensure!(factor > 0.0, "rope_scaling.factor = {factor} must be positive");
        ensure!(
            self.rope_type != RopeKind::Llama3 || (low > 0.0 && high > low),
            "rope_scaling: high_freq_factor = {high} must be above low_freq_factor = {low}, which must be above 0"
        );
        Ok(())
    }

    pub(super) fn write(&self) -> Value {
        match self.rope_type {
            RopeKind::Default => Value::Null,
            RopeKind::Linear => json!({"rope_type": "linear", "type": "linear", "factor": self.factor}),
            RopeKind::Llama3 => json!(self),
        }
    }
}

/// inv_freq_j = theta^(-2j/dim), j < dim/2, then scaled: `[dim/2]`, float64.
pub fn inverse_frequencies(dim: i64, theta: f64, scaling: &RopeScaling, device: Device) -> Tensor {
    let j2 = Tensor::arange_start_step(0, dim, 2, (Kind::Double, device));
    let plain = (j2 * (-theta.ln() / dim as f64)).exp();
    match scaling.rope_type {
        RopeKind::Default => plain,
        RopeKind::Linear => plain / scaling.factor,
        RopeKind::Llama3 => {
            let RopeScaling { factor, low_freq_factor: low, high_freq_factor: high, .. } = *scaling;
            let old = scaling.original_max_position_embeddings as f64;
            let wavelength = plain.reciprocal() * TAU;
            // Beyond its ends the ramp is 1 (short waves: unchanged) or 0 (long waves: divided by the factor).
            let smooth = ((wavelength.reciprocal() * old - low) / (high - low)).clamp(0.0, 1.0);
            &plain * ((1.0 - &smooth) / factor + smooth)
        }
    }
}

/// Cosines and sines of every position's angles.
pub struct Rotation {
    pub cos: Tensor,
    pub sin: Tensor,
}

impl Rotation {
    /// For positions of any shape: `[.., dim]`, angle = position * [inv_freq, inv_freq], in `kind`.
    pub fn new(positions: &Tensor, inverse_frequencies: &Tensor, kind: Kind) -> Rotation {
        let half = positions.to_kind(Kind::Double).unsqueeze(-1) * inverse_frequencies;
        let angle = Tensor::cat(&[&half, &half], -1);
        Rotation { cos: angle.cos().to_kind(kind), sin: angle.sin().to_kind(kind) }
    }

    /// Rotates the last dimension of `x`; computed in the rotation's kind, returned in that of `x`.
    pub fn apply(&self, x: &Tensor) -> Tensor {
        let halves = x.chunk(2, -1);
        let turned = Tensor::cat(&[&-&halves[1], &halves[0]], -1);
        (x * &self.cos + turned * &self.sin).to_kind(x.kind())
    }
}
