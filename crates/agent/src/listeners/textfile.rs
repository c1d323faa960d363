//! The listener `textfile`: pages of metrics that other programs leave as files in a folder, as for
//! node_exporter.
//!
//! Every interval each file `*.prom` is read and its samples are told anew, at the time of the
//! reading; how old a file is stands in the measurement `textfile`. A file should be written beside
//! and renamed into place. One that changes while it is read is left for the next time, and the last
//! line of one that was cut off is refused.

use super::{
    AgentError, Bindings, Intake, Listener, ListenerEntry, ListenerSettings, OpenedListener, Ticks,
    pages, phase,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tidegauge_model::{Name, Point, Tags, name};
use tidegauge_wire::openmetrics::Dialect;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) const ENTRY: ListenerEntry = ListenerEntry {
    name: "textfile",
    measurement: Some(name!("textfile")),
    description: "Pages of metrics that other programs leave as files `*.prom` in a folder.",
    open,
};

const SUFFIX: &str = ".prom";
/// So many files of the folder are read at most, the first ones by name.
const MOST_FILES: usize = 1_000;

/// Settings of the listener.
#[derive(Debug, Clone)]
pub struct TextfileSettings {
    /// The folder.
    pub folder: PathBuf,
    /// How often it is read.
    pub interval: Duration,
    /// Put before all names.
    pub prefix: Option<Name>,
}

fn open(settings: &ListenerSettings, _: &mut Bindings) -> Result<Vec<OpenedListener>, AgentError> {
    let Some(settings) = &settings.textfile else {
        return Ok(Vec::new());
    };
    Ok(vec![OpenedListener {
        name: ENTRY.name.to_owned(),
        addresses: Vec::new(),
        prefix: settings.prefix.clone(),
        listener: Box::new(Textfile {
            settings: settings.clone(),
            failing: BTreeMap::new(),
        }),
    }])
}

struct Textfile {
    settings: TextfileSettings,
    /// The files that could not be read last, each told once; the folder has the empty name.
    failing: BTreeMap<String, String>,
}

#[async_trait]
impl Listener for Textfile {
    async fn run(mut self: Box<Self>, intake: Intake, cancel: CancellationToken) {
        let interval = self.settings.interval;
        let mut ticks = Ticks::new(Instant::now(), phase(ENTRY.name, interval), interval);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.read(&intake) => {}
            }
        }
    }
}

impl Textfile {
    async fn read(&mut self, intake: &Intake) {
        let (folder, most_bytes) = (self.settings.folder.clone(), intake.limits().message_bytes);
        let listed = blocking(move || names_in(&folder)).await;
        let names = match listed {
            Ok(names) => names,
            Err(error) => {
                let detail = format!("{}: {error}", self.settings.folder.display());
                self.failing.retain(|name, _| name.is_empty());
                return self.failed(String::new(), detail);
            }
        };
        self.failing.retain(|name, _| names.contains(name));
        for name in names {
            let path = self.settings.folder.join(&name);
            let taken_us = intake.now_us();
            let begin = Point::new(name!("textfile"), taken_us).tag(name!("file"), name.clone());
            let point = match blocking(move || read_whole(&path, most_bytes)).await {
                Ok((page, changed)) => {
                    self.failing.remove(&name);
                    let dialect = Dialect::of_page(&page);
                    let none = Tags::new();
                    let read = pages::hand_on(page, dialect, taken_us, &none, intake).await;
                    let age = changed.and_then(|changed| age_seconds(changed, taken_us));
                    let point = begin.field(name!("success"), true);
                    read.told(point.field_if(name!("age_seconds"), age))
                }
                Err(error) => {
                    let detail = error.to_string();
                    self.failed(name, detail.clone());
                    begin
                        .field(name!("success"), false)
                        .field(name!("detail"), detail)
                }
            };
            intake.tell(point).await;
        }
    }

    fn failed(&mut self, name: String, detail: String) {
        if !self.failing.contains_key(&name) {
            tracing::warn!(file = name, detail, "a page of metrics was not read");
        }
        self.failing.insert(name, detail);
    }
}

/// The whole seconds since `changed`; not below 0, whatever the clock of the file system says.
fn age_seconds(changed: SystemTime, now_us: i64) -> Option<f64> {
    let since_1970 = changed.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let age = now_us as f64 / 1e6 - since_1970.as_secs_f64();
    Some(age.round().max(0.0))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// The names of the files, sorted.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        // A name that is no UTF-8 could not be a tag.
        if let Ok(name) = entry?.file_name().into_string()
            && name.ends_with(SUFFIX)
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    names.truncate(MOST_FILES);
    Ok(names)
}

/// A file as it is, and when it was last changed.
fn read_whole(path: &Path, most_bytes: usize) -> io::Result<(Vec<u8>, Option<SystemTime>)> {
    let refuse = |kind: ErrorKind, problem: &str| Err(io::Error::new(kind, problem.to_owned()));
    // A pipe without a writer would hang, so what it is comes first.
    if !std::fs::metadata(path)?.is_file() {
        return refuse(ErrorKind::InvalidInput, "it is no file");
    }
    let mut file = File::open(path)?;
    let before = file.metadata()?;
    let mut page = Vec::new();
    let most = most_bytes as u64;
    Read::take(&mut file, most + 1).read_to_end(&mut page)?;
    if page.len() as u64 > most {
        return refuse(
            ErrorKind::FileTooLarge,
            &format!("it has more than {most} bytes"),
        );
    }
    let state = |metadata: &Metadata| (metadata.len(), metadata.modified().ok());
    if state(&before) != state(&file.metadata()?) {
        return refuse(
            ErrorKind::Interrupted,
            "it was changed while it was read; rename files into place",
        );
    }
    Ok((page, before.modified().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_files_of_the_suffix_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        for name in ["b.prom", "a.prom", ".hidden.prom", "c.prom.tmp", "d.txt"] {
            write(name, "x 1\n").expect("written");
        }
        std::fs::create_dir(folder.path().join("e.prom")).expect("a folder");
        let names = names_in(folder.path()).expect("listed");
        assert_eq!(names, ["a.prom", "b.prom", "e.prom"]);
        let read = |name: &str, most| read_whole(&folder.path().join(name), most);
        let (page, changed) = read("a.prom", 4).expect("read");
        assert_eq!(page, b"x 1\n");
        assert!(changed.is_some());
        assert_eq!(
            read("a.prom", 3).expect_err("large").to_string(),
            "it has more than 3 bytes"
        );
        assert_eq!(
            read("e.prom", 3).expect_err("a folder").to_string(),
            "it is no file"
        );
        assert!(names_in(&folder.path().join("none")).is_err());
    }
}
