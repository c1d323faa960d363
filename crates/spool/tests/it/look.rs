//! A look at a spool from outside.

use crate::{WIDE, append, open};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::fs;
use tidegauge_spool::{DropCause, SpoolError, SpoolLook, SpoolSettings};

#[test]
fn it_sees_what_is_there_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // A name that means something in a URI.
    let path = folder.path().join("a spool?mode=rw#%.db");
    assert_eq!(SpoolLook::at(&path).unwrap(), None);
    let files = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names.collect::<BTreeSet<_>>()
    };
    assert!(files().is_empty());

    let settings = SpoolSettings {
        max_bytes: 1_000,
        ..WIDE
    };
    let spool = open(&path, settings);
    for moment in 0..4 {
        append(&spool, &[7; 300], false, 100 + moment);
    }
    let before = files();
    let seen = SpoolLook::at(&path).unwrap().unwrap();
    let expected = SpoolLook {
        entries: 3,
        bytes: 900,
        oldest_us: Some(101),
        dropped: [(DropCause::Full, 1)].into(),
    };
    assert_eq!(seen, expected);
    assert_eq!(files(), before, "the spool is open, and has its log");
    append(&spool, &[7; 10], false, 104);

    drop(spool);
    let (before, content) = (files(), fs::read(&path).unwrap());
    let seen = SpoolLook::at(&path).unwrap().unwrap();
    assert_eq!((seen.entries, seen.bytes), (4, 910));
    assert_eq!(files(), before, "no log was made");
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn what_is_no_spool_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.db");
    fs::write(&path, "").unwrap();
    assert_eq!(SpoolLook::at(&path).unwrap(), None, "it is being made");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t (c)").unwrap();
    drop(other);
    let error = SpoolLook::at(&path).unwrap_err();
    assert!(matches!(error, SpoolError::NotASpool { .. }), "{error:?}");
    fs::write(&path, [9; 4_096]).unwrap();
    let error = SpoolLook::at(&path).unwrap_err();
    assert!(matches!(error, SpoolError::Storage { .. }), "{error:?}");
}
