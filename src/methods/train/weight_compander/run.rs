//! The run: train with v, watch the weights, fold, and evaluate what is left: a plain network.

use anyhow::Result;
use serde_json::json;
use tch::{Kind, Tensor, no_grad};

use super::config::{Bound, Config};
use super::start;
use super::training::{Companding, LayerRow};
use crate::data::DeviceSplits;
use crate::models::{Network, checkpoint};
use crate::params::{Role, View};
use crate::report::plot::{Chart, Curve, draw_column, draw_each};
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, Supervised, build_network, evaluate, load_data, logits};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let mut summary = Summary::new();
    let data = load_data(run, &config.data)?;
    let data = spoil(&config, data, run, &mut summary)?;
    let mut net = build_network(run, &config.model, &data)?;
    if let Some(path) = &config.method.start {
        start::load(&net, path)?;
    }
    let mut companding = Companding::new(&config.method, &mut net, config.train.optimizer.weight_decay)?;
    announce(&config, &net, &companding, run, &mut summary);
    companding.record_start(&net.store, run)?;
    let groups = Some(companding.param_groups(&net.store));
    let phase =
        Supervised { phase: "train", net: &net, data: &data, config: &config.train, groups, start: Stamp::default() };
    let end = phase.fit(&mut [&mut companding], run)?.end;
    let rows =
        companding.measure(&net.store).map_err(|layer| run.non_finite(&format!("v of layer {layer}"), end.step))?;
    weights(&rows, &net, &companding, &mut summary);
    fold(&net, &companding, &data, run, &mut summary)?;
    pictures(&net, &companding, run)?;
    summary.insert("steps".into(), json!(end.step));
    Ok(summary)
}

/// Puts the label noise on the training set.
fn spoil(config: &Config, data: DeviceSplits, run: &mut Run, summary: &mut Summary) -> Result<DeviceSplits> {
    if config.noise.rate == 0.0 {
        return Ok(data);
    }
    let (train, noisy) = config.noise.on_set(&data.train, run.seed(), "train")?;
    run.progress.say(&format!("{:.1}% of the training labels are wrong", 100.0 * noisy.wrong_rate()));
    summary.insert("wrong_labels".into(), json!(noisy.wrong_rate()));
    Ok(DeviceSplits { train, ..data })
}

/// Says how much the start was clipped, and what is likely to go wrong.
fn announce(config: &Config, net: &Network, companding: &Companding, run: &mut Run, summary: &mut Summary) {
    let layers: Vec<(&str, f64)> =
        companding.layers().iter().filter_map(|layer| Some((layer.name.as_str(), layer.clipped?))).collect();
    if !layers.is_empty() {
        let listed: Vec<String> = layers.iter().map(|(name, share)| format!("{name} {:.1}%", 100.0 * share)).collect();
        run.progress.say(&format!("initial weights clipped to the bound: {}", listed.join(", ")));
        let largest = layers.iter().map(|(_, share)| *share).fold(0.0, f64::max);
        summary.insert("clipped_share".into(), json!(largest));
        let method = &config.method;
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
    if config.method.learn && !normalized {
        run.progress.warn(
            "method.learn without normalization layers lets a grow as a gain, which opens the bound; watch a in compander.csv",
        );
    }
}

/// Above this share of clipped initial weights the bound is likely a mistake (c = 2 clips a twentieth, c = 1 a third).
const TOO_TIGHT: f64 = 0.2;

/// The weights of the training network: of each layer, and of all.
fn weights(rows: &[LayerRow], net: &Network, companding: &Companding, summary: &mut Summary) {
    let sizes: Vec<f64> = companding.layers().iter().map(|layer| net.store.get(layer.weight).numel() as f64).collect();
    let near = rows.iter().zip(&sizes).map(|(row, size)| row.near_zero * size).sum::<f64>() / sizes.iter().sum::<f64>();
    summary.insert("near_zero".into(), json!(near));
    summary.insert("max_over_rms".into(), json!(rows.iter().map(|row| row.max_over_rms).fold(0.0, f64::max)));
    if let Some(over) = companding.max_over_bound() {
        summary.insert("max_over_bound".into(), json!(over));
    }
    for row in rows {
        summary.insert(format!("near_zero.{}", row.layer), json!(row.near_zero));
        summary.insert(format!("max_over_rms.{}", row.layer), json!(row.max_over_rms));
    }
}

/// Writes the plain network to folded.safetensors and compares it with the training network.
fn fold(
    net: &Network,
    companding: &Companding,
    data: &DeviceSplits,
    run: &mut Run,
    summary: &mut Summary,
) -> Result<()> {
    let view = shown(net, companding);
    let folded = net.folded(&view)?;
    checkpoint::save(&run.folder().join("folded.safetensors"), &folded.arch, &folded.store)?;
    let plain = View::plain(&folded.store);
    let test = evaluate(&*net.model, &view, &data.test);
    let difference = logits(&*net.model, &view, &data.test) - logits(&*folded.model, &plain, &data.test);
    let numbers = [
        ("accuracy", test.accuracy),
        ("accuracy_folded", evaluate(&*folded.model, &plain, &data.test).accuracy),
        ("fold_difference", difference.abs().max().double_value(&[])),
        ("train_accuracy", evaluate(&*net.model, &view, &data.train).accuracy),
        ("loss", test.loss),
    ];
    summary.extend(numbers.map(|(name, value)| (name.to_owned(), json!(value))));
    Ok(())
}

/// The network as the method shows it.
fn shown<'s>(net: &'s Network, companding: &Companding) -> View<'s> {
    let mut view = View::plain(&net.store);
    no_grad(|| companding.view(&net.store, &mut view));
    view
}

/// Accuracy, loss and the layers' numbers over the epochs, and the weights' distribution at the end.
fn pictures(net: &Network, companding: &Companding, run: &Run) -> Result<()> {
    draw_column(run, "accuracy", "eval", "test_accuracy", None)?;
    draw_column(run, "loss", "train", "loss", None)?;
    for column in ["near_zero", "max_over_rms", "bound"] {
        draw_each(run, column, "compander", column, "layer")?;
    }
    let view = shown(net, companding);
    let curve =
        |layer: &super::build::Layer| Curve { name: layer.name.clone(), points: density(view.get(layer.weight)) };
    let curves: Vec<Curve> = companding.layers().iter().map(curve).collect();
    let chart = Chart {
        title: "weights of each layer",
        x: "w in units of its layer's root mean square",
        y: "density",
        curves: &curves,
        dots: false,
        marks: &[],
    };
    run.write("plots/weights.svg", chart.svg()?.as_bytes())
}

/// The density of w / rms over [-4, 4]: (middle of a bin, density).
fn density(w: &Tensor) -> Vec<(f64, f64)> {
    const BINS: i64 = 64;
    const REACH: f64 = 4.0;
    let w = w.detach().to_kind(Kind::Float);
    let rms = w.square().mean(Kind::Float).sqrt().clamp_min(f64::from(f32::MIN_POSITIVE));
    let width = 2.0 * REACH / BINS as f64;
    let bins = ((w / rms + REACH) / width).floor().to_kind(Kind::Int64).view(-1);
    let inside = bins.ge(0).logical_and(&bins.lt(BINS));
    let counts = bins.masked_select(&inside).bincount(None::<Tensor>, BINS).to_kind(Kind::Double);
    let counts = Vec::<f64>::try_from(counts).expect("one count a bin");
    let point = |(i, count): (usize, f64)| {
        let middle = (i as f64 + 0.5) * width - REACH;
        (middle, count / (bins.numel() as f64 * width))
    };
    counts.into_iter().enumerate().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_density_integrates_to_one_and_is_that_of_normal_weights() {
        tch::manual_seed(3);
        let points = density(&(Tensor::randn([100_000], (Kind::Float, Device::Cpu)) * 0.01));
        let total: f64 = points.iter().map(|p| p.1 * 0.125).sum();
        assert!((total - 1.0).abs() < 1e-3, "{total}");
        assert!(
            points.iter().all(|(x, d)| (d - (-x * x / 2.0).exp() / f64::sqrt(2.0 * std::f64::consts::PI)).abs() < 0.03)
        );
    }
}
