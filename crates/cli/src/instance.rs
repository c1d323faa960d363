//! The program that runs with a state folder: who it is, and what became of the last time that it was told to
//! read its settings again. The file is locked for as long as the program runs, however it ends.

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

const INSTANCE: &str = "instance";
const OUTCOME: &str = "reload";

/// What became of reading the settings again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Outcome {
    /// Which time it was since the start, from 1 on.
    pub(crate) number: u64,
    /// Whether the settings were refused, and nothing has changed.
    pub(crate) is_refused: bool,
    /// What changed, or why not, for a person.
    pub(crate) text: String,
}

/// This program, as the one that runs with a state folder.
#[derive(Debug)]
pub(crate) struct Instance {
    folder: PathBuf,
    _locked: File,
    told: u64,
}

impl Instance {
    /// Says in the folder that this program runs with it. `None` if another one does.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn begin(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(INSTANCE);
        let mut options = OpenOptions::new();
        let opened = options.create(true).truncate(false).write(true).open(&path);
        let write = |mut file: File| {
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Ok(None);
            }
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())?;
            Ok::<_, std::io::Error>(Some(file))
        };
        let locked = opened
            .and_then(write)
            .with_context(|| format!("writing {}", path.display()))?;
        let Some(locked) = locked else {
            return Ok(None);
        };
        // It is that of a program that has ended.
        fs::remove_file(folder.join(OUTCOME)).ok();
        Ok(Some(Self {
            folder: folder.to_owned(),
            _locked: locked,
            told: 0,
        }))
    }

    /// Says what became of reading the settings again.
    pub(crate) fn tell(&mut self, is_refused: bool, text: String) {
        self.told += 1;
        let outcome = Outcome {
            number: self.told,
            is_refused,
            text,
        };
        let path = self.folder.join(OUTCOME);
        let new = path.with_extension("new");
        let text = serde_json::to_string(&outcome).unwrap_or_default();
        if let Err(error) = fs::write(&new, text).and_then(|()| fs::rename(&new, &path)) {
            tracing::warn!(path = %path.display(), %error, "saying what became of the new settings");
        }
    }
}

/// The program that runs with a state folder, seen from another.
#[derive(Debug)]
pub(crate) struct Running {
    folder: PathBuf,
    id: Pid,
}

impl Running {
    /// Who runs with the folder; `None` if nobody does.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn with(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(INSTANCE);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
        };
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            return Ok(None);
        }
        let mut text = String::new();
        file.read_to_string(&mut text)
            .with_context(|| format!("reading {}", path.display()))?;
        let id = text.trim().parse().ok().and_then(Pid::from_raw);
        let id = id.with_context(|| format!("{}: there is no process id in it", path.display()))?;
        let folder = folder.to_owned();
        Ok(Some(Self { folder, id }))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> i32 {
        self.id.as_raw_nonzero().get()
    }

    /// Tells it to read its settings again.
    ///
    /// # Errors
    /// When this user may not, or it has ended.
    pub(crate) fn hang_up(&self) -> anyhow::Result<()> {
        kill_process(self.id, Signal::HUP)
            .with_context(|| format!("sending SIGHUP to process {}", self.id()))
    }

    /// What it said last; `None` while it has said nothing.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let text = fs::read_to_string(self.folder.join(OUTCOME)).ok()?;
        serde_json::from_str(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_runs_with_a_folder_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(Running::with(folder).unwrap().is_none(), "none ever did");
        let mut instance = Instance::begin(folder).unwrap().unwrap();
        assert!(Instance::begin(folder).unwrap().is_none(), "one does");
        let running = Running::with(folder).unwrap().unwrap();
        assert_eq!(running.id(), i32::try_from(std::process::id()).unwrap());
        assert_eq!(running.outcome(), None);
        instance.tell(true, "no".to_owned());
        instance.tell(false, "yes".to_owned());
        let expected = Outcome {
            number: 2,
            is_refused: false,
            text: "yes".to_owned(),
        };
        assert_eq!(running.outcome(), Some(expected));
        drop(instance);
        assert!(Running::with(folder).unwrap().is_none(), "it has ended");
        let instance = Instance::begin(folder).unwrap();
        assert!(instance.is_some() && running.outcome().is_none());
    }
}
