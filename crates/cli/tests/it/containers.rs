//! Containers without an engine: what `Containerfile`, `compose.yaml` and `deploy/kubernetes` say is run as it stands,
//! outside of a container. Folders and addresses of a container are replaced by ours, nothing else.

use crate::program::{PATIENCE, Program, command, http_get};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tidegauge_testkit::eventually;
use tidegauge_testkit::servers::free_port;

/// The program in the image.
pub(crate) const PROGRAM: &str = "/usr/bin/tidegauge";
/// Where the image keeps what must outlive a container.
pub(crate) const STATE: &str = "/var/lib/tidegauge";

/// A file of the repository.
pub(crate) fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(file)
}

/// What `Containerfile` says, instruction by instruction.
pub(crate) struct Image {
    pub(crate) instructions: Vec<(String, String)>,
}

impl Image {
    pub(crate) fn read() -> Self {
        let text = std::fs::read_to_string(repository("Containerfile")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
        let instructions = joined
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        let parted = instructions.map(|line| {
            let (word, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            (word.to_owned(), rest.trim().to_owned())
        });
        Self {
            instructions: parted.collect(),
        }
    }

    /// All that are called `word`, from the `FROM` of the last stage on.
    pub(crate) fn last_stage(&self, word: &str) -> Vec<&str> {
        let stage = self
            .instructions
            .iter()
            .rposition(|(word, _)| word == "FROM");
        let last = &self.instructions[stage.unwrap()..];
        let named = last.iter().filter(|(found, _)| found == word);
        named.map(|(_, rest)| rest.as_str()).collect()
    }

    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let all = self.last_stage("ENV").join(" ");
        let pairs = all
            .split_whitespace()
            .map(|pair| pair.split_once('=').unwrap());
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    pub(crate) fn entry_point(&self) -> Vec<String> {
        words(self.last_stage("ENTRYPOINT")[0])
    }

    pub(crate) fn health_check(&self) -> Vec<String> {
        let [check] = self.last_stage("HEALTHCHECK")[..] else {
            panic!("one health check");
        };
        words(check.split_once("CMD ").unwrap().1)
    }
}

/// A command in its form without a shell.
fn words(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// How somebody learns whether a container is well.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// A command inside of it.
    Command(Vec<String>),
    /// A page on one of its ports.
    Page(String),
}

/// One container of the image, as a file says it.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) probe: Probe,
    /// Texts of the container, and what stands for them outside: folders, names of servers.
    pub(crate) replaced: Vec<(String, String)>,
}

/// A container's program that runs outside of one.
pub(crate) struct Running {
    program: Program,
    environment: BTreeMap<String, String>,
    probe: Probe,
    listen: String,
    _state: tempfile::TempDir,
}

impl Container {
    /// Starts what is in the container, by the image's entry point.
    pub(crate) fn start(&self, image: &Image) -> Running {
        let state = tempfile::tempdir().unwrap();
        let mut environment = image.environment();
        environment.extend(self.environment.clone());
        // Containers have networks of their own, and may all listen on one port.
        let listened = environment["TIDEGAUGE_GENERAL_LISTEN"].clone();
        let (host, port) = listened.rsplit_once(':').unwrap();
        let free = free_port().to_string();
        let replaced = |text: &str| {
            let mut text = text.replace(STATE, state.path().to_str().unwrap());
            for (inside, outside) in &self.replaced {
                text = text.replace(inside, outside);
            }
            text.replace(&format!(":{port}"), &format!(":{free}"))
        };
        for value in environment.values_mut() {
            *value = replaced(value);
        }
        let entry = image.entry_point();
        let [PROGRAM] = entry.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
            panic!("{entry:?}");
        };
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let variables: Vec<_> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let probe = match &self.probe {
            Probe::Command(words) => {
                assert_eq!(words[0], PROGRAM, "the image holds no other program");
                Probe::Command(words[1..].iter().map(|word| replaced(word)).collect())
            }
            Probe::Page(path) => Probe::Page(path.clone()),
        };
        // Who listens on all addresses is asked on one.
        let asked = if host == "0.0.0.0" { "127.0.0.1" } else { host };
        Running {
            program: Program::start_with(&arguments, &variables),
            listen: format!("{asked}:{free}"),
            environment,
            probe,
            _state: state,
        }
    }
}

impl Running {
    /// Waits until the container's own probe is content.
    pub(crate) fn wait_until_healthy(&self) {
        let what = format!(
            "{:?} is content; the program said:\n{}",
            self.probe,
            self.program.output()
        );
        eventually(PATIENCE, &what, || match &self.probe {
            Probe::Command(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let asked = command(&words).envs(&self.environment).output().unwrap();
                asked.status.success().then_some(())
            }
            Probe::Page(path) => {
                let page = http_get(&self.listen, path)?;
                page.starts_with("HTTP/1.1 200 ").then_some(())
            }
        });
    }

    pub(crate) fn page(&self) -> String {
        http_get(&self.listen, "/").unwrap()
    }

    pub(crate) fn terminate(self) -> String {
        self.program.terminate()
    }
}
