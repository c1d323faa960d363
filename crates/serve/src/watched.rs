//! Files that are read again when they were replaced on disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Files are looked at when they are used, but not more often than this.
const LOOK: Duration = Duration::from_secs(1);

/// When a file was written last, how long it is, and which one it is; `None` while it cannot be seen.
type Seen = Option<(i64, i64, u64, u64)>;
/// Reads the files, or says what is wrong with which of them.
type Load<T> = dyn Fn(&[PathBuf]) -> Result<T, String> + Send + Sync;

/// What was made of some files. If what stands in them now cannot be used, which may be because one of
/// two was not replaced yet, what was there before stays.
pub(crate) struct Watched<T> {
    files: Vec<PathBuf>,
    load: Box<Load<T>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    seen: Vec<Seen>,
    looked: Instant,
}

impl<T> Watched<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn open(
        files: Vec<PathBuf>,
        load: impl Fn(&[PathBuf]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        // Looked at before they are read: a change in between is seen at the next look.
        let seen = look(&files);
        let value = Arc::new(load(&files)?);
        Ok(Self {
            files,
            load: Box::new(load),
            state: Mutex::new(State {
                value,
                seen,
                looked: Instant::now(),
            }),
        })
    }

    /// What stands in the files.
    pub(crate) fn get(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            let seen = look(&self.files);
            if seen != state.seen {
                state.seen = seen;
                match (self.load)(&self.files) {
                    Ok(value) => {
                        tracing::info!("{}: read again", self.names());
                        state.value = Arc::new(value);
                    }
                    Err(problem) => {
                        tracing::warn!("{problem}; what was there before stays in use");
                    }
                }
            }
        }
        Arc::clone(&state.value)
    }

    fn names(&self) -> String {
        let names: Vec<_> = self
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        names.join(", ")
    }
}

fn look(files: &[PathBuf]) -> Vec<Seen> {
    let seen = |file: &PathBuf| {
        let file = std::fs::metadata(file).ok()?;
        Some((file.mtime(), file.mtime_nsec(), file.size(), file.ino()))
    };
    files.iter().map(seen).collect()
}
