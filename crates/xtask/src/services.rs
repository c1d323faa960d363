//! The shared servers of a test run or of a developer's shell: one Kafka, one PostgreSQL,
//! and one MariaDB where it is published for the machine.
//!
//! All carry one random token (the cluster's id, a table), so that no test writes to servers that
//! it was not meant for. `up` leaves them running and notes them in `target/services/run.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tidegauge_testkit::servers::{
    Distribution, FetchError, KafkaOptions, KafkaServer, Lifetime, MariadbOptions, MariadbServer,
    Place, PostgresOptions, PostgresServer, SERVICES_FOLDER, WAYS_TO_GET_SERVERS, is_running,
    random_cluster_id, stop_by_id,
};
use tidegauge_testkit::{CLIENTS, CLIENTS_PROBLEM, Clients, mysql_query, postgres_query};

use crate::run::{CannotTry, root, target};

const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Environment variables for the tests, by name.
pub(crate) type Environment = BTreeMap<String, String>;

/// Which databases run beside the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Databases {
    pub(crate) postgres: bool,
    /// Where it is published for the machine.
    pub(crate) mariadb: bool,
}

impl Databases {
    pub(crate) const ALL: Self = Self {
        postgres: true,
        mariadb: true,
    };
}

/// The running servers. Dropped, they end unless they were started to stay.
#[derive(Debug)]
pub(crate) struct Servers {
    kafka: KafkaServer,
    postgres: Option<PostgresServer>,
    mariadb: Option<MariadbServer>,
    token: String,
    distribution: Distribution,
}

/// What `up` writes down for `down` and `status`.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    /// Holds the data of all; the working folder of their processes lies in it.
    folder: PathBuf,
    kafka: u32,
    postgres: u32,
    #[serde(default)]
    mariadb: Option<u32>,
    environment: Environment,
}

impl Servers {
    pub(crate) fn start(
        distribution: &Distribution,
        lifetime: Lifetime,
        folder: &Path,
        databases: Databases,
    ) -> anyhow::Result<Self> {
        let token = random_cluster_id();
        let mark = format!(
            "create table tidegauge_services (token text not null);
             insert into tidegauge_services values ('{token}')"
        );
        let mut postgres = None;
        if databases.postgres {
            let options = PostgresOptions {
                place: Place::Kept(folder.join("postgres")),
                lifetime,
                ..PostgresOptions::default()
            };
            let server = PostgresServer::start(distribution, &options)?;
            postgres_query(server.url(), &mark).context("mark the database server")?;
            postgres = Some(server);
        }
        let mut mariadb = None;
        if databases.mariadb {
            let options = MariadbOptions {
                place: Place::Kept(folder.join("mariadb")),
                lifetime,
                ..MariadbOptions::default()
            };
            mariadb = MariadbServer::start(distribution, &options)?;
        }
        if let Some(mariadb) = &mariadb {
            mysql_query(&mariadb.url(), &mark).context("mark the MariaDB server")?;
        }
        let kafka = KafkaServer::start(
            distribution,
            &KafkaOptions {
                place: Place::Kept(folder.join("kafka")),
                lifetime,
                cluster_id: Some(token.clone()),
                ..KafkaOptions::default()
            },
        )?;
        Ok(Self {
            kafka,
            postgres,
            mariadb,
            token,
            distribution: distribution.clone(),
        })
    }

    /// The broker's process, for measurements.
    pub(crate) fn kafka_process_id(&self) -> Option<u32> {
        self.kafka.process_id()
    }

    /// The main process of PostgreSQL, where it runs, for measurements.
    pub(crate) fn postgres_process_id(&self) -> Option<u32> {
        self.postgres.as_ref().and_then(PostgresServer::process_id)
    }

    /// The same of MariaDB.
    pub(crate) fn mariadb_process_id(&self) -> Option<u32> {
        self.mariadb.as_ref().and_then(MariadbServer::process_id)
    }

    /// What the tests need to find them.
    pub(crate) fn environment(&self) -> Environment {
        let listeners = self.kafka.listeners();
        let folder = self.distribution.folder().display().to_string();
        let mut environment: Environment = [
            ("TEST_KAFKA", listeners.plaintext.clone()),
            ("TEST_KAFKA_SSL", listeners.ssl.clone()),
            ("TEST_KAFKA_SASL", listeners.sasl_ssl.clone()),
            (
                "TEST_KAFKA_CERTIFICATES",
                listeners.certificates.display().to_string(),
            ),
            (SERVICES_FOLDER, folder),
            ("TIDEGAUGE_SERVICES_TOKEN", self.token.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let postgres = self.postgres.as_ref().map(|server| server.url().to_owned());
        environment.extend(postgres.map(|url| ("TEST_POSTGRES".to_owned(), url)));
        let mariadb = self.mariadb.as_ref().map(MariadbServer::url);
        environment.extend(mariadb.map(|url| ("TEST_MYSQL".to_owned(), url)));
        environment
    }
}

/// The programs of the servers, fetched if they are not there yet.
pub(crate) fn fetch() -> anyhow::Result<Distribution> {
    let cache = cache();
    eprintln!("servers: using {}", cache.display());
    Distribution::fetch(&root().join("services"), &cache).map_err(|error| match error {
        FetchError::ToolMissing { .. } | FetchError::NoServersFor { .. } => {
            CannotTry(format!("{error}\n{WAYS_TO_GET_SERVERS}")).into()
        }
        other => anyhow::Error::new(other).context("fetch the servers"),
    })
}

/// The variable that leads to the clients of others, fetched if they are not there yet; or the one that
/// says why there are none, for the tests that need them to fail with.
pub(crate) fn clients() -> (String, String) {
    match Clients::fetch(&root().join("services/clients"), &cache()) {
        Ok(python) => (CLIENTS.to_owned(), python.display().to_string()),
        Err(error) => (CLIENTS_PROBLEM.to_owned(), format!("{error:#}")),
    }
}

/// `cargo xtask services fetch`.
pub(crate) fn fetch_only() -> anyhow::Result<bool> {
    println!("{}", fetch()?.folder().display());
    Ok(true)
}

/// `cargo xtask services up`.
pub(crate) fn up() -> anyhow::Result<bool> {
    if let Some(run) = read_run()? {
        if run.all_run() {
            eprintln!("servers: they run already");
            run.print_exports();
            return Ok(true);
        }
        eprintln!("servers: cleaning up after the ones that ended");
        run.stop()?;
    }
    let distribution = fetch()?;
    // Not below the checkout: PostgreSQL runs as another user when we are root, and must get there.
    let folder = tempfile::Builder::new()
        .prefix("tidegauge-services-")
        .tempdir()
        .context("make a folder for the servers")?;
    make_enterable(folder.path())?;
    let outcome = Servers::start(
        &distribution,
        Lifetime::UntilStopped,
        folder.path(),
        Databases::ALL,
    );
    let servers = outcome.inspect_err(|_| {
        stop_all_below(folder.path());
    })?;
    let run = Run {
        folder: folder.keep(),
        kafka: servers.kafka_process_id().context("Kafka has ended")?,
        postgres: servers
            .postgres_process_id()
            .context("PostgreSQL has ended")?,
        mariadb: servers.mariadb_process_id(),
        environment: servers.environment(),
    };
    let text = serde_json::to_string_pretty(&run).context("write down the servers")?;
    // Not there yet when the programs lie elsewhere (`TIDEGAUGE_SERVICES_CACHE`).
    fs::create_dir_all(target().join("services")).context("make the folder of run.json")?;
    fs::write(run_file(), text).with_context(|| format!("write {}", run_file().display()))?;
    eprintln!("servers: up; stop them with `cargo xtask services down`");
    run.print_exports();
    Ok(true)
}

/// `cargo xtask services down`.
pub(crate) fn down() -> anyhow::Result<bool> {
    let Some(run) = read_run()? else {
        eprintln!("servers: none were started");
        return Ok(true);
    };
    run.stop()?;
    eprintln!("servers: down");
    Ok(true)
}

/// `cargo xtask services status`: 0 when all run, else 1.
pub(crate) fn status() -> anyhow::Result<bool> {
    let Some(run) = read_run()? else {
        println!("none were started");
        return Ok(false);
    };
    let mut servers = vec![
        ("kafka", run.kafka, "TEST_KAFKA"),
        ("postgres", run.postgres, "TEST_POSTGRES"),
    ];
    servers.extend(run.mariadb.map(|id| ("mariadb", id, "TEST_MYSQL")));
    for (name, id, variable) in servers {
        let state = if run.owns(id) { "runs" } else { "has ended" };
        let place = run.environment.get(variable).map_or("", String::as_str);
        println!("{name} {state}, process {id}, {place}");
    }
    Ok(run.all_run())
}

impl Run {
    fn all_run(&self) -> bool {
        let others = [self.kafka, self.postgres].into_iter();
        others.chain(self.mariadb).all(|id| self.owns(id))
    }

    /// Whether `id` is still the process that was started: ids are used again, folders are not.
    fn owns(&self, id: u32) -> bool {
        is_running(id) && process_is_below(id, &self.folder)
    }

    fn stop(&self) -> anyhow::Result<()> {
        let kafka_and_postgres = [(self.kafka, false), (self.postgres, true)].into_iter();
        let mariadb = self.mariadb.map(|id| (id, false));
        for (id, with_interrupt) in kafka_and_postgres.chain(mariadb) {
            if self.owns(id) {
                stop_by_id(id, with_interrupt, STOP_WITHIN)?;
            }
        }
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("remove {}", self.folder.display()))?;
        }
        fs::remove_file(run_file()).with_context(|| format!("remove {}", run_file().display()))
    }

    fn print_exports(&self) {
        for (name, value) in &self.environment {
            println!("export {name}='{value}'");
        }
    }
}

/// Lets every user pass through a folder (temporary ones are closed to others).
pub(crate) fn make_enterable(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("open {}", folder.display()))
}

/// After a start that failed half-way: what was meant to stay must not stay.
fn stop_all_below(folder: &Path) {
    let Ok(entries) = fs::read_dir("/proc") else {
        return;
    };
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().parse::<u32>();
        if let Ok(id) = id
            && process_is_below(id, folder)
        {
            stop_by_id(id, true, STOP_WITHIN).ok();
        }
    }
}

fn process_is_below(id: u32, folder: &Path) -> bool {
    match fs::read_link(format!("/proc/{id}/cwd")) {
        Ok(working) => working.starts_with(folder),
        // Without /proc there is nothing better than the id.
        Err(_) => !Path::new("/proc/self").exists(),
    }
}

fn cache() -> PathBuf {
    std::env::var_os("TIDEGAUGE_SERVICES_CACHE")
        .map_or_else(|| target().join("services"), PathBuf::from)
}

fn run_file() -> PathBuf {
    target().join("services").join("run.json")
}

fn read_run() -> anyhow::Result<Option<Run>> {
    let path = run_file();
    match fs::read_to_string(&path) {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(run) => Ok(Some(run)),
            Err(error) => bail!("{} cannot be read: {error}", path.display()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}
