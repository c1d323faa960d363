//! The programs of the servers: fetched once by Maven, kept in a cache folder, used by all.
//!
//! Fetching is the work of `cargo xtask`; tests only use what `TIDEGAUGE_SERVICES` points to. What
//! is fetched, and at which version, is in `services/pom.xml` and nowhere else.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::services::variable;
use crate::skips::skip;

/// The environment variable that names the fetched folder.
pub const SERVICES_FOLDER: &str = "TIDEGAUGE_SERVICES";

/// What somebody without Java and Maven can do.
pub const WAYS_TO_GET_SERVERS: &str = "\
tests need Kafka, PostgreSQL and MariaDB; there are three ways to have them:
  1. install Java 17 or newer and Maven: the servers are fetched and started by themselves
     (Debian: apt-get install default-jdk-headless maven xz-utils)
  2. set TEST_KAFKA=host:port, TEST_POSTGRES=postgres://user@host:port/database and
     TEST_MYSQL=mysql://user:password@host:port/database to servers you have
  3. docker compose up --detach --wait, and the variables that CONTRIBUTING.md lists";

const COMPLETE: &str = "complete";

/// A fetched folder: `kafka/*.jar`, `postgres/bin/…` and, on Linux x86-64, `mariadb/bin/…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    folder: PathBuf,
}

/// Why the servers could not be fetched.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// A program that is needed is not there.
    ToolMissing {
        /// Its name.
        tool: &'static str,
    },
    /// A program failed.
    ToolFailed {
        /// Its name.
        tool: &'static str,
        /// What it printed.
        output: String,
    },
    /// No servers are published for this machine.
    NoServersFor {
        /// Operating system and processor.
        machine: String,
    },
    /// The cache folder cannot be used.
    Cache {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Distribution {
    /// The folder of `TIDEGAUGE_SERVICES`, or `None` after recording the skip of `test`.
    ///
    /// # Panics
    /// When the variable names a folder that is not complete.
    #[must_use]
    pub fn of_environment(test: &str) -> Option<Self> {
        let Some(folder) = variable(SERVICES_FOLDER) else {
            skip(
                test,
                "no servers of its own: TIDEGAUGE_SERVICES is not set (cargo xtask test sets it)",
            );
            return None;
        };
        let distribution = Self {
            folder: PathBuf::from(folder),
        };
        assert!(
            distribution.is_complete(),
            "TIDEGAUGE_SERVICES={} holds no fetched servers",
            distribution.folder.display()
        );
        Some(distribution)
    }

    /// Fetches what `project` (the folder of `pom.xml`) names into `cache`, unless it is there.
    /// Several callers at once are safe: one fetches, the others wait.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub fn fetch(project: &Path, cache: &Path) -> Result<Self, FetchError> {
        let pom = project.join("pom.xml");
        let platform = platform()?;
        let text = fs::read(&pom).map_err(at(&pom))?;
        let mut hasher = DefaultHasher::new();
        (text, platform).hash(&mut hasher);
        let folder = cache.join(format!("{:016x}", hasher.finish()));
        let distribution = Self { folder };

        fs::create_dir_all(cache).map_err(at(cache))?;
        let lock_path = cache.join("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;
        if distribution.is_complete() {
            return Ok(distribution);
        }
        let partial = cache.join("partial");
        for old in [&partial, &distribution.folder] {
            if old.exists() {
                fs::remove_dir_all(old).map_err(at(old))?;
            }
        }
        run_maven(&pom, &partial, platform)?;
        unpack_postgres(&partial)?;
        unpack_mariadb(&partial)?;
        let complete = partial.join(COMPLETE);
        fs::write(&complete, "").map_err(at(&complete))?;
        fs::rename(&partial, &distribution.folder).map_err(at(&distribution.folder))?;
        Ok(distribution)
    }

    /// The folder, for `TIDEGAUGE_SERVICES`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The Java class path of Kafka and its tools.
    #[must_use]
    pub fn kafka_class_path(&self) -> String {
        self.folder.join("kafka/*").display().to_string()
    }

    /// The folder with `bin/postgres`.
    #[must_use]
    pub fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    /// The folder with `bin/mariadbd`, where one is published for this machine.
    #[must_use]
    pub fn mariadb(&self) -> Option<PathBuf> {
        let folder = self.folder.join("mariadb");
        folder.exists().then_some(folder)
    }

    fn is_complete(&self) -> bool {
        self.folder.join(COMPLETE).is_file()
    }
}

/// The `java` to run servers with: that of `JAVA_HOME`, else that of the search path.
pub(crate) fn java() -> PathBuf {
    match std::env::var_os("JAVA_HOME") {
        Some(home) => Path::new(&home).join("bin/java"),
        None => PathBuf::from("java"),
    }
}

fn platform() -> Result<&'static str, FetchError> {
    let (system, processor) = (std::env::consts::OS, std::env::consts::ARCH);
    match (system, processor) {
        ("linux", "x86_64") => Ok("linux-amd64"),
        ("linux", "aarch64") => Ok("linux-arm64v8"),
        ("macos", "x86_64") => Ok("darwin-amd64"),
        ("macos", "aarch64") => Ok("darwin-arm64v8"),
        _ => Err(FetchError::NoServersFor {
            machine: format!("{system} on {processor}"),
        }),
    }
}

fn run_maven(pom: &Path, into: &Path, platform: &str) -> Result<(), FetchError> {
    run("java", Command::new(java()).arg("-version"))?;
    run(
        "mvn",
        Command::new("mvn")
            .args(["-B", "-q", "-Dstyle.color=never", "-f"])
            .arg(pom)
            .arg(format!("-Dservices.folder={}", into.display()))
            .arg(format!("-Dpostgres.platform={platform}"))
            .arg("generate-resources"),
    )
}

/// The archive has `bin`, `lib` and `share` at its top.
fn unpack_postgres(folder: &Path) -> Result<(), FetchError> {
    let archives = folder.join("postgres-archive");
    let target = folder.join("postgres");
    fs::create_dir_all(&target).map_err(at(&target))?;
    run("xz", Command::new("xz").arg("--version"))?;
    for entry in fs::read_dir(&archives).map_err(at(&archives))? {
        let archive = entry.map_err(at(&archives))?.path();
        run(
            "tar",
            Command::new("tar")
                .arg("-xJf")
                .arg(&archive)
                .arg("-C")
                .arg(&target),
        )?;
    }
    fs::remove_dir_all(&archives).map_err(at(&archives))
}

/// The archive has `bin`, `scripts` and `share` somewhere below its top, without the right to run.
fn unpack_mariadb(folder: &Path) -> Result<(), FetchError> {
    use std::os::unix::fs::PermissionsExt;
    let archive = folder.join("mariadb-archive");
    if !archive.exists() {
        return Ok(());
    }
    let mut top = archive.clone();
    while !top.join("bin").exists() {
        let mut entries = fs::read_dir(&top).map_err(at(&top))?;
        let entry = entries.next().transpose().map_err(at(&top))?;
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no folder bin below");
        top = entry.ok_or_else(missing).map_err(at(&archive))?.path();
    }
    let target = folder.join("mariadb");
    fs::rename(&top, &target).map_err(at(&top))?;
    for programs in ["bin", "scripts"].map(|name| target.join(name)) {
        for entry in fs::read_dir(&programs).map_err(at(&programs))? {
            let program = entry.map_err(at(&programs))?.path();
            let may_run = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&program, may_run).map_err(at(&program))?;
        }
    }
    fs::remove_dir_all(&archive).map_err(at(&archive))
}

pub(crate) fn run(tool: &'static str, command: &mut Command) -> Result<(), FetchError> {
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FetchError::ToolMissing { tool });
        }
        Err(source) => {
            return Err(FetchError::Cache {
                path: PathBuf::from(tool),
                source,
            });
        }
    };
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(FetchError::ToolFailed {
        tool,
        output: String::from_utf8_lossy(&text).into_owned(),
    })
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Cache { path, source }
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ToolMissing { tool } => write!(formatter, "{tool} is not installed"),
            Self::ToolFailed { tool, output } => write!(formatter, "{tool} failed:\n{output}"),
            Self::NoServersFor { machine } => {
                write!(formatter, "no servers are published for {machine}")
            }
            Self::Cache { path, .. } => write!(formatter, "use {}", path.display()),
        }
    }
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Cache { source, .. } => Some(source),
            _ => None,
        }
    }
}
