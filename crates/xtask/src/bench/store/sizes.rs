//! What tables take on disk, as each database tells it.

use crate::bench::target::{SqliteFile, Target};
use anyhow::Context;
use std::collections::BTreeMap;

/// Leaves of every partitioned table by their measurement; a heap comes with its maps of free and
/// visible pages, an index stands for itself.
const POSTGRES: &str = "select m.name, sum(pg_table_size(l.oid))::bigint, \
        sum(pg_indexes_size(l.oid))::bigint \
    from measurement m join partition p on p.measurement_id = m.id \
    join pg_class l on l.oid = to_regclass(quote_ident(p.name)) group by 1 order by 1";

/// InnoDB's files; a clustered table is its own index.
const MARIADB: &str = "select substring(t.name, length(database()) + 2), s.file_size, 0 \
    from information_schema.innodb_sys_tables t \
    join information_schema.innodb_sys_tablespaces s on s.space = t.space \
    where t.name like concat(replace(database(), '_', '\\_'), '/%') order by 1";

/// Pages of the b-trees; a table without rowids is its own index.
const SQLITE: &str = "select name, sum(pgsize), 0 from dbstat group by 1 order by 1";

/// Bytes of one measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) table_bytes: u64,
    pub(super) index_bytes: u64,
}

/// Bytes of all tables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) measurements: BTreeMap<String, Size>,
    pub(super) bookkeeping_bytes: u64,
}

pub(super) fn sizes(target: &Target) -> anyhow::Result<Sizes> {
    match target {
        Target::Postgres { .. } => {
            target.query("vacuum analyze")?;
            let mut sizes = Sizes::default();
            for row in target.query(POSTGRES)? {
                let (name, size) = size(&row)?;
                sizes.measurements.insert(name.to_owned(), size);
            }
            let others = "select sum(pg_total_relation_size(oid))::bigint from pg_class \
                where relkind = 'r' and relnamespace = 'public'::regnamespace and relname !~ '^m_' \
                and relname not in (select name from partition)";
            sizes.bookkeeping_bytes = target.number(others)?;
            Ok(sizes)
        }
        Target::Mysql { .. } => split(&target.query(MARIADB)?),
        Target::Sqlite(file) => {
            take_in_the_log(file)?;
            split(&target.query(SQLITE)?)
        }
    }
}

/// Tables of measurements begin with `m_`, which no other does.
fn split(rows: &[Vec<Option<String>>]) -> anyhow::Result<Sizes> {
    let mut sizes = Sizes::default();
    for row in rows {
        let (name, size) = size(row)?;
        match name.strip_prefix("m_") {
            Some(measurement) => {
                sizes.measurements.insert(measurement.to_owned(), size);
            }
            None => sizes.bookkeeping_bytes += size.table_bytes,
        }
    }
    Ok(sizes)
}

/// A name, the bytes of its table and of its indexes.
fn size(row: &[Option<String>]) -> anyhow::Result<(&str, Size)> {
    let text = |at: usize| {
        row.get(at)
            .and_then(|text| text.as_deref())
            .context("a size")
    };
    let bytes = |at: usize| -> anyhow::Result<u64> { text(at)?.parse().context("read a size") };
    let size = Size {
        table_bytes: bytes(1)?,
        index_bytes: bytes(2)?,
    };
    Ok((text(0)?, size))
}

fn take_in_the_log(file: &SqliteFile) -> anyhow::Result<()> {
    let connection = rusqlite::Connection::open(&file.path)
        .with_context(|| format!("open {}", file.path.display()))?;
    connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_measurements_are_told_from_others() {
        let row = |name: &str, bytes: &str| {
            [name, bytes, "0"]
                .map(|text| Some(text.to_owned()))
                .to_vec()
        };
        let sizes = split(&[
            row("host", "4096"),
            row("m_cpu", "8192"),
            row("series", "1"),
        ])
        .expect("sizes");
        assert_eq!(sizes.bookkeeping_bytes, 4_097);
        assert_eq!(sizes.measurements["cpu"].table_bytes, 8_192);
        assert!(split(&[row("m_cpu", "many")]).is_err());
    }

    #[test]
    fn a_file_tells_what_its_tables_take() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db");
        rusqlite::Connection::open(&path)
            .and_then(|connection| {
                connection.execute_batch("create table m_cpu (n integer primary key) strict")
            })
            .expect("a file");
        let sizes = sizes(&Target::Sqlite(SqliteFile { path })).expect("sizes");
        assert_eq!(sizes.measurements["cpu"].table_bytes, 4_096);
    }
}
