//! SQLite: prepared inserts, with the settings that the sink's connection has.

use super::{Limit, Meter, Plan, ends};
use crate::bench::target::Target;
use anyhow::Context;
use rusqlite::Connection;
use rusqlite::types::Value;
use std::path::Path;

/// One measurement's table with its rows in the order of time, cut into as many parts as there are
/// transactions, each of which is in the order of the primary key: as the sink writes them.
struct Table {
    insert: String,
    columns: usize,
    values: Vec<Value>,
    parts: Vec<std::ops::Range<usize>>,
}

pub(super) fn inserts(target: &Target, path: &Path, plan: Plan) -> anyhow::Result<Limit> {
    let connection = Connection::open(path).with_context(|| format!("open {}", path.display()))?;
    connection.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full; pragma journal_size_limit = 67108864",
    )?;
    let names: Vec<String> = connection
        .prepare("select name from sqlite_schema where type = 'table' and name glob 'm_*'")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut tables = Vec::new();
    for name in &names {
        tables.push(read(&connection, name, plan.transactions)?);
    }
    for name in &names {
        connection.execute_batch(&format!("delete from \"{name}\""))?;
    }
    // A small file without a log, as the sink found it.
    connection.execute_batch("vacuum; pragma wal_checkpoint(truncate)")?;
    let meter = Meter::start(target)?;
    let mut rows = 0;
    for part in 0..plan.transactions {
        connection.execute_batch("begin immediate")?;
        for table in &tables {
            let mut insert = connection.prepare_cached(&table.insert)?;
            for row in table.values[table.parts[part].clone()].chunks_exact(table.columns) {
                for (at, value) in row.iter().enumerate() {
                    insert.raw_bind_parameter(at + 1, value)?;
                }
                rows += insert.raw_execute()?;
            }
        }
        connection.execute_batch("commit")?;
    }
    meter.stop("prepared INSERT", rows, plan)
}

fn read(connection: &Connection, name: &str, parts: usize) -> anyhow::Result<Table> {
    let mut select = connection.prepare(&format!(
        "select * from \"{name}\" order by time, series_id"
    ))?;
    let columns = select.column_count();
    let mut rows: Vec<Vec<Value>> = select
        .query_map([], |row| (0..columns).map(|at| row.get(at)).collect())?
        .collect::<rusqlite::Result<_>>()?;
    let mut ranges = Vec::with_capacity(parts);
    let mut from = 0;
    for to in ends(rows.len(), parts) {
        rows[from..to].sort_by_key(|row| key(row));
        ranges.push(from * columns..to * columns);
        from = to;
    }
    let names: Vec<String> = select
        .column_names()
        .map(|name| format!("\"{name}\""))
        .collect();
    let marks = vec!["?"; columns].join(", ");
    Ok(Table {
        insert: format!(
            "insert into \"{name}\" ({}) values ({marks})",
            names.join(", ")
        ),
        columns,
        values: rows.into_iter().flatten().collect(),
        parts: ranges,
    })
}

/// Series and time are the first two columns.
fn key(row: &[Value]) -> (i64, i64) {
    let number = |at: usize| match row.get(at) {
        Some(Value::Integer(number)) => *number,
        _ => 0,
    };
    (number(0), number(1))
}
