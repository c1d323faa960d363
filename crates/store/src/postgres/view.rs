//! The view of a measurement: host, time, tags and fields as columns (S2).
//!
//! A view is only ever added to at its end, so that `create or replace` does it: rights and other
//! views that hang on it stay. So tags that come later stand after fields.

use super::values::{data_table, literal, quoted};
use tidegauge_model::catalog::RESERVED_FIELDS;

/// The longest identifier in bytes; PostgreSQL cuts longer ones.
const IDENTIFIER_BYTES: usize = 63;

/// One column of a view.
#[derive(Debug, PartialEq, Eq)]
struct Column {
    name: String,
    expression: String,
}

/// The columns that a view is to have, in the order of a new one. A tag whose name is a field's or
/// a reserved column's is `tag_<name>`.
fn wanted(tags: &[String], fields: &[String]) -> Vec<Column> {
    let own = ["host", "time"].map(str::to_owned);
    let mut taken: std::collections::HashSet<String> = own.iter().chain(fields).cloned().collect();
    taken.extend(RESERVED_FIELDS.iter().map(|&name| name.to_owned()));
    let column = |name: &str, expression: String| Column {
        name: name.to_owned(),
        expression,
    };
    let mut columns = vec![
        column("host", "h.name".to_owned()),
        column("time", "p.time".to_owned()),
    ];
    // Tags that keep their names first, so that a made-up name gives way to a real one.
    let (free, collide): (Vec<_>, Vec<_>) = tags.iter().partition(|tag| !taken.contains(*tag));
    taken.extend(free.iter().map(|&tag| tag.clone()));
    let mut named: Vec<(&String, String)> = free.iter().map(|&tag| (tag, tag.clone())).collect();
    for tag in collide {
        let mut name = tag.clone();
        while taken.contains(&name) {
            name = format!("tag_{name}");
            name.truncate(IDENTIFIER_BYTES);
        }
        taken.insert(name.clone());
        named.push((tag, name));
    }
    named.sort();
    columns.extend(
        named
            .iter()
            .map(|(tag, name)| column(name, format!("s.tags ->> {}", literal(tag)))),
    );
    let field = |name: &String| column(name, format!("p.{}", quoted(name)));
    columns.extend(fields.iter().map(field));
    columns
}

/// Whether a view with these columns lacks some.
pub(super) fn is_stale(existing: &[String], tags: &[String], fields: &[String]) -> bool {
    wanted(tags, fields)
        .iter()
        .any(|column| !existing.contains(&column.name))
}

/// The statements that bring a view up to date.
pub(super) fn statements(
    measurement: &str,
    existing: &[String],
    tags: &[String],
    fields: &[String],
) -> String {
    let mut columns = wanted(tags, fields);
    // A tag's column whose name a field takes now has to change its meaning, which only a new
    // view can do.
    let changes = tags.iter().any(|tag| {
        let renamed =
            |column: &&Column| column.expression == format!("s.tags ->> {}", literal(tag));
        let name = columns.iter().find(renamed).map(|column| &column.name);
        name != Some(tag)
            && existing.contains(tag)
            && !name.is_some_and(|name| existing.contains(name))
            && !RESERVED_FIELDS.contains(&tag.as_str())
    });
    let known = |name: &String| columns.iter().any(|column| column.name == *name);
    let drop = !existing.is_empty() && (changes || !existing.iter().all(known));
    if !drop {
        let place = |column: &Column| {
            let at = existing.iter().position(|name| *name == column.name);
            at.unwrap_or(existing.len())
        };
        columns.sort_by_key(place);
    }
    let view = quoted(measurement);
    let list: Vec<String> = columns
        .iter()
        .map(|column| format!("{} as {}", column.expression, quoted(&column.name)))
        .collect();
    let create = format!(
        "create or replace view {view} as select {} from {} p join series s on s.id = p.series_id \
         join host h on h.id = s.host_id",
        list.join(", "),
        data_table(measurement)
    );
    match drop {
        true => format!("drop view {view}; {create}"),
        false => create,
    }
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
            names(&["x", "tag_x"], &["x"]),
            ["host", "time", "tag_x", "tag_tag_x", "x"]
        );
        let long = "l".repeat(60);
        assert!(
            names(&[&long], &[&long])
                .iter()
                .all(|name| name.len() <= 63)
        );
    }

    #[test]
    fn columns_are_added_at_the_end() {
        let existing = owned(&["host", "time", "b"]);
        let (tags, fields) = (owned(&["t"]), owned(&["a", "b"]));
        assert!(is_stale(&existing, &tags, &fields));
        let sql = statements("x", &existing, &tags, &fields);
        assert!(
            sql.starts_with(
                "create or replace view \"x\" as select h.name as \"host\", p.time as \"time\", \
                 p.\"b\" as \"b\", s.tags ->> 't' as \"t\", p.\"a\" as \"a\" from \"m_x\" p"
            ),
            "{sql}"
        );
    }

    #[test]
    fn a_column_that_changes_its_meaning_needs_a_new_view() {
        let existing = owned(&["host", "time", "mode", "a"]);
        let sql = statements("x", &existing, &owned(&["mode"]), &owned(&["a", "mode"]));
        assert!(sql.starts_with("drop view \"x\"; create"), "{sql}");
    }
}
