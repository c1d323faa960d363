//! Service files: the parameters of a connection under a name (PostgreSQL's documentation, 34.17).
//!
//! ```text
//! # a comment
//! [metrics]
//! host=db-1.example.org
//! dbname=tidegauge
//! ```

use crate::{ErrorClass, StoreError};
use std::path::{Path, PathBuf};

/// One parameter of a service, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Entry {
    pub(in super::super) name: String,
    pub(in super::super) value: String,
    file: PathBuf,
    line: usize,
}

impl Entry {
    /// An error that tells the place, for what is wrong with the parameter.
    pub(in super::super) fn refused(&self, why: &str) -> StoreError {
        refused(&self.file, self.line, why)
    }
}

/// The parameters of a service in the first file that has it.
///
/// # Errors
/// [`ErrorClass::Usage`] when none has it, with the files, and for a line that is no parameter.
pub(in super::super) fn entries(
    service: &str,
    files: &[PathBuf],
) -> Result<Vec<Entry>, StoreError> {
    for file in files {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                let doing = format!("reading the service file {}", file.display());
                return Err(StoreError::new(doing, ErrorClass::Usage).caused_by(error));
            }
        };
        if let Some(found) = section(service, &text, file)? {
            return Ok(found);
        }
    }
    let files: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let doing = format!("looking for the service {service} of PostgreSQL");
    let why = match files.as_slice() {
        [] => "no service file is known".to_owned(),
        files => format!("there is no section [{service}] in {}", files.join(" or ")),
    };
    Err(StoreError::new(doing, ErrorClass::Usage).caused_by(why))
}

fn section(service: &str, text: &str, file: &Path) -> Result<Option<Vec<Entry>>, StoreError> {
    let mut found: Option<Vec<Entry>> = None;
    for (line, said) in (1..).zip(text.lines().map(str::trim)) {
        if said.is_empty() || said.starts_with('#') {
            continue;
        }
        if let Some(name) = said.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if name.strip_suffix(']') == Some(service) {
                found = Some(Vec::new());
            }
            continue;
        }
        let Some(entries) = &mut found else {
            continue;
        };
        let Some((name, value)) = said.split_once('=') else {
            return Err(refused(file, line, "it is not NAME=VALUE"));
        };
        if name == "service" {
            return Err(refused(file, line, "a service cannot name another one"));
        }
        // The first of a name counts, as with libpq.
        if !entries.iter().any(|entry| entry.name == name) {
            entries.push(Entry {
                name: name.to_owned(),
                value: value.to_owned(),
                file: file.to_owned(),
                line,
            });
        }
    }
    Ok(found)
}

fn refused(file: &Path, line: usize, why: &str) -> StoreError {
    let doing = format!("reading the service file {}, line {line}", file.display());
    StoreError::new(doing, ErrorClass::Usage).caused_by(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    const TEXT: &str = "\
# all of ours
[other]
host=elsewhere
nonsense

  [metrics]
  host=db-1
# the second
dbname=a=b
port=5433
port=5434
[metrics]
user=nobody
";

    #[test]
    fn the_first_section_of_the_name_is_read() {
        let found = section("metrics", TEXT, Path::new("f")).expect("right");
        let found: Vec<_> = found.iter().flatten().collect();
        let shown: Vec<_> = found
            .iter()
            .map(|entry| (entry.name.as_str(), entry.value.as_str(), entry.line))
            .collect();
        assert_eq!(
            shown,
            [
                ("host", "db-1", 7),
                ("dbname", "a=b", 9),
                ("port", "5433", 10)
            ]
        );
        assert_eq!(
            section("metric", TEXT, Path::new("f")).expect("right"),
            None
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let (missing, file) = (folder.path().join("missing"), folder.path().join("file"));
        std::fs::write(&file, TEXT).expect("written");
        let files = [missing.clone(), file.clone()];
        assert_eq!(entries("metrics", &files).expect("there").len(), 3);
        let told = |service: &str, files: &[PathBuf]| {
            let error = entries(service, files).expect_err(service);
            assert_eq!(error.class(), ErrorClass::Usage);
            format!("{error}: {}", error.source().expect("says why"))
        };
        let (missing, shown) = (missing.display(), file.display());
        assert_eq!(
            told("other", &files),
            format!("reading the service file {shown}, line 4: it is not NAME=VALUE")
        );
        assert_eq!(
            told("absent", &files),
            format!(
                "looking for the service absent of PostgreSQL: there is no section [absent] in {missing} or {shown}"
            )
        );
        assert!(told("absent", &[]).contains("no service file is known"));
        std::fs::write(&file, "[a]\nservice=b").expect("written");
        assert!(told("a", &files).ends_with("line 2: a service cannot name another one"));
    }
}
