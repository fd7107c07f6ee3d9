//! The named core functions of orth-conv.

use anyhow::{Result, bail, ensure};

use super::exists::{Borders, Existence, delta_kernel, existence};
use super::kernel_orth;
use super::lorth::{Shape, deviation, measure, target};
use super::spectrum::{Errors, circular_conv, matrix, power_iteration, singular_values};
use crate::ops::gradient::{gradients, leaf, pullback};
use crate::ops::{Case, Op, Outputs, check};

pub const OPS: &[Op] = &[
    Op::new("orth-conv.lorth", orthogonality),
    Op::new("orth-conv.errors", errors),
    Op::new("orth-conv.power_iteration", power),
    Op::new("orth-conv.exists", exists),
    Op::new("orth-conv.delta_kernel", delta),
    Op::new("orth-conv.kernel_orth", reshaped),
    Op::new("orth-conv.circular_conv", convolution),
];

fn orthogonality(case: &Case) -> Result<Outputs> {
    let kernel = leaf("kernel", &case.tensor("kernel")?)?;
    let shape = Shape::of(&kernel, case.i64("stride")?)?;
    let padding = match case.str("padding") {
        Ok("auto") => shape.padding(),
        Ok(other) => bail!("padding = {other:?} should be \"auto\" or a whole number"),
        Err(_) => case.i64("padding")?,
    };
    ensure!(padding >= 0, "padding = {padding} must not be negative");
    let delta = if case.bool("subtract_delta")? { shape.delta() } else { 0 };
    let apart = deviation(&kernel, shape.stride, padding, &target(&kernel, shape, padding));
    let raw = apart.square().sum(kernel.kind());
    let value = match case.str("form")? {
        "squared" => &raw - delta,
        "norm" => apart.norm() - delta,
        other => bail!("form = {other:?} should be \"squared\" or \"norm\""),
    };
    let gradient = gradients(&value, &[&kernel]).remove(0);
    Ok(Outputs::new()
        .with("value", value.detach())
        .with("raw", raw.detach())
        .with("padding", padding)
        .with("delta", delta)
        .with("grad_kernel", gradient))
}

fn errors(case: &Case) -> Result<Outputs> {
    let kernel = case.tensor("kernel")?;
    let (shape, n) = (Shape::of(&kernel, case.i64("stride")?)?, positive(case, "n")?);
    let sigma = singular_values(&kernel, shape, n);
    let errors = Errors::of(&sigma);
    Ok(Outputs::new()
        .with("matrix", matrix(&kernel, shape, n))
        .with("err_f", errors.frobenius)
        .with("err_s", errors.spectral)
        .with("lorth", measure(&kernel, shape))
        .with("alpha", shape.alpha() as f64)
        .with("sigma", sigma)
        .with("sigma_max", errors.sigma_max)
        .with("sigma_min", errors.sigma_min)
        .with("row_case", shape.is_row()))
}

fn power(case: &Case) -> Result<Outputs> {
    let (kernel, x0) = (case.tensor("kernel")?, case.tensor("x0")?);
    let shape = Shape::of(&kernel, case.i64("stride")?)?;
    let side = shape.stride * positive(case, "n")?;
    check::shape("x0", &x0, &[&[shape.c][..], &vec![side; shape.dim as usize]].concat())?;
    let power = power_iteration(&kernel, shape.stride, &x0, positive(case, "iters")? as u64)?;
    Ok(Outputs::new().with("sigma", power.sigma).with("y", power.y).with("x", power.x))
}

fn exists(case: &Case) -> Result<Outputs> {
    let borders = match case.str("padding")? {
        "circular" => Borders::Circular,
        "valid" => Borders::Valid,
        "same" | "zero" => Borders::Same,
        other => bail!("padding = {other:?} should be circular, valid or same"),
    };
    let (rows, dim) = (case.i64s("mcks")?, dim(case)?);
    let found = rows.chunks(4).map(|row| Ok(existence(shape(row, dim)?, borders)));
    let found = found.collect::<Result<Vec<_>>>()?;
    let flags = |wanted: fn(&Existence) -> bool| found.iter().map(wanted).collect::<Vec<bool>>();
    Ok(Outputs::new()
        .with("exists", flags(|e| *e != Existence::No))
        .with("only_1x1", flags(|e| *e == Existence::OnlyPointwise)))
}

fn delta(case: &Case) -> Result<Outputs> {
    let shape = shape(&case.i64s("mcks")?, dim(case)?)?;
    let kernel = delta_kernel(shape)?;
    Ok(Outputs::new().with("lorth", measure(&kernel, shape)).with("kernel", kernel))
}

fn reshaped(case: &Case) -> Result<Outputs> {
    let kernel = leaf("kernel", &case.tensor("kernel")?)?;
    let shape = Shape::of(&kernel, 1)?;
    let value = match case.str("kind")? {
        "so" => kernel_orth::so(&kernel),
        "dso" => kernel_orth::dso(&kernel),
        "srip" => {
            let v0 = case.tensor("v0")?;
            check::shape("v0", &v0, &[shape.taps()])?;
            kernel_orth::srip(&kernel, &v0, positive(case, "iters")? as u64)
        }
        other => bail!("kind = {other:?} should be so, dso or srip"),
    };
    let gradient = gradients(&value, &[&kernel]).remove(0);
    Ok(Outputs::new().with("value", value.detach()).with("grad_kernel", gradient))
}

fn convolution(case: &Case) -> Result<Outputs> {
    let (x, kernel) = (leaf("x", &case.tensor("x")?)?, leaf("kernel", &case.tensor("kernel")?)?);
    let shape = Shape::of(&kernel, case.i64("stride")?)?;
    let size = x.size();
    let fits = size.len() == kernel.dim() && size[1] == shape.c && size[2..].iter().all(|n| n % shape.stride == 0);
    ensure!(
        fits,
        "x of shape {size:?} does not fit a kernel of shape {:?} with stride {}",
        kernel.size(),
        shape.stride
    );
    let y = circular_conv(&x, &kernel, shape.stride);
    let both = pullback(&y, "cotangent", &case.tensor("cotangent")?, &[&x, &kernel])?;
    Ok(Outputs::new().with("y", y.detach()).with("grad_x", &both[0]).with("grad_kernel", &both[1]))
}

fn shape(row: &[i64], dim: u32) -> Result<Shape> {
    let &[m, c, k, stride] = row else { bail!("mcks needs rows of four numbers M, C, k, S") };
    ensure!(row.iter().all(|&n| n >= 1), "M, C, k and S must be at least 1, got {row:?}");
    Ok(Shape { m, c, k, stride, dim })
}

fn dim(case: &Case) -> Result<u32> {
    let dim = case.i64("dim")?;
    ensure!((1..=2).contains(&dim), "dim = {dim} should be 1 or 2");
    Ok(dim as u32)
}

fn positive(case: &Case, key: &str) -> Result<i64> {
    let value = case.i64(key)?;
    ensure!(value >= 1, "{key} = {value} must be at least 1");
    Ok(value)
}
