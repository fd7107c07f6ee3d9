//! Orthogonal convolution layers by L_orth: "Existence, Stability and Scalability of Orthogonal Convolutional Neural
//! Networks", Achour, Malgouyres, Mamalet, JMLR 23 (2022), arXiv 2108.05623. The loss is that of Wang, Chen, Chakraborty, Yu,
//! "Orthogonal Convolutional Neural Networks", CVPR 2020, arXiv 1911.12207.
//!
//! Makes every convolution (nearly) keep the norm of whole images: signals neither grow nor vanish with depth, and small
//! changes of the input stay small. The loss measures the error exactly and bounds it whatever the image's size.
//!
//! ```text
//! G = conv(K, K), stride S, padding P = floor((k-1)/S) S          I0: zero but for the identity at the centre
//! L_orth(K) = ||G - I0||_F^2 - max(0, M - C S^2)                   0 iff the layer is orthogonal
//! loss = task loss + lambda (sum_layers L_orth(K_l) + ||W W^t - I||_F^2 of the Linear layers)
//! err_F(N)^2 = N^2 L_orth,   err_s(N)^2 <= alpha L_orth for every N
//! ```
//!
//! The first public implementation has a fixed padding of 1 (its loss of an orthogonal layer with stride 2 is 2.8), norms that
//! are not squared, and leaves layers out: `regulariser = "wang"`. The authors' `deel-lip` refuses even kernels; here they are
//! allowed, the formula holds. Both warn where M = C S^2.
//!
//! [`lorth`] is the loss, [`exists`] when an orthogonal layer is possible, [`spectrum`] the exact singular values,
//! [`kernel_orth`] what it is compared with. The run leaves layers.csv, spectrum.csv, attack.csv.
//!
//! How to use: circular borders, widths with M != C S^2, maxmin instead of relu, no batch normalization, orthogonal start,
//! lambda 0.1 to 1, and `model.logit_scale` about 5, since an orthogonal network cannot scale its logits. L_orth below 1/alpha
//! is what makes the smallest singular value safe. On top of another method: `reglab train elr --with orth-conv`.

mod config;
pub mod exists;
pub mod kernel_orth;
mod layers;
pub mod lorth;
mod ops;
mod run;
pub mod spectrum;
mod synthetic;
mod training;

pub use config::Config;
pub use ops::OPS;

use anyhow::{Result, ensure};
use toml::Table;

use config::{Method, Task};
use training::Regularizing;

use crate::config::Schema;
use crate::methods::{Definition, Maker, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct OrthConv;

impl Definition for OrthConv {
    type Experiment = Config;

    const NAME: &'static str = "orth-conv";
    const VERB: Verb = Verb::Train;
    const PAPER: &'static str = "Achour, Malgouyres, Mamalet: Existence, Stability and Scalability of Orthogonal Convolutional Neural Networks, JMLR 23 (2022), arXiv 2108.05623";
    const ABOUT: &'static str = "Regularize convolutions until they keep the norm of whole images: L_orth";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("orth-conv");
    const CLAIMS: &'static str = claims!("orth-conv");
    const HEADLINE: &'static [&'static str] =
        &["accuracy", "pgd.0.3", "pgd.0.6", "sigma_product", "sigma_min", "sigma_max", "lorth"];
    const OPS: &'static [Op] = OPS;
    const ADD_ON: Option<Maker> = Some(ADD_ON);

    fn takes_add_ons(experiment: &Config) -> Result<()> {
        ensure!(experiment.method.task == Task::Classify, "it needs method.task = \"classify\"");
        Ok(())
    }

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}

/// `--with orth-conv`: the convolutions of any network that is trained in the common loop.
const ADD_ON: Maker = Maker {
    section: || Schema::of::<Config>().method_section(),
    check: |section| {
        let method: Method = section.clone().try_into()?;
        method.check()?;
        ensure!(method.task == Task::Classify, "task = \"synthetic\" trains no network: it should be \"classify\"");
        Ok(Table::try_from(&method)?)
    },
    attach: |section, net, _optimizer| {
        let method: Method = section.clone().try_into()?;
        Ok(Box::new(Regularizing::new(&method, net)?))
    },
};
