//! What is said of a companded network before and after its training, whoever trains it.

use anyhow::Result;
use serde_json::json;

use super::config::Bound;
use super::training::Companding;
use crate::models::Network;
use crate::params::Role;
use crate::run::{Run, Stamp, Summary};

/// Above this share of clipped initial weights the bound is likely a mistake (c = 2 clips a twentieth, c = 1 a third).
const TOO_TIGHT: f64 = 0.2;

/// Says how much the start was clipped, and what is likely to go wrong.
pub fn announce(companding: &Companding, net: &Network, run: &mut Run) -> Summary {
    let mut summary = Summary::new();
    let method = companding.config();
    let layers: Vec<(&str, f64)> =
        companding.layers().iter().filter_map(|layer| Some((layer.name.as_str(), layer.clipped?))).collect();
    if !layers.is_empty() {
        let listed: Vec<String> = layers.iter().map(|(name, share)| format!("{name} {:.1}%", 100.0 * share)).collect();
        run.progress.say(&format!("initial weights clipped to the bound: {}", listed.join(", ")));
        let largest = layers.iter().map(|(_, share)| *share).fold(0.0, f64::max);
        summary.insert("clipped_share".into(), json!(largest));
        if method.start.is_some() && method.bound == Bound::Sigma && largest > 0.0 {
            run.progress.warn(&format!(
                "up to {:.1}% of a layer's weights of method.start were clipped; method.bound = \"from_checkpoint\" clips none",
                100.0 * largest
            ));
        } else if largest > TOO_TIGHT {
            run.progress.warn(&format!(
                "method.bound_sigmas = {} clips {:.1}% of the initial weights of a layer; 2 clips about 5%",
                method.bound_sigmas,
                100.0 * largest
            ));
        }
    }
    let normalized = net.store.iter().any(|(_, param)| param.role == Role::NormScale);
    if method.learn && !normalized {
        run.progress.warn(
            "method.learn without normalization layers lets a grow as a gain, which opens the bound; watch a in compander.csv",
        );
    }
    summary
}

/// The weights of the trained network: of each layer, and of all.
pub fn weights(companding: &Companding, net: &Network, at: Stamp, run: &Run) -> Result<Summary> {
    let broken = |layer: String| run.non_finite(&format!("v of layer {layer}"), at.step);
    let rows = companding.measure(&net.store).map_err(broken)?;
    let sizes: Vec<f64> = companding.layers().iter().map(|layer| net.store.get(layer.weight).numel() as f64).collect();
    let near = rows.iter().zip(&sizes).map(|(row, size)| row.near_zero * size).sum::<f64>() / sizes.iter().sum::<f64>();
    let mut summary = Summary::new();
    summary.insert("near_zero".into(), json!(near));
    summary.insert("max_over_rms".into(), json!(rows.iter().map(|row| row.max_over_rms).fold(0.0, f64::max)));
    if let Some(over) = companding.max_over_bound() {
        summary.insert("max_over_bound".into(), json!(over));
    }
    for row in rows {
        summary.insert(format!("near_zero.{}", row.layer), json!(row.near_zero));
        summary.insert(format!("max_over_rms.{}", row.layer), json!(row.max_over_rms));
    }
    Ok(summary)
}
