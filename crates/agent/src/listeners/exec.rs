//! The listener `exec`: runs programs on an interval and takes what they print.
//!
//! A program is started with its arguments as they are written, never through a shell, in a process
//! group of its own; its environment is what the settings say, and `PATH`. Each runs at most once at
//! a time. Whatever it started is killed when it has ended, at its deadline, and at a stop of the
//! agent. What it prints is bounded; of stderr the last line is kept. How a run went is told in the
//! measurement `exec`.

use super::{
    AgentError, Bindings, Intake, Listener, ListenerEntry, ListenerSettings, OpenedListener, Ticks,
    decoded, pages, phase,
};
use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tidegauge_model::{Name, Point, Tags, name};
use tidegauge_wire::Encoding;
use tidegauge_wire::openmetrics::Dialect;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) const ENTRY: ListenerEntry = ListenerEntry {
    name: "exec",
    measurement: Some(name!("exec")),
    description: "What programs print that are run on an interval: line protocol, JSON, OpenMetrics.",
    open,
};

/// The longest last line of stderr that is kept, in bytes.
const LAST_LINE_BYTES: usize = 240;

/// Settings of the listener: its programs.
#[derive(Debug, Clone, Default)]
pub struct ExecSettings {
    /// The programs, each with a name of its own.
    pub programs: Vec<ProgramSettings>,
}

/// One program.
#[derive(Debug, Clone)]
pub struct ProgramSettings {
    /// Its name, the tag `program`.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How often it is run.
    pub interval: Duration,
    /// How long it may run.
    pub deadline: Duration,
    /// What it prints.
    pub format: OutputFormat,
    /// Its environment, beside `PATH`.
    pub environment: Vec<(String, String)>,
    /// Its working folder; by default the agent's.
    pub folder: Option<PathBuf>,
    /// Put before all names.
    pub prefix: Option<Name>,
}

/// What a program prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// InfluxDB's line protocol.
    Influx,
    /// One message of `json/1`; its host is not looked at.
    Json,
    /// A page for Prometheus, in either of its formats.
    OpenMetrics,
}

impl OutputFormat {
    /// All words of [`OutputFormat::parse`].
    pub const WORDS: &'static [&'static str] = &["influx", "json", "openmetrics"];

    /// The format of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "influx" => Some(Self::Influx),
            "json" => Some(Self::Json),
            "openmetrics" => Some(Self::OpenMetrics),
            _ => None,
        }
    }
}

fn open(settings: &ListenerSettings, _: &mut Bindings) -> Result<Vec<OpenedListener>, AgentError> {
    let programs = settings.exec.programs.iter();
    programs
        .map(|program| {
            let refuse = |problem: &str| AgentError::Setting {
                key: "exec.programs",
                problem: format!("{}: {problem}", program.name),
            };
            if program.command.is_empty() {
                return Err(refuse("the command is empty"));
            }
            if program.deadline > program.interval {
                return Err(refuse("the deadline is longer than the interval"));
            }
            Ok(OpenedListener {
                name: format!("{}_{}", ENTRY.name, program.name),
                addresses: Vec::new(),
                prefix: program.prefix.clone(),
                listener: Box::new(Exec(program.clone())),
            })
        })
        .collect()
}

struct Exec(ProgramSettings);

/// How a run ended, and what it printed.
#[derive(Default)]
struct Ran {
    failure: Option<(&'static str, String)>,
    status: Option<ExitStatus>,
    output: Vec<u8>,
    last_line: String,
}

#[async_trait]
impl Listener for Exec {
    async fn run(self: Box<Self>, intake: Intake, cancel: CancellationToken) {
        let program = &self.0;
        let phase = phase(&format!("exec {}", program.name), program.interval);
        let mut ticks = Ticks::new(Instant::now(), phase, program.interval);
        let mut failing = None;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // Giving up the future kills what runs.
            let reason = tokio::select! {
                () = cancel.cancelled() => return,
                reason = program.run_once(&intake) => reason,
            };
            match (failing, &reason) {
                (None, Some((reason, detail))) => {
                    tracing::warn!(program = program.name, reason, detail, "a program failed");
                }
                (Some(_), None) => tracing::info!(program = program.name, "it works again"),
                _ => {}
            }
            failing = reason.map(|(reason, _)| reason);
        }
    }
}

impl ProgramSettings {
    /// Runs it and hands on what it printed; why it failed, if it did.
    async fn run_once(&self, intake: &Intake) -> Option<(&'static str, String)> {
        let (began, taken_us) = (Instant::now(), intake.now_us());
        let mut ran = Ran::default();
        let most_bytes = intake.limits().message_bytes;
        let running = self.run_to_its_end(&mut ran, most_bytes);
        if tokio::time::timeout(self.deadline, running).await.is_err() {
            let detail = format!("it was not done after {:?} and was killed", self.deadline);
            ran.failure = Some(("deadline", detail));
        }
        let duration = began.elapsed();
        ran.judge();
        let mut point = Point::new(name!("exec"), taken_us)
            .tag(name!("program"), self.name.clone())
            .field_if(
                name!("exit_status"),
                ran.status.and_then(|s| s.code()).map(f64::from),
            )
            .field_if(
                name!("end_signal"),
                ran.status.and_then(|s| s.signal()).map(f64::from),
            )
            .field(name!("output_bytes"), ran.output.len() as u64)
            .field(name!("duration_seconds"), duration.as_secs_f64());
        let mut read = None;
        // What a program printed before it failed may be cut off anywhere.
        if ran.failure.is_none() {
            match self
                .read(std::mem::take(&mut ran.output), taken_us, intake)
                .await
            {
                Ok(taken) => read = Some(taken),
                Err(detail) => ran.failure = Some(("unreadable", detail)),
            }
        }
        point.set(name!("success"), ran.failure.is_none());
        if let Some((reason, detail)) = &ran.failure {
            point.set(name!("reason"), *reason);
            point.set(name!("detail"), detail.clone());
        }
        if let Some(read) = read {
            point = read.told(point);
        }
        intake.tell(point).await;
        ran.failure
    }

    async fn run_to_its_end(&self, ran: &mut Ran, most_bytes: usize) {
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.environment.iter().map(|(name, text)| (name, text)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let detail = format!("{}: {error}", self.command[0]);
                ran.failure = Some(("not_started", detail));
                return;
            }
        };
        let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            let status = child.wait().await;
            // What it leaves behind would keep the pipes open.
            drop(group);
            status
        };
        let (status, whole, ()) = tokio::join!(
            ended,
            read_all(stdout, &mut ran.output, most_bytes),
            keep_last_line(stderr, &mut ran.last_line),
        );
        match status {
            Ok(status) => ran.status = Some(status),
            Err(error) => ran.failure = Some(("not_started", error.to_string())),
        }
        if !whole {
            let detail = format!("it printed more than {most_bytes} bytes");
            ran.failure = Some(("too_large", detail));
        }
    }

    /// Reads what it printed and hands it on.
    async fn read(
        &self,
        output: Vec<u8>,
        taken_us: i64,
        intake: &Intake,
    ) -> Result<pages::Read, String> {
        let none = Tags::new();
        if output.trim_ascii().is_empty() {
            return Ok(pages::Read::default());
        }
        let encoding: &'static dyn Encoding = match self.format {
            OutputFormat::OpenMetrics => {
                let dialect = Dialect::of_page(&output);
                return Ok(pages::hand_on(output, dialect, taken_us, &none, intake).await);
            }
            OutputFormat::Influx => &tidegauge_wire::influx::Influx,
            OutputFormat::Json => &tidegauge_wire::json::Json,
        };
        let decoded = decoded::decode(encoding, output, None, taken_us).await;
        match decoded {
            Ok(decoded) => Ok(pages::decoded(decoded, intake).await),
            Err(error) => {
                intake.refuse(error.reason, 1, &error.detail);
                Err(error.to_string())
            }
        }
    }
}

impl Ran {
    /// What its end means, and what it said about it.
    fn judge(&mut self) {
        if self.failure.is_none()
            && let Some(status) = self.status
            && !status.success()
        {
            let (reason, what) = match status.signal() {
                Some(signal) => ("signal", format!("signal {signal} ended it")),
                None => ("exit_status", format!("it ended with {status}")),
            };
            self.failure = Some((reason, what));
        }
        if let Some((_, detail)) = &mut self.failure
            && !self.last_line.is_empty()
        {
            *detail = format!("{detail}: {}", self.last_line);
        }
    }
}

/// A process group that is killed with this value.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        // It fails when nobody of the group is left.
        if let Some(group) = self.0
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::trace!(%error, "the group has ended");
        }
    }
}

/// Reads to the end; false when that is beyond the bound, and then nothing more is read.
async fn read_all(
    from: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    most_bytes: usize,
) -> bool {
    let Some(from) = from else { return true };
    let mut bounded = from.take(most_bytes as u64 + 1);
    // An error is an end: the exit status says more.
    if let Err(error) = bounded.read_to_end(into).await {
        tracing::debug!(%error, "reading what a program prints");
    }
    let is_whole = into.len() <= most_bytes;
    into.truncate(most_bytes);
    is_whole
}

/// Keeps the last line that is not blank, of control characters only their place.
async fn keep_last_line(from: Option<impl AsyncRead + Unpin>, line: &mut String) {
    let Some(mut from) = from else { return };
    let (mut kept, mut buffer) = (Vec::new(), [0; 1_024]);
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        let too_many = kept.len().saturating_sub(4 * LAST_LINE_BYTES);
        kept.drain(..too_many);
        let text = String::from_utf8_lossy(&kept);
        let last = text
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty());
        let plain = |character: char| match character.is_control() {
            true => ' ',
            false => character,
        };
        *line = last
            .unwrap_or_default()
            .chars()
            .take(LAST_LINE_BYTES)
            .map(plain)
            .collect();
    }
}
