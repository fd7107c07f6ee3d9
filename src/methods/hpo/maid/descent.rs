//! The Method of Adaptive Inexact Descent itself, one outer iteration at a time.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Instant;
use tch::Tensor;

use super::bound::{Accuracy, error_bound, is_descent};
use super::estimate::{Point, estimate};
use super::line_search::{Inexact, accepts, psi};
use super::settings::{DescentTest, Settings};
use crate::bilevel::{Bilevel, Constants, Solution, Work, accelerated_gradient, hypergradient, norm};

/// The numbers a run goes on from; with theta and x, all of its state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scalars {
    pub eps: f64,
    pub delta: f64,
    pub alpha: f64,
    /// j: tries of the next line search.
    pub tries: u64,
    /// Outer iterations done.
    pub iteration: u64,
    /// Running maxima of the estimated constants.
    pub estimated: [f64; 2],
    /// Estimates made so far: the next one's random direction depends on it.
    pub estimates: u64,
    pub work: Work,
}

/// A run between two line searches.
pub struct State {
    pub theta: Tensor,
    /// The lower-level variable at theta (warm start).
    pub x: Tensor,
    pub scalars: Scalars,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// K outer iterations are done.
    Iterations,
    /// The work is spent.
    Budget,
    /// max(||z||, omega) <= tol.
    Stationary,
    /// eps < eps_min: no further progress at any accuracy that is left.
    StalledAtAccuracyFloor,
    /// With fixed accuracy: no step certifies a decrease.
    LineSearchFailed,
}

/// One outer iteration, as it was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub iteration: u64,
    /// g at the accepted accuracy, before the step.
    pub g_before: f64,
    /// g after the step.
    pub g: f64,
    pub z_norm: f64,
    /// The bound on ||z - grad f||; NaN without a descent test.
    pub omega: f64,
    /// The step taken.
    pub step: f64,
    /// Accuracies and first step of the next iteration.
    pub eps: f64,
    pub delta: f64,
    pub alpha: f64,
    /// Gradients of h in this iteration.
    pub n_gradients: u64,
    /// Hessian products in this iteration.
    pub n_products: u64,
    /// Steps refused.
    pub n_backtrack: u64,
    /// Line searches without a step.
    pub n_fail: u64,
    /// Times the descent test asked for more accuracy.
    pub n_tighten: u64,
}

/// How an outer iteration ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Accepted(Record),
    Stopped(Stop),
}

/// What InexactGradient hands to the line search.
struct Direction {
    z: Tensor,
    z_norm: f64,
    omega: f64,
    here: Inexact,
}

/// MAID on one problem.
pub struct Maid<'a> {
    problem: &'a Bilevel,
    settings: Settings,
    state: State,
}

impl<'a> Maid<'a> {
    /// From theta_0 and a first x.
    pub fn start(problem: &'a Bilevel, settings: Settings, theta: &Tensor, x: &Tensor) -> Result<Maid<'a>> {
        let scalars = Scalars {
            eps: settings.eps0,
            delta: settings.delta0,
            alpha: settings.alpha0,
            tries: settings.max_bt,
            iteration: 0,
            estimated: [0.0; 2],
            estimates: 0,
            work: Work::default(),
        };
        Maid::resume(problem, settings, State { theta: theta.copy(), x: x.copy(), scalars })
    }

    /// From where another run was left.
    pub fn resume(problem: &'a Bilevel, settings: Settings, state: State) -> Result<Maid<'a>> {
        settings.check()?;
        for (name, tensor) in [("theta0", &state.theta), ("x0", &state.x)] {
            ensure!(tensor.isfinite().all().int64_value(&[]) == 1, "{name} holds a value that is not finite");
        }
        ensure!(
            settings.descent_test != DescentTest::Exact || problem.lower.constants().is_some(),
            "descent_test = exact needs a problem that knows its constants (quadratic); use estimate or off"
        );
        Ok(Maid { problem, settings, state })
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Goes on from another state of the same problem.
    pub fn load(&mut self, state: State) -> Result<()> {
        *self = Maid::resume(self.problem, self.settings.clone(), state)?;
        Ok(())
    }

    /// One outer iteration: tries until a step is accepted or the run is over.
    pub fn iterate(&mut self) -> Result<Outcome> {
        let (start, before) = (Instant::now(), self.state.scalars.work);
        let outcome = tch::no_grad(|| self.outer())?;
        let work = &mut self.state.scalars.work;
        work.seconds += start.elapsed().as_secs_f64();
        Ok(match outcome {
            Break(stop) => Outcome::Stopped(stop),
            Continue(record) => Outcome::Accepted(Record {
                n_gradients: work.gradients - before.gradients,
                n_products: work.hessian_products - before.hessian_products,
                ..record
            }),
        })
    }

    fn outer(&mut self) -> Result<ControlFlow<Stop, Record>> {
        if self.state.scalars.iteration >= self.settings.iterations {
            return Ok(Break(Stop::Iterations));
        }
        let mut record = Record { iteration: self.state.scalars.iteration + 1, ..Record::default() };
        loop {
            let direction = match self.inexact_gradient(&mut record)? {
                Continue(direction) => direction,
                Break(stop) => return Ok(Break(stop)),
            };
            match self.line_search(&direction, &mut record) {
                Break(stop) => return Ok(Break(stop)),
                Continue(Some((theta, x, g, step))) => {
                    self.accept(theta, x, step);
                    let Scalars { eps, delta, alpha, .. } = self.state.scalars;
                    let Direction { z_norm, omega, here, .. } = direction;
                    return Ok(Continue(Record {
                        g_before: here.g,
                        g,
                        z_norm,
                        omega,
                        step,
                        eps,
                        delta,
                        alpha,
                        ..record
                    }));
                }
                Continue(None) => {
                    record.n_fail += 1;
                    if self.settings.fixed_eps {
                        return Ok(Break(Stop::LineSearchFailed));
                    }
                    self.state.scalars.tries += 1;
                    if let Break(stop) = self.tighten() {
                        return Ok(Break(stop));
                    }
                }
            }
        }
    }

    /// Solves until -z is known to be a descent direction.
    fn inexact_gradient(&mut self, record: &mut Record) -> Result<ControlFlow<Stop, Direction>> {
        loop {
            if self.spent() {
                return Ok(Break(Stop::Budget));
            }
            let (theta, eps, delta) =
                (self.state.theta.shallow_clone(), self.state.scalars.eps, self.state.scalars.delta);
            let Solution { x, certificate, .. } = self.lower_solve(&theta, &self.state.x.shallow_clone(), eps)?;
            if !certificate.is_finite() {
                bail!("the gradient of h is not finite at outer iteration {}", record.iteration);
            }
            // Where the cap stopped the solve, what is known of x is its certificate, not eps.
            let eps = eps.max(certificate);
            self.state.x = x;

            let (g, grad_g) = self.problem.upper.value_and_grad(&self.state.x);
            let here = Inexact { g: g.double_value(&[]), grad_norm: norm(&grad_g), eps };
            ensure!(here.g.is_finite(), "g is not finite at outer iteration {}", record.iteration);
            let products = self.problem.lower.products(&self.state.x, &theta);
            let solved = hypergradient(products.as_ref(), &grad_g, delta, self.settings.cg_cap)
                .with_context(|| format!("outer iteration {}", record.iteration))?;
            self.state.scalars.work.hessian_products += solved.iterations as u64;
            let z_norm = norm(&solved.z);

            let constants = {
                let (x, q) = (&self.state.x, &solved.q);
                let at = Point { x, theta: &theta, products: products.as_ref(), q, grad_g_norm: here.grad_norm };
                constants(self.problem, &self.settings, &mut self.state.scalars, at, eps)?
            };
            let omega = match constants {
                None => f64::NAN,
                Some(constants) => {
                    let mu = self.problem.lower.curvature(&theta)?.mu;
                    let accuracy = Accuracy { eps, delta: delta.max(solved.residual) };
                    error_bound(here.grad_norm, mu, self.problem.upper.smoothness(), constants, accuracy).omega
                }
            };
            // Without a bound, z = 0 says nothing where grad g was below delta from the start.
            let telling = !omega.is_nan() || solved.iterations > 0;
            let direction = Direction { z: solved.z, z_norm, omega, here };
            if telling && z_norm.max(omega) <= self.settings.tol {
                return Ok(Break(Stop::Stationary));
            }
            if self.settings.fixed_eps || omega.is_nan() || is_descent(omega, z_norm, self.settings.eta) {
                return Ok(Continue(direction));
            }
            record.n_tighten += 1;
            if let Break(stop) = self.tighten() {
                return Ok(Break(stop));
            }
        }
    }

    /// Backtracks from alpha to the first step whose decrease is certified: theta - a z, its x, g there, and a.
    fn line_search(
        &mut self,
        direction: &Direction,
        record: &mut Record,
    ) -> ControlFlow<Stop, Option<(Tensor, Tensor, f64, f64)>> {
        let Scalars { eps, alpha, tries, .. } = self.state.scalars;
        for i in 0..tries {
            if self.spent() {
                return Break(Stop::Budget);
            }
            let step = alpha * self.settings.rho.powi(i as i32);
            let theta = &self.state.theta - &direction.z * step;
            if let Some((x, g)) = self.certified(&theta, eps, step, direction) {
                return Continue(Some((theta, x, g, step)));
            }
            record.n_backtrack += 1;
        }
        Continue(None)
    }

    /// x and g at a trial theta, if they prove a decrease. A trial where h or g is not finite, or h not strongly convex,
    /// proves nothing.
    fn certified(&mut self, theta: &Tensor, eps: f64, step: f64, direction: &Direction) -> Option<(Tensor, f64)> {
        let Solution { x, certificate, .. } = self.lower_solve(theta, &self.state.x.shallow_clone(), eps).ok()?;
        if !certificate.is_finite() {
            return None;
        }
        let (g, grad_g) = self.problem.upper.value_and_grad(&x);
        let there = Inexact { g: g.double_value(&[]), grad_norm: norm(&grad_g), eps: eps.max(certificate) };
        let Settings { lambda, g_convex, .. } = self.settings;
        let psi = psi(there, direction.here, step, direction.z_norm, lambda, self.problem.upper.smoothness(), g_convex);
        accepts(psi).then_some((x, there.g))
    }

    fn accept(&mut self, theta: Tensor, x: Tensor, step: f64) {
        (self.state.theta, self.state.x) = (theta, x);
        let Settings { rho_up, nu_up, max_bt, fixed_eps, .. } = self.settings;
        let scalars = &mut self.state.scalars;
        if !fixed_eps {
            scalars.eps *= nu_up;
            scalars.delta *= nu_up;
        }
        scalars.alpha = rho_up * step;
        scalars.tries = max_bt;
        scalars.iteration += 1;
    }

    fn tighten(&mut self) -> ControlFlow<Stop> {
        let scalars = &mut self.state.scalars;
        scalars.eps *= self.settings.nu;
        scalars.delta *= self.settings.nu;
        if scalars.eps < self.settings.eps_min { Break(Stop::StalledAtAccuracyFloor) } else { Continue(()) }
    }

    fn spent(&self) -> bool {
        self.settings.budget > 0 && self.state.scalars.work.units() >= self.settings.budget
    }

    fn lower_solve(&mut self, theta: &Tensor, x: &Tensor, eps: f64) -> Result<Solution> {
        let lower = &self.problem.lower;
        let (cap, momentum) = (self.settings.inner_cap, self.settings.solver.momentum());
        let solution = accelerated_gradient(|x| lower.grad_x(x, theta), x, lower.curvature(theta)?, eps, cap, momentum);
        self.state.scalars.work.gradients += solution.gradients as u64;
        Ok(solution)
    }
}

/// The constants of the error bound by the chosen descent test, `None` without one.
fn constants(
    problem: &Bilevel,
    settings: &Settings,
    scalars: &mut Scalars,
    at: Point,
    eps: f64,
) -> Result<Option<Constants>> {
    match settings.descent_test {
        DescentTest::Off => Ok(None),
        DescentTest::Exact => Ok(problem.lower.constants()),
        DescentTest::Estimate => {
            let seed = crate::rng::step_seed(settings.seed, scalars.estimates) as u64;
            let (found, products) = estimate(problem, at, eps, settings.cg_cap, seed)?;
            scalars.estimates += 1;
            scalars.work.hessian_products += products as u64;
            let [l_ainv, l_b] = &mut scalars.estimated;
            (*l_ainv, *l_b) = (l_ainv.max(found.l_ainv), l_b.max(found.l_b));
            Ok(Some(Constants { jac_norm: found.jac_norm, l_ainv: *l_ainv, l_b: *l_b }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::quadratic::{QuadraticLower, QuadraticUpper};
    use super::*;
    use tch::Kind;

    /// A small quadratic problem and the exact f of theta.
    fn problem() -> (Bilevel, impl Fn(&Tensor) -> f64) {
        tch::manual_seed(3);
        let random = |shape: &[i64]| Tensor::rand(shape, tch::kind::DOUBLE_CPU);
        let (a1, a2, a3) = (random(&[20, 3]), random(&[20, 3]), random(&[20, 2]));
        let (b1, b2) = (random(&[20]), random(&[20]));
        let lower = QuadraticLower::new(&a2, &a3, &b2);
        let upper = QuadraticUpper::new(&a1, &b1);
        let exact = move |theta: &Tensor| {
            let rhs = a2.tr().mv(&(&b2 - a3.mv(theta)));
            let x = Tensor::linalg_solve(&a2.tr().matmul(&a2), &rhs, true);
            ((a1.mv(&x) - &b1).square().sum(Kind::Double) * 0.5).double_value(&[])
        };
        (Bilevel { lower: Box::new(lower), upper: Box::new(upper) }, exact)
    }

    fn settings(iterations: u64) -> Settings {
        Settings {
            iterations,
            eps0: 1.0,
            delta0: 1.0,
            alpha0: 100.0,
            descent_test: DescentTest::Exact,
            ..Settings::default()
        }
    }

    fn begin(problem: &Bilevel, settings: Settings) -> Maid<'_> {
        let theta = Tensor::ones([2], tch::kind::DOUBLE_CPU);
        Maid::start(problem, settings, &theta, &Tensor::zeros([3], tch::kind::DOUBLE_CPU)).unwrap()
    }

    #[test]
    fn every_accepted_step_lowers_the_exact_objective() {
        let (problem, exact) = problem();
        for descent_test in [DescentTest::Exact, DescentTest::Estimate, DescentTest::Off] {
            let mut maid = begin(&problem, Settings { descent_test, ..settings(8) });
            let mut f = exact(&maid.state().theta);
            let mut refused = 0;
            while let Outcome::Accepted(record) = maid.iterate().unwrap() {
                let next = exact(&maid.state().theta);
                assert!(next < f, "{next} after {f}");
                f = next;
                refused += record.n_backtrack;
            }
            assert_eq!(maid.state().scalars.iteration, 8);
            assert!(refused > 0, "the first step is far too long: it must be refused");
        }
    }

    #[test]
    fn a_resumed_run_goes_on_to_the_same_numbers() {
        let (problem, _) = problem();
        let settings = Settings { descent_test: DescentTest::Estimate, ..settings(6) };
        let mut whole = begin(&problem, settings.clone());
        let mut first = begin(&problem, settings.clone());
        for _ in 0..3 {
            whole.iterate().unwrap();
            first.iterate().unwrap();
        }
        let json = serde_json::to_string(&first.state().scalars).unwrap();
        let (theta, x) = (first.state().theta.copy(), first.state().x.copy());
        let state = State { theta, x, scalars: serde_json::from_str(&json).unwrap() };
        let mut second = Maid::resume(&problem, settings, state).unwrap();
        loop {
            let (a, b) = (whole.iterate().unwrap(), second.iterate().unwrap());
            assert_eq!(a, b);
            if let Outcome::Stopped(stop) = a {
                assert_eq!(stop, Stop::Iterations);
                break;
            }
        }
        assert_eq!(
            Vec::<f64>::try_from(&whole.state().theta).unwrap(),
            Vec::<f64>::try_from(&second.state().theta).unwrap()
        );
    }

    #[test]
    fn runs_end_for_the_reason_they_give() {
        let (problem, _) = problem();
        let stop = |settings: Settings| {
            let mut maid = begin(&problem, settings);
            loop {
                if let Outcome::Stopped(stop) = maid.iterate().unwrap() {
                    break stop;
                }
            }
        };
        assert_eq!(stop(Settings { budget: 30, ..settings(1000) }), Stop::Budget);
        assert_eq!(stop(Settings { tol: 1e-3, ..settings(100_000) }), Stop::Stationary);
        assert_eq!(stop(Settings { eps_min: 1e-3, ..settings(100_000) }), Stop::StalledAtAccuracyFloor);
        assert_eq!(stop(Settings { fixed_eps: true, ..settings(100_000) }), Stop::LineSearchFailed);
    }

    #[test]
    fn bad_settings_name_the_field() {
        let (problem, _) = problem();
        let (theta, x) = (Tensor::ones([2], tch::kind::DOUBLE_CPU), Tensor::zeros([3], tch::kind::DOUBLE_CPU));
        let message = |settings: Settings, theta: &Tensor| {
            Maid::start(&problem, settings, theta, &x).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(message(Settings { eps0: 0.0, ..settings(1) }, &theta).contains("eps0 = 0"));
        assert!(message(Settings { lambda: 1e-3, ..settings(1) }, &theta).contains("lambda = 0.001"));
        assert!(message(settings(1), &(&theta * f64::NAN)).contains("theta0"));
    }
}
