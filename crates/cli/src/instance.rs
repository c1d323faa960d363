//! The programs that run with a state folder, one of each part: who they are, and what became of the last time
//! that they were told to read their settings again. The file is locked for as long as the program runs, however
//! it ends.

#[cfg(feature = "stores")]
use crate::{settings::Settings, state_dir};
use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// What runs with a state folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `agent` or `up`, whose folder it is.
    Agent,
    /// `sink`, one of those that were begun with the folder.
    Sink,
    /// `dashboard`.
    Dashboard,
}

impl Part {
    /// All of them.
    pub(crate) const ALL: &[Self] = &[Self::Agent, Self::Sink, Self::Dashboard];

    /// Its name in commands.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Sink => "sink",
            Self::Dashboard => "dashboard",
        }
    }

    const fn instance(self) -> &'static str {
        match self {
            Self::Agent => "instance",
            Self::Sink => "instance-sink",
            Self::Dashboard => "instance-dashboard",
        }
    }

    const fn outcome(self) -> &'static str {
        match self {
            Self::Agent => "reload",
            Self::Sink => "reload-sink",
            Self::Dashboard => "reload-dashboard",
        }
    }
}

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
    /// Where it says what became of new settings.
    outcome: PathBuf,
    _locked: File,
    told: u64,
}

impl Instance {
    /// Says in the folder that this program runs with it. `None` if another one does.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn begin(folder: &Path, part: Part) -> anyhow::Result<Option<Self>> {
        let path = folder.join(part.instance());
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
        let outcome = folder.join(part.outcome());
        fs::remove_file(&outcome).ok();
        Ok(Some(Self {
            outcome,
            _locked: locked,
            told: 0,
        }))
    }

    /// The same for a part that needs no state folder, only to be reached by `tidegauge reload`: it goes without
    /// where the folder is not there and was not asked for, or cannot be written.
    #[cfg(feature = "stores")]
    pub(crate) fn begin_if_possible(settings: &Settings, part: Part) -> Option<Self> {
        let folder = state_dir::path(settings).ok()?;
        let is_asked_for = settings.path("general.state_dir").is_some();
        if is_asked_for {
            state_dir::prepare(settings).ok();
        }
        let begun = folder.is_dir().then(|| Self::begin(&folder, part))?;
        begun
            .inspect_err(|error| tracing::debug!("`tidegauge reload` cannot reach this: {error:#}"))
            .ok()?
    }

    /// Says what became of reading the settings again.
    pub(crate) fn tell(&mut self, is_refused: bool, text: String) {
        self.told += 1;
        let outcome = Outcome {
            number: self.told,
            is_refused,
            text,
        };
        let path = &self.outcome;
        let new = path.with_extension("new");
        let text = serde_json::to_string(&outcome).unwrap_or_default();
        if let Err(error) = fs::write(&new, text).and_then(|()| fs::rename(&new, path)) {
            tracing::warn!(path = %path.display(), %error, "saying what became of the new settings");
        }
    }
}

/// The program that runs with a state folder, seen from another.
#[derive(Debug)]
pub(crate) struct Running {
    part: Part,
    outcome: PathBuf,
    id: Pid,
}

impl Running {
    /// Who runs as this part with the folder; `None` if nobody does.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn with(folder: &Path, part: Part) -> anyhow::Result<Option<Self>> {
        let path = folder.join(part.instance());
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
        let outcome = folder.join(part.outcome());
        Ok(Some(Self { part, outcome, id }))
    }

    /// What it is.
    pub(crate) fn part(&self) -> Part {
        self.part
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
        let text = fs::read_to_string(&self.outcome).ok()?;
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
        assert!(
            Running::with(folder, Part::Agent).unwrap().is_none(),
            "none ever did"
        );
        let mut instance = Instance::begin(folder, Part::Agent).unwrap().unwrap();
        assert!(
            Instance::begin(folder, Part::Agent).unwrap().is_none(),
            "one does"
        );
        let sink = Instance::begin(folder, Part::Sink).unwrap();
        assert!(sink.is_some(), "another part runs beside it");
        let running = Running::with(folder, Part::Agent).unwrap().unwrap();
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
        assert!(
            Running::with(folder, Part::Agent).unwrap().is_none(),
            "it has ended"
        );
        let instance = Instance::begin(folder, Part::Agent).unwrap();
        assert!(instance.is_some() && running.outcome().is_none());
    }
}
