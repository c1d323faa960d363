//! The program under test as a child process: its log, its end, its pages.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tidegauge_testkit::eventually;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running `tidegauge`; it is killed when the value is dropped.
pub(crate) struct Program {
    child: Child,
    output: PathBuf,
    _folder: tempfile::TempDir,
}

/// A command of the program, without the settings of whoever runs the tests.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegauge"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGAUGE_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let file = File::create(&output).unwrap();
        let child = command(arguments)
            .envs(environment.iter().copied())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self {
            child,
            output,
            _folder: folder,
        }
    }

    /// Everything that it has printed.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }

    pub(crate) fn wait_for_output(&self, text: &str) {
        let what = format!("the output has {text:?}");
        eventually(PATIENCE, &what, || {
            self.output().contains(text).then_some(())
        });
    }

    /// Where it serves /metrics and /healthz, as its JSON log tells.
    pub(crate) fn address(&self) -> String {
        eventually(PATIENCE, "the pages are served", || {
            let output = self.output();
            let (_, rest) = output.split_once(r#""address":""#)?;
            Some(rest.split('"').next()?.to_owned())
        })
    }

    /// Where it serves the page, as it prints it for a person.
    pub(crate) fn page_address(&self) -> String {
        eventually(PATIENCE, "the page is served", || {
            let output = self.output();
            let (_, rest) = output.split_once("http://")?;
            Some(rest.split_once('/')?.0.to_owned())
        })
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// SIGKILL, as a crash.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; it must end well within ten seconds (D12).
    pub(crate) fn terminate(mut self) -> String {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait(Duration::from_secs(10));
        assert!(status.success(), "{status}\n{}", self.output());
        self.output()
    }

    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the program ends; until now it said:\n{}", self.output());
        eventually(deadline, &what, || self.child.try_wait().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- output of the program ---\n{}", self.output());
        }
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A sink in a group of its own, named after the topic.
pub(crate) fn start_sink(brokers: &str, topic: &str, url: &str) -> Program {
    start_sink_with(brokers, topic, url, &[])
}

pub(crate) fn start_sink_with(
    brokers: &str,
    topic: &str,
    url: &str,
    environment: &[(&str, &str)],
) -> Program {
    let arguments = ["sink", "--brokers", brokers, "--topic", topic];
    let more = ["--group", topic, "--store", url];
    Program::start_with(&[&arguments[..], &more].concat(), environment)
}

/// Reads a topic to its end.
pub(crate) fn sink_to_the_end(brokers: &str, topic: &str, url: &str) {
    let output = command(&["sink", "--until-end", "--brokers", brokers])
        .args(["--topic", topic, "--group", topic, "--store", url])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// One answer over HTTP, head and body; `None` while nobody answers.
pub(crate) fn http_get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A number of `/metrics`, summed over its labels.
pub(crate) fn metric(address: &str, name: &str) -> Option<f64> {
    metric_with(address, name, "")
}

/// The same, of those whose labels hold this text.
pub(crate) fn metric_with(address: &str, name: &str, label: &str) -> Option<f64> {
    let answer = http_get(address, "/metrics")?;
    let values = answer.lines().filter_map(|line| {
        let (key, value) = line.rsplit_once(' ')?;
        let (found, labels) = key.split_once('{').unwrap_or((key, ""));
        (found == name && labels.contains(label)).then(|| value.parse::<f64>().ok())?
    });
    values.reduce(|a, b| a + b)
}

/// The value of `count(*)` and such; `None` while the table is not there.
pub(crate) fn number(database: &tidegauge_testkit::Database, sql: &str) -> Option<i64> {
    let rows = database.query(sql).ok()?;
    rows.first()?.first()?.as_ref()?.parse().ok()
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
