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
use crate::params::{Builder, ParamStore, View};

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
        let name = store.name(id).to_owned();
        if let Some(tensor) =
            case.maybe(name.strip_suffix(".weight").filter(|n| n.starts_with("conv")).unwrap_or(&name))
        {
            store.replace(id, &tensor)?;
        }
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
