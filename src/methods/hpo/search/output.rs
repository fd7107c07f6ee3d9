//! What is derived from the journal: trials.csv, best_so_far.csv, the summary.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::run::{Run, Summary};
use crate::search::{Spent, State, Study, Trial, importance};

/// trials.csv: a row a trial, with its state, its value, the best so far in the order of the trials, its units of work and
/// its parameters. best_so_far.csv: a row a trial that is over, in the order they ended.
pub fn table(run: &Run, study: &Study) -> Result<()> {
    let keys: Vec<&str> = study.header.space.iter().map(|(key, _)| key).collect();
    let header = ["trial", "state", "value", "best", "units"].into_iter().chain(keys.iter().copied());
    let mut rows = vec![header.map(str::to_owned).collect::<Vec<_>>()];
    let mut best = None;
    for (index, trial) in study.trials.iter().enumerate() {
        best = better(study, best, trial);
        let units = trial.spent.map(|spent| spent.units);
        let mut row = vec![index.to_string(), state(trial).into(), text(trial.value()), text(best), text(units)];
        row.extend(keys.iter().map(|key| trial.params.get(*key).map_or(String::new(), plain)));
        rows.push(row);
    }
    write(run, "trials.csv", &rows)?;
    let mut rows = vec![["time_s", "units", "trial", "value", "best"].map(str::to_owned).to_vec()];
    rows.extend(progress(study).iter().map(|point| {
        let Point { seconds, units, trial, value, best } = point;
        vec![format!("{seconds:.3}"), units.to_string(), trial.to_string(), text(*value), text(*best)]
    }));
    write(run, "best_so_far.csv", &rows)
}

fn write(run: &Run, name: &str, rows: &[Vec<String>]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.write_record(row))?;
    run.write(name, &writer.into_inner().map_err(|e| anyhow!("{name}: {e}"))?)
}

fn text(number: Option<f64>) -> String {
    number.map_or(String::new(), |number| number.to_string())
}

pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn state(trial: &Trial) -> &'static str {
    match trial.state {
        State::Running(_) => "running",
        State::Interrupted => "interrupted",
        State::Done(_) => "done",
        State::Pruned => "pruned",
        State::Failed(_) => "failed",
    }
}

/// The study when one more trial was over.
pub struct Point {
    pub seconds: f64,
    /// Of all trials over until then.
    pub units: f64,
    pub trial: usize,
    /// Of a finished one: that of a pruned trial does not compare.
    pub value: Option<f64>,
    /// The best finished value until then.
    pub best: Option<f64>,
}

/// A point for each trial that is over, in the order they ended.
pub fn progress(study: &Study) -> Vec<Point> {
    let over = |(index, trial): (usize, &'_ Trial)| trial.spent.map(|spent| (index, spent));
    let mut over: Vec<(usize, Spent)> = study.trials.iter().enumerate().filter_map(over).collect();
    over.sort_by(|a, b| a.1.seconds.total_cmp(&b.1.seconds));
    let (mut units, mut best) = (0.0, None);
    let point = |(trial, spent): (usize, Spent)| {
        units += spent.units;
        best = better(study, best, &study.trials[trial]);
        let value = study.trials[trial].value().filter(|_| study.trials[trial].is_done());
        Point { seconds: spent.seconds, units, trial, value, best }
    };
    over.into_iter().map(point).collect()
}

/// The better of the best so far and a finished trial.
fn better(study: &Study, best: Option<f64>, trial: &Trial) -> Option<f64> {
    let mode = study.header.mode;
    match trial.state {
        State::Done(value) if best.is_none_or(|best| mode.loss(value) < mode.loss(best)) => Some(value),
        _ => best,
    }
}

/// Best value within a share of all units of work; none while no trial had finished.
fn best_within(points: &[Point], share: f64) -> Option<f64> {
    let budget = share * points.last().map_or(0.0, |point| point.units);
    points.iter().take_while(|point| point.units <= budget).last().and_then(|point| point.best)
}

/// The area under the best value over the units of work from the first finished trial to the end, divided by its length: the
/// mean best value while the study ran.
fn area(points: &[Point]) -> Option<f64> {
    let known: Vec<(f64, f64)> = points.iter().filter_map(|point| Some((point.units, point.best?))).collect();
    let (first, last) = (known.first()?, known.last()?);
    let length = last.0 - first.0;
    let sum: f64 = known.windows(2).map(|pair| (pair[1].0 - pair[0].0) * pair[0].1).sum();
    Some(if length > 0.0 { sum / length } else { last.1 })
}

/// Best value, trial and parameters, what it cost, and how the trials ended. A study without a finished trial is an error.
pub fn summary(run: &mut Run, study: &Study) -> Result<Summary> {
    let count = |name: &str| study.trials.iter().filter(|trial| state(trial) == name).count();
    let Some((best, value)) = study.best() else {
        let reason = study.trials.iter().enumerate().find_map(|(i, trial)| match &trial.state {
            State::Failed(reason) => Some(format!("trial {i} failed: {reason}")),
            _ => None,
        });
        let pruned = || format!("{} were pruned", count("pruned"));
        bail!("no trial of {} finished: {}", study.trials.len(), reason.unwrap_or_else(pruned));
    };
    let points = progress(study);
    let last = points.last().context("a trial has finished")?;
    let mut summary = Summary::new();
    summary.insert("best_value".into(), json!(value));
    summary.insert("best_trial".into(), json!(best));
    summary.extend(study.trials[best].params.iter().map(|(key, value)| (format!("best.{key}"), value.clone())));
    summary.insert("best_at_25".into(), json!(best_within(&points, 0.25)));
    summary.insert("best_at_50".into(), json!(best_within(&points, 0.5)));
    summary.insert("best_at_100".into(), json!(best_within(&points, 1.0)));
    summary.insert("area_under_best".into(), json!(area(&points)));
    summary.insert("units".into(), json!(last.units));
    summary.insert("seconds".into(), json!(last.seconds));
    summary.insert("trials".into(), json!(study.trials.len()));
    summary.insert("finished".into(), json!(count("done")));
    summary.insert("failed".into(), json!(count("failed")));
    summary.insert("pruned".into(), json!(count("pruned")));
    if let Some(found) = importance(study) {
        let shares: Vec<String> = found.shares.iter().map(|(key, share)| format!("{key} {share:.2}")).collect();
        run.progress.say(&format!("importance over {} trials: {}", found.trials, shares.join(", ")));
        if found.uncertain {
            run.progress.warn(&format!("the importances rest on {} trials only: take them as a hint", found.trials));
        }
        summary.insert("importance_trials".into(), json!(found.trials));
        summary.extend(found.shares.into_iter().map(|(key, share)| (format!("importance.{key}"), json!(share))));
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Event, Header, Mode, Owner, Pruner, Sampler, Space};

    fn study() -> Study {
        let space: Space = toml::from_str("[x]\nkind='float'\nlow=0.0\nhigh=1.0").expect("a space");
        let (sampler, mode) = (Sampler::Random, Mode::Min);
        let mut study =
            Study::new(Header { metric: "loss".into(), mode, seed: 0, sampler, pruner: Pruner::None, space });
        let spent = |seconds: f64, units: f64| Spent { seconds, units };
        for trial in 0..4 {
            let params = sampler.next(&study).expect("values").expect("a trial");
            study.apply(&Event::Created { trial, params, owner: Owner::this() }).expect("created");
        }
        // Trial 1 ends first; 2 is pruned with a value that would be the best.
        let events = [
            Event::Done { trial: 1, value: 4.0, spent: spent(1.0, 2.0) },
            Event::Done { trial: 0, value: 2.0, spent: spent(2.0, 2.0) },
            Event::Report { trial: 2, step: 1, value: 0.5 },
            Event::Pruned { trial: 2, spent: spent(3.0, 1.0) },
            Event::Done { trial: 3, value: 3.0, spent: spent(4.0, 3.0) },
        ];
        events.iter().for_each(|event| study.apply(event).expect("it fits"));
        study
    }

    #[test]
    fn the_best_value_follows_the_order_of_the_ends() {
        let points = progress(&study());
        let of = |point: &Point| (point.trial, point.units, point.value, point.best);
        let expected = [
            (1, 2.0, Some(4.0), Some(4.0)),
            (0, 4.0, Some(2.0), Some(2.0)),
            (2, 5.0, None, Some(2.0)),
            (3, 8.0, Some(3.0), Some(2.0)),
        ];
        assert_eq!(points.iter().map(of).collect::<Vec<_>>(), expected);
        assert_eq!(
            [0.1, 0.25, 0.5, 1.0].map(|share| best_within(&points, share)),
            [None, Some(4.0), Some(2.0), Some(2.0)]
        );
        // 4 for two units, 2 for four.
        assert!((area(&points).expect("finished trials") - 16.0 / 6.0).abs() < 1e-12);
    }
}
