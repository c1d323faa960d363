//! What of an agent can be changed while it runs: its checks and its listeners.
//!
//! All that is new is made before anything is stopped, so that a change of which a part cannot be made
//! changes nothing.

use super::Tasks;
use super::checks::{ChecksChanged, RunningChecks};
use super::listening::{ListenersWanted, RunningListeners};
use super::services::Services;
use crate::AgentError;
use crate::probes::CheckSettings;
use crate::settings::validate_checks;
use std::fmt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

/// What an agent is to do from now on.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// All checks.
    pub checks: Vec<CheckSettings>,
    /// The listeners, if some of them differ.
    pub listeners: Option<ListenersWanted>,
}

/// What is wanted, and who waits for what became of it.
type Asked = (Wanted, oneshot::Sender<Result<Changed, AgentError>>);

/// Changes an agent that runs; clones change the same one.
#[derive(Debug, Clone)]
pub struct ChangeHandle(mpsc::Sender<Asked>);

/// What an agent is asked for through its [`ChangeHandle`].
#[derive(Debug)]
pub struct ChangesAsked(mpsc::Receiver<Asked>);

/// A handle, and what goes to [`super::run_with`].
#[must_use]
pub fn changeable() -> (ChangeHandle, ChangesAsked) {
    // One at a time: whoever asks waits for the answer.
    let (sender, receiver) = mpsc::channel(1);
    (ChangeHandle(sender), ChangesAsked(receiver))
}

impl ChangeHandle {
    /// Has the agent run these checks and no others, and the listeners that differ begin anew. `None`
    /// when the agent has ended.
    ///
    /// # Errors
    /// When one of them cannot be made, or two have one name; then nothing has changed.
    pub async fn change(&self, wanted: Wanted) -> Option<Result<Changed, AgentError>> {
        let (answer, answered) = oneshot::channel();
        self.0.send((wanted, answer)).await.ok()?;
        answered.await.ok()
    }
}

/// What a change came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// How many checks of each kind.
    pub checks: ChecksChanged,
    /// The listeners that began anew.
    pub listeners: Vec<&'static str>,
}

impl fmt::Display for Changed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.fmt(formatter)?;
        match self.listeners.is_empty() {
            true => Ok(()),
            false => write!(formatter, "; begun anew: {}", self.listeners.join(", ")),
        }
    }
}

/// What can be changed.
pub(super) struct Changeable {
    pub(super) checks: RunningChecks,
    pub(super) listeners: RunningListeners,
    pub(super) services: Services,
}

impl Changeable {
    /// Changes it whenever that is asked for, and when services have other targets, until the agent stops.
    pub(super) async fn change_when(
        mut self,
        mut asked: Option<ChangesAsked>,
        tasks: Tasks,
        tracker: TaskTracker,
    ) {
        loop {
            let next = async {
                match &mut asked {
                    Some(asked) => asked.0.recv().await,
                    None => std::future::pending().await,
                }
            };
            let wanted = tokio::select! {
                () = tasks.stop.cancelled() => return,
                wanted = next => wanted,
                () = self.services.changed() => {
                    self.take_up_targets(&tasks, &tracker);
                    continue;
                }
            };
            let Some((wanted, answer)) = wanted else {
                // Nobody can ask any more.
                asked = None;
                continue;
            };
            // Who asked may have gone.
            answer.send(self.change(wanted, &tasks, &tracker)).ok();
        }
    }

    /// Runs the checks of the targets that services have now.
    fn take_up_targets(&mut self, tasks: &Tasks, tracker: &TaskTracker) {
        match self.checks.change(self.services.checks(), tasks, tracker) {
            Ok(changed) => tracing::info!("targets of services: {changed}"),
            Err(error) => {
                let cause = tidegauge_model::chain(&error);
                tracing::error!("the targets of services cannot be checked: {cause}");
            }
        }
    }

    fn change(
        &mut self,
        wanted: Wanted,
        tasks: &Tasks,
        tracker: &TaskTracker,
    ) -> Result<Changed, AgentError> {
        let open = |wanted: &ListenersWanted| {
            let is_changed = |name: &str| wanted.changed.contains(&name);
            self.listeners.open(&wanted.settings, is_changed)
        };
        let opened = wanted.listeners.as_ref().map(open).transpose()?;
        validate_checks(&wanted.checks)?;
        let kept = Services::of(&wanted.checks);
        let checks = self.services.expanded(wanted.checks);
        let mut changed = Changed {
            checks: self.checks.change(checks, tasks, tracker)?,
            listeners: Vec::new(),
        };
        self.services.keep(kept);
        if let (Some(opened), Some(wanted)) = (opened, wanted.listeners) {
            (self.listeners).begin(opened, &wanted.settings, tasks, tracker);
            changed.listeners = wanted.changed;
        }
        Ok(changed)
    }
}
