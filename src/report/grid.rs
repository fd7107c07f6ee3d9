//! A sheet as tables of text, for the formats that people read.

use clap::ValueEnum;

use super::Sample;
use super::difference::Difference;
use super::sheet::{Cell, Row, Sheet};
use super::statistics::{beside, number};

/// What a cell says about a metric over the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stat {
    Mean,
    /// Standard deviation (n - 1)
    Std,
    /// Standard error of the mean
    Sem,
    Median,
    Min,
    Max,
    /// Number of seeds
    N,
}

pub struct Grid {
    pub header: Vec<String>,
    /// The columns from here on hold numbers.
    pub numbers: usize,
    pub rows: Vec<Vec<Text>>,
}

#[derive(Clone, Default)]
pub struct Text {
    pub text: String,
    /// The best of its column.
    pub strong: bool,
    /// The number alone, to sort by.
    pub value: Option<f64>,
}

impl Text {
    fn plain(text: impl Into<String>) -> Text {
        Text { text: text.into(), ..Text::default() }
    }
}

/// Every arm's metrics.
pub fn metrics(sheet: &Sheet, stats: &[Stat]) -> Grid {
    let cell = |cell: &Cell| Text {
        text: show(&cell.sample, stats),
        strong: cell.best,
        value: (cell.sample.n() > 0).then(|| cell.sample.mean()),
    };
    grid(sheet, |row| row.cells.iter().map(cell).collect())
}

/// Every arm's differences to the baseline, if one was chosen.
pub fn differences(sheet: &Sheet) -> Option<Grid> {
    sheet.baseline.as_ref()?;
    let cell = |cell: &Cell| match &cell.difference {
        Some(d) => Text { text: show_difference(d), strong: false, value: Some(d.mean) },
        None => Text::default(),
    };
    let mut grid = grid(sheet, |row| row.cells.iter().map(cell).collect());
    grid.rows.retain(|row| row[grid.numbers..].iter().any(|cell| cell.value.is_some()));
    Some(grid)
}

/// The paper's numbers beside ours.
pub fn paper(sheet: &Sheet) -> Option<Grid> {
    let header = ["", "setting", "metric", "paper", "its baseline", "ours"].map(str::to_owned).to_vec();
    let row = |p: &super::paper::PaperRow| {
        [&p.id, &p.setting, &p.metric, &p.paper, &p.baseline, &p.ours].map(|text| Text::plain(text.as_str())).to_vec()
    };
    (!sheet.paper.is_empty()).then(|| Grid { header, numbers: 6, rows: sheet.paper.iter().map(row).collect() })
}

fn grid(sheet: &Sheet, cells: impl Fn(&Row) -> Vec<Text>) -> Grid {
    let settings = sheet.has_settings();
    let names = ["preset", "arm"].into_iter().chain(settings.then_some("setting")).chain(["n"]);
    let mut header: Vec<String> = names.map(str::to_owned).collect();
    let numbers = header.len();
    header.extend(sheet.metrics.iter().cloned());
    let row = |row: &Row| {
        let group = &row.group;
        let arm = if group.arm.is_empty() { group.method } else { group.arm };
        let mut line = vec![Text::plain(group.preset), Text::plain(arm)];
        line.extend(settings.then(|| Text::plain(group.setting.as_str())));
        let n = group.runs.len();
        let text = if group.unfinished == 0 { n.to_string() } else { format!("{n} of {}", n + group.unfinished) };
        line.push(Text { text, strong: false, value: Some(n as f64) });
        line.extend(cells(row));
        line
    };
    Grid { header, numbers, rows: sheet.rows.iter().map(row).collect() }
}

/// `0.953 ± 0.004, median 0.951`.
fn show(sample: &Sample, stats: &[Stat]) -> String {
    if sample.n() == 0 {
        return String::new();
    }
    let spread = sample.std().unwrap_or(f64::NAN);
    let mut parts: Vec<String> = Vec::new();
    for stat in stats {
        let (name, value) = match stat {
            Stat::Mean => ("mean", Some(sample.mean())),
            Stat::Std => ("std", sample.std()),
            Stat::Sem => ("sem", sample.error()),
            Stat::Median => ("median", Some(sample.median())),
            Stat::Min => ("min", Some(sample.min())),
            Stat::Max => ("max", Some(sample.max())),
            Stat::N => ("n", Some(sample.n() as f64)),
        };
        let Some(value) = value else { continue };
        match (stat, stats.first(), parts.len()) {
            (Stat::N, ..) => parts.push(format!("n = {value}")),
            (Stat::Std | Stat::Sem, Some(Stat::Mean | Stat::Median), 1) => {
                parts[0] += &format!(" ± {}", beside(value, value))
            }
            (_, _, 0) => parts.push(beside(value, spread)),
            _ => parts.push(format!("{name} {}", beside(value, spread))),
        }
    }
    parts.join(", ")
}

/// `+0.52 [0.47, 0.58]`, with `n.s.` where the interval holds 0.
pub fn show_difference(difference: &Difference) -> String {
    let Difference { pairs, mean, interval } = *difference;
    let sign = if mean > 0.0 { "+" } else { "" };
    match interval {
        None => format!("{sign}{} (1 pair)", number(mean)),
        Some((low, high)) => {
            let spread = (high - low) / 4.0;
            let [mean, low, high] = [mean, low, high].map(|x| beside(x, spread));
            let verdict = if difference.significant() { "" } else { " n.s." };
            let few = if pairs < 3 { " (2 pairs)" } else { "" };
            format!("{sign}{mean} [{low}, {high}]{verdict}{few}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_show_what_was_asked_for() {
        let sample = Sample(vec![0.95, 0.96, 0.955, 0.99]);
        assert_eq!(show(&sample, &[Stat::Mean, Stat::Std]), "0.964 ± 0.018");
        assert_eq!(show(&sample, &[Stat::Median, Stat::Min, Stat::N]), "0.958, min 0.950, n = 4");
        assert_eq!(show(&Sample(vec![0.95]), &[Stat::Mean, Stat::Std]), "0.9500");
        let difference = |mean, interval| show_difference(&Difference { pairs: 4, mean, interval });
        assert_eq!(difference(0.52, Some((0.47, 0.58))), "+0.520 [0.470, 0.580]");
        assert_eq!(difference(-0.001, Some((-0.01, 0.008))), "-0.0010 [-0.0100, 0.0080] n.s.");
    }
}
