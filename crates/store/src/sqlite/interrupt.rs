//! Stops the statement of a caller that went away or whose deadline passed.
//!
//! A connection serves one caller at a time but outlives it. The slot holds its handle only while
//! it works for this caller, so that a late interruption never hits the next one.

use rusqlite::{Connection, InterruptHandle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Slot = Arc<Mutex<Option<InterruptHandle>>>;

/// The caller's end: interrupts when it is dropped while the work goes on.
#[derive(Default)]
pub(super) struct Interrupter(Slot);

/// The worker's end.
pub(super) struct Interruptible(Slot);

impl Interrupter {
    /// The other end.
    pub(super) fn interruptible(&self) -> Interruptible {
        Interruptible(Arc::clone(&self.0))
    }
}

impl Drop for Interrupter {
    fn drop(&mut self) {
        if let Some(handle) = lock(&self.0).take() {
            handle.interrupt();
        }
    }
}

impl Interruptible {
    /// Does `work`, which may be interrupted from now on until it is done.
    pub(super) fn run<T>(
        &self,
        connection: &mut Connection,
        work: impl FnOnce(&mut Connection) -> T,
    ) -> T {
        *lock(&self.0) = Some(connection.get_interrupt_handle());
        let result = work(connection);
        *lock(&self.0) = None;
        result
    }
}

/// A panic elsewhere leaves the slot whole.
fn lock(slot: &Slot) -> MutexGuard<'_, Option<InterruptHandle>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
