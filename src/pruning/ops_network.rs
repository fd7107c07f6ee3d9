//! Numeric ground truth of counting, shortcuts and removal in residual networks.

use anyhow::{Result, ensure};
use tch::{Device, no_grad};

use super::cut::transfer;
use crate::metrics::cost;
use crate::models::layers::conv_cost;
use crate::models::resnet::{BasicBlock, BlockShape, Shortcut, ZeroPad};
use crate::models::{Arch, CifarResnetArch, Cx, InitScheme, Network};
use crate::ops::{Case, Op, Outputs};
use crate::params::channels::{check_keep, cut_tensors};
use crate::params::{Builder, ParamStore, Role, View};

pub const OPS: &[Op] = &[
    Op::new("pruning-common.conv_cost", conv_costs),
    Op::new("pruning-common.cifar_resnet_cost", cifar_resnet_cost),
    Op::new("pruning-common.option_a_shortcut", option_a_shortcut),
    Op::new("pruning-common.basic_block_prune", basic_block_prune),
];

/// Rows of `layers`: inputs, outputs, kernel height and width, groups, output height and width, bias.
fn conv_costs(case: &Case) -> Result<Outputs> {
    let shape = case.tensor("layers")?.size();
    ensure!(shape.len() == 2 && shape[1] == 8, "input layers has shape {shape:?}, expected [layers, 8]");
    let (mut macs, mut params) = (0, 0);
    for row in case.i64s("layers")?.chunks_exact(8) {
        let &[inputs, outputs, kh, kw, groups, height, width, bias] = row else { unreachable!("rows of eight") };
        let divides = groups > 0 && inputs % groups == 0 && outputs % groups == 0;
        ensure!(divides, "{groups} groups do not divide {inputs} inputs and {outputs} outputs");
        let (layer_macs, layer_params) = conv_cost(&[outputs, inputs / groups, kh, kw], bias != 0, &[height, width]);
        macs += layer_macs;
        params += layer_params;
    }
    Ok(Outputs::new().with("macs", macs).with("params", params))
}

fn cifar_resnet_cost(case: &Case) -> Result<Outputs> {
    let (widths, inner) = (case.list_i64("widths")?, case.i64s("inner")?);
    let (classes, size, blocks) = (case.i64("classes")?, case.i64("size")?, case.i64("blocks")?);
    let (input, depth) = ([3, size, size], 2 * widths.len() as i64 * blocks + 2);
    let arch = CifarResnetArch { input, classes, depth, widths, inner, ..CifarResnetArch::default() };
    let net = Network::build(Arch::CifarResnet(arch), 0, Device::Cpu)?;
    let cost = cost::cost(net.model.as_ref(), &net.store, &input);
    Ok(Outputs::new().with("macs", cost.macs()).with("params", cost.params()))
}

fn option_a_shortcut(case: &Case) -> Result<Outputs> {
    let (x, outputs) = (case.tensor("x")?, case.i64("out_channels")?);
    let inputs = x.size4()?.1;
    ensure!(outputs >= inputs, "out_channels = {outputs} is less than the {inputs} channels of x");
    Ok(Outputs::new().with("y", ZeroPad::centred(inputs, outputs, 2).forward(&x)))
}

/// The block as given and without the inner channels that `keep` drops; identity shortcut where the shape stays, else option A.
fn basic_block_prune(case: &Case) -> Result<Outputs> {
    let (x, stride) = (case.tensor("x")?, case.i64("stride")?);
    let ((_, inputs, ..), (inner, ..), (outputs, ..)) =
        (x.size4()?, case.tensor("conv1")?.size4()?, case.tensor("conv2")?.size4()?);
    ensure!(stride >= 1, "stride = {stride} must be positive");
    ensure!(outputs >= inputs, "conv2 has {outputs} outputs, fewer than the {inputs} channels of x");
    let full = BlockShape { inputs, inner, outputs, stride };
    let (mut store, block) = build(full, case.f64("eps")?, x.device());
    for id in store.ids() {
        let name = store.name(id);
        let tensor = match store.role(id) {
            Role::Counter => continue,
            // The cases call the filter banks conv1 and conv2, all else as the state dict does.
            Role::Weight => case.tensor(name.trim_end_matches(".weight"))?,
            _ => case.tensor(name)?,
        };
        store.replace(id, &tensor)?;
    }
    let groups: Vec<_> = block.inner_group(&store).into_iter().collect();
    let keep = [case.i64s("keep")?.into_iter().map(|flag| flag != 0).collect()];
    check_keep(&store, &groups, &keep)?;
    let kept = keep[0].iter().filter(|&&k| k).count() as i64;
    let (mut small_store, small) = build(BlockShape { inner: kept, ..full }, case.f64("eps")?, x.device());
    transfer(&store, &cut_tensors(&store, &groups, &keep), &mut small_store)?;
    let run = |block: &BasicBlock, store| no_grad(|| block.forward(&Cx::eval(&View::plain(store)), &x));
    Ok(Outputs::new().with("y_full", run(&block, &store)).with("y_pruned", run(&small, &small_store)))
}

fn build(shape: BlockShape, eps: f64, device: Device) -> (ParamStore, BasicBlock) {
    let mut store = ParamStore::new(device);
    let BlockShape { inputs, outputs, stride, .. } = shape;
    let shortcut = match stride == 1 && inputs == outputs {
        true => Shortcut::Identity,
        false => Shortcut::ZeroPad(ZeroPad::centred(inputs, outputs, stride)),
    };
    let mut block = BasicBlock::new(&mut Builder::new(&mut store, 0), shape, shortcut, InitScheme::Pytorch);
    block.set_eps(eps);
    (store, block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;
    use crate::params::file::to_bytes;
    use serde_json::{Value, json};
    use tch::{Kind, Tensor};

    /// Writes a case with these tensors (`in.*`, `out.*`), runs it and returns why it failed.
    fn failure(op: &str, params: Value, tensors: &[(impl AsRef<str>, Tensor)]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let entry = |key: &str, value: String| (key.to_owned(), value);
        let meta = [
            entry("op", format!("pruning-common.{op}")),
            entry("params", params.to_string()),
            entry("rtol", "1e-9".into()),
            entry("atol", "1e-12".into()),
        ];
        let bytes = to_bytes(tensors.iter().map(|(name, tensor)| (name.as_ref(), tensor)), meta.into()).unwrap();
        std::fs::write(folder.path().join("case.safetensors"), bytes).unwrap();
        ops::run(folder.path(), OPS, Device::Cpu).unwrap().verdicts.swap_remove(0).failure
    }

    fn passes(op: &str, params: Value, tensors: &[(impl AsRef<str>, Tensor)]) {
        assert_eq!(failure(op, params, tensors), None);
    }

    #[test]
    fn kernels_may_be_oblong_and_grouped() {
        let layers = |row: [i64; 8]| ("in.layers", Tensor::from_slice(&row).view([1, 8]));
        let expected = [("out.macs", Tensor::from(1260)), ("out.params", Tensor::from(42))];
        let [macs, params] = expected;
        passes("conv_cost", json!({}), &[layers([4, 6, 1, 3, 2, 5, 7, 1]), macs, params]);
        let wrong = failure("conv_cost", json!({}), &[layers([4, 6, 1, 3, 4, 5, 7, 1])]).unwrap();
        assert!(wrong.contains("4 groups do not divide"), "{wrong}");
    }

    #[test]
    fn a_removed_block_costs_nothing_and_odd_maps_round_up() {
        let params = json!({"blocks": 1, "widths": [2, 3, 5], "classes": 4, "size": 5});
        // Stem 5x5, one inner channel; removed, 3x3; two inner channels at 2x2; classifier.
        let macs = 54 * 25 + (18 + 18) * 25 + (54 + 90) * 4 + 20;
        let parameters = (54 + 4) + (18 + 2 + 18 + 4) + (54 + 4 + 90 + 10) + 24;
        let inner = ("in.inner", Tensor::from_slice(&[1i64, 0, 2]));
        let expected = [("out.macs", Tensor::from(macs)), ("out.params", Tensor::from(parameters))];
        let [macs, parameters] = expected;
        passes("cifar_resnet_cost", params.clone(), &[inner, macs, parameters]);
        let wrong = failure("cifar_resnet_cost", params, &[("in.inner", Tensor::from_slice(&[1i64, 2]))]).unwrap();
        assert!(wrong.contains("must have 3 entries, got 2"), "{wrong}");
    }

    #[test]
    fn the_odd_new_channel_comes_after() {
        let x = Tensor::arange(18, (Kind::Double, Device::Cpu)).view([1, 2, 3, 3]);
        let zeros = Tensor::zeros([4], (Kind::Double, Device::Cpu));
        let corners = |first: f64| Tensor::from_slice(&[first, first + 2.0, first + 6.0, first + 8.0]);
        let y = Tensor::stack(&[&zeros, &corners(0.0), &corners(9.0), &zeros, &zeros], 0).view([1, 5, 2, 2]);
        passes("option_a_shortcut", json!({"out_channels": 5}), &[("in.x", x.shallow_clone()), ("out.y", y)]);
        let wrong = failure("option_a_shortcut", json!({"out_channels": 1}), &[("in.x", x)]).unwrap();
        assert!(wrong.contains("less than the 2 channels"), "{wrong}");
    }

    #[test]
    fn a_block_without_inner_channels_is_its_activated_shortcut() {
        let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Double, Device::Cpu));
        let x = random(&[2, 2, 4, 4]);
        let mut tensors = vec![
            ("in.keep".to_owned(), Tensor::from_slice(&[0u8, 0, 0])),
            ("in.conv1".to_owned(), random(&[3, 2, 3, 3])),
            ("in.conv2".to_owned(), random(&[2, 3, 3, 3])),
            ("out.y_pruned".to_owned(), x.relu()),
            ("in.x".to_owned(), x),
        ];
        for (name, channels) in [("bn1", 3), ("bn2", 2)] {
            for part in ["weight", "bias", "running_mean", "running_var"] {
                tensors.push((format!("in.{name}.{part}"), random(&[channels]).abs()));
            }
        }
        passes("basic_block_prune", json!({"stride": 1, "eps": 1e-3}), &tensors);
        tensors[0].1 = Tensor::from_slice(&[0u8, 1]);
        let wrong = failure("basic_block_prune", json!({"stride": 1, "eps": 1e-3}), &tensors).unwrap();
        assert!(wrong.contains("has 2 entries, the layer has 3 channels"), "{wrong}");
    }
}
