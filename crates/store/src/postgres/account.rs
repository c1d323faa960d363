//! The views `losses` and `freshness`, and the positions, for people.

use super::connect::Session;
use super::values::{Time, unsigned};
use crate::{HostFreshness, Loss, PartitionProgress, StoreError};

/// All that was not stored.
pub(super) async fn losses(session: &mut Session) -> Result<Vec<Loss>, StoreError> {
    let sql = "select what, source, epoch, topic, partition, reason, count, first_time, last_time
               from losses order by what, topic, source collate \"C\", epoch, partition, reason";
    let rows = session.query("reading the losses", sql, &[]).await?;
    let losses = rows.iter().map(|row| Loss {
        what: row.get(0),
        source: row.get(1),
        epoch: row.get(2),
        topic: row.get(3),
        partition: row.get(4),
        reason: row.get(5),
        count: unsigned(row.get(6)),
        first_us: row.get::<_, Option<Time>>(7).map(|time| time.0),
        last_us: row.get::<_, Option<Time>>(8).map(|time| time.0),
    });
    Ok(losses.collect())
}

/// How fresh each host is.
pub(super) async fn freshness(session: &mut Session) -> Result<Vec<HostFreshness>, StoreError> {
    let sql = "select identity, name, last_sample, age_seconds from freshness
               order by name collate \"C\", host_id";
    let rows = session.query("reading the freshness", sql, &[]).await?;
    let hosts = rows.iter().map(|row| HostFreshness {
        identity: row.get(0),
        name: row.get(1),
        last_sample_us: row.get::<_, Option<Time>>(2).map(|time| time.0),
        age_seconds: row.get(3),
    });
    Ok(hosts.collect())
}

/// How far each partition was read.
pub(super) async fn progress(session: &mut Session) -> Result<Vec<PartitionProgress>, StoreError> {
    let sql = "select source, topic, partition, next_offset, messages, points, duplicate_points,
               dead_letters, left_out_values, updated
               from position order by topic collate \"C\", source collate \"C\", partition";
    let rows = session.query("reading the positions", sql, &[]).await?;
    let partitions = rows.iter().map(|row| PartitionProgress {
        source: row.get(0),
        topic: row.get(1),
        partition: row.get(2),
        next_offset: row.get(3),
        messages: unsigned(row.get(4)),
        points: unsigned(row.get(5)),
        duplicate_points: unsigned(row.get(6)),
        dead_letters: unsigned(row.get(7)),
        left_out_values: unsigned(row.get(8)),
        updated_us: row.get::<_, Time>(9).0,
    });
    Ok(partitions.collect())
}
