//! What a finished stream says: the metrics of its accuracy curves, the gaps at task switches, the pictures. Everything is
//! read from continual.csv, so a resumed run needs no memory of earlier records.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use super::curves::{Curves, Gap, Trace};
use super::metrics::{AccuracyMatrix, mean};
use crate::report::heat_map::HeatMap;
use crate::report::plot::{Chart, Curve};
use crate::run::{Run, Stamp, Summary};

pub struct Results {
    /// The run's step of every record, the one before the first update included.
    steps: Vec<f64>,
    /// `accuracies[n]`: one value a task, NaN where it was not evaluated.
    accuracies: Vec<Vec<f64>>,
    /// Last step of every task but the last one.
    switches: Vec<f64>,
    /// The records from the first update on.
    trace: Trace,
}

/// A row of gaps.csv: what happened to an old task while another was learnt.
#[derive(Serialize)]
struct GapRow {
    task: usize,
    switch: usize,
    before: f64,
    minimum: f64,
    depth: f64,
    /// Steps from the switch to the minimum, and to 95% of `before` again.
    minimum_after: f64,
    recovered_after: Option<f64>,
}

impl Results {
    /// Reads the run's continual.csv; `tasks` is T.
    pub fn read(run: &Run, tasks: usize) -> Result<Results> {
        let path = run.folder().join("continual.csv");
        let mut reader = csv::Reader::from_path(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let header = reader.headers()?.clone();
        let column = |name: &str| {
            header.iter().position(|c| c == name).with_context(|| format!("{} has no column {name}", path.display()))
        };
        let (step, task) = (column("step")?, column("task")?);
        let series = (0..tasks).map(|t| column(&format!("acc_task{t}"))).collect::<Result<Vec<usize>>>()?;
        let (mut steps, mut learnt, mut accuracies) = (Vec::new(), Vec::new(), Vec::new());
        for record in reader.records() {
            let record = record.with_context(|| path.display().to_string())?;
            let number = |at: usize| record[at].parse::<f64>().unwrap_or(f64::NAN);
            steps.push(number(step));
            learnt.push(record[task].parse::<i64>().with_context(|| format!("{}: task", path.display()))?);
            accuracies.push(series.iter().map(|&at| number(at)).collect::<Vec<f64>>());
        }
        let switches = (1..learnt.len()).filter(|&n| learnt[n] > learnt[n - 1]).map(|n| steps[n - 1]).collect();
        let first = steps.iter().position(|&s| s > 0.0).unwrap_or(steps.len());
        let trace = Trace::new(Curves::new(&accuracies[first..].concat(), tasks)?, &learnt[first..])?;
        Ok(Results { steps, accuracies, switches, trace })
    }

    /// acc, forg, min_acc, wc_acc, wf10, wf100, wp10, wp100, lca (beta 10), and the gaps' mean and largest depth. min_acc
    /// and gaps are null for a single task, lca where no task has ten records.
    pub fn summary(&self) -> Result<Summary> {
        let trace = &self.trace;
        let last = trace.last_task();
        let (short, long) = (trace.curves().windowed(10)?, trace.curves().windowed(100)?);
        let depths: Vec<f64> = trace.gaps().iter().map(|gap| gap.depth).collect();
        let recovered = trace.gaps().iter().filter(|gap| gap.recovered_at.is_some()).count();
        let numbers = [
            ("acc", trace.accuracy()[last]),
            ("forg", trace.forgetting()[last]),
            ("min_acc", trace.min_acc()),
            ("wc_acc", trace.worst_case().last().copied().unwrap_or(f64::NAN)),
            ("wf10", short.fall),
            ("wf100", long.fall),
            ("wp10", short.rise),
            ("wp100", long.rise),
            ("lca", trace.lca(10)?),
            ("gap_depth", depths.iter().sum::<f64>() / depths.len() as f64),
            ("gap_depth_max", depths.iter().copied().fold(f64::NAN, f64::max)),
            ("gap_recovered", recovered as f64 / depths.len() as f64),
        ];
        let mut summary: Summary = numbers.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        summary.insert("records".into(), json!(trace.curves().records()));
        Ok(summary)
    }

    /// gaps.csv, at the end of the stream.
    pub fn write(&self, run: &mut Run, at: Stamp) -> Result<()> {
        // The trace lacks the record before the first update.
        let skipped = self.steps.len() - self.trace.curves().records();
        let step = |record: usize| self.steps[skipped + record];
        for gap in self.trace.gaps() {
            let Gap { task, switch, before, minimum, depth, minimum_at, recovered_at } = gap;
            let begun = self.switches.get(switch - 1).copied().unwrap_or(f64::NAN);
            let (minimum_after, recovered_after) = (step(minimum_at) - begun, recovered_at.map(|n| step(n) - begun));
            run.row("gaps", at, &GapRow { task, switch, before, minimum, depth, minimum_after, recovered_after })?;
        }
        Ok(())
    }

    /// plots/continual.svg: the accuracy on every task, task switches marked; plots/worst_case.svg: the mean over the tasks met
    /// so far beside WC-ACC; plots/acc_matrix.svg.
    pub fn draw(&self, run: &Run, matrix: &AccuracyMatrix) -> Result<()> {
        let curve = |task: usize| Curve {
            name: format!("task {task}"),
            points: self.steps.iter().zip(&self.accuracies).map(|(&step, row)| (step, row[task])).collect(),
        };
        let curves: Vec<Curve> = (0..matrix.tasks()).map(curve).collect();
        let chart = Chart {
            title: "accuracy on every task while the stream is learnt",
            x: "step",
            y: "accuracy",
            curves: &curves,
            dots: false,
            marks: &self.switches,
        };
        run.write("plots/continual.svg", chart.svg()?.as_bytes())?;
        self.draw_worst_case(run)?;
        let rows: Vec<Vec<f64>> = (0..matrix.tasks())
            .map(|after| (0..matrix.tasks()).map(|on| 100.0 * matrix.get(after, on)).collect())
            .collect();
        let map = HeatMap {
            title: "test accuracy in percent",
            x: "on task",
            y: "after task",
            rows: &rows,
            span: (0.0, 100.0),
        };
        run.write("plots/acc_matrix.svg", map.svg()?.as_bytes())
    }

    fn draw_worst_case(&self, run: &Run) -> Result<()> {
        let skipped = self.steps.len() - self.trace.curves().records();
        let met = |row: &Vec<f64>| mean(row.iter().copied().filter(|a| !a.is_nan()).collect::<Vec<f64>>().into_iter());
        let average = self.accuracies.iter().map(met).collect();
        let worst = self.trace.worst_case();
        let curve = |name: &str, values: Vec<f64>, steps: &[f64]| Curve {
            name: name.to_owned(),
            points: steps.iter().copied().zip(values).collect(),
        };
        let curves = [
            curve("average over the tasks met so far", average, &self.steps),
            curve("worst case (WC-ACC)", worst, &self.steps[skipped..]),
        ];
        let title = "average and worst-case accuracy";
        let chart = Chart { title, x: "step", y: "accuracy", curves: &curves, dots: false, marks: &self.switches };
        run.write("plots/worst_case.svg", chart.svg()?.as_bytes())
    }
}
