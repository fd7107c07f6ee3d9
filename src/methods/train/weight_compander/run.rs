//! The run: train with v, watch the weights, fold, and evaluate what is left: a plain network.

use anyhow::Result;
use serde_json::json;
use tch::{Kind, Tensor, no_grad};

use super::build::Layer;
use super::config::Config;
use super::training::Companding;
use crate::data::DeviceSplits;
use crate::methods::{AddOn, AddOns};
use crate::models::{Network, checkpoint};
use crate::params::View;
use crate::report::plot::{Chart, Curve, draw_column, draw_each};
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, Supervised, build_network, evaluate, load_data, logits};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let mut summary = Summary::new();
    let data = load_data(run, &config.data)?;
    let data = spoil(&config, data, run, &mut summary)?;
    let mut net = build_network(run, &config.model, &data)?;
    let optimizer = &config.train.optimizer;
    let mut companding = Companding::new(&config.method, &mut net, optimizer)?;
    let mut others = AddOns::attach(run, &mut net, optimizer)?;
    summary.extend(companding.begin(&net, Stamp::default(), run)?);
    others.begin(&net, Stamp::default(), run)?;
    let phase = Supervised {
        phase: "train",
        net: &net,
        data: &data,
        config: &config.train,
        groups: Some(companding.regroup(others.groups(&net))),
        start: Stamp::default(),
    };
    let mut doors: Vec<&mut dyn Doors> = vec![&mut companding];
    doors.extend(others.doors());
    let end = phase.fit(&mut doors, run)?.end;
    let mut view = View::plain(&net.store);
    no_grad(|| {
        companding.view(&net.store, &mut view);
        others.view(&net.store, &mut view);
    });
    summary.extend(companding.end(&net, end, run)?);
    fold(&net, &view, &data, run, &mut summary)?;
    pictures(&view, &companding, run)?;
    summary.extend(others.end(&net, end, run)?);
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

/// Writes the plain network that `view` shows to folded.safetensors and compares it with the training network.
fn fold(net: &Network, view: &View, data: &DeviceSplits, run: &mut Run, summary: &mut Summary) -> Result<()> {
    let folded = net.folded(view)?;
    checkpoint::save(&run.folder().join("folded.safetensors"), &folded.arch, &folded.store)?;
    let plain = View::plain(&folded.store);
    let test = evaluate(&*net.model, view, &data.test);
    let difference = logits(&*net.model, view, &data.test) - logits(&*folded.model, &plain, &data.test);
    let numbers = [
        ("accuracy", test.accuracy),
        ("accuracy_folded", evaluate(&*folded.model, &plain, &data.test).accuracy),
        ("fold_difference", difference.abs().max().double_value(&[])),
        ("train_accuracy", evaluate(&*net.model, view, &data.train).accuracy),
        ("loss", test.loss),
    ];
    summary.extend(numbers.map(|(name, value)| (name.to_owned(), json!(value))));
    Ok(())
}

/// Accuracy, loss and the layers' numbers over the epochs, and the weights' distribution at the end.
fn pictures(view: &View, companding: &Companding, run: &Run) -> Result<()> {
    draw_column(run, "accuracy", "eval", "test_accuracy", None)?;
    draw_column(run, "loss", "train", "loss", None)?;
    for column in ["near_zero", "max_over_rms", "bound"] {
        draw_each(run, column, "compander", column, "layer")?;
    }
    let curve = |layer: &Layer| Curve { name: layer.name.clone(), points: density(view.get(layer.weight)) };
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
