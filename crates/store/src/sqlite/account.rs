//! The views `losses` and `freshness`, and the positions, for people.

use super::bookkeeping::unsigned;
use super::queries::Failure;
use crate::{HostFreshness, Loss, PartitionProgress};
use rusqlite::Connection;

/// All that was not stored.
pub(super) fn losses(connection: &Connection) -> Result<Vec<Loss>, Failure> {
    let losses = connection
        .prepare_cached(
            "select what, source, epoch, topic, \"partition\", reason, count, first_time_us,
             last_time_us from losses
             order by what, topic, source, epoch, \"partition\", reason",
        )?
        .query_map([], |row| {
            Ok(Loss {
                what: row.get(0)?,
                source: row.get(1)?,
                epoch: row.get(2)?,
                topic: row.get(3)?,
                partition: row.get(4)?,
                reason: row.get(5)?,
                count: unsigned(row, 6)?,
                first_us: row.get(7)?,
                last_us: row.get(8)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(losses)
}

/// How fresh each host is.
pub(super) fn freshness(connection: &Connection) -> Result<Vec<HostFreshness>, Failure> {
    let hosts = connection
        .prepare_cached(
            "select identity, name, last_sample_us, age_seconds from freshness
             order by name, host_id",
        )?
        .query_map([], |row| {
            Ok(HostFreshness {
                identity: row.get(0)?,
                name: row.get(1)?,
                last_sample_us: row.get(2)?,
                age_seconds: row.get(3)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(hosts)
}

/// How far each partition was read.
pub(super) fn progress(connection: &Connection) -> Result<Vec<PartitionProgress>, Failure> {
    let partitions = connection
        .prepare_cached(
            "select source, topic, \"partition\", next_offset, messages, points,
             duplicate_points, dead_letters, left_out_values, updated
             from position order by topic, source, \"partition\"",
        )?
        .query_map([], |row| {
            Ok(PartitionProgress {
                source: row.get(0)?,
                topic: row.get(1)?,
                partition: row.get(2)?,
                next_offset: row.get(3)?,
                messages: unsigned(row, 4)?,
                points: unsigned(row, 5)?,
                duplicate_points: unsigned(row, 6)?,
                dead_letters: unsigned(row, 7)?,
                left_out_values: unsigned(row, 8)?,
                updated_us: row.get(9)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(partitions)
}
