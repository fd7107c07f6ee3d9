//! The experiment file of `reglab train elr`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tch::{Device, Tensor};

use super::coteaching::CoTeaching;
use super::loss::{Elr, check_beta};
use super::plus::{Averaging, AveragingMode, Plus};
use super::robust::RobustLoss;
use crate::config::Experiment;
use crate::data::DataConfig;
use crate::data::noise::LabelNoise;
use crate::models::Arch;
use crate::train::TrainConfig;

/// The method, its larger sibling, and what they are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Cross-entropy and nothing else.
    Ce,
    /// The method: the pull towards the model's own earlier predictions.
    #[default]
    Elr,
    /// Two nets that make each other's targets, mixup, averaged weights.
    ElrPlus,
    /// Labels mixed with the prediction (Reed et al. 2015).
    BootstrapSoft,
    /// Labels mixed with the predicted class.
    BootstrapHard,
    /// Cross-entropy after a transition matrix (Patrini et al. 2017).
    Forward,
    /// Generalized cross-entropy (Zhang and Sabuncu 2018).
    Gce,
    /// Symmetric cross-entropy, "SL" (Wang et al. 2019).
    Sce,
    /// Two nets that choose each other's samples (Han et al. 2018).
    #[serde(rename = "coteaching")]
    CoTeaching,
}

impl Variant {
    /// Whether it trains several nets at once.
    pub fn has_peers(self) -> bool {
        matches!(self, Variant::ElrPlus | Variant::CoTeaching)
    }

    /// Whether it keeps a target memory.
    pub fn has_memory(self) -> bool {
        matches!(self, Variant::Elr | Variant::ElrPlus)
    }
}

/// Where the transition matrix of `forward` comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Transition {
    Named(NamedTransition),
    /// T[i][j] = P(observed j | true i), a row a true class.
    Matrix(Vec<Vec<f64>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamedTransition {
    /// That of the noise put on the labels.
    Known,
    /// Row i is the prediction for the training sample that a net trained before with cross-entropy is surest to be of class i.
    Estimated,
}

/// The weights that the pair of ELR+ is evaluated with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Evaluated {
    /// The trained ones (official code).
    #[default]
    Raw,
    /// The averaged ones.
    Ema,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    pub variant: Variant,
    /// elr, elr_plus: how much of a target stays at a visit, in [0, 1). Paper: 0.7, with asymmetric noise or 100 classes 0.9.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta: f64,
    /// elr, elr_plus: weight of the regularizer. It matters more than beta; too large keeps the model at its first guesses.
    /// Paper: 3 for CIFAR-10 (asymmetric noise 1), 7 for CIFAR-100.
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    /// elr, elr_plus: predictions are clamped to [clamp, 1-clamp], in [0, 0.5).
    #[schemars(range(min = 0.0, max = 0.5))]
    pub clamp: f64,
    /// elr_plus: steps over which lambda grows to its value (0: at once).
    #[schemars(range(min = 0))]
    pub coef_step: i64,
    /// elr_plus: multiply the labels by the targets (official code for 100 classes).
    pub reweight_labels: bool,
    /// elr_plus: both parameters of the Beta distribution of mixup (0: no mixup).
    #[schemars(range(min = 0.0))]
    pub mixup_alpha: f64,
    /// elr_plus: a second net; without it the net's own averaged weights make its targets.
    pub second_net: bool,
    /// elr_plus: decay of the averaged weights in the end (0: no averaging).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
    /// elr_plus: how the decay starts.
    pub averaging: AveragingMode,
    /// elr_plus with averaging = "rampup": steps over which the decay grows to gamma.
    #[schemars(range(min = 0))]
    pub ema_step: i64,
    /// elr_plus: the weights the nets are evaluated with.
    pub eval: Evaluated,
    /// bootstrap_soft, bootstrap_hard: share of the observed label in the target; left out: 0.95 soft, 0.8 hard.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub bootstrap_beta: Option<f64>,
    /// forward: known, estimated or a matrix.
    pub transition: Transition,
    /// forward with transition = "estimated": epochs of the net that is trained before.
    #[schemars(range(min = 1))]
    pub anchor_epochs: u64,
    /// gce: the exponent, in (0, 1]; near 0 it is cross-entropy.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub q: f64,
    /// sce: weight of the cross-entropy.
    #[schemars(range(min = 0.0))]
    pub sce_alpha: f64,
    /// sce: weight of the reverse cross-entropy.
    #[schemars(range(min = 0.0))]
    pub sce_beta: f64,
    /// sce: the number below 0 that stands for log 0 (paper -4; its authors' code log 1e-4 = -9.21).
    pub sce_log0: f64,
    /// coteaching: share of samples left out in the end; left out: the noise rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub tau: Option<f64>,
    /// coteaching: epochs over which that share grows.
    pub t_k: f64,
    /// Weights every net starts from (safetensors, a network trained on other classes perhaps: then its last layer is left out).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<PathBuf>,
    /// Share of the training samples of each class kept for validation, with noise on their labels too (0: none).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// Epochs between two rows of memorization.csv (the last epoch always has one); each costs a pass over the training set.
    #[schemars(range(min = 1))]
    pub measure_every: u64,
}

impl Default for Method {
    fn default() -> Method {
        let Elr { beta, lambda, clamp } = Elr::default();
        Method {
            variant: Variant::default(),
            beta,
            lambda,
            clamp,
            coef_step: 0,
            reweight_labels: false,
            mixup_alpha: 1.0,
            second_net: true,
            gamma: 0.997,
            averaging: AveragingMode::Rampup,
            ema_step: 40_000,
            eval: Evaluated::default(),
            bootstrap_beta: None,
            transition: Transition::Named(NamedTransition::Known),
            anchor_epochs: 10,
            q: 0.7,
            sce_alpha: 0.1,
            sce_beta: 1.0,
            sce_log0: RobustLoss::SCE_LOG0,
            tau: None,
            t_k: 10.0,
            start: None,
            validation: 0.0,
            measure_every: 1,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub method: Method,
    /// The wrong labels put on training and validation samples; test labels stay right.
    pub noise: LabelNoise,
    pub data: DataConfig,
    pub model: Arch,
    pub train: TrainConfig,
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        let m = &self.method;
        let method = |error: anyhow::Error| error.context("method");
        check_beta(m.beta).map_err(method)?;
        m.elr().check().map_err(method)?;
        m.plus().check().map_err(method)?;
        m.averaging().check().map_err(method)?;
        ensure!(m.mixup_alpha.is_finite(), "method.mixup_alpha = {} must be a finite number", m.mixup_alpha);
        if let Some(loss) = m.robust(None) {
            // A matrix is checked when the number of classes is known.
            loss.check(0).map_err(method)?;
        }
        if let (Variant::Forward, Transition::Matrix(rows)) = (m.variant, &m.transition) {
            // Whether it is one for the data's classes is known when they are.
            let transition = m.transition.matrix(&self.noise, 0, Device::Cpu)?;
            m.robust(transition).map_or(Ok(()), |loss| loss.check(rows.len() as i64)).map_err(method)?;
        }
        ensure!(
            m.second_net || m.variant == Variant::ElrPlus,
            "method.second_net = false is for method.variant = \"elr_plus\" only"
        );
        ensure!(m.validation < 1.0, "method.validation = {} leaves no sample for training", m.validation);
        ensure!(
            m.validation == 0.0 || self.data.val == 0,
            "method.validation = {} and data.val = {} both ask for validation samples; leave one out",
            m.validation,
            self.data.val
        );
        if m.variant == Variant::CoTeaching {
            let coteaching = self.coteaching();
            coteaching.check().map_err(method)?;
            ensure!(
                coteaching.tau < 1.0,
                "method.tau = {} would leave no sample to learn from; it should be below 1",
                coteaching.tau
            );
        }
        ensure!(
            m.variant != Variant::ElrPlus || self.train.accumulate == 1,
            "train.accumulate = {}, but the nets of elr_plus take turns within an epoch, batch by batch; it should be 1",
            self.train.accumulate
        );
        ensure!(
            m.variant == Variant::Ce || self.train.label_smoothing == 0.0,
            "train.label_smoothing = {} is for method.variant = \"ce\" only: the other losses are not made from smooth labels",
            self.train.label_smoothing
        );
        self.data.check()?;
        self.train.check("train")
    }
}

impl Config {
    pub fn coteaching(&self) -> CoTeaching {
        CoTeaching { tau: self.method.tau.unwrap_or(self.noise.rate), t_k: self.method.t_k }
    }
}

impl Method {
    pub fn elr(&self) -> Elr {
        Elr { beta: self.beta, lambda: self.lambda, clamp: self.clamp }
    }

    pub fn plus(&self) -> Plus {
        let Method { lambda, coef_step, reweight_labels, clamp, .. } = *self;
        Plus { lambda, coef_step, reweight_labels, clamp }
    }

    pub fn averaging(&self) -> Averaging {
        Averaging { mode: self.averaging, gamma: self.gamma, ema_step: self.ema_step }
    }

    /// The number of nets.
    pub fn nets(&self) -> usize {
        if self.variant.has_peers() && self.second_net { 2 } else { 1 }
    }

    /// The loss of a rival that is nothing but another loss; `transition` `[K, K]` is what `forward` needs.
    pub fn robust(&self, transition: Option<Tensor>) -> Option<RobustLoss> {
        Some(match self.variant {
            Variant::BootstrapSoft => RobustLoss::BootstrapSoft { beta: self.bootstrap_beta.unwrap_or(0.95) },
            Variant::BootstrapHard => RobustLoss::BootstrapHard { beta: self.bootstrap_beta.unwrap_or(0.8) },
            Variant::Forward => RobustLoss::Forward { transition: transition? },
            Variant::Gce => RobustLoss::Gce { q: self.q },
            Variant::Sce => RobustLoss::Sce { alpha: self.sce_alpha, beta: self.sce_beta, log0: self.sce_log0 },
            Variant::Ce | Variant::Elr | Variant::ElrPlus | Variant::CoTeaching => return None,
        })
    }
}

impl Transition {
    /// A matrix given in the file, or that of the noise; `None`: it is to be estimated.
    pub fn matrix(&self, noise: &LabelNoise, classes: i64, device: Device) -> Result<Option<Tensor>> {
        let rows = match self {
            Transition::Named(NamedTransition::Estimated) => return Ok(None),
            Transition::Named(NamedTransition::Known) => noise.transition(classes)?,
            Transition::Matrix(rows) => rows.clone(),
        };
        let ragged = rows.iter().position(|row| row.len() != rows.len());
        ensure!(
            ragged.is_none(),
            "method.transition has {} rows, but row {} has {} values: it should be square",
            rows.len(),
            ragged.unwrap_or(0),
            rows[ragged.unwrap_or(0)].len()
        );
        let size = rows.len() as i64;
        Ok(Some(Tensor::from_slice(&rows.concat()).view([size, size]).to_device(device)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let config: Config = toml::from_str(text).unwrap();
        format!("{:#}", config.validate().expect_err("must be refused"))
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_field_and_value() {
        for (text, part) in [
            ("method.beta = 1.0", "beta = 1"),
            ("method.lambda = -1.0", "lambda = -1"),
            ("method.clamp = 0.5", "clamp = 0.5"),
            ("method.gamma = 1.5", "1.5"),
            ("method = { variant = \"gce\", q = 0.0 }", "q = 0"),
            ("method = { variant = \"sce\", sce_log0 = 4.0 }", "log0 = 4"),
            ("method = { variant = \"coteaching\", tau = 1.0 }", "method.tau = 1"),
            ("method = { variant = \"coteaching\", t_k = 0.0 }", "t_k = 0"),
            ("method = { variant = \"elr_plus\" }\ntrain.accumulate = 2", "train.accumulate = 2"),
            ("train.label_smoothing = 0.1", "train.label_smoothing = 0.1"),
            ("method.second_net = false", "method.second_net"),
            (
                "method = { variant = \"forward\", transition = [[0.5, 0.4], [0.0, 1.0]] }",
                "transition row 0 sums to 0.9",
            ),
            ("method.validation = 0.1\ndata.val = 10", "data.val = 10"),
        ] {
            let message = refusal(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn every_variant_validates_with_its_defaults() {
        for name in ["ce", "elr", "elr_plus", "bootstrap_soft", "bootstrap_hard", "forward", "gce", "sce", "coteaching"]
        {
            let config: Config = toml::from_str(&format!("method.variant = \"{name}\"\nnoise.rate = 0.4")).unwrap();
            config.validate().unwrap();
        }
    }

    #[test]
    fn a_transition_is_a_name_or_a_square_matrix() {
        let matrix = |text: &str| {
            let method: Method = toml::from_str(text).unwrap();
            method.transition.matrix(&LabelNoise { rate: 0.5, ..LabelNoise::default() }, 2, Device::Cpu)
        };
        let values = |text| Vec::<f64>::try_from(matrix(text).unwrap().unwrap().view(-1)).unwrap();
        assert_eq!(values("transition = \"known\""), [0.75, 0.25, 0.25, 0.75]);
        assert_eq!(values("transition = [[0.9, 0.1], [0.0, 1.0]]"), [0.9, 0.1, 0.0, 1.0]);
        assert!(matrix("transition = \"estimated\"").unwrap().is_none());
        let ragged = matrix("transition = [[0.9, 0.1], [1.0]]").unwrap_err().to_string();
        assert!(ragged.contains("row 1 has 1 values"), "{ragged}");
    }
}
