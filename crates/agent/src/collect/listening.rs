//! The listeners of an agent, and how they begin anew while it runs.
//!
//! Those of a row of [`LISTENERS`] go together. New ones are opened before the old ones end, with the
//! same sockets where the address is the same; they begin when the old ones have handed on what they
//! held, and the kernel keeps what comes meanwhile. Counts go on.

use super::{STOP_DEADLINE, Tasks};
use crate::AgentError;
use crate::listeners::{
    Bindings, Handed, LISTENERS, ListenerEntry, ListenerFiguresOfAll, ListenerSettings,
    OpenedListener, Room,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegauge_model::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Listeners that are wanted.
#[derive(Debug, Clone)]
pub struct ListenersWanted {
    /// The settings of all.
    pub settings: ListenerSettings,
    /// The names of the rows of [`LISTENERS`] that begin anew; the others go on as they are.
    pub changed: Vec<&'static str>,
}

/// Listeners of one row that are bound and do not run yet.
pub(super) struct Opened {
    entry: &'static ListenerEntry,
    listeners: Vec<OpenedListener>,
    bindings: Bindings,
}

struct Running {
    names: Vec<String>,
    bindings: Bindings,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// All listeners of an agent, by their row.
pub(super) struct RunningListeners {
    room: Room,
    running: BTreeMap<&'static str, Running>,
}

impl RunningListeners {
    /// None yet, and the end where their points will come out.
    pub(super) fn new(clock: Arc<dyn Clock>) -> (Self, mpsc::Receiver<Handed>) {
        let (room, handed) = Room::new(clock);
        let running = BTreeMap::new();
        (Self { room, running }, handed)
    }

    /// What they count.
    pub(super) fn figures(&self) -> ListenerFiguresOfAll {
        self.room.figures()
    }

    /// Opens what is wanted; what runs goes on.
    ///
    /// # Errors
    /// When a setting cannot be used or an address is taken; then nothing has changed.
    pub(super) fn open(
        &self,
        settings: &ListenerSettings,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Opened>, AgentError> {
        let mut opened = Vec::new();
        let mut names = Vec::new();
        for entry in LISTENERS {
            let before = self.running.get(entry.name);
            if !is_wanted(entry.name) {
                names.extend(before.iter().flat_map(|running| running.names.clone()));
                continue;
            }
            let mut bindings = match before {
                Some(running) => Bindings::after(&running.bindings),
                None => Bindings::default(),
            };
            let listeners = (entry.open)(settings, &mut bindings)?;
            names.extend(listeners.iter().map(|one| one.name.clone()));
            opened.push(Opened {
                entry,
                listeners,
                bindings,
            });
        }
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let problem = format!("two have the name {:?}; give one another name", twice[0]);
            return Err(AgentError::Setting {
                key: "listeners",
                problem,
            });
        }
        Ok(opened)
    }

    /// Has those that were opened take the place of the ones that run.
    pub(super) fn begin(
        &mut self,
        opened: Vec<Opened>,
        settings: &ListenerSettings,
        tasks: &Tasks,
        tracker: &TaskTracker,
    ) {
        for Opened {
            entry,
            listeners,
            mut bindings,
        } in opened
        {
            let before = self.running.remove(entry.name);
            let ended = CancellationToken::new();
            let mut before_tasks = Vec::new();
            if let Some(before) = before {
                before.stop.cancel();
                let is_gone = |name: &str| !listeners.iter().any(|one| one.name == name);
                self.room
                    .forget(before.names.iter().filter(|name| is_gone(name)));
                tasks.status.update(|figures| {
                    (figures.listening).retain(|(name, _)| !before.names.contains(name));
                });
                before_tasks = before.tasks;
            }
            let begins = ended.clone();
            tracker.spawn(async move {
                for task in before_tasks {
                    // It is only awaited; if it died, there is nothing to wait for.
                    task.await.ok();
                }
                begins.cancel();
            });
            bindings.settle();
            if listeners.is_empty() {
                continue;
            }
            let stop = tasks.stop.child_token();
            let names = listeners.iter().map(|one| one.name.clone()).collect();
            let run = |one| self.run(one, settings, tasks, &stop, &ended, tracker);
            let running = Running {
                names,
                bindings,
                tasks: listeners.into_iter().map(run).collect(),
                stop: stop.clone(),
            };
            self.running.insert(entry.name, running);
        }
    }

    fn run(
        &self,
        opened: OpenedListener,
        settings: &ListenerSettings,
        tasks: &Tasks,
        stop: &CancellationToken,
        begin: &CancellationToken,
        tracker: &TaskTracker,
    ) -> JoinHandle<()> {
        let intake = self.room.intake(&opened, &settings.limits);
        for address in opened.addresses {
            tracing::info!(listener = opened.name, address, "listening");
            let listening = (opened.name.clone(), address);
            (tasks.status).update(|figures| figures.listening.push(listening));
        }
        let (name, stop, begin) = (opened.name, stop.clone(), begin.clone());
        tracker.spawn(async move {
            begin.cancelled().await;
            let run = opened.listener.run(intake, stop.clone());
            let too_long = async {
                stop.cancelled().await;
                tokio::time::sleep(STOP_DEADLINE).await;
            };
            tokio::select! {
                () = run => {}
                () = too_long => tracing::warn!(listener = name, "did not stop in time"),
            }
        })
    }
}
