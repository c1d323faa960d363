//! The reader of the spool's file. The input says what is done to a good file, so that SQLite's own
//! checks do not end each run at its beginning: pairs of a place and a byte to put there, or, when it
//! begins with an even byte, the whole file.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;
use tidegauge_spool::{NewBatch, Spool, SpoolSettings};

const NOW_US: i64 = 1_795_183_200_000_000;

/// A spool with a few batches.
fn good() -> &'static [u8] {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool");
        {
            let (spool, _) = Spool::open(&path, settings(), NOW_US).expect("a new spool");
            spool.begin_epoch(NOW_US).expect("an epoch");
            for number in 0..20u8 {
                append(&spool, &vec![number; 300]);
            }
        }
        std::fs::read(&path).expect("the file is there")
    })
}

fn settings() -> SpoolSettings {
    SpoolSettings {
        max_bytes: 1 << 20,
        max_age_us: 3_600_000_000,
    }
}

fn append(spool: &Spool, payload: &[u8]) {
    let (epoch, sequence) = spool.next();
    let _appended = spool.append(NewBatch {
        epoch,
        sequence,
        payload,
        tells_drops_through: None,
        now_us: NOW_US,
    });
}

fn read(path: &Path) {
    let Ok((spool, _)) = Spool::open(path, settings(), NOW_US) else {
        return;
    };
    let _epoch = spool.begin_epoch(NOW_US);
    let mut after = i64::MIN;
    while let Ok(page) = spool.read(after, 8, 4_096) {
        let Some(last) = page.entries.last() else { break };
        assert!(last.id > after, "it goes on");
        after = last.id;
    }
    append(&spool, b"more");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let mut file = good().to_vec();
    match first % 2 {
        0 => file = rest.to_vec(),
        _ => {
            for change in rest.chunks_exact(4) {
                let place = u32::from_le_bytes([change[0], change[1], change[2], 0]) as usize;
                let length = file.len();
                file[place % length] = change[3];
            }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spool");
    std::fs::write(&path, file).expect("it can be written");
    read(&path);
});
