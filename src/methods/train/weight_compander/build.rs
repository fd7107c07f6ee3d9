//! From the configuration to the maps of a network: which layers are chosen, their bounds, and the weights rewritten to v.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor, no_grad};

use super::config::{ApplyTo, Bound, Method, Reparameterization, Share};
use super::map::Map;
use super::psi::{Compander, checkpoint_bound};
use super::rivals::{clip_to_bound, powerprop_inverse, tanh_inverse, weight_norm_scale};
use super::statistics::clipped_share;
use crate::models::Network;
use crate::params::{Param, ParamId, ParamStore, Role};

/// A chosen layer.
pub struct Layer {
    pub name: String,
    /// Its weight; from here on the store holds v there.
    pub weight: ParamId,
    pub map: Map,
    /// The share of the initial weights that the bound clipped.
    pub clipped: Option<f64>,
}

/// Chooses the layers and rewrites their weights to v.
pub fn layers(config: &Method, net: &mut Network) -> Result<Vec<Layer>> {
    let chosen = choose(config, net)?;
    let bounds: Vec<f64> = chosen.iter().map(|(name, id)| bound(config, net, name, *id)).collect::<Result<_>>()?;
    let shared =
        (config.reparameterization == Reparameterization::Compander && config.share == Share::Net).then(|| {
            let largest = bounds.iter().copied().fold(0.0, f64::max);
            companded(config, &mut net.store, "compander", &Tensor::from(largest as f32))
        });
    let mut layers = Vec::new();
    for ((name, weight), bound) in chosen.into_iter().zip(bounds) {
        let bound = Tensor::from(bound as f32).to_device(net.store.device());
        let (map, clipped) = match (config.reparameterization, shared) {
            (Reparameterization::Compander, Some(logs)) => compand(config, &net.store, weight, logs),
            (Reparameterization::Compander, None) => {
                let outputs = net.store.get(weight).size()[0];
                let bound = if config.share == Share::Filter { bound.repeat([outputs]) } else { bound };
                let logs = companded(config, &mut net.store, &name, &bound);
                compand(config, &net.store, weight, logs)
            }
            _ => rival(config, &mut net.store, &name, weight, &bound),
        };
        layers.push(Layer { name, weight, map, clipped: clipped.map(|share| share.double_value(&[])) });
    }
    Ok(layers)
}

/// The layers of `apply_to`, in the order of the network.
fn choose(config: &Method, net: &Network) -> Result<Vec<(String, ParamId)>> {
    let classifier = net.model.classifier();
    let layer = |(id, param): (ParamId, &Param)| (layer_name(&param.name).to_owned(), id);
    let all: Vec<(String, ParamId)> = net.store.iter().filter(|(_, p)| p.role == Role::Weight).map(layer).collect();
    let there = || all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = config.names.iter().find(|name| !all.iter().any(|(own, _)| own == *name)) {
        anyhow::bail!("method.names has {unknown:?}, but the model's layers are {}", there());
    }
    let wanted = |name: &String, id: ParamId| match config.apply_to {
        ApplyTo::All => true,
        ApplyTo::Conv => net.store.get(id).dim() > 2,
        ApplyTo::Linear => net.store.get(id).dim() == 2,
        ApplyTo::Names => config.names.contains(name),
    };
    let skipped = |id: ParamId| config.skip_last && classifier.contains(&id);
    let chosen: Vec<_> = all.iter().filter(|(name, id)| wanted(name, *id) && !skipped(*id)).cloned().collect();
    let last = if config.skip_last { " without the last" } else { "" };
    ensure!(
        !chosen.is_empty(),
        "method.apply_to = {:?} matches no layer{last}; the model's layers are {}",
        format!("{:?}", config.apply_to).to_lowercase(),
        there()
    );
    Ok(chosen)
}

/// `fc1` for `fc1.weight`.
fn layer_name(weight: &str) -> &str {
    weight.trim_end_matches(".weight")
}

/// The bound B of a layer.
fn bound(config: &Method, net: &Network, name: &str, weight: ParamId) -> Result<f64> {
    let w = net.store.get(weight);
    let bound = match config.bound {
        Bound::Sigma => {
            let fan_in = w.size()[1..].iter().product();
            config.bound_sigmas * net.arch.init().weight(fan_in).std()
        }
        Bound::FromCheckpoint => checkpoint_bound(w).double_value(&[]),
    };
    ensure!(
        bound.is_finite() && bound > 0.0,
        "layer {name} has the bound {bound}, which must be above 0: all its weights in method.start are zero or not finite"
    );
    Ok(bound)
}

/// log a and log b of bound B as `<owner>.log_a`, `<owner>.log_b`.
fn companded(config: &Method, store: &mut ParamStore, owner: &str, bound: &Tensor) -> (ParamId, ParamId) {
    let compander = Compander::from_bound(bound, config.slope);
    let mut add = |name: &str, value: Tensor| add(store, &format!("{owner}.{name}"), value, config.learn);
    (add("log_a", compander.a.log()), add("log_b", compander.b.log()))
}

fn add(store: &mut ParamStore, name: &str, value: Tensor, learned: bool) -> ParamId {
    let id = store.add(name, Role::Reparameterization, value);
    store.set_trainable(id, learned);
    id
}

/// Rewrites a weight to v = b tan(w / a), and the share that was clipped.
fn compand(config: &Method, store: &ParamStore, weight: ParamId, logs: (ParamId, ParamId)) -> (Map, Option<Tensor>) {
    let (log_a, log_b) = logs;
    let compander = || no_grad(|| Compander::from_logs(store.get(log_a), store.get(log_b)));
    let clipped = clipped_share(store.get(weight), &compander(), config.clip);
    store.assign(weight, &compander().inverse(&store.get(weight).detach(), config.clip).v);
    (Map::Compander { log_a, log_b, fixed: (!config.learn).then(compander) }, Some(clipped))
}

/// The same for what the compander is compared with.
fn rival(
    config: &Method,
    store: &mut ParamStore,
    name: &str,
    weight: ParamId,
    bound: &Tensor,
) -> (Map, Option<Tensor>) {
    let w = store.get(weight).detach();
    let beyond = |clip: f64| w.abs().greater_tensor(&(bound * clip)).to_kind(Kind::Double).mean(Kind::Double);
    match config.reparameterization {
        Reparameterization::Tanh => {
            let clipped = beyond(config.clip);
            store.assign(weight, &tanh_inverse(&w, bound, config.slope, config.clip).v);
            let bound = add(store, &format!("{name}.bound"), bound.copy(), false);
            (Map::Tanh { bound, slope: config.slope }, Some(clipped))
        }
        Reparameterization::Powerprop => {
            store.assign(weight, &powerprop_inverse(&w, config.alpha));
            let alpha = Tensor::from(config.alpha as f32);
            add(store, &format!("{name}.alpha"), alpha, false);
            (Map::Powerprop { alpha: config.alpha }, None)
        }
        Reparameterization::WeightNorm => {
            let g = add(store, &format!("{name}.weight_g"), weight_norm_scale(&w), true);
            (Map::WeightNorm { g }, None)
        }
        Reparameterization::Clip => {
            let clipped = beyond(1.0);
            clip_to_bound(&w, bound);
            (Map::Clip { bound: bound.shallow_clone() }, Some(clipped))
        }
        Reparameterization::Compander | Reparameterization::None => (Map::Plain, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Arch, InitScheme, MlpArch};
    use crate::params::View;
    use tch::Device;

    fn net() -> Network {
        let (hidden, init) = (vec![32, 16], InitScheme::HeNormal);
        let arch = MlpArch { inputs: 64, hidden, classes: 10, init, ..MlpArch::default() };
        Network::build(Arch::Mlp(arch), 4, Device::Cpu).unwrap()
    }

    fn largest(tensor: &Tensor) -> f64 {
        f64::try_from(tensor.abs().max()).unwrap()
    }

    #[test]
    fn every_map_starts_as_the_plain_net_but_for_clipped_weights() {
        use Reparameterization::{Clip, Compander, None, Powerprop, Tanh, WeightNorm};
        for reparameterization in [Compander, Tanh, Powerprop, WeightNorm, Clip, None] {
            let config = Method { reparameterization, bound_sigmas: 9.0, ..Method::default() };
            let (plain, mut net) = (net(), net());
            let layers = layers(&config, &mut net).unwrap();
            assert_eq!(layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["fc1", "fc2", "fc3"]);
            for layer in &layers {
                let view = View::plain(&net.store);
                let v = net.store.get(layer.weight);
                let w = layer.map.weight(&view, v).unwrap_or_else(|| v.shallow_clone());
                assert!(largest(&(w - plain.store.get(layer.weight))) < 1e-6, "{reparameterization:?}");
                assert_eq!(layer.clipped.unwrap_or(0.0), 0.0);
            }
        }
    }

    #[test]
    fn the_bound_is_c_initial_standard_deviations_whatever_is_shared() {
        for share in [Share::Layer, Share::Filter, Share::Net] {
            let mut net = net();
            let layers = layers(&Method { share, ..Method::default() }, &mut net).unwrap();
            let bound = layers[0].map.bound(&net.store).unwrap();
            let fan_in = if share == Share::Net { 16.0 } else { 64.0 };
            assert!(largest(&(&bound - 2.0 * f64::sqrt(2.0 / fan_in))) < 1e-6, "{share:?}");
            assert_eq!(bound.numel(), if share == Share::Filter { 32 } else { 1 });
            let clipped = layers[2].clipped.unwrap();
            assert!((0.0..0.12).contains(&clipped), "{clipped}");
        }
    }

    #[test]
    fn the_bound_of_a_checkpoint_clips_nothing_and_a_zero_layer_is_refused_by_name() {
        let config = Method { bound: Bound::FromCheckpoint, ..Method::default() };
        let mut net = net();
        assert!(layers(&config, &mut net).unwrap().iter().all(|l| l.clipped == Some(0.0)));
        let mut net = self::net();
        let id = net.store.find("fc2.weight").unwrap();
        net.store.assign(id, &net.store.get(id).zeros_like());
        assert!(layers(&config, &mut net).err().unwrap().to_string().contains("layer fc2"));
    }

    #[test]
    fn a_selection_that_matches_nothing_lists_the_layers() {
        let refused = |config: Method| layers(&config, &mut net()).err().unwrap().to_string();
        let conv = refused(Method { apply_to: ApplyTo::Conv, ..Method::default() });
        assert!(conv.contains("fc1, fc2, fc3") && conv.contains("\"conv\""), "{conv}");
        let names = vec!["fc9".to_owned()];
        let unknown = refused(Method { apply_to: ApplyTo::Names, names, ..Method::default() });
        assert!(unknown.contains("\"fc9\"") && unknown.contains("fc1, fc2, fc3"), "{unknown}");
        let last = layers(&Method { skip_last: true, ..Method::default() }, &mut net()).unwrap();
        assert_eq!(last.len(), 2);
    }
}
