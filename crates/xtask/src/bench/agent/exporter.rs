//! Debian's node_exporter, as another program that measures a host.

use super::super::page;
use super::super::process::Running;
use crate::run::command;
use anyhow::Context;
use std::process::Stdio;
use std::time::Duration;
use tidegauge_testkit::eventually;
use tidegauge_testkit::servers::free_port;

const PROGRAM: &str = "prometheus-node-exporter";
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// It ends with the value.
#[derive(Debug)]
pub(super) struct Exporter {
    child: Running,
    port: u16,
}

impl Exporter {
    /// `None` where it is not installed.
    pub(super) fn start() -> anyhow::Result<Option<Self>> {
        let port = free_port();
        let child = command(PROGRAM)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            return Ok(None);
        };
        let exporter = Self {
            child: Running(child),
            port,
        };
        eventually(ANSWER_WITHIN, "node_exporter answers", || {
            exporter.scrape().ok()
        });
        Ok(Some(exporter))
    }

    pub(super) fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// The number of samples that it answers.
    pub(super) fn scrape(&self) -> anyhow::Result<u64> {
        let page = page::metrics(self.port).context("scrape node_exporter")?;
        Ok(samples(&page))
    }
}

/// Lines of the text format that are no comments.
fn samples(text: &str) -> u64 {
    let lines = text.lines();
    lines
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_samples() {
        assert_eq!(
            samples("# HELP a b\n# TYPE a gauge\na 1\na{b=\"c\"} 2\n\n"),
            2
        );
    }
}
