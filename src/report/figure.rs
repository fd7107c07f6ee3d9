//! `reglab plot`: what is asked of runs, as a picture.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::heat_map::HeatMap;
use super::labels::{families, labels};
use super::plot::{Bar, Bars, Chart, Columns, Curve, Drawing, Format, Look, Spread, table_names};
use super::series::{Around, Series, averaged};
use super::{Group, Record, Sample, groups};
use crate::Usage;
use crate::config::hint;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Line,
    /// Arms by summary metrics, or the last rows of a table by a column (-x layer)
    Bar,
    /// A point a run (or, with --table, a row)
    Scatter,
    /// Columns -y of a table (a * stands for any letters), a row for each -x
    Heat,
}

/// A picture to draw of runs.
pub struct Figure {
    pub kind: Kind,
    /// None: the first table that has the columns; `summary` for the runs' final numbers.
    pub table: Option<String>,
    pub x: Option<String>,
    pub y: Vec<String>,
    /// `arm`, `run`, a field of the configuration, or a column of the table.
    pub by: String,
    pub around: Around,
    pub log_x: bool,
    pub log_y: bool,
    pub title: Option<String>,
    /// Only rows where the column has this value.
    pub only: Option<(String, String)>,
}

const SUMMARY: &str = "summary";

type Points = Vec<(f64, f64)>;

impl Figure {
    pub fn draw(&self, records: &[Record], format: Format) -> Result<Vec<u8>> {
        let done: Vec<&Record> = records.iter().collect();
        let groups = groups(&done);
        match self.kind {
            Kind::Line => match self.table_of(records)?.as_str() {
                SUMMARY => self.settings(&groups, format),
                table => self.lines(&groups, records, table, format),
            },
            Kind::Scatter => match self.table.as_deref().unwrap_or(SUMMARY) {
                SUMMARY => self.scatter(&groups, format),
                table => self.lines(&groups, records, table, format),
            },
            Kind::Bar => match self.table.as_deref().unwrap_or(SUMMARY) {
                SUMMARY => self.arms(&groups, format),
                table => self.layers(&groups, table, format),
            },
            Kind::Heat => self.heat(records, format),
        }
    }

    fn x(&self) -> &str {
        self.x.as_deref().unwrap_or("step")
    }

    fn title(&self) -> String {
        let y = self.y.join(", ");
        self.title.clone().unwrap_or_else(|| match (self.kind, &self.x) {
            (Kind::Bar, None) => y,
            (Kind::Bar, Some(x)) => format!("{y} by {x}"),
            (Kind::Scatter, _) => format!("{y} against {}", self.x()),
            _ => format!("{y} by {}", self.x()),
        })
    }

    /// The table that is drawn: the one asked for, or the first that has all columns.
    fn table_of(&self, records: &[Record]) -> Result<String> {
        if let Some(table) = &self.table {
            return Ok(table.clone());
        }
        let first = records.first().context("there is no run")?;
        let wanted = || self.y.iter().map(String::as_str).chain([self.x()]);
        let mut known: Vec<String> = Vec::new();
        for table in table_names(&first.folder) {
            let header = Columns::read(&first.folder, &table)?.header().to_vec();
            if wanted().all(|name| header.iter().any(|column| column == name)) {
                return Ok(table);
            }
            known.extend(header);
        }
        let field = |name: &str| name.contains('.') || first.summary.contains_key(name);
        if wanted().all(field) {
            return Ok(SUMMARY.to_owned());
        }
        known.extend(first.summary.keys().cloned());
        known.sort();
        known.dedup();
        if let Some(missing) = wanted().find(|name| !known.iter().any(|column| column == name)) {
            let near = hint(missing, known.iter().map(String::as_str));
            bail!(Usage(format!("no table of {} has a column {missing}{near}", first.folder.display())));
        }
        bail!(Usage(format!("no table of {} has both {} and {}", first.folder.display(), self.x(), self.y.join(", "))));
    }

    fn read(&self, record: &Record, table: &str) -> Result<Columns> {
        let columns = Columns::read(&record.folder, table)?;
        match &self.only {
            Some((column, value)) => columns.keep(column, value),
            None => Ok(columns),
        }
    }

    fn look(&self, spread: Vec<Spread>) -> Look {
        Look { scatter: self.kind == Kind::Scatter, log_x: self.log_x, log_y: self.log_y, spread }
    }

    /// Curves of a table: the mean of each arm, every run, or every value of a field or column.
    fn lines(&self, groups: &[Group], records: &[Record], table: &str, format: Format) -> Result<Vec<u8>> {
        let mut named: Vec<(String, Vec<Points>)> = Vec::new();
        let mut add = |name: String, points: Points| match named.iter_mut().find(|(known, _)| *known == name) {
            _ if points.is_empty() => {}
            Some((_, runs)) => runs.push(points),
            None => named.push((name, vec![points])),
        };
        let series = |record: &Record, name: &str, add: &mut dyn FnMut(String, Points)| -> Result<()> {
            let rows = self.read(record, table)?;
            let values = match self.by_column(rows.header()) {
                true => rows.values(&self.by)?.into_iter().map(Some).collect(),
                false => vec![None],
            };
            for value in values {
                for y in &self.y {
                    let parts = [Some(name), value.as_deref(), (self.y.len() > 1).then_some(y)];
                    let only = value.as_deref().map(|value| (self.by.as_str(), value));
                    let name =
                        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
                    add(name, rows.points(self.x(), y, only)?);
                }
            }
            Ok(())
        };
        if self.by == "run" {
            for record in records {
                let name = record.folder.file_name().unwrap_or_default().to_string_lossy();
                series(record, &name, &mut add)?;
            }
        } else {
            for (group, label) in groups.iter().zip(labels(groups)) {
                let name = match (self.by.as_str(), group.field(&self.by)) {
                    ("arm", _) => label,
                    (_, Some(value)) => value.to_owned(),
                    _ if groups.len() == 1 => String::new(),
                    _ => label,
                };
                for record in &group.runs {
                    series(record, &name, &mut add)?;
                }
            }
        }
        self.check_by(groups, records, table)?;
        let pooled: Vec<(String, Series)> =
            named.into_iter().map(|(name, runs)| (name, averaged(&runs, self.around))).collect();
        if let Some((name, _)) = pooled.iter().find(|(_, series)| series.points.is_empty()) {
            bail!(Usage(format!("the runs of {name} have no value of {} in common; --by run draws each", self.x())));
        }
        self.chart(pooled, Spread::Band, format)
    }

    fn by_column(&self, header: &[String]) -> bool {
        !["arm", "run"].contains(&self.by.as_str()) && header.contains(&self.by)
    }

    /// `--by` must be a word, a field or a column that there is.
    fn check_by(&self, groups: &[Group], records: &[Record], table: &str) -> Result<()> {
        let header = match records.first() {
            Some(first) if table != SUMMARY => self.read(first, table)?.header().to_vec(),
            _ => Vec::new(),
        };
        let fields = || groups.iter().flat_map(|g| g.fields()).chain(header.iter().map(String::as_str));
        if ["arm", "run"].contains(&self.by.as_str()) || fields().any(|field| field == self.by) {
            return Ok(());
        }
        let near = hint(&self.by, fields().chain(["arm", "run"]));
        bail!(Usage(format!("--by {} is neither arm, run, a field of the configuration nor a column{near}", self.by)))
    }

    fn chart(
        &self,
        series: Vec<(String, Series)>,
        around: fn(Vec<(f64, f64, f64)>) -> Spread,
        format: Format,
    ) -> Result<Vec<u8>> {
        let (mut curves, mut spread) = (Vec::new(), Vec::new());
        for (name, series) in series {
            curves.push(Curve { name, points: series.points });
            spread.push(around(series.around));
        }
        if curves.is_empty() {
            bail!(Usage(format!("no run has numbers in both {} and {}", self.x(), self.y.join(", "))));
        }
        let (title, y) = (self.title(), self.y.join(", "));
        let few = curves.iter().all(|curve| curve.points.len() <= 20);
        let chart = Chart { title: &title, x: self.x(), y: &y, curves: &curves, dots: few, marks: &[] };
        chart.picture(self.look(spread), format)
    }

    /// A number of a run: a summary metric, or a field of its configuration.
    fn value(&self, group: &Group, record: &Record, name: &str) -> Option<f64> {
        record.metric(name).or_else(|| group.field(name)?.parse().ok())
    }

    fn check_names(&self, groups: &[Group], names: &[&str]) -> Result<()> {
        let summaries = || groups.iter().flat_map(|g| &g.runs).flat_map(|r| r.summary.keys().map(String::as_str));
        let fields = || groups.iter().flat_map(|g| g.fields());
        for name in names {
            if !summaries().chain(fields()).any(|known| known == *name) {
                let near = hint(name, summaries().chain(fields()));
                bail!(Usage(format!("{name} is neither a summary metric nor a field of these runs{near}")));
            }
        }
        Ok(())
    }

    /// A curve an arm: each of its settings is a point, the mean over seeds.
    fn settings(&self, groups: &[Group], format: Format) -> Result<Vec<u8>> {
        self.check_names(groups, &[&[self.x()], &self.y.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat())?;
        self.check_by(groups, &[], SUMMARY)?;
        let mut named: Vec<(String, Series)> = Vec::new();
        for y in &self.y {
            for (group, family) in groups.iter().zip(self.names(groups)) {
                let name = if self.y.len() > 1 { format!("{family} {y}") } else { family };
                let of =
                    |metric: &str| Sample(group.runs.iter().filter_map(|r| self.value(group, r, metric)).collect());
                let (place, sample) = (of(self.x()), of(y));
                let Some(bar) = self.around.bar(&sample).filter(|_| place.n() > 0) else { continue };
                let at = match named.iter().position(|(known, _)| *known == name) {
                    Some(at) => at,
                    None => {
                        named.push((name, Series::default()));
                        named.len() - 1
                    }
                };
                named[at].1.points.push((place.mean(), bar.value));
                named[at].1.around.extend(bar.spread.map(|(low, high)| (place.mean(), low, high)));
            }
        }
        for (_, series) in &mut named {
            series.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        self.chart(named, Spread::Bars, format)
    }

    fn names(&self, groups: &[Group]) -> Vec<String> {
        let field = |(group, family): (&Group, String)| match group.field(&self.by) {
            Some(value) if self.by != "arm" => value.to_owned(),
            _ => family,
        };
        groups.iter().zip(families(groups)).map(field).collect()
    }

    /// A point a run.
    fn scatter(&self, groups: &[Group], format: Format) -> Result<Vec<u8>> {
        self.check_names(groups, &[&[self.x()], &self.y.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat())?;
        self.check_by(groups, &[], SUMMARY)?;
        let mut named: Vec<(String, Series)> = Vec::new();
        for y in &self.y {
            for (group, family) in groups.iter().zip(self.names(groups)) {
                let name = if self.y.len() > 1 { format!("{family} {y}") } else { family };
                let point = |r: &&Record| Some((self.value(group, r, self.x())?, self.value(group, r, y)?));
                let points = group.runs.iter().filter_map(point);
                match named.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, series)) => series.points.extend(points),
                    None => named.push((name, Series { points: points.collect(), around: Vec::new() })),
                }
            }
        }
        self.chart(named, Spread::Bars, format)
    }

    /// A bar an arm and metric.
    fn arms(&self, groups: &[Group], format: Format) -> Result<Vec<u8>> {
        self.check_names(groups, &self.y.iter().map(String::as_str).collect::<Vec<_>>())?;
        let bars = |y: &String| {
            let sample = |g: &Group| Sample(g.runs.iter().filter_map(|r| self.value(g, r, y)).collect());
            (y.clone(), groups.iter().map(|g| self.around.bar(&sample(g))).collect())
        };
        let series: Vec<(String, Vec<Option<Bar>>)> = self.y.iter().map(bars).collect();
        self.bars(&labels(groups), &series, format)
    }

    /// Per layer: a bar for each value of the column -x, from the last row that has it.
    fn layers(&self, groups: &[Group], table: &str, format: Format) -> Result<Vec<u8>> {
        let x =
            self.x.as_deref().context(Usage("--kind bar of a table needs -x, the column of the bars' names".into()))?;
        let mut names: Vec<String> = Vec::new();
        let mut series: Vec<(String, Vec<Option<Bar>>)> = Vec::new();
        for (group, label) in groups.iter().zip(labels(groups)) {
            for y in &self.y {
                let mut samples: Vec<Sample> = Vec::new();
                for record in &group.runs {
                    let rows = self.read(record, table)?;
                    let mut last: Vec<f64> = vec![f64::NAN; names.len()];
                    for (name, value) in rows.texts(x)?.into_iter().zip(rows.numbers(y)?) {
                        let place = names.iter().position(|known| known == name).unwrap_or_else(|| {
                            names.push(name.to_owned());
                            last.push(f64::NAN);
                            names.len() - 1
                        });
                        last[place] = value;
                    }
                    samples.resize(names.len(), Sample::default());
                    samples.iter_mut().zip(last).filter(|(_, v)| !v.is_nan()).for_each(|(sample, v)| sample.0.push(v));
                }
                let name = if self.y.len() > 1 { format!("{label} {y}") } else { label.clone() };
                series.push((name, samples.iter().map(|sample| self.around.bar(sample)).collect()));
            }
        }
        self.bars(&names, &series, format)
    }

    fn bars(&self, names: &[String], series: &[(String, Vec<Option<Bar>>)], format: Format) -> Result<Vec<u8>> {
        let (title, axis) = (self.title(), self.y.join(", "));
        Bars { title: &title, axis: &axis, groups: names, series, log: self.log_x || self.log_y }.picture(format)
    }

    /// The mean over the runs of a table's columns, a row for each of its rows.
    fn heat(&self, records: &[Record], format: Format) -> Result<Vec<u8>> {
        let table = self.table.as_deref().context(Usage("--kind heat needs --table".into()))?;
        let mut rows: Vec<Vec<Sample>> = Vec::new();
        for record in records.iter().filter(|r| r.status == "done") {
            let read = self.read(record, table)?;
            let wanted = |c: &&String| self.y.iter().any(|y| matches(y, c));
            let columns: Vec<&String> = read.header().iter().filter(wanted).collect();
            if columns.is_empty() {
                let near = hint(&self.y.join(","), read.header().iter().map(String::as_str));
                bail!(Usage(format!("no column of {table}.csv is called {}{near}", self.y.join(", "))));
            }
            for (j, column) in columns.into_iter().enumerate() {
                for (i, value) in read.numbers(column)?.into_iter().enumerate() {
                    rows.resize_with(rows.len().max(i + 1), Vec::new);
                    let width = rows[i].len().max(j + 1);
                    rows[i].resize_with(width, Sample::default);
                    if value.is_finite() {
                        rows[i][j].0.push(value);
                    }
                }
            }
        }
        let rows: Vec<Vec<f64>> = rows.iter().map(|row| row.iter().map(Sample::mean).collect()).collect();
        let finite = || rows.iter().flatten().copied().filter(|v| v.is_finite());
        let span = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        let title = self.title.clone().unwrap_or_else(|| table.replace('_', " "));
        let x = self.y.join(", ").replace('*', "");
        HeatMap { title: &title, x: &x, y: self.x.as_deref().unwrap_or("row"), rows: &rows, span }.picture(format)
    }
}

/// Whether a name fits a pattern with at most one `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail),
    }
}
