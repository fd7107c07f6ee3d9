//! One file from an address or a folder: resumed where it stopped, tried again, checked, moved into place as a whole.

use anyhow::{Context, Result, anyhow, bail};
use indicatif::ProgressBar;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::catalog::RemoteFile;
use super::checksum::sha256;
use crate::data::progress;

/// A further try is made this often, after a pause that doubles each time.
const RETRIES: u32 = 3;

/// A folder somewhere that holds files to fetch.
pub(super) enum Source {
    Address(String),
    Folder(PathBuf),
}

impl Source {
    /// An `http(s)://` address, or a path (which may be written `file://`).
    pub fn new(text: &str) -> Source {
        if text.starts_with("http://") || text.starts_with("https://") {
            Source::Address(text.trim_end_matches('/').to_owned())
        } else {
            Source::Folder(text.strip_prefix("file://").unwrap_or(text).into())
        }
    }
}

/// Why a try failed.
enum Failure {
    /// Another try may succeed.
    Passing(anyhow::Error),
    /// It will not, from this source.
    Final(anyhow::Error),
}

/// I/O on this machine's own files: no use trying again.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Final(error.into())
    }
}

pub(super) struct Fetcher<'a> {
    agent: ureq::Agent,
    /// The pause before the first further try.
    pause: Duration,
    pub bar: &'a ProgressBar,
}

impl<'a> Fetcher<'a> {
    pub fn new(pause: Duration, bar: &'a ProgressBar) -> Fetcher<'a> {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .user_agent(concat!("reglab/", env!("CARGO_PKG_VERSION")))
            .build();
        Fetcher { agent: config.into(), pause, bar }
    }

    /// Brings `file` from the first source that has it to `place`, through `.NAME.part` in the same folder (which must exist),
    /// with which a later call goes on.
    pub fn file(&self, file: &RemoteFile, sources: &[Source], place: &Path) -> Result<()> {
        let part_path = place.with_file_name(format!(".{}.part", file.name));
        let mut part = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part_path)
            .with_context(|| format!("cannot write {}", part_path.display()))?;
        progress::bytes(self.bar, file.name.to_owned(), file.size);
        let mut reasons = Vec::new();
        for source in sources {
            match self.try_source(file, source, &mut part, &part_path) {
                Ok(()) => {
                    part.sync_all()?;
                    return std::fs::rename(&part_path, place)
                        .with_context(|| format!("cannot move {} to {}", part_path.display(), place.display()));
                }
                Err(reason) => reasons.push(format!("{reason:#}")),
            }
        }
        bail!("cannot fetch {}: {}", file.name, reasons.join("; "))
    }

    fn try_source(&self, file: &RemoteFile, source: &Source, part: &mut File, part_path: &Path) -> Result<()> {
        let mut tries = 0;
        loop {
            match self.attempt(file, source, part, part_path) {
                Ok(()) => return Ok(()),
                Err(Failure::Final(reason)) => return Err(reason),
                Err(Failure::Passing(reason)) if tries == RETRIES => return Err(reason),
                Err(Failure::Passing(_)) => {
                    std::thread::sleep(self.pause * 2u32.pow(tries));
                    tries += 1;
                }
            }
        }
    }

    /// One try: receive what is missing of `part`, then check the whole.
    fn attempt(&self, file: &RemoteFile, source: &Source, part: &mut File, part_path: &Path) -> Result<(), Failure> {
        let mut have = part.metadata()?.len();
        if have > file.size {
            part.set_len(0)?;
            have = 0;
        }
        let resumed = have > 0;
        if have < file.size {
            let (from, mut body) = match source {
                Source::Address(address) => self.request(&format!("{address}/{}", file.name), have)?,
                Source::Folder(folder) => open(folder, file)?,
            };
            part.set_len(from)?;
            part.seek(SeekFrom::Start(from))?;
            self.bar.set_position(from);
            self.receive(file, from, &mut body, part)?;
        }
        let found = sha256(part_path).map_err(Failure::Final)?;
        if found == file.sha256 {
            return Ok(());
        }
        part.set_len(0)?;
        let reason = anyhow!("{} arrived with SHA-256 {found}, but the published one is {}", file.name, file.sha256);
        // The wrong bytes may be those of an earlier try: begin anew.
        Err(if resumed { Failure::Passing(reason) } else { Failure::Final(reason) })
    }

    /// The body of `url` from byte `have` on, or from the position the server chose instead.
    fn request(&self, url: &str, have: u64) -> Result<(u64, Box<dyn Read>), Failure> {
        let mut request = self.agent.get(url);
        if have > 0 {
            request = request.header("range", format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| Failure::Passing(anyhow!("{url}: {error}")))?;
        let status = response.status();
        let from = match status.as_u16() {
            200 => 0,
            206 if starts_at(&response, have) => have,
            // The server cannot go on from there.
            206 | 416 if have > 0 => return self.request(url, 0),
            408 | 425 | 429 | 500..=599 => return Err(Failure::Passing(anyhow!("{url}: the server answers {status}"))),
            _ => return Err(Failure::Final(anyhow!("{url}: the server answers {status}"))),
        };
        Ok((from, Box::new(response.into_body().into_reader())))
    }

    /// Appends `body` to `part` up to the published size.
    fn receive(&self, file: &RemoteFile, from: u64, body: &mut dyn Read, part: &mut File) -> Result<(), Failure> {
        let (mut have, mut buffer) = (from, vec![0; 1 << 16]);
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) if have == file.size => return Ok(()),
                Ok(0) => return Err(ended(file, have, "the connection ended")),
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ended(file, have, &error.to_string())),
            };
            have += n as u64;
            if have > file.size {
                part.set_len(0)?;
                return Err(Failure::Final(anyhow!("{} is longer than the published {} bytes", file.name, file.size)));
            }
            part.write_all(&buffer[..n])?;
            self.bar.inc(n as u64);
        }
    }
}

fn ended(file: &RemoteFile, have: u64, why: &str) -> Failure {
    Failure::Passing(anyhow!("{why} after {have} of the {} bytes of {}", file.size, file.name))
}

/// Whether a partial answer begins at byte `have`.
fn starts_at(response: &ureq::http::Response<ureq::Body>, have: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

/// `file` as it lies in `folder`.
fn open(folder: &Path, file: &RemoteFile) -> Result<(u64, Box<dyn Read>), Failure> {
    let path = folder.join(file.name);
    let cannot = |why: String| Failure::Final(anyhow!("{}: {why}", path.display()));
    let opened = File::open(&path).map_err(|error| cannot(error.to_string()))?;
    let size = opened.metadata()?.len();
    if size != file.size {
        return Err(cannot(format!("it has {size} bytes, the published file has {}", file.size)));
    }
    Ok((0, Box::new(opened)))
}
