//! The tables of a run as a TensorBoard event file: a view that is made anew from the tables when a run is opened, so that it
//! never holds a row that a resumed run has cut back.
//!
//! A scalar's tag is `<table>/<column>`; columns of text (a layer's name, say) become part of the tag.

use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::table;

/// Columns that tell where a row belongs.
const PLACE: [&str; 3] = ["step", "epoch", "time_s"];

pub struct EventFile {
    file: File,
    path: PathBuf,
    /// Seconds since 1970 at which the run began.
    begun: f64,
}

impl EventFile {
    /// Writes `<folder>/tensorboard/events.out.tfevents.<begun>.reglab` with all rows of the run's tables, and leaves it open for more.
    pub fn rebuild(folder: &Path, begun: f64) -> Result<EventFile> {
        let place = folder.join("tensorboard");
        let cannot = || format!("cannot write in {}", place.display());
        fs::create_dir_all(&place).with_context(cannot)?;
        for entry in fs::read_dir(&place).with_context(cannot)? {
            fs::remove_file(entry?.path()).with_context(cannot)?;
        }
        let path = place.join(format!("events.out.tfevents.{begun:.0}.reglab"));
        let file = File::create(&path).with_context(cannot)?;
        let mut events = EventFile { file, path, begun };
        let mut version = Vec::new();
        double(&mut version, 1, begun);
        text(&mut version, 3, "brain.Event:2");
        events.record(&version)?;
        for name in table::sizes(folder)?.keys() {
            events.copy(folder, name)?;
        }
        Ok(events)
    }

    fn copy(&mut self, folder: &Path, table: &str) -> Result<()> {
        let path = folder.join(format!("{table}.csv"));
        let broken = || format!("cannot read {}", path.display());
        let mut reader = csv::Reader::from_path(&path).with_context(broken)?;
        let columns = reader.headers().with_context(broken)?.clone();
        for record in reader.records() {
            let record = record.with_context(broken)?;
            let cell = |cell: &str| cell.parse::<f64>().map_or_else(|_| Value::from(cell), Value::from);
            let row = columns.iter().map(str::to_owned).zip(record.iter().map(cell)).collect();
            self.append(table, &row)?;
        }
        Ok(())
    }

    /// Adds the numbers of one row of a table. Tables without a step (derived ones) are left out.
    pub fn append(&mut self, table: &str, row: &Map<String, Value>) -> Result<()> {
        let number = |key: &str| row.get(key).and_then(Value::as_f64);
        let (Some(step), Some(time)) = (number("step"), number("time_s")) else { return Ok(()) };
        let labels: String =
            row.values().filter_map(Value::as_str).filter(|l| !l.is_empty()).map(|l| format!("/{l}")).collect();
        let mut scalars = Vec::new();
        for (column, value) in row.iter().filter(|(column, _)| !PLACE.contains(&column.as_str())) {
            let Some(value) = value.as_f64() else { continue };
            let mut scalar = Vec::new();
            text(&mut scalar, 1, &format!("{table}/{column}{labels}"));
            float(&mut scalar, 2, value as f32);
            bytes(&mut scalars, 1, &scalar);
        }
        let mut event = Vec::new();
        double(&mut event, 1, self.begun + time);
        key(&mut event, 2, 0);
        varint(&mut event, step as u64);
        bytes(&mut event, 5, &scalars);
        self.record(&event)
    }

    /// One record of the file: length, its checksum, the bytes, their checksum.
    fn record(&mut self, event: &[u8]) -> Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let whole = [&length[..], &masked(&length), event, &masked(event)].concat();
        self.file.write_all(&whole).map_err(|e| anyhow!("cannot write {}: {e}", self.path.display()))
    }
}

/// CRC-32C, rotated and shifted as the format of TensorFlow records asks.
fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

// Protocol buffers: what an event needs of them.

fn key(out: &mut Vec<u8>, field: u64, kind: u64) {
    varint(out, field << 3 | kind);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    key(out, field, 1);
    out.extend(value.to_le_bytes());
}

fn float(out: &mut Vec<u8>, field: u64, value: f32) {
    key(out, field, 5);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(out, field, 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

fn text(out: &mut Vec<u8>, field: u64, value: &str) {
    bytes(out, field, value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The bytes that Python's `tensorboard.summary.writer.record_writer` and the message classes give for the same events.
    #[test]
    fn the_bytes_are_tensorboards() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("train.csv"), "step,epoch,time_s,loss\n300,1.5,2.5,0.25\n").unwrap();
        fs::write(folder.path().join("keep.csv"), "layer,kept\nfc1,3\n").unwrap();
        let mut events = EventFile::rebuild(folder.path(), 1000.0).unwrap();
        let row = json!({"step": 1, "epoch": 0.1, "time_s": 1.0, "layer": "fc1", "norm": 2});
        events.append("prune", row.as_object().unwrap()).unwrap();
        let file = fs::read(folder.path().join("tensorboard/events.out.tfevents.1000.reglab")).unwrap();
        let found: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, include_str!("../../tests/fixtures/tensorboard.hex").trim());
    }
}
