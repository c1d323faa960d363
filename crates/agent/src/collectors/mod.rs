//! Collectors: each reads one part of the host and yields points.
//!
//! Not the schedule: who runs them, when and with which deadline is decided elsewhere. A
//! collector is one file here and one row of [`COLLECTORS`] (A2); it imports the model, this
//! module and the host roots only. It reads `proc`, `sys` and system calls; it starts no process
//! and needs no root. What it measures is described in `tidegauge_model::catalog`.
//!
//! Reading never trusts the source: a file that is missing, too long, binary or cut short is a
//! typed [`CollectError`].

mod cpu;
mod disk_io;
pub mod filesystem;
mod load;
mod memory;
mod network;
mod swap;
mod system;

#[cfg(test)]
mod tests;

use crate::roots::HostRoots;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, Point};

/// Reads one part of the host, again and again.
///
/// It keeps what it needs between collections, such as the counters of the one before.
pub trait Collector: Send {
    /// Its name, which is the name of its row in [`COLLECTORS`].
    fn name(&self) -> &'static str;

    /// Reads the host once and adds what it found to `points`; the time of a point is what
    /// `clock` shows at the read.
    ///
    /// Blocks: it is called on a thread that may block.
    ///
    /// # Errors
    /// [`CollectError`] when a source cannot be read or understood. Points that were added before
    /// the error are good.
    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError>;
}

/// What a collector is made from.
#[derive(Debug, Clone, Default)]
pub struct CollectorContext {
    /// Where the host's files lie.
    pub roots: HostRoots,
}

impl From<HostRoots> for CollectorContext {
    /// Every collector with its default settings.
    fn from(roots: HostRoots) -> Self {
        Self { roots }
    }
}

/// One row of [`COLLECTORS`].
#[derive(Debug, Clone, Copy)]
pub struct CollectorEntry {
    /// The name by which it is switched on and off, and of its file here.
    pub name: &'static str,
    /// What it measures, one sentence.
    pub description: &'static str,
    /// Makes one that has not collected yet.
    pub new: fn(&CollectorContext) -> Box<dyn Collector>,
    /// Whether it runs unless it is switched off.
    pub default_on: bool,
    /// The measurements of its points; each is in the catalog.
    pub measurements: &'static [&'static str],
}

/// All collectors, by name.
pub const COLLECTORS: &[CollectorEntry] = &[
    cpu::ENTRY,
    disk_io::ENTRY,
    filesystem::ENTRY,
    load::ENTRY,
    memory::ENTRY,
    network::ENTRY,
    swap::ENTRY,
    system::ENTRY,
];

/// Tries every collector once: which of them work on this host, and why the others do not.
#[must_use]
pub fn availability(
    context: &CollectorContext,
    clock: &dyn Clock,
) -> Vec<(&'static str, Result<(), CollectError>)> {
    COLLECTORS
        .iter()
        .map(|entry| {
            let outcome = (entry.new)(context).collect(clock, &mut Vec::new());
            (entry.name, outcome)
        })
        .collect()
}

/// Why a collection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The host has no such file: an older kernel, or a container that hides it.
    #[error("read {path}, which this host does not have", path = path.display())]
    Unavailable {
        /// The missing file.
        path: PathBuf,
    },
    /// The file is there but could not be read.
    #[error("read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file's content is not what the kernel documents.
    #[error("parse {path}, line {line}: {what}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1; 0 for the file as a whole.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl CollectError {
    fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Unavailable { path },
            _ => Self::Read { path, source },
        }
    }

    fn whole_file(path: &Path, what: &'static str) -> Self {
        Self::Parse {
            path: path.to_owned(),
            line: 0,
            what,
        }
    }
}

/// A file of the kernel that is read whole, into a buffer that is kept between collections.
#[derive(Debug)]
pub struct SourceFile {
    path: PathBuf,
    buffer: Vec<u8>,
}

impl SourceFile {
    /// Longest file that is read, in bytes: the mount table of a host with ten thousand
    /// containers is a tenth of it.
    pub const MAX_BYTES: u64 = 16 * 1024 * 1024;

    /// The file at `path`; it is opened by every read.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            buffer: Vec::new(),
        }
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of the last read.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads the file as bytes.
    ///
    /// # Errors
    /// [`CollectError`] when it is missing, cannot be read or is longer than
    /// [`SourceFile::MAX_BYTES`].
    pub fn read_bytes(&mut self) -> Result<&[u8], CollectError> {
        read_into(&self.path, &mut self.buffer, Self::MAX_BYTES + 1)
            .map_err(|source| CollectError::from_io(&self.path, source))?;
        if self.buffer.len() as u64 > Self::MAX_BYTES {
            self.buffer = Vec::new();
            return Err(CollectError::whole_file(
                &self.path,
                "it is longer than 16 MiB",
            ));
        }
        Ok(&self.buffer)
    }

    /// Reads the file as text.
    ///
    /// # Errors
    /// As [`SourceFile::read_bytes`], and when it is no UTF-8.
    pub fn read_text(&mut self) -> Result<SourceText<'_>, CollectError> {
        self.read_bytes()?;
        match std::str::from_utf8(&self.buffer) {
            Ok(text) => Ok(SourceText {
                path: &self.path,
                text,
            }),
            Err(_) => Err(CollectError::whole_file(&self.path, "it is no text")),
        }
    }
}

#[cfg(test)]
impl SourceFile {
    /// One that was read already.
    fn holding(content: &str) -> Self {
        Self {
            path: PathBuf::from("test"),
            buffer: content.into(),
        }
    }
}

/// The text of a [`SourceFile`], with the path that its errors name.
#[derive(Debug, Clone, Copy)]
pub struct SourceText<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> SourceText<'a> {
    /// The lines with their numbers, counted from 1.
    pub fn lines(self) -> impl Iterator<Item = (usize, &'a str)> {
        (1..).zip(self.text.lines())
    }

    /// The error for a line that is not as documented.
    #[must_use]
    pub fn error(self, line: usize, what: &'static str) -> CollectError {
        CollectError::Parse {
            path: self.path.to_owned(),
            line,
            what,
        }
    }

    /// The number that `word` of a line is.
    ///
    /// # Errors
    /// [`CollectError::Parse`] when the word is missing or is no such number.
    pub fn number<T: std::str::FromStr>(
        self,
        line: usize,
        word: Option<&str>,
    ) -> Result<T, CollectError> {
        word.and_then(|word| word.parse().ok())
            .ok_or_else(|| self.error(line, "a number is missing or malformed"))
    }
}

/// Reads a file of one short value, without the white space around it; `None` when it cannot be
/// read or is no text: files of this kind come and go with drivers.
pub fn short_value<'b>(path: &Path, buffer: &'b mut Vec<u8>) -> Option<&'b str> {
    read_into(path, buffer, 4096).ok()?;
    std::str::from_utf8(buffer).ok().map(str::trim)
}

fn read_into(path: &Path, buffer: &mut Vec<u8>, max_bytes: u64) -> io::Result<()> {
    buffer.clear();
    File::open(path)?.take(max_bytes).read_to_end(buffer)?;
    Ok(())
}

/// A value without the digits that its source cannot tell.
#[must_use]
pub fn rounded(value: f64, decimals: i32) -> f64 {
    let factor = 10_f64.powi(decimals);
    (value * factor).round() / factor
}

/// `part` of `whole` in percent to 3 decimals; `None` of nothing.
#[must_use]
pub fn percent_of(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| rounded(100.0 * part as f64 / whole as f64, 3))
}
