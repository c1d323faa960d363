//! The table `entry`: batches in the order of their append (Q3), with their checksums (Q7).

use crate::drops::{DropCause, Range};
use crate::{signed, unsigned};
use rusqlite::{Connection, OptionalExtension as _, Result, params};
use std::ops::{AddAssign, SubAssign};

/// A batch that was read from the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its row: greater than those of all batches that were appended before it.
    pub id: i64,
    /// The epoch that it was appended in.
    pub epoch: i64,
    /// Its number within the epoch.
    pub sequence: u64,
    /// When it was appended, in microseconds since 1970 UTC.
    pub created_us: i64,
    /// Its bytes, as they were appended.
    pub payload: Vec<u8>,
}

/// An entry that is not there any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Removed {
    pub(crate) epoch: i64,
    pub(crate) sequence: u64,
    pub(crate) bytes: u64,
}

impl Removed {
    pub(crate) const fn size(&self) -> Size {
        Size {
            entries: 1,
            bytes: self.bytes,
        }
    }
}

/// How many entries, and the bytes of their payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl AddAssign for Size {
    fn add_assign(&mut self, more: Self) {
        self.entries += more.entries;
        self.bytes += more.bytes;
    }
}

impl SubAssign for Size {
    fn sub_assign(&mut self, less: Self) {
        self.entries = self.entries.saturating_sub(less.entries);
        self.bytes = self.bytes.saturating_sub(less.bytes);
    }
}

/// Entries that follow one another.
#[derive(Debug, Default)]
pub struct Page {
    /// The oldest first; those that are corrupt are left out.
    pub entries: Vec<Entry>,
    /// Whether there was nothing behind them.
    pub is_last: bool,
    /// Ids of entries whose checksum does not fit.
    pub(crate) corrupt: Vec<i64>,
}

/// What has to go before an append.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excess {
    /// Entries from before this moment go with the cause [`DropCause::Age`].
    pub(crate) before_us: i64,
    /// Then so many bytes with the cause [`DropCause::Full`].
    pub(crate) bytes: u64,
    /// At least so many bytes altogether, those beyond with the cause [`DropCause::DiskFull`].
    pub(crate) disk_bytes: u64,
}

/// What was forced out: the oldest entries.
#[derive(Debug, Default)]
pub(crate) struct ForcedOut {
    pub(crate) ranges: Vec<Range>,
    pub(crate) size: Size,
    /// The last id of them.
    pub(crate) last_id: Option<i64>,
}

fn checksum(epoch: i64, sequence: i64, payload: &[u8]) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&epoch.to_le_bytes());
    hasher.update(&sequence.to_le_bytes());
    hasher.update(payload);
    i64::from(hasher.finalize())
}

pub(crate) fn insert(
    connection: &Connection,
    (epoch, sequence): (i64, u64),
    created_us: i64,
    payload: &[u8],
) -> Result<i64> {
    let sequence = signed(sequence);
    connection
        .prepare_cached(
            "INSERT INTO entry (epoch, sequence, created_us, bytes, crc32, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            epoch,
            sequence,
            created_us,
            signed(payload.len() as u64),
            checksum(epoch, sequence, payload),
            payload
        ])?;
    Ok(connection.last_insert_rowid())
}

/// Removes one entry, if it is there.
pub(crate) fn remove(connection: &Connection, id: i64) -> Result<Option<Removed>> {
    connection
        .prepare_cached("DELETE FROM entry WHERE id = ?1 RETURNING epoch, sequence, bytes")?
        .query_row([id], |row| {
            Ok(Removed {
                epoch: row.get(0)?,
                sequence: unsigned(row.get(1)?),
                bytes: unsigned(row.get(2)?),
            })
        })
        .optional()
}

/// Removes the oldest entries until there is no excess (Q3, Q6).
pub(crate) fn force_out(connection: &Connection, excess: Excess) -> Result<ForcedOut> {
    let mut out = ForcedOut::default();
    let mut oldest = connection
        .prepare_cached("SELECT id, epoch, sequence, created_us, bytes FROM entry ORDER BY id")?;
    let mut rows = oldest.query([])?;
    while let Some(row) = rows.next()? {
        let cause = if row.get::<_, i64>(3)? < excess.before_us {
            DropCause::Age
        } else if out.size.bytes < excess.bytes {
            DropCause::Full
        } else if out.size.bytes < excess.disk_bytes {
            DropCause::DiskFull
        } else {
            break;
        };
        let range = Range::one(row.get(1)?, unsigned(row.get(2)?), cause);
        Range::push(&mut out.ranges, range);
        out.size += Size {
            entries: 1,
            bytes: unsigned(row.get(4)?),
        };
        out.last_id = Some(row.get(0)?);
    }
    drop(rows);
    if let Some(last_id) = out.last_id {
        connection
            .prepare_cached("DELETE FROM entry WHERE id <= ?1")?
            .execute([last_id])?;
    }
    Ok(out)
}

/// Reads entries behind `after_id`: at most `max_entries`, and `max_bytes` unless it is only one.
pub(crate) fn read_page(
    connection: &Connection,
    after_id: i64,
    max_entries: usize,
    max_bytes: usize,
) -> Result<Page> {
    let mut page = Page::default();
    let mut bytes = 0u64;
    let mut behind = connection.prepare_cached(
        "SELECT id, epoch, sequence, created_us, bytes, crc32, payload FROM entry
         WHERE id > ?1 ORDER BY id",
    )?;
    let mut rows = behind.query([after_id])?;
    while page.entries.len() < max_entries.max(1) {
        let Some(row) = rows.next()? else {
            page.is_last = true;
            break;
        };
        let (id, epoch, sequence) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let stored_bytes = unsigned(row.get(4)?);
        if !page.entries.is_empty() && bytes.saturating_add(stored_bytes) > max_bytes as u64 {
            break;
        }
        let payload = row.get_ref(6)?.as_blob()?;
        let length_fits = payload.len() as u64 == stored_bytes;
        if !length_fits || checksum(epoch, sequence, payload) != row.get::<_, i64>(5)? {
            page.corrupt.push(id);
            continue;
        }
        bytes += stored_bytes;
        page.entries.push(Entry {
            id,
            epoch,
            sequence: unsigned(sequence),
            created_us: row.get(3)?,
            payload: payload.to_vec(),
        });
    }
    Ok(page)
}

/// All entries, by reading all of them but their payloads.
pub(crate) fn count(connection: &Connection) -> Result<Size> {
    connection.query_row(
        "SELECT count(*), coalesce(sum(bytes), 0) FROM entry",
        [],
        |row| {
            Ok(Size {
                entries: unsigned(row.get(0)?),
                bytes: unsigned(row.get(1)?),
            })
        },
    )
}

/// Those of these ids that are there.
pub(crate) fn size_of(connection: &Connection, ids: &[i64]) -> Result<Size> {
    let mut size = Size::default();
    let mut bytes = connection.prepare_cached("SELECT bytes FROM entry WHERE id = ?1")?;
    for id in ids {
        if let Some(bytes) = bytes.query_row([id], |row| row.get(0)).optional()? {
            let bytes = unsigned(bytes);
            size += Size { entries: 1, bytes };
        }
    }
    Ok(size)
}

/// When the oldest entry was appended that is none of these.
pub(crate) fn oldest_us(connection: &Connection, but: &[i64]) -> Result<Option<i64>> {
    let mut oldest = connection.prepare_cached("SELECT id, created_us FROM entry ORDER BY id")?;
    let mut rows = oldest.query([])?;
    while let Some(row) = rows.next()? {
        if !but.contains(&row.get(0)?) {
            return row.get(1).map(Some);
        }
    }
    Ok(None)
}

/// The id that the next append gets.
pub(crate) fn next_id(connection: &Connection) -> Result<i64> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'entry'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0) + 1)
}

/// Makes the next append get `id` at least.
pub(crate) fn advance_id(connection: &Connection, id: i64) -> Result<()> {
    if id <= next_id(connection)? {
        return Ok(());
    }
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'entry'", [])?;
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('entry', ?1)",
        [id - 1],
    )?;
    Ok(())
}
