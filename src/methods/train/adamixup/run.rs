//! The run: train the classifier on mixtures, test it without them, count the intrusions.

use anyhow::{Result, ensure};
use serde_json::json;
use tch::{Kind, Tensor, no_grad};

use super::config::{Config, Policy};
use super::mixer::{Mixed, Mixer};
use super::networks::{Discriminator, Generator, features, restart_classifier};
use super::policy::{intruded, nearest};
use super::training::Mixing;
use crate::data::DeviceSplits;
use crate::methods::AddOns;
use crate::models::Network;
use crate::params::View;
use crate::report::plot::{Chart, Curve, Format, Look, Spread, columns, draw_column};
use crate::rng;
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, Shuffled, Source, Supervised, batch_size, build_network, eval_view, evaluate, load_data};

/// A mean delta below this is a region that has shrunk to a point.
const COLLAPSED: f64 = 1e-3;

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let data = load_data(run, &config.data)?;
    let mut net = build_network(run, &config.model, &data)?;
    let classes = data.train.classes().len() as i64;
    ensure!(classes >= 2, "data has {classes} class; there is nothing to mix with fewer than 2");
    if config.method.small_head {
        restart_classifier(&net.store, &*net.model, run.seed())?;
    }
    // Add-ons act on the classifier: they come before the tensors of the other two networks.
    let mut add_ons = AddOns::attach(run, &mut net, &config.train.optimizer)?;
    add_ons.begin(&net, Stamp::default(), run)?;
    let method = &config.method;
    let adaptive = method.policy == Policy::Adamixup;
    let generator = (adaptive && method.learn_policy).then(|| Generator::build(&mut net, run.seed())).transpose()?;
    let discriminator =
        (adaptive && method.intrusion_loss).then(|| Discriminator::build(&mut net, classes, run.seed())).transpose()?;
    let mixer = Mixer { config: method.clone(), classes, generator, precision: config.train.precision };
    let mut mixing = Mixing::new(mixer, discriminator, &data.train, config.train.batch, run.seed());
    let groups = Some(add_ons.groups(&net));
    let phase =
        Supervised { phase: "train", net: &net, data: &data, config: &config.train, groups, start: Stamp::default() };
    let mut doors: Vec<&mut dyn Doors> = add_ons.doors().collect();
    if method.policy != Policy::None {
        doors.push(&mut mixing);
    }
    let end = phase.fit(&mut doors, run)?.end;
    let view = no_grad(|| eval_view(&net.store, &doors));
    drop(doors);
    let test = evaluate(&*net.model, &view, &data.test);
    let mut summary = Summary::new();
    summary.insert("accuracy".into(), json!(test.accuracy));
    summary.insert("error".into(), json!(1.0 - test.accuracy));
    summary.insert("loss".into(), json!(test.loss));
    summary.insert("steps".into(), json!(end.step));
    // What arms are to be compared by: a batch that is split classifies half of its images.
    let each = if method.splits() { config.train.batch / 2 } else { config.train.batch };
    summary.insert("classified".into(), json!(end.step * each as u64));
    learned(&mixing, run, &mut summary);
    if method.policy != Policy::None {
        let job = Job { config: &config, mixer: &mixing.mixer, net: &net, view: &view, data: &data };
        summary.extend(job.intrusions(end, run)?);
    }
    summary.extend(add_ons.end(&net, end, run)?);
    pictures(run)?;
    Ok(summary)
}

/// The regions of the last epoch, and whether they are still regions.
fn learned(mixing: &Mixing, run: &mut Run, summary: &mut Summary) {
    let Some(last) = &mixing.last else { return };
    let numbers = [("alpha", last.alpha_mean), ("delta", last.delta_mean), ("lam", last.lam_mean)];
    summary.extend(numbers.map(|(name, value)| (name.to_owned(), json!(value))));
    summary.extend(last.discriminator_accuracy.map(|a| ("discriminator_accuracy".to_owned(), json!(a))));
    if last.delta_mean < COLLAPSED {
        run.progress.warn(&format!(
            "the mean delta of the last epoch is {:.1e}: the regions have shrunk to the point {:.2}, and the originals in each batch are what keeps the labels clear",
            last.delta_mean, last.alpha_mean
        ));
    }
}

struct Job<'a> {
    config: &'a Config,
    mixer: &'a Mixer,
    net: &'a Network,
    view: &'a View<'a>,
    data: &'a DeviceSplits,
}

impl Job<'_> {
    /// Mixes training samples as the last epoch did and counts those whose nearest other training sample has a third class: in
    /// the input space, and among the features that the classifier reads.
    fn intrusions(&self, at: Stamp, run: &Run) -> Result<Summary> {
        let (train, wanted) = (&self.data.train, self.config.method.intrusion_samples.min(self.data.train.len()));
        let batch = self.config.train.batch.min(train.len());
        let mut source = Shuffled::new(train, batch, true, run.seed());
        tch::manual_seed(rng::step_seed(run.seed(), at.step + 1));
        let scratch = View::plain(&self.net.store).with_scratch_statistics();
        let (mut x, mut i, mut j, mut count) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for index in 0..source.batches_per_epoch() {
            if count >= wanted {
                break;
            }
            let Mixed { x: mixed, parents, .. } =
                no_grad(|| self.mixer.mix(&scratch, &source.batch(at.epoch as u64, index)))?;
            count += mixed.size()[0] as usize;
            x.push(mixed);
            i.push(parents.0);
            j.push(parents.1);
        }
        if x.is_empty() {
            return Ok(Summary::new());
        }
        let [x, i, j] = [x, i, j].map(|parts| Tensor::cat(&parts, 0));
        let inputs: Vec<Tensor> = train.batches(batch_size(train)).map(|batch| batch.x).collect();
        let inputs = Tensor::cat(&inputs, 0);
        let rate = |mixed: &Tensor, samples: &Tensor| {
            let found = intruded(train.labels(), &nearest(mixed, samples, &i, &j), &i, &j);
            json!(found.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]))
        };
        let of = |x: &Tensor| features(&*self.net.model, self.view, x);
        Ok(Summary::from_iter([
            ("intrusion_rate".to_owned(), rate(&x, &inputs)),
            ("intrusion_rate_features".to_owned(), rate(&of(&x), &of(&inputs))),
        ]))
    }
}

/// The regions over the epochs, each mean within its least and its largest value, and the accuracies.
fn pictures(run: &Run) -> Result<()> {
    draw_column(run, "accuracy", "eval", "test_accuracy", None)?;
    draw_column(run, "loss", "eval", "test_loss", None)?;
    draw_column(run, "discriminator", "policy", "discriminator_accuracy", None)?;
    if !run.folder().join("policy.csv").exists() {
        return Ok(());
    }
    let column = |name: &str| columns(run.folder(), "policy", "epoch", name, None);
    let (mut curves, mut spread) = (Vec::new(), Vec::new());
    for name in ["alpha", "delta", "lam"] {
        curves.push(Curve { name: name.into(), points: column(&format!("{name}_mean"))? });
        let (low, high) = (column(&format!("{name}_min"))?, column(&format!("{name}_max"))?);
        spread.push(Spread::Band(low.iter().zip(&high).map(|(&(x, low), &(_, high))| (x, low, high)).collect()));
    }
    let chart = Chart {
        title: "mixing weights by epoch: mean, least, largest",
        x: "epoch",
        y: "weight",
        curves: &curves,
        dots: false,
        marks: &[],
    };
    run.write("plots/policy.svg", &chart.picture(Look { spread, ..Look::default() }, Format::Svg)?)
}
