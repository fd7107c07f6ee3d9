//! Small language models to begin with: trained once, then taken from a cache by everybody who asks for the same one.

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tch::Kind;

use super::{Balance, Doors, Outcome, Supervised, TrainConfig, build_network};
use crate::data::DeviceSplits;
use crate::models::encoder::Head;
use crate::models::{Arch, Network, hub};
use crate::run::{Run, Stamp};
use crate::text::{Streams, TextConfig, Tokenizer};

/// What a base is made from; with the run's seed, its identity.
#[derive(Clone, Copy, Serialize)]
pub struct BaseConfig<'a> {
    pub text: &'a TextConfig,
    pub model: &'a Arch,
    pub train: &'a TrainConfig,
}

/// A trained decoder with the texts it was trained on.
pub struct LanguageBase {
    pub net: Network,
    pub streams: Streams,
    /// The streams in windows, on the run's device.
    pub data: DeviceSplits,
    /// How the training ended (no steps, if it came from the cache).
    pub outcome: Outcome,
}

/// The text of a run as tokens, and in windows on its device; `own` is a tokenizer that is there already.
pub fn load_text(run: &Run, text: &TextConfig, own: Option<Tokenizer>) -> Result<(Streams, DeviceSplits)> {
    let streams = Streams::read(text, own, &run.data_root)?;
    let data = streams.windows(text.window, run.device)?;
    Ok((streams, data))
}

/// A phase of next-token training on windows of text, with what the decoder itself asks for (balanced experts) and `more` doors.
pub fn train_language(
    phase: &str,
    net: &Network,
    data: &DeviceSplits,
    config: &TrainConfig,
    more: &mut [&mut dyn Doors],
    start: Stamp,
    run: &mut Run,
) -> Result<Outcome> {
    let mut balance = Balance::of(net.decoder()?.config());
    let own = balance.as_mut().map(|balance| balance as &mut dyn Doors);
    let others = more.iter_mut().map(|door| &mut **door as &mut dyn Doors);
    let mut doors: Vec<&mut dyn Doors> = own.into_iter().chain(others).collect();
    Supervised { phase, net, data, config, groups: None, start }.fit(&mut doors, run)
}

impl BaseConfig<'_> {
    /// The base of this configuration: from the cache below the data root, or trained in phase `phase` of this run and put there.
    /// Either way the phase's end is in the run's checkpoints, so that a resumed run goes on with the same weights.
    pub fn obtain(&self, phase: &str, run: &mut Run) -> Result<LanguageBase> {
        let (streams, data) = load_text(run, self.text, None)?;
        let folder = self.folder(run)?;
        // A resumed run goes on from its own checkpoint, whatever the cache has got since.
        if !run.resuming() && folder.join("config.json").exists() {
            run.progress.say(&format!("the base comes from {}", folder.display()));
            let net = hub::load(&folder, Head::Plain, Kind::Float, run.device)?;
            let nothing = TrainConfig { epochs: 0, steps: 0, ..self.train.clone() };
            let outcome = train_language(phase, &net, &data, &nothing, &mut [], Stamp::default(), run)?;
            return Ok(LanguageBase { net, streams, data, outcome });
        }
        let net = build_network(run, self.model, &data)?;
        let outcome = train_language(phase, &net, &data, self.train, &mut [], Stamp::default(), run)?;
        self.remember(&net, &streams.tokenizer, run)?;
        Ok(LanguageBase { net, streams, data, outcome })
    }

    /// Puts a trained base into the cache: complete or not at all. A data root that cannot be written is only warned of.
    pub fn remember(&self, net: &Network, tokenizer: &Tokenizer, run: &mut Run) -> Result<()> {
        let folder = self.folder(run)?;
        if folder.exists() {
            return Ok(());
        }
        let partial = folder.with_extension(format!("{}.partial", std::process::id()));
        let written = save(&partial, net, tokenizer).and_then(|()| {
            std::fs::rename(&partial, &folder).with_context(|| format!("cannot make {}", folder.display()))
        });
        if let Err(error) = written {
            let _ = std::fs::remove_dir_all(&partial);
            // Another run may have been faster.
            if !folder.exists() {
                run.progress.warn(&format!("the base is not cached: {error:#}"));
            }
        }
        Ok(())
    }

    /// Where the base of this configuration lies: a name made of the configuration, the seed and what decides the numbers.
    fn folder(&self, run: &Run) -> Result<PathBuf> {
        let device = if run.device.is_cuda() { "cuda" } else { "cpu" };
        let identity = serde_json::to_vec(&(self, run.seed(), device, env!("CARGO_PKG_VERSION")))?;
        let digest = Sha256::digest(identity);
        let key: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(run.data_root.join("cache").join("lm").join(key))
    }
}

/// Writes a checkpoint folder with its tokenizer.
pub fn save(folder: &Path, net: &Network, tokenizer: &Tokenizer) -> Result<()> {
    hub::save(folder, net)?;
    hub::write(folder, "tokenizer.json", tokenizer.to_json()?.as_bytes())
}
