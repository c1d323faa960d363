//! What the database holds, read by plain SQL.

use super::oracle::{LedgerRow, Numbering, Position, Row, value_text};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use tidegauge_testkit::Database;

type Line = Vec<Option<String>>;

/// The rows of all measurements.
pub(super) fn rows(database: &Database) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in database.query("select name from measurement")? {
        let measurement = text(&line, 0)?.to_owned();
        // Through text, as JSON's numbers are not read exactly everywhere.
        let sql = format!(
            "select v.host, (extract(epoch from v.time) * 1000000)::bigint,
                    (select json_object_agg(e.key, e.value) from json_each_text(row_to_json(v)) e
                     where e.value is not null and e.key not in ('host', 'time'))
             from {measurement} v"
        );
        for line in database.query(&sql)? {
            let values: BTreeMap<String, String> = match line.get(2) {
                Some(Some(json)) => serde_json::from_str(json).context("read a row")?,
                _ => BTreeMap::new(),
            };
            rows.push(Row {
                host: text(&line, 0)?.to_owned(),
                measurement: measurement.clone(),
                time_us: number(&line, 1)?,
                values: values
                    .into_iter()
                    .map(|(name, value)| (name, value_text(&value)))
                    .collect(),
            });
        }
    }
    Ok(rows)
}

/// The ledger.
pub(super) fn ledger(database: &Database) -> anyhow::Result<BTreeMap<Numbering, LedgerRow>> {
    let sql = "select agent, epoch, next_sequence, missing, missing_batches, dropped_batches, \
               batches, points, duplicate_batches, conflicts, dropped from ledger";
    let lines = database.query(sql)?;
    let rows = lines.iter().map(|line| {
        let numbering = (text(line, 0)?.to_owned(), number(line, 1)?);
        let row = LedgerRow {
            next_sequence: number(line, 2)?,
            missing: text(line, 3)?.to_owned(),
            missing_batches: number(line, 4)?,
            dropped_batches: number(line, 5)?,
            batches: number(line, 6)?,
            points: number(line, 7)?,
            duplicate_batches: number(line, 8)?,
            conflicts: number(line, 9)?,
            dropped: dropped(text(line, 10)?)?,
        };
        Ok((numbering, row))
    });
    rows.collect()
}

/// `12-40:spool_full,44:refused`.
fn dropped(text: &str) -> anyhow::Result<Vec<(u64, u64, String)>> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    let ranges = parts.map(|part| {
        let (range, reason) = part.split_once(':').context("a drop without a reason")?;
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Ok((first.parse()?, last.parse()?, reason.to_owned()))
    });
    ranges.collect()
}

/// The positions; none while there is no table of them.
pub(super) fn positions(database: &Database) -> anyhow::Result<BTreeMap<i32, Position>> {
    let sql = "select partition, next_offset, messages, points, duplicate_points from position";
    let lines = database.query(sql)?;
    let rows = lines.iter().map(|line| {
        let position = Position {
            next_offset: number(line, 1)?,
            messages: number(line, 2)?,
            points: number(line, 3)?,
            duplicate_points: number(line, 4)?,
        };
        Ok((number(line, 0)?, position))
    });
    let read: anyhow::Result<Vec<(i32, Position)>> = rows.collect();
    let read = read?;
    let positions: BTreeMap<i32, Position> = read.iter().copied().collect();
    if positions.len() < read.len() {
        bail!("a partition has positions of two topics: {read:?}");
    }
    Ok(positions)
}

/// The dead letters, for a person.
pub(super) fn dead_letters(database: &Database) -> anyhow::Result<Vec<String>> {
    let sql = "select partition, message_offset, point_index, reason, detail from dead_letter";
    let lines = database.query(sql)?;
    Ok(lines
        .into_iter()
        .map(|line| line.into_iter().flatten().collect::<Vec<_>>().join(" "))
        .collect())
}

fn text(line: &Line, at: usize) -> anyhow::Result<&str> {
    let value = line.get(at).and_then(Option::as_deref);
    value.with_context(|| format!("column {at} is empty"))
}

fn number<T: std::str::FromStr>(line: &Line, at: usize) -> anyhow::Result<T> {
    let value = text(line, at)?;
    match value.parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!("{value:?} is not a number"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn told_drops_are_read() {
        let expected = [
            (12, 40, "spool_full".to_owned()),
            (44, 44, "refused".to_owned()),
        ];
        assert_eq!(
            super::dropped("12-40:spool_full,44:refused").unwrap(),
            expected
        );
        assert_eq!(super::dropped("").unwrap(), []);
        assert!(super::dropped("12").is_err());
    }
}
