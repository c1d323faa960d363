//! The shortcuts of a receiver that keeps up: the newest entry from memory, and acknowledging in memory.

use crate::{WIDE, append, open, sequences};
use tempfile::TempDir;
use tidegauge_spool::SpoolSettings;

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

#[test]
fn the_newest_entry_is_taken_once_by_who_has_all_before_it() {
    let folder = folder();
    let spool = open(&folder.path().join("s"), WIDE);
    let first = append(&spool, b"one", false, 5);
    assert_eq!(spool.take_newest(0), None, "from before the first call");

    let second = append(&spool, b"two", false, 6);
    assert_eq!(spool.take_newest(0), None, "the first one lies between");
    let taken = spool.take_newest(first.id).expect("the next one");
    let read = spool.read(first.id, 9, 99).expect("readable").entries;
    assert_eq!(read, std::slice::from_ref(&taken));
    assert_eq!(
        (taken.id, taken.created_us, &taken.payload[..]),
        (second.id, 6, &b"two"[..])
    );
    assert_eq!(spool.take_newest(first.id), None, "it is handed out once");

    let third = append(&spool, b"three", false, 7);
    let fourth = append(&spool, b"four", false, 8);
    assert_eq!(spool.take_newest(second.id), None, "only the last is kept");
    spool.acknowledge(&[fourth.id]).expect("writable");
    assert_eq!(spool.take_newest(third.id), None, "the receiver has it");
    let fifth = append(&spool, b"five", false, 9);
    spool.refuse(fifth.id).expect("writable");
    assert_eq!(spool.take_newest(fourth.id), None, "it was given up");
}

#[test]
fn what_is_acknowledged_in_memory_is_gone_for_all_who_ask() {
    let folder = folder();
    let spool = open(&folder.path().join("s"), WIDE);
    let ids: Vec<_> = (0..4)
        .map(|at| append(&spool, &[1; 10], false, 100 + at).id)
        .collect();
    assert!(spool.acknowledge_in_memory(&[ids[0], ids[2], 77]));
    let stats = spool.stats().expect("readable");
    assert_eq!(
        (stats.entries, stats.bytes, stats.oldest_us),
        (2, 20, Some(101))
    );
    let behind = spool.read(ids[2], 9, 99).expect("readable").entries;
    assert_eq!(behind.len(), 1);
    assert_eq!(sequences(&spool), [1, 3]);
    assert_eq!(
        spool
            .acknowledge(&[ids[0], ids[1], ids[2]])
            .expect("writable"),
        1
    );
}

#[test]
fn closing_the_spool_writes_what_was_acknowledged_in_memory() {
    let folder = folder();
    let path = folder.path().join("s");
    let spool = open(&path, WIDE);
    let id = append(&spool, b"one", false, 5).id;
    append(&spool, b"two", false, 5);
    assert!(spool.acknowledge_in_memory(&[id]));
    drop(spool);
    assert_eq!(sequences(&open(&path, WIDE)), [1]);
}

#[test]
fn only_a_few_are_acknowledged_in_memory() {
    let folder = folder();
    let spool = open(&folder.path().join("s"), WIDE);
    let ids: Vec<_> = (0..20).map(|_| append(&spool, b"a", false, 0).id).collect();
    assert!(!spool.acknowledge_in_memory(&ids), "all or nothing");
    assert_eq!(spool.stats().expect("readable").entries, 20);
    assert!(spool.acknowledge_in_memory(&ids[..16]));
    assert!(!spool.acknowledge_in_memory(&ids[16..17]));
    append(&spool, b"b", false, 0);
    assert!(spool.acknowledge_in_memory(&ids[16..17]), "room again");
    assert_eq!(sequences(&spool), (17..=20).collect::<Vec<_>>());
}

#[test]
fn q6_what_was_acknowledged_in_memory_makes_room_before_anything_is_given_up() {
    let folder = folder();
    let settings = SpoolSettings {
        max_bytes: 100,
        ..WIDE
    };
    let spool = open(&folder.path().join("s"), settings);
    let ids: Vec<_> = (0..10)
        .map(|_| append(&spool, &[1; 10], false, 0).id)
        .collect();
    assert!(spool.acknowledge_in_memory(&ids[4..6]));
    assert_eq!(append(&spool, &[2; 20], false, 0).dropped, []);
    assert_eq!(sequences(&spool), [0, 1, 2, 3, 6, 7, 8, 9, 10]);
}
