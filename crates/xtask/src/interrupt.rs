//! Ctrl-C and SIGTERM: the running stage is ended, the servers are stopped in order, then we exit.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

const POLL: Duration = Duration::from_millis(50);
const END_WITHIN: Duration = Duration::from_secs(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on a signal is noted instead of ending us.
pub(crate) fn watch() -> anyhow::Result<()> {
    let (ready, started) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be started");
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be watched");
            let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be watched");
            // The one who asked waits for this.
            ready.send(()).ok();
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            INTERRUPTED.store(true, Ordering::SeqCst);
            // A second one ends us at once; the kernel ends the servers then.
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(1);
        });
    });
    started.recv().context("watch for signals")
}

/// An error once a signal has come.
pub(crate) fn check() -> anyhow::Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    Ok(())
}

/// Starts a stage whose whole process group can be ended.
pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    check()?;
    command
        .process_group(0)
        .spawn()
        .with_context(|| format!("run {}", command.get_program().display()))
}

/// Waits for a stage; on a signal ends it and all that it started.
pub(crate) fn wait(child: &mut Child) -> anyhow::Result<ExitStatus> {
    let group = Pid::from_child(child);
    let mut signalled: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait().context("wait for a stage")? {
            check()?;
            return Ok(status);
        }
        match signalled {
            None if INTERRUPTED.load(Ordering::SeqCst) => {
                eprintln!("interrupted: ending the tests");
                kill_process_group(group, Signal::TERM).ok();
                signalled = Some(Instant::now());
            }
            Some(since) if since.elapsed() > END_WITHIN => {
                kill_process_group(group, Signal::KILL).ok();
            }
            _ => {}
        }
        thread::sleep(POLL);
    }
}
