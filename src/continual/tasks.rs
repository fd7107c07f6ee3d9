//! The samples of every task, on the device.

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use std::ops::RangeInclusive;
use tch::Device;

use super::config::StreamConfig;
use super::output::Output;
use super::stream::{Samples, Stream};
use crate::data::{self, Augment, DataConfig, DeviceSet, Images, Splits};
use crate::models::{Arch, Network};
use crate::run::Run;

pub struct Tasks {
    pub stream: Stream,
    pub output: Output,
    /// One for all tasks, or one a task.
    splits: Vec<Splits>,
    augment: Augment,
    device: Device,
    /// The whole test set of each task that is learnt.
    test: Vec<DeviceSet>,
}

/// Fixed test samples of all tasks, task after task: those of the first tasks are a prefix.
pub struct EvaluationSet {
    pub set: DeviceSet,
    /// Samples of each task.
    pub sizes: Vec<usize>,
}

impl Tasks {
    /// Reads the data and splits them into tasks. A task without training or test samples is an error that names it.
    pub fn load(run: &mut Run, data: &DataConfig, config: &StreamConfig) -> Result<Tasks> {
        let read = |data: &DataConfig| data::load(data, &run.data_root, &ProgressBar::hidden());
        let of_domain = |domain: &String| -> Result<Splits> {
            let path = data.path.as_ref().map(|path| path.join(domain));
            read(&DataConfig { path, ..data.clone() }).with_context(|| format!("stream.domains: {domain}"))
        };
        let splits = match &config.domains[..] {
            [] => vec![read(data)?],
            domains => domains.iter().map(of_domain).collect::<Result<_>>()?,
        };
        if config.tune_tasks > 0 && data.val == 0 {
            run.progress.warn("stream.tune_tasks without data.val: what is chosen is chosen by the test samples");
        }
        Tasks::new(splits, data.augment.clone(), config, run.seed(), run.device)
    }

    /// `splits`: one data set for all tasks, or one of equal classes and shape for each. With `tune_tasks` the validation
    /// samples, where there are any, stand for the test samples.
    pub fn new(
        mut splits: Vec<Splits>,
        augment: Augment,
        config: &StreamConfig,
        seed: u64,
        device: Device,
    ) -> Result<Tasks> {
        let first = splits.first().context("a stream needs a data set")?;
        let (shape, classes) = (first.shape(), first.classes().to_vec());
        for (task, other) in splits.iter().enumerate() {
            ensure!(
                other.shape() == shape && other.classes() == classes,
                "task {task} has images {:?} of {} classes, task 0 has {shape:?} of {}: all domains must be alike",
                other.shape(),
                other.classes().len(),
                classes.len()
            );
        }
        let stream = config.stream(classes.len(), seed)?;
        let output = Output::new(&stream, config.columns, device);
        let learnt = if config.tune_tasks > 0 { config.tune_tasks } else { stream.tasks() };
        if config.tune_tasks > 0 {
            splits.iter_mut().for_each(|splits| {
                if let Some(val) = splits.val.take() {
                    splits.test = val;
                }
            });
        }
        let mut tasks = Tasks { stream, output, splits, augment, device, test: Vec::new() };
        for task in 0..learnt {
            for (what, images) in [("training", &tasks.split(task).train), ("test", &tasks.split(task).test)] {
                let empty = tasks.samples(images, task)?.is_empty();
                ensure!(!empty, "task {task} (labels {:?}) has no {what} samples", tasks.stream.columns(task));
            }
            let samples = tasks.samples(&tasks.split(task).test, task)?;
            tasks.test.push(tasks.set(samples, &Augment::default())?);
        }
        Ok(tasks)
    }

    /// The tasks that are learnt: those of the stream, or the first ones with `tune_tasks`.
    pub fn len(&self) -> usize {
        self.test.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn split(&self, task: usize) -> &Splits {
        self.splits.get(task).unwrap_or(&self.splits[0])
    }

    fn samples(&self, images: &Images, task: usize) -> Result<Samples> {
        let all = Samples { pixels: images.pixels.shallow_clone(), labels: images.labels.shallow_clone() };
        self.stream.task(task, &all).with_context(|| format!("task {task}"))
    }

    fn set(&self, samples: Samples, augment: &Augment) -> Result<DeviceSet> {
        let classes = (0..self.output.width()).map(|column| format!("column {column}")).collect();
        let images = Images { pixels: samples.pixels, labels: samples.labels, classes };
        // One network, one scale: that of the first domain.
        DeviceSet::new(&images, &self.splits[0].scale, augment, self.device)
    }

    /// The training samples of these tasks together (of one, but for the joint upper bound). Made anew at each call: past
    /// tasks take no memory.
    pub fn train(&self, tasks: RangeInclusive<usize>) -> Result<DeviceSet> {
        let parts = tasks.map(|task| self.samples(&self.split(task).train, task)).collect::<Result<Vec<_>>>()?;
        self.set(Samples::concat(&parts), &self.augment)
    }

    /// The whole test set of a task.
    pub fn test(&self, task: usize) -> &DeviceSet {
        &self.test[task]
    }

    /// At most `most` test samples of each task, drawn once by the seed.
    pub fn evaluation_set(&self, most: usize, seed: u64) -> Result<EvaluationSet> {
        let chosen = |task: usize| -> Result<Samples> {
            Ok(self.samples(&self.split(task).test, task)?.subset(most, seed, &format!("evaluation samples {task}")))
        };
        let parts = (0..self.len()).map(chosen).collect::<Result<Vec<_>>>()?;
        let sizes = parts.iter().map(Samples::len).collect();
        Ok(EvaluationSet { set: self.set(Samples::concat(&parts), &Augment::default())?, sizes })
    }

    /// The network of `arch` with a head for the whole stream, its initial values from the run's seed.
    pub fn network(&self, run: &Run, arch: &Arch) -> Result<Network> {
        let mut arch = arch.clone();
        arch.fit_data(&self.splits[0].shape(), self.output.width())?;
        Network::build(arch, run.seed(), self.device)
    }
}
