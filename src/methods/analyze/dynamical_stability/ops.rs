//! The core of dynamical stability under public names; all float64.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use super::sharpness::{Sharpness, Spectrum};
use super::stability::{Alignment, Moments, Sampling, Stability};
use super::student::{Diagonal, Relu, Student, lengths, sgd_step};
use crate::metrics::curvature::products::{flat, gauss_newton_product, hessian_product, unflat};
use crate::metrics::curvature::{hutchinson, lanczos, power_iteration};
use crate::ops::{Case, Op, Outputs, gradient::leaf};

pub const OPS: &[Op] = &[
    Op::new("dynamical-stability.relu_sharpness", op_relu_sharpness),
    Op::new("dynamical-stability.diag_sharpness", op_diag_sharpness),
    Op::new("dynamical-stability.hutchinson", op_hutchinson),
    Op::new("dynamical-stability.power_iteration", op_power_iteration),
    Op::new("dynamical-stability.lanczos", op_lanczos),
    Op::new("dynamical-stability.moment_stability", op_moment_stability),
    Op::new("dynamical-stability.alignment", op_alignment),
    Op::new("dynamical-stability.relu_hvp", op_relu_hvp),
    Op::new("dynamical-stability.relu_sgd", op_relu_sgd),
];

fn double(case: &Case, name: &str) -> Result<Tensor> {
    Ok(case.tensor(name)?.to_kind(Kind::Double))
}

fn count(case: &Case, key: &str, least: i64) -> Result<usize> {
    let n = case.i64(key)?;
    ensure!(n >= least, "parameter {key} = {n} must be at least {least}");
    Ok(n as usize)
}

fn positive(case: &Case, key: &str) -> Result<f64> {
    let value = case.f64(key)?;
    ensure!(value > 0.0, "parameter {key} = {value} must be above 0");
    Ok(value)
}

fn sharpness_outputs(s: Sharpness) -> Outputs {
    Outputs::new().with("trace", s.trace).with("frob", s.frob).with("top", s.top)
}

/// One model as a stack of one.
fn relu(case: &Case) -> Result<Relu> {
    let (w, a) = (double(case, "w")?, double(case, "a")?);
    ensure!(w.dim() == 2 && a.size() == [w.size()[0]], "w has shape {:?}, a {:?}", w.size(), a.size());
    Ok(Relu { w: w.unsqueeze(0), a: a.unsqueeze(0) })
}

fn op_relu_sharpness(case: &Case) -> Result<Outputs> {
    let (net, x) = (relu(case)?, double(case, "x")?);
    let d = x.size()[1] as f64;
    let balance = net.a.get(0).abs() * d.sqrt() - lengths(&net.w.get(0));
    let out = sharpness_outputs(Spectrum::of(&net.per_example(0, &x)).sharpness);
    Ok(out.with("path_norm", net.norm(0)).with("balance", balance))
}

fn op_diag_sharpness(case: &Case) -> Result<Outputs> {
    let (x, u, v) = (double(case, "x")?, double(case, "u")?, double(case, "v")?);
    let net = Diagonal { u: u.unsqueeze(0), v: v.unsqueeze(0) };
    let beta = (&u * &v).abs();
    let moments = x.square().mean_dim(&[0i64][..], false, Kind::Double);
    let out = sharpness_outputs(Spectrum::of(&net.per_example(0, &x)).sharpness);
    let out = out.with("l1", net.norm(0)).with("l2", beta.norm()).with("linf", beta.max());
    Ok(out.with("ratio", net.ratio(0)).with("lower", (beta * moments).sum(Kind::Double) * 2.0))
}

fn op_hutchinson(case: &Case) -> Result<Outputs> {
    let (a, probes) = (double(case, "a")?, double(case, "probes")?);
    let h = hutchinson(|v| Ok(a.mv(v)), &probes)?;
    let out = Outputs::new().with("quad", h.quad).with("trace", h.trace).with("trace_se", h.trace_se);
    Ok(out.with("frob2", h.frob2).with("frob2_se", h.frob2_se).with("frob", h.frob2.sqrt()))
}

fn op_power_iteration(case: &Case) -> Result<Outputs> {
    let a = double(case, "a")?;
    let found = power_iteration(|v| Ok(a.mv(v)), &double(case, "v0")?, count(case, "iters", 0)?)?;
    let out = Outputs::new().with("rayleigh", found.rayleigh);
    Ok(out.with("value", found.value).with("residual", found.residual))
}

fn op_lanczos(case: &Case) -> Result<Outputs> {
    let a = double(case, "a")?;
    let found = lanczos(|v| Ok(a.mv(v)), &double(case, "v0")?, count(case, "k", 1)?)?;
    Ok(Outputs::new().with("alpha", found.alpha).with("beta", found.beta).with("ritz", found.ritz))
}

fn op_moment_stability(case: &Case) -> Result<Outputs> {
    let g = double(case, "g")?;
    let (eta, replacement) = (positive(case, "eta")?, case.bool("replacement")?);
    let batch = count(case, "batch", 1)? as i64;
    let n = g.size()[0];
    ensure!(replacement || batch <= n, "batch = {batch} without replacement, but there are {n} examples");
    let (spectrum, sampling) = (Spectrum::of(&g), Sampling { batch, replacement });
    let s = Stability::of(&spectrum, eta, sampling, |m| m.radius());
    let (traces, losses) = Moments::new(&spectrum, eta, sampling).trajectory(count(case, "steps", 0)?);
    let out = sharpness_outputs(spectrum.sharpness).with("rho", s.radius).with("gd_rho", s.gradient_descent_radius);
    let out = out.with("trace_bound", s.trace_bound).with("gd_bound", s.top_bound).with("fourth", s.fourth);
    let flag = |yes: bool| Tensor::from(u8::from(yes));
    let out = out.with("stable", flag(s.stable())).with("gd_stable", flag(s.gradient_descent_stable()));
    Ok(out.with("moment_trace", traces).with("moment_loss", losses))
}

fn op_alignment(case: &Case) -> Result<Outputs> {
    let (residuals, g) = (double(case, "residuals")?, double(case, "g")?);
    let (eta, batch) = (positive(case, "eta")?, count(case, "batch", 1)? as i64);
    let a = Alignment::of(&residuals, &g, eta, batch);
    let out = Outputs::new().with("loss", a.loss).with("frob", a.frob).with("trace_noise", a.noise_trace);
    Ok(out.with("mu", a.mu).with("mu1", a.mu1).with("frob_bound", a.frob_bound))
}

/// Products by the functions that probe networks; the traces and the largest eigenvalue from all products.
fn op_relu_hvp(case: &Case) -> Result<Outputs> {
    let (x, y, v) = (double(case, "x")?, double(case, "y")?, double(case, "v")?);
    let (w, a) = (double(case, "w")?, double(case, "a")?);
    let theta = leaf("w and a", &Tensor::cat(&[&w, &a.unsqueeze(1)], 1))?;
    ensure!(v.size() == theta.size(), "v has shape {:?}, expected {:?}", v.size(), theta.size());
    let (d, n) = (w.size()[1], x.size()[0] as f64);
    let outputs = || x.matmul(&theta.narrow(1, 0, d).tr()).relu().mv(&theta.select(1, d));
    let loss = || (outputs() - &y).square().sum(Kind::Double) / (2.0 * n);
    let hvp = |v: &Tensor| hessian_product(&loss(), &[&theta], &unflat(v, &[&theta]));
    let gnvp = |v: &Tensor| gauss_newton_product(&outputs(), &[&theta], &unflat(v, &[&theta]), |u| u / n);
    let matrix = |product: &dyn Fn(&Tensor) -> Result<Vec<Tensor>>| -> Result<Tensor> {
        let identity = Tensor::eye(theta.numel() as i64, (Kind::Double, theta.device()));
        let rows =
            (0..theta.numel() as i64).map(|i| Ok(flat(&product(&identity.get(i))?))).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::stack(&rows, 0))
    };
    let (hessian, gauss_newton) = (matrix(&hvp)?, matrix(&gnvp)?);
    let direction = v.contiguous().view(-1);
    let out = Outputs::new().with("loss", loss().detach());
    let out = out.with("hvp", &hvp(&direction)?[0]).with("gnvp", &gnvp(&direction)?[0]);
    let out = out.with("hess_trace", hessian.trace()).with("gn_trace", gauss_newton.trace());
    Ok(out.with("hess_top", hessian.linalg_eigvalsh("L").max()))
}

fn op_relu_sgd(case: &Case) -> Result<Outputs> {
    let mut net = relu(case)?;
    net.w = net.w.copy();
    net.a = net.a.copy();
    let (x, y, idx) = (double(case, "x")?, double(case, "y")?, case.tensor("idx")?);
    let clip = if case.has("clip") { Some(case.f64("clip")?) } else { None };
    let rates = Tensor::from_slice(&[case.f64("lr")?]).to_device(x.device());
    let mut losses = Vec::new();
    for step in 0..idx.size()[0] {
        let batch = idx.get(step);
        let [x, y] = [&x, &y].map(|t| t.index_select(0, &batch).unsqueeze(0));
        let e = sgd_step(&mut net, &x, &y, &rates, clip);
        losses.push(e.square().mean(Kind::Double) * 0.5);
    }
    let losses =
        if losses.is_empty() { Tensor::zeros([0], (Kind::Double, x.device())) } else { Tensor::stack(&losses, 0) };
    Ok(Outputs::new().with("w", net.w.get(0)).with("a", net.a.get(0)).with("losses", losses))
}
