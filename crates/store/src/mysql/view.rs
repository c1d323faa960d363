//! The view of a measurement: host, time, tags and fields as columns (S2).

use super::values::{IDENTIFIER_CHARACTERS, data_table, quoted, text};
use std::collections::BTreeSet;
use tidegauge_model::catalog::RESERVED_FIELDS;

/// Tags that are columns; further ones are in `series.tags` alone.
const MOST_TAGS: usize = 400;

/// One column of a view.
#[derive(Debug, PartialEq, Eq)]
struct Column {
    name: String,
    expression: String,
}

/// The columns that a view is to have. A tag whose name is a field's or a reserved column's is
/// `tag_<name>`.
fn wanted(tags: &[String], fields: &[String]) -> Vec<Column> {
    let mut taken: BTreeSet<&str> = fields.iter().map(String::as_str).collect();
    taken.extend(RESERVED_FIELDS);
    let tags = || tags.iter().take(MOST_TAGS);
    // Tags that keep their names first, so that a made-up name gives way to a real one.
    let free = tags().filter(|tag| !taken.contains(tag.as_str()));
    let free: BTreeSet<&str> = free.map(String::as_str).collect();
    let mut used: BTreeSet<String> = taken
        .iter()
        .chain(&free)
        .map(|name| (*name).to_owned())
        .collect();
    let mut columns = vec![
        Column {
            name: "host".to_owned(),
            expression: "h.`name`".to_owned(),
        },
        Column {
            name: "time".to_owned(),
            expression: "d.`time`".to_owned(),
        },
    ];
    for tag in tags() {
        let mut name = tag.clone();
        while !free.contains(tag.as_str()) && used.contains(&name) {
            name = format!("tag_{name}");
            name = name.chars().take(IDENTIFIER_CHARACTERS).collect();
        }
        used.insert(name.clone());
        let path = format!("$.{}", serde_json::Value::from(tag.as_str()));
        let expression = format!("json_unquote(json_extract(s.`tags`, {}))", text(&path));
        columns.push(Column { name, expression });
    }
    columns.extend(fields.iter().map(|name| Column {
        name: name.clone(),
        expression: format!("d.{}", quoted(name)),
    }));
    columns
}

/// Whether a view with these columns is not the one that is wanted.
pub(super) fn is_stale(existing: &[String], tags: &[String], fields: &[String]) -> bool {
    let wanted = wanted(tags, fields);
    !wanted.iter().map(|column| &column.name).eq(existing)
}

/// The statement that makes a view, or makes it anew; rights and views that hang on it stay.
pub(super) fn statement(measurement: &str, tags: &[String], fields: &[String]) -> String {
    let columns: Vec<String> = wanted(tags, fields)
        .iter()
        .map(|column| format!("{} as {}", column.expression, quoted(&column.name)))
        .collect();
    format!(
        "create or replace view {} as select {} from {} d join `series` s on s.`id` = d.`series_id` \
         join `host` h on h.`id` = s.`host_id`",
        quoted(measurement),
        columns.join(", "),
        data_table(measurement)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn names(tags: &[&str], fields: &[&str]) -> Vec<String> {
        let wanted = wanted(&owned(tags), &owned(fields));
        wanted.into_iter().map(|column| column.name).collect()
    }

    #[test]
    fn a_tag_gives_way_to_a_field() {
        assert_eq!(
            names(&["cpu", "mode", "time"], &["mode"]),
            ["host", "time", "cpu", "tag_mode", "tag_time", "mode"]
        );
        assert_eq!(
            names(&["tag_x", "x"], &["x"]),
            ["host", "time", "tag_x", "tag_tag_x", "x"]
        );
        let long = "l".repeat(60);
        assert!(
            names(&[&long], &[&long])
                .iter()
                .all(|name| name.len() <= 64)
        );
    }

    #[test]
    fn a_new_column_or_a_new_meaning_makes_it_stale() {
        let existing = owned(&["host", "time", "mode", "a"]);
        assert!(!is_stale(&existing, &owned(&["mode"]), &owned(&["a"])));
        assert!(is_stale(&existing, &owned(&["mode"]), &owned(&["a", "b"])));
        assert!(is_stale(
            &existing,
            &owned(&["mode"]),
            &owned(&["a", "mode"])
        ));
        assert!(is_stale(&[], &[], &[]));
    }
}
