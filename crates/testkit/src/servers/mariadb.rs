//! One MariaDB server, run in the foreground as our child.
//!
//! The settings that make a commit durable stay as they are: fault tests would prove nothing
//! without.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Signal, geteuid};

use super::distribution::Distribution;
use super::folder::{Folder, Place};
use super::port::free_port;
use super::process::{Lifetime, Process, Program};
use crate::mysql::mysql_query;

/// The database that the URL of a server names.
const DATABASE: &str = "tidegauge_services";
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// How to start a server. The default is what most tests want.
#[derive(Debug, Clone, Default)]
pub struct MariadbOptions {
    /// Where its folder is.
    pub place: Place,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Its port; a free one when unset.
    pub port: Option<u16>,
    /// Further options, as `--max-connections=5`.
    pub settings: Vec<String>,
}

/// A database server. Its data and its port stay the same over stop and start.
#[derive(Debug)]
pub struct MariadbServer {
    folder: Folder,
    programs: PathBuf,
    port: u16,
    settings: Vec<String>,
    lifetime: Lifetime,
    process: Option<Process>,
}

impl MariadbServer {
    /// Makes a new data folder, starts the server and waits until it answers. `None` where no
    /// server is published for this machine.
    ///
    /// # Errors
    /// With the end of its log, when it does not come up.
    pub fn start(
        distribution: &Distribution,
        options: &MariadbOptions,
    ) -> anyhow::Result<Option<Self>> {
        let Some(programs) = distribution.mariadb() else {
            return Ok(None);
        };
        let mut server = Self {
            folder: Folder::make(&options.place)?,
            programs,
            port: options.port.unwrap_or_else(free_port),
            settings: options.settings.clone(),
            lifetime: options.lifetime,
            process: None,
        };
        server.make_data_folder()?;
        server.start_again()?;
        let create = format!("create database {DATABASE}");
        mysql_query(&server.url_of("mysql"), &create).context("make the server's database")?;
        Ok(Some(server))
    }

    /// The URL of a database of the server as the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of the running process.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Ends it in an orderly way.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.end(Signal::TERM)
    }

    /// Ends it as a crash: the next start recovers.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.end(Signal::KILL)
    }

    /// Starts it again on the same port and data and waits until it answers.
    ///
    /// # Errors
    /// With the end of its log, when it does not come up.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "MariaDB runs already");
        let mut arguments = vec![
            "--no-defaults".to_owned(),
            format!("--basedir={}", self.programs.display()),
            format!("--datadir={}", self.data().display()),
            format!("--port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--socket={}", self.folder.path().join("socket").display()),
            "--max-connections=500".to_owned(),
        ];
        arguments.extend(as_root());
        arguments.extend(self.settings.iter().cloned());
        let mut process = Process::start(Program {
            name: "MariaDB",
            program: &self.programs.join("bin/mariadbd"),
            arguments,
            directory: self.folder.path(),
            log: self.folder.path().join("mariadb.log"),
            run_as: None,
            lifetime: self.lifetime,
        })?;
        let url = self.url_of("mysql");
        let outcome =
            process.wait_until_ready(READY_WITHIN, || mysql_query(&url, "select 1").map(drop));
        if outcome.is_err() {
            process.end(Signal::KILL, STOP_WITHIN)?;
        }
        outcome?;
        self.process = Some(process);
        Ok(())
    }

    fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let mut process = self.process.take().context("MariaDB does not run")?;
        process.end(signal, STOP_WITHIN)?;
        Ok(())
    }

    fn url_of(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn make_data_folder(&self) -> anyhow::Result<()> {
        let output = Command::new(self.programs.join("scripts/mariadb-install-db"))
            .arg("--no-defaults")
            .arg(format!("--basedir={}", self.programs.display()))
            .arg(format!("--datadir={}", self.data().display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(as_root())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .context("run mariadb-install-db")?;
        ensure!(
            output.status.success(),
            "mariadb-install-db failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

/// The server runs as root only when it is told so.
fn as_root() -> Option<String> {
    geteuid().is_root().then(|| "--user=root".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skips::skip;

    #[test]
    fn what_was_committed_is_there_after_each_kind_of_end() {
        let test = "testkit: MariaDB keeps its data over each kind of end";
        let Some(distribution) = Distribution::of_environment(test) else {
            return;
        };
        let started = MariadbServer::start(&distribution, &MariadbOptions::default()).unwrap();
        let Some(mut server) = started else {
            skip(test, "no MariaDB is published for this machine");
            return;
        };
        let url = server.url();
        mysql_query(&url, "create table t (n int)").unwrap();
        let ends = [MariadbServer::stop, MariadbServer::kill];
        for (round, end) in ends.into_iter().enumerate() {
            mysql_query(&url, &format!("insert into t values ({round})")).unwrap();
            end(&mut server).unwrap();
            assert!(mysql_query(&url, "select 1").is_err());
            server.start_again().unwrap();
            let rows = mysql_query(&url, "select n from t").unwrap();
            assert_eq!(rows.len(), round + 1);
        }
    }
}
