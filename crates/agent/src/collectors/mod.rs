//! Collectors: each reads one part of the host and yields points.
//!
//! Not the schedule: who runs them, when and with which deadline is decided elsewhere. A
//! collector is one file in the folder of its system and one row of [`COLLECTORS`] (A2); it imports
//! the model, this module and the host roots only. It reads what the kernel shows; it starts no
//! process and needs no root. What it measures is described in `tidegauge_model::catalog`.
//!
//! Reading never trusts the source: a file that is missing, too long, binary or cut short is a
//! typed [`CollectError`].

#[cfg(target_os = "linux")]
mod linux;
// Its library knows Linux too: the tests of Linux run these as well.
#[cfg(any(target_os = "macos", test))]
mod macos;
pub mod settings;
mod source;
mod text;
mod value;

#[cfg(target_os = "linux")]
pub use linux::{filesystem, time};
pub use source::{SourceFile, Sources};
pub use text::SourceText;
pub use value::{ValueFile, short_value};

use crate::roots::HostRoots;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};
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
    /// the error are good. A collector whose sources this host does not have returns
    /// [`CollectError::Unavailable`]: it is asked again now and then, and is no failure.
    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError>;
}

/// What a collector is made from.
#[derive(Debug, Clone, Default)]
pub struct CollectorContext {
    /// Where the host's files lie.
    pub roots: HostRoots,
    /// Settings of the collector `process`.
    pub process: settings::ProcessSettings,
    /// Settings of the collector `cgroup`.
    pub cgroup: settings::CgroupSettings,
    /// Settings of the collector `systemd`.
    pub systemd: settings::SystemdSettings,
    /// Files that several collectors read.
    pub sources: Sources,
}

impl From<HostRoots> for CollectorContext {
    /// Every collector with its default settings.
    fn from(roots: HostRoots) -> Self {
        Self {
            roots,
            ..Self::default()
        }
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

/// Makes a collector that has not collected yet.
type NewCollector = dyn Fn(&CollectorContext) -> Box<dyn Collector> + Send + Sync;

/// A collector that an application brings, beside those of [`COLLECTORS`].
#[derive(Clone)]
pub struct OwnCollector {
    name: &'static str,
    new: Arc<NewCollector>,
}

impl OwnCollector {
    /// A collector of this name, which no other has; `new` makes one that has not collected yet, at
    /// the start and after it panicked.
    #[must_use]
    pub fn new(
        name: &'static str,
        new: impl Fn(&CollectorContext) -> Box<dyn Collector> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            new: Arc::new(new),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn make(&self, context: &CollectorContext) -> Box<dyn Collector> {
        (self.new)(context)
    }
}

impl From<&CollectorEntry> for OwnCollector {
    fn from(entry: &CollectorEntry) -> Self {
        Self::new(entry.name, entry.new)
    }
}

impl fmt::Debug for OwnCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("OwnCollector")
            .field(&self.name)
            .finish()
    }
}

/// All collectors of the system that this was built for, by name.
#[cfg(target_os = "linux")]
pub const COLLECTORS: &[CollectorEntry] = linux::COLLECTORS;
/// All collectors of the system that this was built for, by name.
#[cfg(target_os = "macos")]
pub const COLLECTORS: &[CollectorEntry] = macos::COLLECTORS;

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
    /// A service of the host did not answer as it should.
    #[error("ask {service}")]
    Ask {
        /// The service.
        service: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This program was built without what the collector needs.
    #[error("use the feature `{feature}`, without which this program was built")]
    NotBuilt {
        /// The feature of Cargo.
        feature: &'static str,
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

    /// Whether the host does not have the source or does not let us see it. At the start this means
    /// that there is nothing to collect here; later it is a failure.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::NotBuilt { .. } => true,
            // Pressure that is switched off at boot is EOPNOTSUPP.
            Self::Read { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
            ),
            Self::Parse { .. } | Self::Ask { .. } => false,
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

/// A value without the digits that its source cannot tell.
#[must_use]
pub fn rounded(value: f64, decimals: i32) -> f64 {
    let factor = 10_f64.powi(decimals);
    (value * factor).round() / factor
}

/// The longest text of a tag that collectors make, in bytes: less than what sinks take by default.
const MOST_TAG_BYTES: usize = 1_000;

/// A text as a tag. What is too long is cut, and ends with a hash of the whole, so that two long
/// texts stay apart.
fn as_tag(mut text: String) -> String {
    const HASH_BYTES: usize = 9;
    if text.len() <= MOST_TAG_BYTES {
        return text;
    }
    let hash = Sha256::digest(text.as_bytes());
    let end = (0..=MOST_TAG_BYTES - HASH_BYTES)
        .rev()
        .find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or_default());
    text.push('~');
    for byte in &hash[..4] {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// `part` of `whole` in percent to 3 decimals; `None` of nothing.
#[must_use]
pub fn percent_of(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| rounded(100.0 * part as f64 / whole as f64, 3))
}
