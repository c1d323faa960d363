//! Bounds, pages, ids, epochs, and drops that are told until they are known.

use crate::{WIDE, append, open, sequences};
use std::path::Path;
use tempfile::TempDir;
use tidegauge_spool::{DropCause, NewBatch, Spool, SpoolError, SpoolSettings};

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

/// First and last sequence of what is untold.
fn untold(spool: &Spool) -> Vec<(u64, u64, DropCause)> {
    let drops = spool.drops().expect("readable");
    let range = |d: &tidegauge_spool::Dropped| (d.first_sequence, d.last_sequence, d.cause);
    drops.iter().map(range).collect()
}

#[test]
fn q6_bytes_force_the_oldest_out() {
    let folder = folder();
    let settings = SpoolSettings {
        max_bytes: 100,
        ..WIDE
    };
    let spool = open(&folder.path().join("s"), settings);
    for _ in 0..10 {
        assert_eq!(append(&spool, &[1; 10], false, 0).dropped, []);
    }
    let appended = append(&spool, &[2; 25], false, 0);
    assert_eq!(appended.dropped.len(), 1);
    assert_eq!(appended.dropped[0].batches(), 3);
    assert_eq!(sequences(&spool), (3..=10).collect::<Vec<_>>());
    let stats = spool.stats().expect("readable");
    assert_eq!((stats.entries, stats.bytes, stats.next_id), (8, 95, 12));
    assert_eq!(stats.dropped[&DropCause::Full], 3);

    let (epoch, sequence) = spool.next();
    let too_large = NewBatch {
        epoch,
        sequence,
        payload: &[0; 101],
        tells_drops_through: None,
        now_us: 0,
    };
    let error = spool.append(too_large).expect_err("larger than the spool");
    assert!(
        matches!(
            error,
            SpoolError::TooLarge {
                bytes: 101,
                max_bytes: 100
            }
        ),
        "{error}"
    );
    assert_eq!(sequences(&spool).len(), 8, "nothing was given up for it");
}

#[test]
fn q6_age_forces_the_oldest_out() {
    let folder = folder();
    let settings = SpoolSettings {
        max_age_us: 50,
        ..WIDE
    };
    let spool = open(&folder.path().join("s"), settings);
    for now_us in [100, 110, 120, 160] {
        append(&spool, b"x", false, now_us);
    }
    assert_eq!(sequences(&spool), [1, 2, 3]);
    assert_eq!(untold(&spool), [(0, 0, DropCause::Age)]);
    assert_eq!(spool.stats().expect("readable").oldest_us, Some(110));
}

#[test]
fn bounds_of_zero_are_refused() {
    let folder = folder();
    for settings in [
        SpoolSettings {
            max_bytes: 0,
            ..WIDE
        },
        SpoolSettings {
            max_age_us: 0,
            ..WIDE
        },
    ] {
        let error = Spool::open(&folder.path().join("s"), settings, 0).expect_err("refused");
        assert!(matches!(error, SpoolError::Settings { .. }), "{error}");
    }
}

#[test]
fn q5_an_outage_of_any_length_is_one_range_that_is_told_until_acknowledged() {
    let folder = folder();
    let path = folder.path().join("s");
    let settings = SpoolSettings {
        max_bytes: 50,
        ..WIDE
    };
    let spool = open(&path, settings);
    for round in 0..100 {
        let before = untold(&spool);
        append(&spool, &[0; 10], true, 0);
        assert!(
            before.len() <= 1 && untold(&spool).len() <= 1,
            "round {round}: {before:?}"
        );
    }
    // 95 were forced out; the last append forced 94 out itself and told 0 to 93 only.
    assert_eq!(untold(&spool), [(0, 94, DropCause::Full)]);
    let ids: Vec<_> = spool
        .read(0, 9, 999)
        .expect("readable")
        .entries
        .iter()
        .map(|e| e.id)
        .collect();
    assert_eq!(spool.acknowledge(&ids).expect("writable"), 5);
    assert_eq!(
        untold(&spool),
        [(0, 94, DropCause::Full)],
        "what was told is the same range"
    );

    let told = append(&spool, b"tells", true, 0);
    assert_eq!(untold(&spool), []);
    drop(spool);
    let spool = open(&path, settings);
    assert_eq!(untold(&spool), [], "an entry tells them");
    assert_eq!(spool.acknowledge(&[told.id]).expect("writable"), 1);
    let again = append(&spool, b"again", true, 0);
    spool.refuse(again.id).expect("writable");
    assert_eq!(
        untold(&spool),
        [(101, 101, DropCause::Refused)],
        "the old ones are forgotten"
    );
}

#[test]
fn q5_drops_told_by_an_entry_that_is_given_up_are_told_again() {
    let folder = folder();
    let spool = open(&folder.path().join("s"), WIDE);
    let first = append(&spool, b"0", true, 0);
    spool.refuse(first.id).expect("writable");
    let second = append(&spool, b"1", true, 0);
    assert_eq!(untold(&spool), []);
    spool.refuse(second.id).expect("writable");
    assert_eq!(untold(&spool), [(0, 1, DropCause::Refused)]);
    spool.refuse(second.id).expect("a second time is nothing");
    assert_eq!(
        spool.stats().expect("readable").dropped[&DropCause::Refused],
        2
    );
}

#[test]
fn q5_a_drop_that_changed_after_it_was_read_is_not_taken_for_told() {
    let folder = folder();
    let spool = open(&folder.path().join("s"), WIDE);
    let ids: Vec<_> = (0..3).map(|_| append(&spool, b"x", false, 0).id).collect();
    spool.refuse(ids[0]).expect("writable");
    // The agent reads the drops, and encodes; meanwhile the publisher gives up the next one.
    let read = spool.drops().expect("readable");
    spool.refuse(ids[1]).expect("writable");
    let (epoch, sequence) = spool.next();
    let batch = NewBatch {
        epoch,
        sequence,
        payload: b"tells 0",
        tells_drops_through: read.last().map(|dropped| dropped.id),
        now_us: 0,
    };
    let appended = spool.append(batch).expect("writable");
    assert_eq!(untold(&spool), [(0, 1, DropCause::Refused)]);
    spool.acknowledge(&[appended.id]).expect("writable");
    assert_eq!(untold(&spool), [(0, 1, DropCause::Refused)]);
}

#[test]
fn q4_epochs_grow_and_numbers_are_asked_for() {
    let folder = folder();
    let path = folder.path().join("s");
    let spool = open(&path, WIDE);
    assert_eq!(spool.next(), (1_000, 0));
    append(&spool, b"x", false, 0);
    assert_eq!(spool.begin_epoch(5_000).expect("writable"), 5_000);
    assert_eq!(
        spool.begin_epoch(10).expect("writable"),
        5_001,
        "the clock went back"
    );
    append(&spool, b"x", false, 0);
    assert_eq!(spool.next(), (5_001, 1));
    let stale = NewBatch {
        epoch: 5_001,
        sequence: 0,
        payload: b"x",
        tells_drops_through: None,
        now_us: 0,
    };
    let error = spool.append(stale).expect_err("used");
    assert!(
        matches!(error, SpoolError::OutOfOrder { .. }) && !error.is_retryable(),
        "{error}"
    );
    let id = spool.id().to_owned();
    drop(spool);
    let spool = open(&path, WIDE);
    assert_eq!(spool.next(), (5_001, 1), "a second start goes on");
    assert_eq!((spool.id(), id.len()), (id.as_str(), 32));
    let other = open(&folder.path().join("other"), WIDE);
    assert_ne!(other.id(), id);
}

#[test]
fn pages_are_bounded_and_never_empty_before_the_end() {
    let folder = folder();
    let spool = open(&folder.path().join("s"), WIDE);
    for bytes in [10, 10, 500, 10] {
        append(&spool, &vec![0; bytes], false, 0);
    }
    let page = |after, entries, bytes| -> Vec<i64> {
        let page = spool.read(after, entries, bytes).expect("readable").entries;
        page.iter().map(|entry| entry.id).collect()
    };
    assert_eq!(page(0, 10, 25), [1, 2]);
    assert_eq!(
        page(2, 10, 25),
        [3],
        "one that is larger than the page comes alone"
    );
    assert_eq!(page(0, 3, 9_999), [1, 2, 3]);
    assert_eq!(page(4, 10, 25), [0i64; 0]);
    let is_last =
        |after, entries, bytes| spool.read(after, entries, bytes).expect("readable").is_last;
    assert!(
        !is_last(0, 3, 9_999) && !is_last(0, 10, 25),
        "there is more"
    );
    assert!(is_last(3, 2, 9_999) && is_last(4, 2, 9_999));
    assert_eq!(spool.acknowledge(&[2, 2, 77]).expect("writable"), 1);
    assert_eq!(page(0, 10, 9_999), [1, 3, 4]);
}

#[test]
fn ids_can_be_advanced_and_are_never_used_again() {
    let folder = folder();
    let path: &Path = &folder.path().join("s");
    let spool = open(path, WIDE);
    spool.advance_ids(100).expect("writable");
    assert_eq!(append(&spool, b"x", false, 0).id, 100);
    spool.advance_ids(50).expect("going back is nothing");
    assert_eq!(append(&spool, b"x", false, 0).id, 101);
    spool.acknowledge(&[100, 101]).expect("writable");
    drop(spool);
    let spool = open(path, WIDE);
    assert_eq!(spool.stats().expect("readable").next_id, 102);
    assert_eq!(append(&spool, b"x", false, 0).id, 102);
}
