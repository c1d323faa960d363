//! Damaged, foreign and locked files (Q7, Q8, Q9).

use crate::{WIDE, append, open, sequences};
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tidegauge_spool::{DropCause, Spool, SpoolError};

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("spool.db");
    (folder, path)
}

/// A spool file of five entries, closed.
fn filled(path: &Path) -> String {
    let spool = open(path, WIDE);
    for number in 0..5u8 {
        append(&spool, &[number; 3_000], false, 0);
    }
    spool.id().to_owned()
}

#[test]
fn q7_a_flipped_byte_costs_one_entry_and_its_neighbours_stay() {
    let (_folder, path) = folder();
    filled(&path);
    let database = Connection::open(&path).expect("a database");
    for sql in [
        "UPDATE entry SET payload = CAST(x'ff' || substr(payload, 2) AS BLOB) WHERE id = 2",
        "UPDATE entry SET sequence = 77 WHERE id = 4",
    ] {
        assert_eq!(database.execute(sql, []).expect("an update"), 1);
    }
    drop(database);

    let spool = open(&path, WIDE);
    let entries = spool.read(0, 2, 1 << 20).expect("readable").entries;
    assert_eq!(entries.iter().map(|e| e.id).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(entries[1].payload, [2; 3_000]);
    assert_eq!(sequences(&spool), [0, 2, 4]);
    let drops = spool.drops().expect("readable");
    let lost: Vec<_> = drops
        .iter()
        .map(|d| (d.first_sequence, d.batches(), d.cause))
        .collect();
    assert_eq!(
        lost,
        [(1, 1, DropCause::Corrupt), (77, 1, DropCause::Corrupt)]
    );
    let stats = spool.stats().expect("readable");
    assert_eq!((stats.entries, stats.bytes), (3, 9_000));
    assert_eq!(stats.dropped[&DropCause::Corrupt], 2);
}

#[test]
fn q7_a_page_of_corrupt_entries_is_not_the_end() {
    let (_folder, path) = folder();
    filled(&path);
    let database = Connection::open(&path).expect("a database");
    database
        .execute("UPDATE entry SET crc32 = 1 WHERE id < 5", [])
        .expect("an update");
    drop(database);
    let spool = open(&path, WIDE);
    let entries = spool.read(0, 1, 1).expect("readable").entries;
    assert_eq!(entries.iter().map(|e| e.id).collect::<Vec<_>>(), [5]);
    assert_eq!(spool.drops().expect("readable")[0].batches(), 4);
}

#[test]
fn q1_a_torn_end_of_the_log_costs_only_what_was_being_written() {
    let (folder, path) = folder();
    let spool = open(&path, WIDE);
    for number in 0..5u8 {
        append(&spool, &[number; 3_000], false, 0);
    }
    let (copy, copied_log) = (
        folder.path().join("copy.db"),
        folder.path().join("copy.db-wal"),
    );
    fs::copy(&path, &copy).expect("a copy");
    fs::copy(folder.path().join("spool.db-wal"), &copied_log).expect("a copy");
    damage(&copied_log, |bytes| bytes.truncate(bytes.len() - 100));
    let (torn, opened) = Spool::open(&copy, WIDE, 5_000).expect("a good file");
    assert_eq!(opened.set_aside, None);
    assert_eq!(sequences(&torn), [0, 1, 2, 3]);
    assert_eq!(torn.next(), (1_000, 4));
}

#[test]
fn q8_a_second_opener_is_refused_until_the_first_ends() {
    let (_folder, path) = folder();
    let first = open(&path, WIDE);
    let error = Spool::open(&path, WIDE, 0).expect_err("in use");
    assert!(matches!(error, SpoolError::InUse { .. }), "{error}");
    assert!(
        error.to_string().contains("another process is using it"),
        "{error}"
    );
    let clone = first.clone();
    drop(first);
    assert!(Spool::open(&path, WIDE, 0).is_err(), "a clone holds it");
    drop(clone);
    open(&path, WIDE);
}

fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("readable");
    change(&mut bytes);
    fs::write(path, bytes).expect("writable");
}

#[test]
fn q9_a_corrupt_file_is_set_aside_and_counted() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 6] = [
        ("no database at all", |bytes| {
            *bytes = b"hello, this is a text\n".repeat(500)
        }),
        ("zeros after a power cut", |bytes| bytes.fill(0)),
        ("a short file", |bytes| bytes.truncate(50)),
        ("half of the file", |bytes| bytes.truncate(bytes.len() / 2)),
        ("the schema", |bytes| bytes[100..4_000].fill(0xaa)),
        ("pages behind the first", |bytes| {
            bytes[4_096..16_384].fill(0x55)
        }),
    ];
    for (what, change) in damages {
        let (folder, path) = folder();
        let id = filled(&path);
        damage(&path, change);
        let damaged = fs::read(&path).expect("readable");

        let (spool, opened) = Spool::open(&path, WIDE, 5_000).expect(what);
        let aside = opened
            .set_aside
            .unwrap_or_else(|| panic!("{what}: not set aside"));
        assert_eq!(aside, folder.path().join("spool.db.corrupt-5000"), "{what}");
        assert_eq!(fs::read(&aside).expect("kept"), damaged, "{what}");
        assert_ne!(spool.id(), id, "{what}");
        assert_eq!((opened.entries, opened.bytes), (0, 0), "{what}");
        let drops = spool.drops().expect("readable");
        let lost: Vec<_> = drops
            .iter()
            .map(|d| (d.epoch, d.first_sequence, d.batches()))
            .collect();
        assert_eq!(lost, [(0, 5_000, 1)], "{what}");
        assert_eq!(drops[0].cause, DropCause::Corrupt);
        assert_eq!(
            spool.stats().expect("readable").dropped[&DropCause::Corrupt],
            1
        );
        append(&spool, b"goes on", true, 0);

        // And again: the first one is not overwritten, the second loss does not hide in the first.
        drop(spool);
        damage(&path, |bytes| bytes.truncate(50));
        let (spool, opened) = Spool::open(&path, WIDE, 5_000).expect(what);
        assert_eq!(
            opened.set_aside,
            Some(folder.path().join("spool.db.corrupt-5001")),
            "{what}"
        );
        assert!(spool.next().0 >= 5_000);
    }
}

#[test]
fn q9_a_missing_table_is_corrupt_too() {
    for sql in [
        "DROP TABLE dropped",
        "DELETE FROM meta",
        "ALTER TABLE entry DROP COLUMN crc32",
    ] {
        let (_folder, path) = folder();
        filled(&path);
        let database = Connection::open(&path).expect("a database");
        database.execute_batch(sql).expect(sql);
        drop(database);
        let (_spool, opened) = Spool::open(&path, WIDE, 5_000).expect(sql);
        assert!(opened.set_aside.is_some(), "{sql}");
    }
}

#[test]
fn q9_files_of_others_are_left_alone() {
    let (_folder, path) = folder();
    let database = Connection::open(&path).expect("a database");
    database
        .execute_batch("CREATE TABLE theirs (x); PRAGMA application_id = 7;")
        .expect("made");
    drop(database);
    let before = fs::read(&path).expect("readable");
    let error = Spool::open(&path, WIDE, 0).expect_err("not ours");
    assert!(
        matches!(
            error,
            SpoolError::NotASpool {
                application_id: 7,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(fs::read(&path).expect("readable"), before);

    let (_folder, path) = self::folder();
    filled(&path);
    let database = Connection::open(&path).expect("a database");
    database
        .pragma_update(None, "user_version", 2)
        .expect("an update");
    drop(database);
    let error = Spool::open(&path, WIDE, 0).expect_err("newer");
    assert!(
        matches!(
            error,
            SpoolError::UnknownFormat {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_folder_that_is_missing_is_an_error_with_the_path() {
    let (folder, _) = folder();
    let error = Spool::open(&folder.path().join("no/spool.db"), WIDE, 0).expect_err("no folder");
    assert!(error.to_string().contains("no/spool.db"), "{error}");
}
