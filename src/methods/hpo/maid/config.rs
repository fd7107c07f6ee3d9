//! The experiment file of `reglab hpo maid`.

use anyhow::{Result, anyhow, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::hoag::Schedule;
use super::settings::{DescentTest, Settings};
use crate::config::Experiment;
use crate::data::{DataConfig, Fit};

/// What is tuned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// Random least squares at both levels: all constants known, optimum in closed form.
    Quadratic,
    /// One l2 penalty a weight of a linear softmax classifier.
    Logreg,
    /// Weight and smoothing of total-variation denoising.
    #[default]
    Tv,
    /// Fields of experts: weights, smoothings and filters of a denoising prior.
    Foe,
}

impl Problem {
    /// The hyper-parameters to start from: the values `theta0` may set.
    fn start(self) -> &'static [f64] {
        match self {
            Problem::Quadratic => &[1.0],
            Problem::Logreg => &[-3.0],
            Problem::Tv => &[-5.0, -5.0],
            Problem::Foe => &[-3.0, -3.0],
        }
    }
}

/// What moves theta.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// The method.
    #[default]
    Maid,
    /// The method with eps and delta kept as they are: a failing line search ends the run.
    Fixed,
    /// HOAG (Pedregosa 2016): accuracies by `schedule`, steps by a heuristic.
    Hoag,
    /// Derivative-free: the simplex method, for at most ten hyper-parameters; every lower solve to eps0.
    NelderMead,
    /// Derivative-free: the tree-structured Parzen estimator; every lower solve to eps0.
    Tpe,
}

/// What the upper level of logreg is measured on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpperData {
    /// The validation split: the test images stay unseen.
    #[default]
    Validation,
    /// The test images, as the published script does: the test accuracy then means nothing.
    Test,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Method {
    pub problem: Problem,
    pub algorithm: Algorithm,
    /// Accuracies of HOAG.
    pub schedule: Schedule,
    /// First hyper-parameters; empty: the problem's own. quadratic: one value for all (1). logreg: one for all (-3). tv: log
    /// weight, log smoothing (-5, -5). foe: log weight and log smoothing of every filter (-3, -3).
    pub theta0: Vec<f64>,
    /// Derivative-free search looks in theta0 +- this.
    #[schemars(range(min = 0.0))]
    pub range: f64,
    /// Constants of MAID (HOAG uses iterations, budget, eps0, the caps and the solver; derivative-free search those but cg_cap).
    #[serde(flatten)]
    pub settings: Settings,
    pub judge: JudgeConfig,
    pub quadratic: QuadraticConfig,
    pub logreg: LogregConfig,
    pub tv: TvConfig,
    pub foe: FoeConfig,
}

/// The solve at the first and the last theta behind the numbers of the summary; outside the budget.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JudgeConfig {
    /// Accuracy ||x - x^||.
    pub eps: f64,
    /// Gradients at most.
    #[schemars(range(min = 1))]
    pub cap: usize,
}

impl Default for JudgeConfig {
    fn default() -> JudgeConfig {
        JudgeConfig { eps: 1e-4, cap: 20_000 }
    }
}

/// Of `problem = "quadratic"`: A1, A2, A3 uniform in [0, 1], b1 and b2 of a true x and theta uniform in [0, 1], with noise.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuadraticConfig {
    /// Rows of the matrices.
    #[schemars(range(min = 1))]
    pub rows: i64,
    /// Length of x and of theta.
    #[schemars(range(min = 1))]
    pub size: i64,
    /// Standard deviation of the noise on b1, b2.
    #[schemars(range(min = 0.0))]
    pub noise: f64,
    /// Condition number of the lower level, by other singular values of A2; 0: as drawn (about 30 for 1000 x 10).
    #[schemars(range(min = 0.0))]
    pub condition: f64,
    /// The summary says what it took to come this close to the minimum of f.
    #[schemars(range(min = 0.0))]
    pub target_gap: f64,
}

impl Default for QuadraticConfig {
    fn default() -> QuadraticConfig {
        QuadraticConfig { rows: 1000, size: 10, noise: 0.01, condition: 0.0, target_gap: 5e-3 }
    }
}

/// Of `problem = "logreg"`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogregConfig {
    pub upper: UpperData,
    /// A column of ones beside the pixels.
    pub bias: bool,
    /// Side in pixels images are scaled to (0: as they are).
    #[schemars(range(min = 0, max = 1024))]
    pub side: i64,
}

impl Default for LogregConfig {
    fn default() -> LogregConfig {
        LogregConfig { upper: UpperData::default(), bias: true, side: 0 }
    }
}

/// Of `problem = "tv"`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TvConfig {
    /// One root over both differences of a pixel instead of one for each.
    pub isotropic: bool,
}

/// Of `problem = "foe"`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FoeConfig {
    /// Filters K.
    #[schemars(range(min = 1))]
    pub filters: i64,
    /// Side of a filter in pixels.
    #[schemars(range(min = 1))]
    pub kernel: i64,
    /// Reflected pixels around the image.
    #[schemars(range(min = 0))]
    pub pad: i64,
}

impl Default for FoeConfig {
    fn default() -> FoeConfig {
        FoeConfig { filters: 48, kernel: 7, pad: 2 }
    }
}

/// Images of tv and foe.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageConfig {
    /// Folder of images to learn from, absolute or below the data root; left out: mosaics of 6x6 embedded digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Images to learn from, the first by name (0: all there are).
    #[schemars(range(min = 0))]
    pub count: usize,
    /// Their side in pixels (mosaics: 48).
    #[schemars(range(min = 2, max = 4096))]
    pub side: u32,
    /// Folder of images to test on; left out: no test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_folder: Option<PathBuf>,
    /// Images to test on (0: all there are).
    #[schemars(range(min = 0))]
    pub test_count: usize,
    /// Their side in pixels.
    #[schemars(range(min = 2, max = 4096))]
    pub test_side: u32,
    /// How a file becomes a square.
    pub fit: Fit,
    /// Standard deviation of the noise; pixels lie in [0, 1].
    #[schemars(range(min = 0.0))]
    pub noise: f64,
}

/// Digits in one row of a mosaic, and rows.
pub const MOSAIC: i64 = 6;
/// Pixels in a row of a mosaic.
const MOSAIC_SIDE: u32 = 48;

impl Default for ImageConfig {
    fn default() -> ImageConfig {
        ImageConfig {
            folder: None,
            count: 4,
            side: MOSAIC_SIDE,
            test_folder: None,
            test_count: 0,
            test_side: 256,
            fit: Fit::default(),
            noise: 0.1,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub method: Method,
    /// Of logreg, which needs validation images (`data.val`) unless `method.logreg.upper` is test.
    pub data: DataConfig,
    pub images: ImageConfig,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            problem: Problem::default(),
            algorithm: Algorithm::default(),
            schedule: Schedule::default(),
            theta0: Vec::new(),
            range: 5.0,
            settings: Settings::default(),
            judge: JudgeConfig::default(),
            quadratic: QuadraticConfig::default(),
            logreg: LogregConfig::default(),
            tv: TvConfig::default(),
            foe: FoeConfig::default(),
        }
    }
}

impl Method {
    /// The hyper-parameters to start from, one value a kind.
    pub fn start(&self) -> &[f64] {
        if self.theta0.is_empty() { self.problem.start() } else { &self.theta0 }
    }

    /// The constants of a run.
    pub fn settings(&self, seed: u64) -> Settings {
        Settings { fixed_eps: self.algorithm == Algorithm::Fixed, seed, ..self.settings.clone() }
    }
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        let (method, images) = (&self.method, &self.images);
        method.settings.check().map_err(|e| anyhow!("method.{e}"))?;
        ensure!(
            method.settings.descent_test != DescentTest::Exact || method.problem == Problem::Quadratic,
            "method.descent_test = \"exact\" needs method.problem = \"quadratic\", which knows its constants; use estimate or off"
        );
        let wanted = method.problem.start().len();
        ensure!(
            method.theta0.is_empty() || method.theta0.len() == wanted,
            "method.theta0 holds {} values, {wanted} are needed",
            method.theta0.len()
        );
        ensure!(method.start().iter().all(|t| t.is_finite()), "method.theta0 = {:?} should be finite", method.theta0);
        ensure!(method.range > 0.0 && method.range.is_finite(), "method.range = {} must be positive", method.range);
        let condition = method.quadratic.condition;
        ensure!(
            condition == 0.0 || (condition >= 1.0 && condition.is_finite()),
            "method.quadratic.condition = {condition} should be 1 or more, or 0 for the matrix as drawn"
        );
        let eps = method.judge.eps;
        ensure!(eps > 0.0 && eps.is_finite(), "method.judge.eps = {eps} must be positive");
        ensure!(
            images.folder.is_some() || images.side == MOSAIC_SIDE,
            "images.side = {}: mosaics of digits have {MOSAIC_SIDE} pixels; name a folder of images with images.folder",
            images.side
        );
        ensure!(images.noise.is_finite(), "images.noise = {} must be finite", images.noise);
        ensure!(
            method.problem != Problem::Logreg || method.logreg.upper == UpperData::Test || self.data.val > 0,
            "data.val = 0, but method.logreg.upper = \"validation\" needs validation images"
        );
        self.data.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layer, Schema, typed};

    fn read(text: &str) -> Result<Config> {
        let layer = Layer::text("f.toml", text)?;
        Schema::of::<Config>().check(&layer, layer.table())?;
        typed::<Config>(layer.table())
    }

    #[test]
    fn the_constants_stand_among_the_fields_of_method() {
        let config =
            read("[method]\nproblem = \"logreg\"\neps0 = 1\nalgorithm = \"fixed\"\n[data]\nval = 400\n").unwrap();
        let settings = config.method.settings(3);
        assert_eq!((settings.eps0, settings.fixed_eps, settings.seed), (1.0, true, 3));
        assert_eq!(config.method.start(), [-3.0]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |text: &str| read(text).unwrap_err().to_string();
        assert!(refused("[method]\nepsO = 1\n").contains("epsO"));
        assert!(refused("[method]\neps0 = -1\n").contains("method.eps0 = -1"));
        assert!(refused("[method]\nlambda = 0.5\n").contains("method.lambda = 0.5"));
        assert!(refused("[method]\ndescent_test = \"exact\"\n").contains("descent_test"));
        assert!(refused("[method]\ntheta0 = [1.0]\n").contains("theta0 holds 1 values"));
        assert!(refused("[method]\nproblem = \"logreg\"\n").contains("data.val = 0"));
        assert!(refused("[images]\nside = 96\n").contains("images.side = 96"));
    }
}
