//! What is derived from the journal: trials.csv, the plots, the summary.

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};

use crate::report::plot::{Chart, Curve};
use crate::run::{Run, Summary};
use crate::search::{Dimension, State, Study, Trial, importance};

/// trials.csv: a row a trial, with its state, its value, the best so far in the order of the trials, and its parameters.
pub fn table(run: &Run, study: &Study) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let keys: Vec<&str> = study.header.space.iter().map(|(key, _)| key).collect();
    writer.write_record(["trial", "state", "value", "best"].iter().chain(&keys))?;
    let text = |number: Option<f64>| number.map_or(String::new(), |number| number.to_string());
    for ((index, trial), best) in study.trials.iter().enumerate().zip(best_so_far(study)) {
        let mut row = vec![index.to_string(), state(trial).to_owned(), text(trial.value()), text(best)];
        row.extend(keys.iter().map(|key| trial.params.get(*key).map_or(String::new(), plain)));
        writer.write_record(&row)?;
    }
    let bytes = writer.into_inner().map_err(|e| anyhow!("trials.csv: {e}"))?;
    run.write("trials.csv", &bytes)
}

fn plain(value: &Value) -> String {
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

/// The best finished value up to each trial.
fn best_so_far(study: &Study) -> Vec<Option<f64>> {
    let mode = study.header.mode;
    let mut best: Option<f64> = None;
    let after = |trial: &Trial| {
        if let State::Done(value) = trial.state
            && best.is_none_or(|best| mode.loss(value) < mode.loss(best))
        {
            best = Some(value);
        }
        best
    };
    study.trials.iter().map(after).collect()
}

/// The best value so far by trial, and for each parameter the values of the finished trials over it (the logarithm where it
/// was drawn in it, the index of a choice).
pub fn pictures(run: &Run, study: &Study) -> Result<()> {
    let metric = &study.header.metric;
    let chart = |title: &str, x: &str, points: Vec<(f64, f64)>, lines: bool| -> Result<Vec<u8>> {
        let curves = [Curve { name: metric.clone(), points }];
        let chart = Chart { title, x, y: metric, curves: &curves, dots: true, marks: &[] };
        Ok(if lines { chart.svg() } else { chart.scatter() }?.into_bytes())
    };
    let best = best_so_far(study).into_iter().enumerate().filter_map(|(i, best)| Some((i as f64, best?)));
    let best: Vec<(f64, f64)> = best.collect();
    if best.is_empty() {
        return Ok(());
    }
    run.write("plots/best_so_far.svg", &chart("best so far", "trial", best, true)?)?;
    for (index, (key, dimension)) in study.header.space.iter().enumerate() {
        let log = matches!(dimension, Dimension::Float { log: true, .. } | Dimension::Int { log: true, .. });
        let mut points = Vec::new();
        for trial in study.trials.iter().filter(|trial| trial.is_done()) {
            let number = study.header.space.numbers(&trial.params)?[index];
            points.push((if log { number.log10() } else { number }, trial.value().unwrap_or(f64::NAN)));
        }
        let axis = match (log, dimension) {
            (true, _) => format!("log10 {key}"),
            (_, Dimension::Categorical { choices }) => {
                let names: Vec<String> = choices.iter().enumerate().map(|(i, c)| format!("{i} {}", plain(c))).collect();
                format!("{key} ({})", names.join(", "))
            }
            _ => key.to_owned(),
        };
        run.write(&format!("plots/slice-{key}.svg"), &chart(&format!("trials over {key}"), &axis, points, false)?)?;
    }
    Ok(())
}

/// Best value, trial and parameters, and how the trials ended. A study without a finished trial is an error.
pub fn summary(run: &mut Run, study: &Study) -> Result<Summary> {
    let count = |name: &str| study.trials.iter().filter(|trial| state(trial) == name).count();
    let Some((best, value)) = study.best() else {
        let reason = study.trials.iter().enumerate().find_map(|(i, trial)| match &trial.state {
            State::Failed(reason) => Some(format!("trial {i} failed: {reason}")),
            _ => None,
        });
        bail!("no trial of {} finished: {}", study.trials.len(), reason.unwrap_or_default());
    };
    let mut summary = Summary::new();
    summary.insert("best_value".into(), json!(value));
    summary.insert("best_trial".into(), json!(best));
    summary.extend(study.trials[best].params.iter().map(|(key, value)| (format!("best.{key}"), value.clone())));
    summary.insert("trials".into(), json!(study.trials.len()));
    summary.insert("finished".into(), json!(count("done")));
    summary.insert("failed".into(), json!(count("failed")));
    summary.insert("pruned".into(), json!(count("pruned")));
    if let Some(found) = importance(study) {
        if found.uncertain {
            run.progress.warn(&format!("the importances rest on {} trials only: take them as a hint", found.trials));
        }
        summary.extend(found.shares.into_iter().map(|(key, share)| (format!("importance.{key}"), json!(share))));
    }
    Ok(summary)
}
