//! Child processes that do not outlive their purpose.
//!
//! A server of a test ends with its value, and, where `setpriv` of util-linux is there, also when
//! this process dies without a chance to say goodbye. The kernel ties that to the *thread* that
//! started the child, so all children are started by one thread that lives as long as the process.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const POLL: Duration = Duration::from_millis(20);
/// How much of a log is shown when a server does not start.
const LOG_TAIL_LINES: usize = 20;

/// How long a server lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Until its value is dropped or this process ends, however it ends.
    #[default]
    ThisProcess,
    /// Until somebody stops it by its process id: dropping the value leaves it running.
    UntilStopped,
}

/// Another user to run as; the numeric user and group id.
pub(crate) type UserId = u32;

/// What to run.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) name: &'static str,
    pub(crate) program: &'a Path,
    pub(crate) arguments: Vec<String>,
    pub(crate) directory: &'a Path,
    pub(crate) log: PathBuf,
    pub(crate) run_as: Option<UserId>,
    pub(crate) lifetime: Lifetime,
}

/// A running (or just ended) child.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    lifetime: Lifetime,
}

impl Process {
    pub(crate) fn start(program: Program<'_>) -> anyhow::Result<Self> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&program.log)
            .with_context(|| format!("open the log {}", program.log.display()))?;
        let dies_with_us = program.lifetime == Lifetime::ThisProcess && can_die_with_parent();
        let mut command = through_setpriv(program.program, dies_with_us, program.run_as);
        command
            .args(&program.arguments)
            .current_dir(program.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            // Ctrl-C in the terminal is for the runner, which stops its servers in order.
            .process_group(0);
        let child = spawn(command).with_context(|| format!("start {}", program.name))?;
        Ok(Self {
            name: program.name,
            child,
            log: program.log,
            lifetime: program.lifetime,
        })
    }

    /// Runs `command`, which lives at most as long as this value. What it prints is added to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program not be started.
    pub fn run(name: &'static str, command: &Command, log: PathBuf) -> anyhow::Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open the log {}", log.display()))?;
        let program = Path::new(command.get_program());
        let mut wrapped = through_setpriv(program, can_die_with_parent(), None);
        wrapped.args(command.get_args());
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(variable, value),
                None => wrapped.env_remove(variable),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            wrapped.current_dir(directory);
        }
        wrapped
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share the log")?)
            .stderr(output)
            .process_group(0);
        let child = spawn(wrapped).with_context(|| format!("start {name}"))?;
        Ok(Self {
            name,
            child,
            log,
            lifetime: Lifetime::ThisProcess,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("look at a process")
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it may not be signalled.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("signal {}", self.name))
    }

    /// Polls `ready` until it says yes.
    ///
    /// # Errors
    /// With the end of the log, when the process has ended or the deadline has passed.
    pub(crate) fn wait_until_ready(
        &mut self,
        deadline: Duration,
        mut ready: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let Err(error) = ready() else { return Ok(()) };
            if let Some(status) = self.child.try_wait().context("look at the server")? {
                bail!("{} ended ({status})\n{}", self.name, self.log_tail());
            }
            if start.elapsed() > deadline {
                let tail = self.log_tail();
                return Err(error.context(format!(
                    "{} is not ready after {deadline:?}\n{tail}",
                    self.name
                )));
            }
            thread::sleep(POLL);
        }
    }

    /// Sends a signal and waits for the end; kills when the deadline has passed.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn end(&mut self, signal: Signal, deadline: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait().context("look at the server")? {
            return Ok(status);
        }
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("signal {}", self.name))?;
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("look at the server")? {
                return Ok(status);
            }
            if start.elapsed() > deadline {
                self.child.kill().context("kill the server")?;
                return self.child.wait().context("wait for the server's end");
            }
            thread::sleep(POLL);
        }
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        format!("end of {}:\n{}", self.log.display(), tail.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::ThisProcess {
            // Data of a test is thrown away with it: no orderly end is needed.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Whether a process with this id runs; one that has ended and that nobody waited for does not.
#[must_use]
pub fn is_running(id: u32) -> bool {
    if pid(id).is_none_or(|pid| test_kill_process(pid).is_err()) {
        return false;
    }
    // proc(5): the state is the first letter after the name in parentheses. No `/proc`: believe
    // the signal.
    std::fs::read_to_string(format!("/proc/{id}/stat")).map_or(true, |stat| {
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| !rest.starts_with('Z'))
    })
}

/// Ends a process that is not our child: SIGTERM or, for PostgreSQL's fast shutdown, SIGINT; then
/// SIGKILL when `deadline` has passed.
///
/// # Errors
/// When it may not be signalled or does not end.
pub fn stop_by_id(id: u32, with_interrupt: bool, deadline: Duration) -> anyhow::Result<()> {
    let Some(pid) = pid(id) else {
        bail!("{id} is not a process id");
    };
    let gentle = if with_interrupt {
        Signal::INT
    } else {
        Signal::TERM
    };
    for signal in [gentle, Signal::KILL] {
        match kill_process(pid, signal) {
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            other => other.with_context(|| format!("signal process {id}"))?,
        }
        let start = Instant::now();
        while start.elapsed() < deadline {
            if !is_running(id) {
                return Ok(());
            }
            thread::sleep(POLL);
        }
    }
    bail!("process {id} does not end")
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

/// A command that runs `program`, by itself or as `setpriv` arranges it.
fn through_setpriv(program: &Path, dies_with_us: bool, run_as: Option<UserId>) -> Command {
    if !dies_with_us && run_as.is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    if dies_with_us {
        command.args(["--pdeathsig", "KILL"]);
    }
    if let Some(user) = run_as {
        command.args([format!("--reuid={user}"), format!("--regid={user}")]);
        command.arg("--clear-groups");
    }
    command.arg("--").arg(program);
    command
}

/// Whether this machine has a `setpriv` that knows `--pdeathsig` (util-linux 2.33 of 2018).
fn can_die_with_parent() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

type SpawnRequest = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a child from the thread that never ends.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<SpawnRequest>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        // Unbounded, but each sender waits for its answer: at most one entry per thread.
        let (requests, inbox) = mpsc::channel::<SpawnRequest>();
        thread::Builder::new()
            .name("server-starter".to_owned())
            .spawn(move || {
                for (mut command, answer) in inbox {
                    // The one who asked may have given up.
                    answer.send(command.spawn()).ok();
                }
            })
            .expect("a thread can be started");
        Mutex::new(requests)
    });
    let (answer, outcome) = mpsc::channel();
    starter
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .expect("the starter thread lives as long as the process");
    outcome.recv().expect("the starter thread answers")
}
