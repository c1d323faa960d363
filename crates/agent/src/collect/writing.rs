//! The thread that has the writer. It is one for all batches, and not any of those that are kept for blocking
//! work: the one that wrote the last batch is woken for the next, and by nobody else.

use crate::AgentError;
use crate::writer::Writer;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce(&mut Writer) + Send>;

/// Dropping it waits for the work that is under way, and lets the writer go.
pub(super) struct WriterThread {
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterThread {
    pub(super) fn start(mut writer: Writer) -> Result<Self, AgentError> {
        let (sender, work) = mpsc::channel::<Work>();
        let name = "spool".to_owned();
        let thread = Builder::new().name(name.clone()).spawn(move || {
            for work in work {
                work(&mut writer);
            }
        });
        let thread = thread.map_err(|source| AgentError::StartThread {
            thread: name,
            source,
        })?;
        Ok(Self {
            work: Some(sender),
            thread: Some(thread),
        })
    }

    /// Waits for the work; it may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Result<T, AgentError> {
        let died = || AgentError::TaskDied {
            task: "writer of the spool",
        };
        let (done, result) = oneshot::channel();
        let work: Work = Box::new(move |writer| {
            // Nobody waits any more when a stop did not wait.
            done.send(work(writer)).ok();
        });
        let sender = self.work.as_ref().ok_or_else(died)?;
        sender.send(work).map_err(|_| died())?;
        result.await.map_err(|_| died())
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.work = None;
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the writer of the spool panicked");
        }
    }
}
