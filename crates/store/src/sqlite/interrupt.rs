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

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ErrorCode;
    use std::sync::mpsc;

    #[test]
    fn a_statement_ends_when_its_caller_goes_away() {
        let interrupter = Interrupter::default();
        let interruptible = interrupter.interruptible();
        let (begun, has_begun) = mpsc::channel();
        let worker = std::thread::spawn(move || {
            let mut connection = Connection::open_in_memory().expect("opened");
            let endless = interruptible.run(&mut connection, |connection| {
                let endless = "with recursive n(x) as (select 1 union all select x + 1 from n)
                               select x from n";
                let mut select = connection.prepare(endless).expect("prepared");
                let mut rows = select.query([]).expect("begun");
                loop {
                    rows.next()?;
                    begun.send(()).expect("the test waits");
                }
            });
            let ended: rusqlite::Result<()> = endless;
            let next = connection.query_row("select 1", [], |row| row.get(0));
            (ended, next)
        });
        has_begun.recv().expect("it began");
        drop(interrupter);
        let (ended, next) = worker.join().expect("no panic");
        let error = ended.expect_err("interrupted");
        let interrupted = Some(ErrorCode::OperationInterrupted);
        assert_eq!(error.sqlite_error_code(), interrupted);
        assert_eq!(next, Ok(1), "the connection goes on");
    }
}
