//! `cargo xtask docs`: the pages of `docs/` that come from tables in the code (A2).

use std::fmt::Write as _;
use std::fs;

use anyhow::Context;
use tidegauge_model::catalog::{MeasurementEntry, measurements};
use tidegauge_model::{DropReason, Reason};

use crate::run::root;

const NOTE: &str =
    "<!-- Written by `cargo xtask docs`; change the table in the code instead. -->\n";

/// Writes the pages, or with `check` says which are out of date.
pub(crate) fn docs(check: bool) -> anyhow::Result<bool> {
    let stale = stale_pages()?;
    for (path, text) in &stale {
        if check {
            eprintln!("docs: {path} is out of date: run `cargo xtask docs`");
        } else {
            let path = root().join(path);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            eprintln!("docs: wrote {}", path.display());
        }
    }
    Ok(!check || stale.is_empty())
}

/// The pages whose file says something else than the code, with what they should say.
pub(crate) fn stale_pages() -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut stale = Vec::new();
    for (path, text) in [
        ("docs/measurements.md", measurements_page()),
        ("docs/reasons.md", reasons_page()),
    ] {
        let file = root().join(path);
        let found = match fs::read_to_string(&file) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
        };
        if found.as_deref() != Some(text.as_str()) {
            stale.push((path, text));
        }
    }
    Ok(stale)
}

fn measurements_page() -> String {
    let mut entries: Vec<&MeasurementEntry> = measurements().collect();
    entries.sort_by_key(|entry| entry.name);
    let mut page = format!(
        "# Built-in measurements\n\n{NOTE}
Each measurement is a view of that name in the database. Its columns are `host`, `time`, the tags
and the fields; a field that a host cannot tell is null. Any other measurement that a producer
sends is stored as well.\n"
    );
    for entry in entries {
        line(
            &mut page,
            &format!(
                "\n## {}\n\n{} Kind: {}.\n",
                entry.name, entry.description, entry.kind
            ),
        );
        if !entry.tags.is_empty() {
            line(&mut page, "| tag | meaning |\n|---|---|");
            for tag in entry.tags {
                line(
                    &mut page,
                    &format!("| `{}` | {} |", tag.name, cell(tag.description)),
                );
            }
            page.push('\n');
        }
        line(
            &mut page,
            "| field | kind | type | unit | meaning |\n|---|---|---|---|---|",
        );
        for field in entry.fields {
            let row = format!(
                "| `{}` | {} | {} | {} | {} |",
                field.name,
                field.kind,
                field.value_type,
                field.unit,
                cell(field.description)
            );
            line(&mut page, &row);
        }
    }
    page
}

fn reasons_page() -> String {
    let mut page = format!(
        "# Reasons\n\n{NOTE}
## Dead letters

Why a message or a point could not be stored, as in `dead_letter.reason` and in `/metrics`.

| reason | meaning |
|---|---|\n"
    );
    for reason in Reason::ALL {
        line(
            &mut page,
            &format!("| `{reason}` | {} |", cell(reason.description())),
        );
    }
    page.push_str(
        "\n## Drops\n\nWhy an agent had to give up batches before they were sent; it tells the sink with its next batch.\n\n",
    );
    for reason in DropReason::ALL {
        line(&mut page, &format!("- `{}`", reason.as_str()));
    }
    page
}

fn line(page: &mut String, text: &str) {
    writeln!(page, "{text}").expect("a string can be written");
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_pages_are_up_to_date() {
        let stale: Vec<_> = stale_pages()
            .unwrap()
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        assert!(stale.is_empty(), "run `cargo xtask docs`: {stale:?}");
    }

    /// `a.{b,c}_d` is `a.b_d` and `a.c_d`.
    fn expanded(name: &str) -> Vec<String> {
        let inner = name
            .rfind('{')
            .and_then(|open| Some((open, open + name[open..].find('}')?)));
        let Some((open, close)) = inner else {
            return vec![name.to_owned()];
        };
        name[open + 1..close]
            .split(',')
            .flat_map(|choice| {
                expanded(&format!("{}{choice}{}", &name[..open], &name[close + 1..]))
            })
            .collect()
    }

    #[test]
    fn dashboards_are_moved_to_fields_that_there_are() {
        let settings = ["process.group_by", "process.only"];
        let page = fs::read_to_string(root().join("docs/moving.md")).unwrap();
        let mut checked = 0;
        for row in page.lines().filter(|row| row.starts_with("| ")) {
            let here = row.split(" | ").nth(1).unwrap_or_default();
            // Every second part is between back quotes.
            for name in here.split('`').skip(1).step_by(2) {
                if name.contains(['*', '…', ' ']) || settings.contains(&name) {
                    continue;
                }
                for name in expanded(name) {
                    let Some((measurement, field)) = name.split_once('.') else {
                        continue;
                    };
                    if let Some(measurement) =
                        measurements().find(|entry| entry.name == measurement)
                    {
                        assert!(measurement.field(field).is_some(), "{name} in {row}");
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 300, "{checked} names were found in the tables");
        assert_eq!(
            expanded("a.{b,c}_{d,e}"),
            ["a.b_d", "a.c_d", "a.b_e", "a.c_e"]
        );
    }
}
