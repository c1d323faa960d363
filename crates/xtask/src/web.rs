//! The tests of the web page: its own unit tests, then the page of a real `tidegauge up` in a real
//! browser. What is missing for them is left out by name.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tidegauge_testkit::servers::free_port;

use crate::coverage::COUNTS_FILE;
use crate::interrupt;
use crate::run::{command, exists, root, stage, target};
use crate::services::Environment;
use crate::skips::Skips;
use crate::test::{Tally, run_counted};

const LEAST_NODE: u32 = 20;
const PAGE_WITHIN: Duration = Duration::from_secs(30);
const END_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Runs the scripts `test` and `test:browser` of `web/package.json`.
pub(crate) fn test(
    environment: &Environment,
    scratch: &Path,
    tally: &mut Tally,
    left_out: &mut Skips,
) -> anyhow::Result<bool> {
    let web = root().join("web");
    if !web.join("package.json").is_file() {
        return Ok(true);
    }
    let mut leave_out = |test: &str, reason: String| {
        left_out.insert(test.to_owned(), reason);
    };
    let (unit, browser) = ("web: the page's own tests", "web: the page in a browser");
    if !exists("npm", "--version") || node_version().is_none_or(|version| version < LEAST_NODE) {
        for name in [unit, browser] {
            leave_out(
                name,
                format!("Node {LEAST_NODE} or newer and npm are not installed"),
            );
        }
        return Ok(true);
    }
    if !web.join("node_modules").is_dir() {
        let mut install = command("npm");
        install
            .current_dir(&web)
            .args(["ci", "--no-audit", "--no-fund"]);
        if !stage("npm ci", &mut install)? {
            return Ok(false);
        }
    }
    let mut npm = command("npm");
    npm.current_dir(&web)
        .args(["run", "--silent", "test"])
        .env("NO_COLOR", "1")
        .envs(environment);
    let mut good = run_counted(unit, &mut npm, tally)?;

    let Some(chromium) = chromium() else {
        leave_out(browser, "Chromium is not installed".to_owned());
        return Ok(good);
    };
    let page = Page::serve(environment, scratch)?;
    let mut npm = command("npm");
    npm.current_dir(&web)
        .args(["run", "--silent", "test:browser", "--", &page.url])
        .envs(environment)
        .env("CHROMIUM", chromium);
    let passed = run_counted(browser, &mut npm, tally)?;
    if passed {
        tally.passed += 1;
    } else {
        tally.failed += 1;
        eprintln!(
            "what the program said:\n{}",
            fs::read_to_string(&page.log).unwrap_or_default()
        );
    }
    good &= passed;
    Ok(good)
}

/// A `tidegauge up` on a free port, ended when dropped.
struct Page {
    url: String,
    log: std::path::PathBuf,
    process: Child,
}

impl Page {
    fn serve(environment: &Environment, scratch: &Path) -> anyhow::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let log = scratch.join("page.log");
        let output = File::create(&log).context("begin the log of the page")?;
        let mut up = command(target().join("debug/tidegauge"));
        up.arg("up")
            .envs(environment.get_key_value(COUNTS_FILE))
            .args(["--listen", &address.to_string()])
            .args(["--state-dir", &scratch.join("page").display().to_string()])
            .stdout(output.try_clone().context("share the log of the page")?)
            .stderr(output);
        let process = interrupt::spawn(&mut up)?;
        let mut page = Self {
            url: format!("http://{address}"),
            log,
            process,
        };
        page.wait_until_it_answers(address)?;
        Ok(page)
    }

    fn wait_until_it_answers(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = self.process.try_wait().context("look at tidegauge up")?;
            if ended.is_some() || start.elapsed() > PAGE_WITHIN {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("tidegauge up serves no page on {address} ({ended:?}):\n{log}");
            }
            interrupt::check()?;
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // It may have ended by itself.
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).ok();
        let begin = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && begin.elapsed() < END_WITHIN {
            thread::sleep(POLL);
        }
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The browser: `CHROMIUM`, else the first that runs. Its full path, as the driver wants it.
fn chromium() -> Option<String> {
    if let Ok(given) = std::env::var("CHROMIUM") {
        return Some(given);
    }
    let folders = std::env::var_os("PATH")?;
    ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .flat_map(|name| std::env::split_paths(&folders).map(move |folder| folder.join(name)))
        .find(|program| program.is_file())
        .map(|program| program.display().to_string())
}

/// The major version: 20 of `v20.19.2`.
fn node_version() -> Option<u32> {
    let output = command("node").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_never_comes_is_an_error_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs::write(&log, "no such option").unwrap();
        let process = command("false").spawn().unwrap();
        let mut page = Page {
            url: String::new(),
            log,
            process,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let error = page.wait_until_it_answers(address).unwrap_err();
        assert!(error.to_string().contains("no such option"), "{error}");
    }
}
