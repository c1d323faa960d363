//! Reading the settings again while the program runs: when SIGHUP asks for it, and of the file of
//! targets also when it changes.
//!
//! The new settings are made whole before anything is changed: if one of them cannot be used, all
//! stays as it was, which is said once, in the log, in `/healthz` and in `/metrics`. What an agent
//! cannot take up while it runs is named, and waits for a restart.
//!
//! A file of targets is looked at every [`LOOK`] by its metadata, and taken when it looks the same
//! twice, so that a half-written one is not. That works on every file system, also where a folder
//! is mounted into a container and its links are swapped; notices of the kernel do not.

use super::host;
use crate::health::Health;
use crate::settings::{Settings, UsageError, WHILE_RUNNING};
use anyhow::Context;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegauge_agent::collect::{ChecksChanged, ChecksHandle};
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

/// Begins to wait for SIGHUP and for changes of the file of targets, in a task that ends with
/// `cancel`. Without `checks` there is nothing that could be changed, and only said what differs.
/// If the terminal that the program was started on goes away, which is SIGHUP too, `cancel` is
/// cancelled.
///
/// # Errors
/// When the process may not handle signals.
pub(super) fn start(
    settings: &Settings,
    checks: Option<ChecksHandle>,
    cancel: CancellationToken,
) -> anyhow::Result<LastReload> {
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
    let hangups = signal(SignalKind::hangup()).context("waiting for SIGHUP")?;
    let last = LastReload::default();
    let reloads = Reloads {
        started: Arc::new(settings.clone()),
        current: Arc::new(settings.clone()),
        checks,
        last: last.clone(),
        on_terminal: std::io::stdin().is_terminal(),
    };
    // Owned by the token.
    tokio::spawn(reloads.run(hangups, cancel));
    Ok(last)
}

fn note_good() {
    metrics::gauge!(LAST_GOOD).set(SystemClock.now_us() as f64 / 1e6);
}

struct Reloads {
    /// Those that everything but checks runs by.
    started: Arc<Settings>,
    /// Those that checks run by.
    current: Arc<Settings>,
    checks: Option<ChecksHandle>,
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
        let watched = self.checks.as_ref().map(|_| &self.current);
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
        match read {
            Ok(changed) => {
                note_good();
                self.last.set(None);
                match changed {
                    Some(changed) => tracing::info!("{what}: {changed}"),
                    None => tracing::info!("{what}: the configuration was read again"),
                }
            }
            Err(error) => {
                let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
                let problems = causes.join(": ").replace('\n', "; ");
                tracing::error!("{what}: refused, nothing has changed: {problems}");
                self.last.set(Some(problems));
            }
        }
        taken
    }

    /// What changed among the checks; `None` inside if there are none to change, outside when the
    /// agent has ended.
    async fn read(&mut self, config_too: bool) -> anyhow::Result<Option<Option<ChecksChanged>>> {
        let (current, has_checks) = (Arc::clone(&self.current), self.checks.is_some());
        // Thousands of targets take their time, and checks are due meanwhile.
        let read = tokio::task::spawn_blocking(move || {
            let new = match config_too {
                true => Arc::new(current.reread()?),
                false => current,
            };
            let checks = match has_checks {
                true => host::checks(&new)?,
                false => Vec::new(),
            };
            Ok::<_, UsageError>((new, checks))
        });
        let (new, checks) = read.await.context("reading the settings")??;
        let changed = match &self.checks {
            None => None,
            Some(handle) => match handle.change(checks).await {
                None => return Ok(None),
                Some(changed) => Some(changed?),
            },
        };
        let needs_restart = self.started.differences(&new);
        let needs_restart: Vec<_> = (needs_restart.into_iter())
            .filter(|key| !(has_checks && WHILE_RUNNING.contains(key)))
            .collect();
        if !needs_restart.is_empty() {
            tracing::warn!(
                "these settings differ from those that are in use, and need a restart: {}",
                needs_restart.join(", ")
            );
        }
        self.current = new;
        Ok(Some(changed))
    }
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
