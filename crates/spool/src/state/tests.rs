//! Tests that reach behind the handle: a full disk and failed writes.

use crate::{DropCause, NewBatch, Spool, SpoolError, SpoolSettings};
use tempfile::TempDir;

const SETTINGS: SpoolSettings = SpoolSettings {
    max_bytes: 1_000_000,
    max_age_us: i64::MAX,
};

fn spool(folder: &TempDir) -> Spool {
    Spool::open(&folder.path().join("spool.db"), SETTINGS, 1_000)
        .expect("a new spool")
        .0
}

fn append(spool: &Spool, bytes: usize) -> Result<crate::Appended, SpoolError> {
    let (epoch, sequence) = spool.next();
    spool.append(NewBatch {
        epoch,
        sequence,
        payload: &vec![7; bytes],
        tells_drops_through: None,
        now_us: 2_000,
    })
}

/// SQLite answers "disk full" when the file would grow over so many pages.
fn limit_pages(spool: &Spool, more: i64) {
    let state = spool.state_for_tests();
    let pragma = |name| {
        state
            .connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
    };
    let pages = pragma("page_count").expect("a count") - pragma("freelist_count").expect("a count");
    let limit = pages + more;
    state
        .connection
        .pragma_update_and_check(None, "max_page_count", limit, |row| row.get::<_, i64>(0))
        .expect("a limit");
}

fn no_limit(spool: &Spool) {
    limit_pages(spool, 1 << 20);
}

#[test]
fn q2_on_a_full_disk_the_oldest_make_room_and_are_counted() {
    let folder = TempDir::new().expect("a folder");
    let spool = spool(&folder);
    for _ in 0..10 {
        append(&spool, 20_000).expect("room");
    }
    limit_pages(&spool, 1);
    let appended = append(&spool, 30_000).expect("room is made");
    assert_eq!(appended.dropped.len(), 1);
    let dropped = &appended.dropped[0];
    assert_eq!((dropped.first_sequence, dropped.last_sequence), (0, 1));
    assert_eq!(dropped.cause, DropCause::DiskFull);
    assert_eq!(spool.drops().expect("readable"), appended.dropped);
    let stats = spool.stats().expect("readable");
    assert_eq!((stats.entries, stats.bytes), (9, 8 * 20_000 + 30_000));
    assert_eq!(stats.dropped[&DropCause::DiskFull], 2);
    let sequences: Vec<_> = spool.read(0, 100, 1 << 20).expect("readable").entries;
    assert_eq!(
        sequences.iter().map(|e| e.sequence).collect::<Vec<_>>(),
        (2..=10).collect::<Vec<_>>()
    );
}

#[test]
fn on_a_full_disk_nothing_is_given_up_where_acknowledged_entries_make_room() {
    let folder = TempDir::new().expect("a folder");
    let spool = spool(&folder);
    let ids: Vec<_> = (0..10)
        .map(|_| append(&spool, 20_000).expect("room").id)
        .collect();
    limit_pages(&spool, 0);
    assert!(spool.acknowledge_in_memory(&ids[8..]));
    let appended = append(&spool, 30_000).expect("room is made");
    assert_eq!(appended.dropped, []);
    assert_eq!(spool.stats().expect("readable").entries, 9);
}

#[test]
fn q4_a_batch_that_found_no_room_at_all_is_counted_and_its_number_is_used() {
    let folder = TempDir::new().expect("a folder");
    let spool = spool(&folder);
    append(&spool, 10).expect("room");
    limit_pages(&spool, 1);
    let before = spool.next();
    let error = append(&spool, 100_000).expect_err("no room");
    assert!(
        matches!(error, SpoolError::DiskFull { .. }) && error.is_retryable(),
        "{error}"
    );
    assert_eq!(spool.next(), before, "the number is free");
    assert_eq!(
        spool.stats().expect("readable").entries,
        1,
        "nothing was given up in vain"
    );

    spool.note_unstored(DropCause::DiskFull);
    assert_eq!(spool.next(), (before.0, before.1 + 1));
    let drops = spool.drops().expect("readable");
    assert_eq!((drops.len(), drops[0].first_sequence), (1, before.1));

    no_limit(&spool);
    append(&spool, 100_000).expect("room again");
    let sequences: Vec<_> = spool.read(0, 9, 1 << 20).expect("readable").entries;
    assert_eq!(
        sequences.iter().map(|e| e.sequence).collect::<Vec<_>>(),
        [0, 2]
    );
}

#[test]
fn a_loss_that_cannot_be_written_is_kept_in_memory_and_stored_with_the_next_batch() {
    let folder = TempDir::new().expect("a folder");
    let spool = spool(&folder);
    append(&spool, 10).expect("room");
    let read_only = |on: bool| {
        let state = spool.state_for_tests();
        state
            .connection
            .pragma_update(None, "query_only", on)
            .expect("a switch");
    };
    read_only(true);
    assert!(append(&spool, 10).is_err());
    spool.note_unstored(DropCause::DiskFull);
    assert!(append(&spool, 10).is_err());
    spool.note_unstored(DropCause::DiskFull);
    assert_eq!(spool.next().1, 3);
    assert_eq!(spool.drops().expect("readable"), [], "not in the file yet");
    assert_eq!(
        spool.stats().expect("readable").dropped[&DropCause::DiskFull],
        2
    );
    read_only(false);
    let appended = append(&spool, 10).expect("writable");
    assert_eq!(appended.dropped, [], "that append forced nothing out");
    let drops = spool.drops().expect("readable");
    assert_eq!(
        (drops.len(), drops[0].first_sequence, drops[0].last_sequence),
        (1, 1, 2)
    );
    assert_eq!(
        spool.stats().expect("readable").dropped[&DropCause::DiskFull],
        2
    );
    assert_eq!(spool.next().1, 4);
}

#[test]
fn q1_an_append_waits_for_the_disk_and_an_acknowledgement_leaves_that_to_it() {
    let folder = TempDir::new().expect("a folder");
    let spool = spool(&folder);
    let level = || {
        let state = spool.state_for_tests();
        state
            .connection
            .pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))
            .expect("a level")
    };
    const NORMAL: i64 = 1;
    const FULL: i64 = 2;
    assert_eq!(level(), FULL);
    for _ in 0..2 {
        let id = append(&spool, 10).expect("room").id;
        assert_eq!(level(), FULL);
        assert_eq!(spool.acknowledge(&[id]).expect("writable"), 1);
        assert_eq!(level(), NORMAL);
    }
    spool.begin_epoch(3_000).expect("writable");
    assert_eq!(level(), FULL);
}
