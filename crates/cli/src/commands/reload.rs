//! Reading the settings again while the program runs: when SIGHUP asks for it, and of the file of
//! targets also when it changes.
//!
//! The new settings are made whole, and new addresses bound, before anything is changed: if one of them
//! cannot be used, all stays as it was, which is said once, in the log, in `/healthz` and in `/metrics`.
//! What cannot be taken up while the program runs is named, and waits for a restart.
//!
//! A file of targets is looked at every [`LOOK`] by its metadata, and taken when it looks the same
//! twice, so that a half-written one is not. That works on every file system, also where a folder
//! is mounted into a container and its links are swapped; notices of the kernel do not.

mod command;

pub(super) use command::{run, shape};

use super::host;
use crate::health::Health;
use crate::instance::Instance;
use crate::serve::Pages;
use crate::settings::{Settings, UsageError, is_for_while_running};
use anyhow::Context;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegauge_agent::collect::{ChangeHandle, ListenersWanted, Wanted};
use tidegauge_agent::listeners::LISTENERS;
use tidegauge_model::{Clock, FileStamp, Metric, MetricKind, SystemClock};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often a file of targets is looked at.
const LOOK: Duration = Duration::from_secs(2);

const RELOADS: &str = "tidegauge_reloads_total";
const LAST_GOOD: &str = "tidegauge_last_good_reload_seconds";

/// The numbers of this file in `/metrics`.
pub(crate) const METRICS: &[Metric] = &[
    Metric::counter(
        RELOADS,
        &["result"],
        "How often settings or targets were read again: `ok`, or `refused`, which changed nothing.",
    ),
    Metric::gauge(
        LAST_GOOD,
        &[],
        "When the settings that are in use were read, seconds since 1970.",
    ),
];

/// What there is to say about the last reading; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct LastReload(Arc<Mutex<Option<String>>>);

impl LastReload {
    fn set(&self, refused: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    /// Health that also says that the files on disk were refused. The program does what it did, so
    /// it is as healthy as before.
    pub(super) fn noted(&self, health: Health) -> Health {
        let last = self.clone();
        Arc::new(move || {
            let refused = last
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let Some(refused) = refused else {
                return health();
            };
            let note = |text| {
                format!("{text}\nnew settings were refused, those before are in use: {refused}")
            };
            health().map(note).map_err(note)
        })
    }
}

/// SIGHUP, which from now on does not end the program, and what there will be to say of it.
pub(super) struct Waiting {
    settings: Arc<Settings>,
    hangups: Signal,
    last: LastReload,
}

/// Begins to wait for SIGHUP.
///
/// # Errors
/// When the process may not handle signals.
pub(super) fn start(settings: &Settings) -> anyhow::Result<Waiting> {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            _ => metrics::describe_gauge!(metric.name, metric.help),
        }
    }
    for result in ["ok", "refused"] {
        metrics::counter!(RELOADS, "result" => result).increment(0);
    }
    note_good();
    Ok(Waiting {
        settings: Arc::new(settings.clone()),
        hangups: signal(SignalKind::hangup()).context("waiting for SIGHUP")?,
        last: LastReload::default(),
    })
}

impl Waiting {
    /// What there is to say about the last reading.
    pub(super) fn last(&self) -> LastReload {
        self.last.clone()
    }

    /// Takes up what changes, at SIGHUP and when the file of targets changes, in a task that ends with
    /// `cancel`: the pages, and with an `agent` its checks and listeners; the `instance` tells it to `tidegauge reload`. If the terminal that the program
    /// was started on goes away, which is SIGHUP too, `cancel` is cancelled.
    pub(super) fn take_up(
        self,
        agent: Option<ChangeHandle>,
        instance: Option<Instance>,
        pages: Pages,
        cancel: CancellationToken,
    ) {
        let reloads = Reloads {
            started: Arc::clone(&self.settings),
            current: self.settings,
            agent,
            pages,
            instance,
            last: self.last,
            on_terminal: std::io::stdin().is_terminal(),
        };
        // Owned by the token.
        tokio::spawn(reloads.run(self.hangups, cancel));
    }
}

fn note_good() {
    metrics::gauge!(LAST_GOOD).set(SystemClock.now_us() as f64 / 1e6);
}

struct Reloads {
    /// Those that everything runs by that waits for a restart.
    started: Arc<Settings>,
    /// Those that the rest runs by.
    current: Arc<Settings>,
    agent: Option<ChangeHandle>,
    pages: Pages,
    instance: Option<Instance>,
    last: LastReload,
    on_terminal: bool,
}

impl Reloads {
    async fn run(mut self, mut hangups: Signal, cancel: CancellationToken) {
        let mut watch = Watch::new(self.targets());
        loop {
            let by_signal = tokio::select! {
                () = cancel.cancelled() => return,
                signal = hangups.recv() => signal.is_some(),
                () = watch.changed() => false,
            };
            if by_signal && self.on_terminal && !std::io::stdin().is_terminal() {
                tracing::info!("the terminal is gone, stopping");
                return cancel.cancel();
            }
            let seen = watch.seen();
            if self.reload(by_signal).await {
                watch.look_at(self.targets(), seen);
            }
        }
    }

    fn targets(&self) -> Option<PathBuf> {
        let watched = self.agent.as_ref().map(|_| &self.current);
        watched.and_then(|settings| settings.path("agent.targets"))
    }

    /// Reads the settings and changes what can be changed; whether they were taken.
    async fn reload(&mut self, by_signal: bool) -> bool {
        let what = if by_signal {
            "SIGHUP"
        } else {
            "the file of targets"
        };
        let read = match self.read(by_signal).await {
            Ok(None) => return false,
            Ok(Some(read)) => Ok(read),
            Err(error) => Err(error),
        };
        let taken = read.is_ok();
        let result = if taken { "ok" } else { "refused" };
        metrics::counter!(RELOADS, "result" => result).increment(1);
        let outcome = match read {
            Ok(Read {
                said,
                needs_restart,
            }) => {
                note_good();
                self.last.set(None);
                tracing::info!("{what}: {said}");
                match needs_restart {
                    None => said,
                    Some(needs_restart) => {
                        tracing::warn!("{needs_restart}");
                        format!("{said}\n{needs_restart}")
                    }
                }
            }
            Err(error) => {
                let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
                let problems = causes.join(": ").replace('\n', "; ");
                tracing::error!("{what}: refused, nothing has changed: {problems}");
                self.last.set(Some(problems.clone()));
                problems
            }
        };
        if let (true, Some(instance)) = (by_signal, &mut self.instance) {
            instance.tell(!taken, outcome);
        }
        taken
    }

    /// What changed; `None` when the agent has ended.
    async fn read(&mut self, config_too: bool) -> anyhow::Result<Option<Read>> {
        let (current, has_agent) = (Arc::clone(&self.current), self.agent.is_some());
        // Thousands of targets take their time, and checks are due meanwhile.
        let read = tokio::task::spawn_blocking(move || {
            let new = match config_too {
                true => Arc::new(current.reread()?),
                false => Arc::clone(&current),
            };
            let differences = current.differences(&new);
            let wanted = match has_agent {
                true => Some(wanted(&new, &differences)?),
                false => None,
            };
            Ok::<_, UsageError>((new, differences, wanted))
        });
        let (new, differences, wanted) = read.await.context("reading the settings")??;
        let pages_differ = differences.iter().any(|key| Pages::is_of_pages(key));
        // Bound before the agent changes anything, and taken when it has.
        let prepared = pages_differ.then(|| self.pages.prepare(&new)).transpose()?;
        let mut said = Vec::new();
        if let (Some(handle), Some(wanted)) = (&self.agent, wanted) {
            match handle.change(wanted).await {
                None => return Ok(None),
                Some(changed) => said.push(changed?.to_string()),
            }
        }
        if let Some(prepared) = prepared {
            self.pages.take(prepared)?;
            said.push(match self.pages.url() {
                Some(url) => format!("pages are served at {url}"),
                None => "pages are served no more".to_owned(),
            });
        }
        let needs_restart: Vec<_> = (self.started.differences(&new).into_iter())
            .filter(|key| !Pages::is_of_pages(key))
            .filter(|key| !(has_agent && is_for_while_running(key)))
            .collect();
        self.current = new;
        Ok(Some(Read {
            said: match said.is_empty() {
                true => "the configuration was read again".to_owned(),
                false => said.join("; "),
            },
            needs_restart: (!needs_restart.is_empty()).then(|| {
                let keys = needs_restart.join(", ");
                format!(
                    "these settings differ from those that are in use, and need a restart: {keys}"
                )
            }),
        }))
    }
}

/// What became of reading the settings again, in words.
struct Read {
    said: String,
    needs_restart: Option<String>,
}

/// What an agent is to do by these settings, of which some differ from those before.
fn wanted(new: &Settings, differences: &[&str]) -> Result<Wanted, UsageError> {
    let differs = |section: &str| {
        let of = |key: &&str| key.split('.').next() == Some(section);
        differences.iter().any(of)
    };
    let names = LISTENERS.iter().map(|entry| entry.name);
    let changed: Vec<_> = match differs("listeners") {
        true => names.collect(),
        false => names.filter(|name| differs(name)).collect(),
    };
    let listeners = match changed.is_empty() {
        true => None,
        false => Some(ListenersWanted {
            settings: super::listeners::listeners(new)?,
            changed,
        }),
    };
    let checks = host::checks(new)?;
    Ok(Wanted { checks, listeners })
}

/// A file as it was; `None` while it cannot be seen.
type Seen = Option<FileStamp>;

/// Looks at one file again and again.
struct Watch {
    path: Option<PathBuf>,
    /// As it was when it was read last.
    read: Seen,
}

impl Watch {
    fn new(path: Option<PathBuf>) -> Self {
        let read = path.as_deref().and_then(seen);
        Self { path, read }
    }

    /// How the file looks now.
    fn seen(&self) -> Seen {
        self.path.as_deref().and_then(seen)
    }

    /// Looks at this file from now on; it was read after it had been `seen`, unless it is another one.
    fn look_at(&mut self, path: Option<PathBuf>, seen: Seen) {
        if self.path == path {
            self.read = seen;
        } else {
            *self = Self::new(path);
        }
    }

    /// Waits until the file is another one than it was, and stays so from one look to the next.
    /// Giving up the wait loses nothing but the time since the last look.
    async fn changed(&mut self) {
        let Some(path) = self.path.as_deref() else {
            return std::future::pending().await;
        };
        let mut before = self.read;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = seen(path);
            if now != self.read && now == before {
                self.read = now;
                return;
            }
            before = now;
        }
    }
}

fn seen(path: &Path) -> Seen {
    Some(FileStamp::of(&std::fs::metadata(path).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_taken_when_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets");
        std::fs::write(&path, "a").unwrap();
        let mut watch = Watch::new(Some(path.clone()));
        let mut looks = async |looks: u32| {
            let wait = LOOK * looks + LOOK / 2;
            tokio::time::timeout(wait, watch.changed()).await.is_ok()
        };
        assert!(!looks(5).await, "it is the same");
        std::fs::write(&path, "ab").unwrap();
        assert!(!looks(1).await, "it may be half written");
        assert!(looks(2).await);
        assert!(!looks(5).await, "it was taken");
        std::fs::remove_file(&path).unwrap();
        assert!(looks(2).await, "that it is gone is a change");
        assert!(!looks(5).await, "which is told once");
        std::fs::write(&path, "ab").unwrap();
        assert!(looks(2).await, "as is that it is there again");
        assert!(!looks(5).await);
    }
}
