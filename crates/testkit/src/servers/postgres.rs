//! One PostgreSQL server, run in the foreground as our child.
//!
//! `postgres` refuses to run as root: as root it runs as the user "nobody" on a folder that is
//! given to it. `fsync` and `synchronous_commit` stay on: fault tests would prove nothing without.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Signal, geteuid};

use super::distribution::Distribution;
use super::folder::{Folder, Place};
use super::port::free_port;
use super::process::{Lifetime, Process, Program, UserId};
use crate::database::postgres_query;

/// The user and group "nobody" of every Linux.
const NOBODY: UserId = 65_534;
/// What it says when processes of the run before are still there.
const STILL_IN_USE: &str = "pre-existing shared memory block";
const TRY_AGAIN: Duration = Duration::from_millis(100);
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// How to start a server. The default is what most tests want.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Where its folder is.
    pub place: Place,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Its port; a free one when unset.
    pub port: Option<u16>,
    /// Settings of `postgresql.conf`, as `lock_timeout=5s`.
    pub settings: Vec<String>,
}

/// A database server. Its data and its port stay the same over stop and start.
#[derive(Debug)]
pub struct PostgresServer {
    folder: Folder,
    programs: PathBuf,
    port: u16,
    url: String,
    settings: Vec<String>,
    run_as: Option<UserId>,
    lifetime: Lifetime,
    process: Option<Process>,
}

impl PostgresServer {
    /// Makes a new data folder, starts the server and waits until it answers.
    ///
    /// # Errors
    /// With the end of its log, when it does not come up.
    pub fn start(distribution: &Distribution, options: &PostgresOptions) -> anyhow::Result<Self> {
        let folder = Folder::make(&options.place)?;
        let run_as = geteuid().is_root().then_some(NOBODY);
        let programs = programs_for(run_as, distribution, folder.path())?;
        let port = options.port.unwrap_or_else(free_port);
        let mut server = Self {
            folder,
            programs,
            port,
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            settings: options.settings.clone(),
            run_as,
            lifetime: options.lifetime,
            process: None,
        };
        server.make_data_folder()?;
        server.start_again()?;
        Ok(server)
    }

    /// The URL of the database `postgres` as the superuser.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
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

    /// Where the server writes its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("postgres.log")
    }

    /// Ends it in an orderly way: connections are closed, running transactions are undone (`-m fast`).
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.end(Signal::INT)
    }

    /// Ends it without a checkpoint, as a crash (`-m immediate`): the next start recovers.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn stop_immediately(&mut self) -> anyhow::Result<()> {
        self.end(Signal::QUIT)
    }

    /// Kills the main process; its children see that and end too.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.end(Signal::KILL)
    }

    /// The crash of fault tests: `pg_ctl restart -m immediate`.
    ///
    /// # Errors
    /// When it does not come up again.
    pub fn restart_immediately(&mut self) -> anyhow::Result<()> {
        self.stop_immediately()?;
        self.start_again()
    }

    /// Starts it again on the same port and data and waits until it answers.
    ///
    /// # Errors
    /// With the end of its log, when it does not come up.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "PostgreSQL runs already");
        let began = Instant::now();
        loop {
            match self.try_to_start() {
                // Children of a postmaster that was killed end a moment after it.
                Err(error)
                    if began.elapsed() < READY_WITHIN
                        && format!("{error:#}").contains(STILL_IN_USE) =>
                {
                    std::thread::sleep(TRY_AGAIN);
                }
                started => return started,
            }
        }
    }

    fn try_to_start(&mut self) -> anyhow::Result<()> {
        let mut arguments = vec!["-D".to_owned(), "data".to_owned()];
        arguments.extend(["-p".to_owned(), self.port.to_string()]);
        let own = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
        ];
        for setting in own
            .iter()
            .copied()
            .chain(self.settings.iter().map(String::as_str))
        {
            arguments.extend(["-c".to_owned(), setting.to_owned()]);
        }
        let mut process = Process::start(Program {
            name: "PostgreSQL",
            program: &self.programs.join("bin/postgres"),
            arguments,
            directory: self.folder.path(),
            log: self.log(),
            run_as: self.run_as,
            lifetime: self.lifetime,
        })?;
        let url = &self.url;
        let outcome =
            process.wait_until_ready(READY_WITHIN, || postgres_query(url, "select 1").map(drop));
        if outcome.is_err() {
            process.end(Signal::QUIT, STOP_WITHIN)?;
        }
        outcome?;
        self.process = Some(process);
        Ok(())
    }

    fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let mut process = self.process.take().context("PostgreSQL does not run")?;
        process.end(signal, STOP_WITHIN)?;
        Ok(())
    }

    fn make_data_folder(&self) -> anyhow::Result<()> {
        let data = self.folder.path().join("data");
        fs::create_dir_all(&data).context("make PostgreSQL's data folder")?;
        if let Some(user) = self.run_as {
            chown(&data, Some(user), Some(user)).context("give PostgreSQL its data folder")?;
        }
        let output = as_user(self.run_as, &self.programs.join("bin/initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .context("run initdb")?;
        ensure!(
            output.status.success(),
            "initdb failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Unlike SIGKILL this also ends the children at once, so that the folder can be removed.
        if self.lifetime == Lifetime::ThisProcess && self.process.is_some() {
            self.stop_immediately().ok();
        }
    }
}

/// The unpacked programs, or a copy of them where the server's user cannot reach the cache folder
/// (as below `/root`).
fn programs_for(
    run_as: Option<UserId>,
    distribution: &Distribution,
    folder: &Path,
) -> anyhow::Result<PathBuf> {
    let programs = distribution.postgres();
    let reachable = as_user(run_as, &programs.join("bin/postgres"))
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if reachable || run_as.is_none() {
        return Ok(programs);
    }
    let copy = folder.join("programs");
    if !copy.exists() {
        let status = Command::new("cp")
            .arg("-R")
            .args([&programs, &copy])
            .status()
            .context("copy PostgreSQL")?;
        ensure!(
            status.success(),
            "PostgreSQL cannot be copied to {}",
            copy.display()
        );
    }
    Ok(copy)
}

fn as_user(user: Option<UserId>, program: &Path) -> Command {
    let Some(user) = user else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={user}"), format!("--regid={user}")])
        .args(["--clear-groups", "--"])
        .arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_there_after_each_kind_of_end() {
        let test = "testkit: PostgreSQL keeps its data over each kind of end";
        let Some(distribution) = Distribution::of_environment(test) else {
            return;
        };
        let mut server = PostgresServer::start(&distribution, &PostgresOptions::default()).unwrap();
        let url = server.url().to_owned();
        postgres_query(&url, "create table t (n int)").unwrap();
        let ends = [
            PostgresServer::stop,
            PostgresServer::stop_immediately,
            PostgresServer::kill,
        ];
        for (round, end) in ends.into_iter().enumerate() {
            postgres_query(&url, &format!("insert into t values ({round})")).unwrap();
            end(&mut server).unwrap();
            assert!(postgres_query(&url, "select 1").is_err());
            server.start_again().unwrap();
            let rows = postgres_query(&url, "select n from t").unwrap();
            assert_eq!(rows.len(), round + 1);
        }
    }
}
