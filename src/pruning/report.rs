//! What every pruning run reports: the plan channel by channel, the layers before and after, size, cost and latency.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

use super::cut::{check_equivalence, cut};
use crate::data::DeviceSet;
use crate::metrics::{cost::cost, latency::latency};
use crate::models::{LayerCost, Network};
use crate::params::View;
use crate::params::channels::{ChannelGroup, mask_tensors};
use crate::run::{Run, Stamp};
use crate::train::evaluate;

/// A row of keep.csv: one channel of the original network. The plan can be applied again from it.
#[derive(Serialize)]
struct KeepRow<'a> {
    layer: &'a str,
    channel: usize,
    kept: u8,
    score: Option<f64>,
    reason: &'a str,
}

/// A row of prune.csv: one layer before and after.
#[derive(Serialize)]
struct LayerRow<'a> {
    layer: &'a str,
    channels_before: i64,
    channels_after: i64,
    /// Share of the layer's weights that is gone.
    sparsity: f64,
    macs_before: i64,
    macs_after: i64,
    params_before: i64,
    params_after: i64,
}

/// Writes the plan: `keep[g]` and `scores[g]` (if there are scores) for the channels of `groups[g]`.
pub fn write_keep(
    run: &mut Run,
    at: Stamp,
    groups: &[ChannelGroup],
    keep: &[Vec<bool>],
    scores: &[Option<Vec<f64>>],
    reason: &str,
) -> Result<()> {
    for ((group, keep), scores) in groups.iter().zip(keep).zip(scores) {
        for (channel, &kept) in keep.iter().enumerate() {
            let reason = if scores.is_some() { reason } else { "not in scope" };
            let score = scores.as_ref().map(|s| s[channel]);
            run.row("keep", at, &KeepRow { layer: &group.name, channel, kept: u8::from(kept), score, reason })?;
        }
    }
    Ok(())
}

/// Cuts the channels out, checks that the smaller network computes what the masked one does, and writes prune.csv. Returns
/// the smaller network and its numbers for the summary.
pub fn remove(
    run: &mut Run,
    at: Stamp,
    net: &Network,
    keep: &[Vec<bool>],
    probe: &DeviceSet,
) -> Result<(Network, Map<String, Value>)> {
    let small = cut(&*net.model, &net.store, keep)?;
    let batch = probe.slice(0, probe.len().min(128));
    let difference = check_equivalence(&*net.model, &net.store, keep, &small, &batch.x)?;
    let mut numbers = layers(run, at, net, &small, probe.sample_shape())?;
    numbers.insert("cut_difference".into(), json!(difference));
    let masked = net.store.deep_clone();
    mask_tensors(&masked, &net.model.channel_groups(&net.store), keep);
    let accuracy = evaluate(&*net.model, &View::plain(&masked), probe).accuracy;
    numbers.insert("accuracy_masked".into(), json!(accuracy));
    Ok((small, numbers))
}

fn layers(run: &mut Run, at: Stamp, before: &Network, after: &Network, sample: &[i64]) -> Result<Map<String, Value>> {
    let costs = |net: &Network| cost(&*net.model, &net.store, sample);
    let (old, new) = (costs(before), costs(after));
    let by_name: HashMap<&str, &LayerCost> = new.layers.iter().map(|l| (l.layer.as_str(), l)).collect();
    for layer in &old.layers {
        let left = by_name.get(layer.layer.as_str());
        let now = |f: fn(&LayerCost) -> i64| left.map_or(0, |l| f(l));
        let row = LayerRow {
            layer: &layer.layer,
            channels_before: layer.output[0],
            channels_after: now(|l| l.output[0]),
            sparsity: 1.0 - now(|l| l.params) as f64 / layer.params.max(1) as f64,
            macs_before: layer.macs,
            macs_after: now(|l| l.macs),
            params_before: layer.params,
            params_after: now(|l| l.params),
        };
        run.row("prune", at, &row)?;
    }
    let size = |net: &Network| -> Result<usize> { Ok(net.store.to_bytes(HashMap::new())?.len()) };
    let Value::Object(numbers) = json!({
        "macs_before": old.macs(),
        "macs": new.macs(),
        "macs_ratio": new.macs() as f64 / old.macs() as f64,
        "speed_up": old.macs() as f64 / new.macs() as f64,
        "params_before": old.params(),
        "params": new.params(),
        "params_ratio": new.params() as f64 / old.params() as f64,
        "bytes_before": size(before)?,
        "bytes": size(after)?,
    }) else {
        unreachable!("an object was written above")
    };
    Ok(numbers)
}

/// Times both networks, alternating, at batch 1 and 128. The numbers belong to the machine: they go to the summary only.
pub fn time(before: &Network, after: &Network, set: &DeviceSet, runs: usize) -> Result<Map<String, Value>> {
    let mut numbers = Map::new();
    if runs == 0 {
        return Ok(numbers);
    }
    let (old, new) = (View::plain(&before.store), View::plain(&after.store));
    for batch in [1, 128] {
        let x = set.slice(0, set.len().min(batch)).x;
        let [a, b] = latency([(&*before.model, &old), (&*after.model, &new)], &x, runs)?;
        for (name, timed) in [("_before", &a), ("", &b)] {
            numbers.insert(format!("latency_b{batch}_ms{name}"), json!(timed.median_ms));
            numbers.insert(format!("latency_b{batch}_p90_ms{name}"), json!(timed.p90_ms));
        }
        numbers.insert(format!("latency_b{batch}_ratio"), json!(b.median_ms / a.median_ms));
        numbers.insert("latency_threads".into(), json!(b.threads));
    }
    Ok(numbers)
}
