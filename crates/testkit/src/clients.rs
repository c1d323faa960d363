//! Programs of others, in Python: clients that write to the agent's listeners, a judge of manifests. Fetched once from PyPI into the
//! cache of the servers, versions and hashes pinned in `services/clients/requirements.txt`.
//!
//! Fetching is the work of `cargo xtask`; tests use what `TEST_CLIENTS` points to. Where the clients
//! cannot be had the tests that need them fail, and say why.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::servers::FetchError;
use crate::servers::distribution::{at, run};
use crate::services::variable;
use crate::skips::skip;

/// The environment variable that names the Python that has the clients.
pub const CLIENTS: &str = "TEST_CLIENTS";
/// The environment variable that says why there is none.
pub const CLIENTS_PROBLEM: &str = "TEST_CLIENTS_PROBLEM";

const COMPLETE: &str = "complete";

/// A Python that has the clients.
#[derive(Debug, Clone)]
pub struct Clients {
    python: PathBuf,
}

impl Clients {
    /// The clients of the environment, or `None` after recording the skip of `test`.
    ///
    /// # Panics
    /// When this run was to have them, and they could not be fetched.
    #[must_use]
    pub fn of_environment(test: &str) -> Option<Self> {
        if let Some(problem) = variable(CLIENTS_PROBLEM) {
            panic!(
                "{test} needs Python 3.10 or newer with venv, and PyPI for its first run \
                 (Debian: apt-get install python3-venv): {problem}"
            );
        }
        let Some(python) = variable(CLIENTS) else {
            let reason = "no clients: TEST_CLIENTS is not set (cargo xtask test sets it)";
            skip(test, reason);
            return None;
        };
        let python = PathBuf::from(python);
        Some(Self { python })
    }

    /// Makes a virtual environment with what `project/requirements.txt` names in `cache`, unless it is
    /// there; returns its Python. Several callers at once are safe.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub fn fetch(project: &Path, cache: &Path) -> Result<PathBuf, FetchError> {
        let requirements = project.join("requirements.txt");
        let text = fs::read(&requirements).map_err(at(&requirements))?;
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let folder = cache.join(format!("clients-{:016x}", hasher.finish()));
        let python = folder.join("bin/python");

        fs::create_dir_all(cache).map_err(at(cache))?;
        let lock_path = cache.join("clients-lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;
        let complete = folder.join(COMPLETE);
        if complete.is_file() {
            return Ok(python);
        }
        let mut venv = Command::new("python3");
        run("python3", venv.args(["-m", "venv", "--clear"]).arg(&folder))?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
            .args(["--disable-pip-version-check", "--require-hashes"])
            .args(["--only-binary", ":all:", "--no-binary", "influxdb"])
            .arg("--requirement");
        run("pip", pip.arg(&requirements))?;
        fs::write(&complete, "").map_err(at(&complete))?;
        Ok(python)
    }

    /// Has a client write to an address, see `services/clients/write.py`.
    ///
    /// # Panics
    /// When the client is not content.
    pub fn write(&self, client: &str, address: &str, token: Option<&str>) {
        let mut python = Command::new(&self.python);
        python
            .arg(from_root("services/clients/write.py"))
            .args([client, address])
            .args(token);
        succeed(client, &mut python);
    }

    /// The documents of a file of YAML, as one array of JSON.
    ///
    /// # Panics
    /// When it is no YAML.
    #[must_use]
    pub fn documents(&self, file: &Path) -> String {
        let mut python = self.deployment("documents");
        succeed("reading YAML", python.arg(file))
    }

    /// Has a compose file judged by the schema of the Compose Specification.
    ///
    /// # Panics
    /// When it is refused.
    pub fn validate_compose(&self, file: &Path) {
        let mut python = self.deployment("compose");
        let schema = from_root("services/schemas/compose-spec.json");
        succeed("the schema of compose files", python.arg(file).arg(schema));
    }

    fn deployment(&self, what: &str) -> Command {
        let mut python = Command::new(&self.python);
        python
            .arg(from_root("services/clients/deployment.py"))
            .arg(what);
        python
    }

    /// Has a manifest judged by the schemas of Kubernetes.
    ///
    /// # Panics
    /// When it is refused.
    pub fn validate_manifest(&self, file: &Path) {
        let mut python = Command::new(&self.python);
        python.args(["-m", "kubernetes_validate", "--strict"]);
        succeed("kubernetes-validate", python.arg(file));
    }
}

/// A file of this repository.
fn from_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// What it prints.
fn succeed(what: &str, python: &mut Command) -> String {
    let output = python.stdin(Stdio::null()).output().expect("Python runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {printed}{said}");
    printed
}
