//! Random append, acknowledge, refuse, kill and reopen against a simple model: nothing is lost,
//! nothing doubled, the order is kept, and what was given up is told exactly (Q1 to Q6).

use crate::open;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use tidegauge_spool::{DropCause, Dropped, NewBatch, Spool, SpoolSettings};

const SETTINGS: SpoolSettings = SpoolSettings {
    max_bytes: 20_000,
    max_age_us: 1_000,
};

#[derive(Debug, Clone)]
enum Action {
    Append {
        bytes: usize,
        tell: bool,
    },
    Acknowledge(Vec<prop::sample::Index>),
    Refuse(prop::sample::Index),
    Unstored,
    Wait {
        us: i64,
    },
    Epoch,
    /// The handle is dropped in order.
    Reopen,
    /// The files are taken as they are in the middle of the run, as after a power cut.
    Kill,
}

fn action() -> impl Strategy<Value = Action> {
    let indexes = prop::collection::vec(any::<prop::sample::Index>(), 1..6);
    prop_oneof![
        12 => (1..6_000usize, prop::bool::weighted(0.8))
            .prop_map(|(bytes, tell)| Action::Append { bytes, tell }),
        4 => indexes.prop_map(Action::Acknowledge),
        1 => any::<prop::sample::Index>().prop_map(Action::Refuse),
        1 => Just(Action::Unstored),
        2 => (0..600i64).prop_map(|us| Action::Wait { us }),
        1 => Just(Action::Epoch),
        1 => Just(Action::Reopen),
        2 => Just(Action::Kill),
    ]
}

type Number = (i64, u64);

#[derive(Debug)]
struct Waiting {
    id: i64,
    number: Number,
    payload: Vec<u8>,
    created_us: i64,
}

struct Run {
    folders: Vec<TempDir>,
    spool: Option<Spool>,
    now_us: i64,
    waiting: Vec<Waiting>,
    /// What the payload of an entry tells.
    tells: BTreeMap<i64, Vec<Dropped>>,
    used: BTreeSet<Number>,
    dropped: BTreeMap<Number, DropCause>,
    /// What the receiver knows.
    received: BTreeSet<Number>,
    told: BTreeMap<Number, DropCause>,
}

impl Run {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let spool = open(&folder.path().join("spool.db"), SETTINGS);
        Self {
            folders: vec![folder],
            spool: Some(spool),
            now_us: 10_000,
            waiting: Vec::new(),
            tells: BTreeMap::new(),
            used: BTreeSet::new(),
            dropped: BTreeMap::new(),
            received: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    fn spool(&self) -> &Spool {
        self.spool.as_ref().expect("it is open between actions")
    }

    fn path(&self) -> PathBuf {
        self.folders
            .last()
            .expect("one at least")
            .path()
            .join("spool.db")
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Append { bytes, tell } => self.append(*bytes, *tell),
            Action::Acknowledge(indexes) => self.acknowledge(indexes),
            Action::Refuse(index) if !self.waiting.is_empty() => {
                let refused = self.waiting.remove(index.index(self.waiting.len()));
                self.spool().refuse(refused.id).expect("writable");
                self.dropped.insert(refused.number, DropCause::Refused);
            }
            Action::Refuse(_) => {}
            Action::Unstored => {
                let number = self.spool().next();
                assert!(self.used.insert(number), "{number:?} is used twice");
                self.spool().note_unstored(DropCause::DiskFull);
                self.dropped.insert(number, DropCause::DiskFull);
            }
            Action::Wait { us } => self.now_us += us,
            Action::Epoch => {
                let before = self.spool().next().0;
                let epoch = self.spool().begin_epoch(self.now_us).expect("writable");
                assert!(epoch > before);
            }
            Action::Reopen => {
                self.spool = None;
                self.spool = Some(open(&self.path(), SETTINGS));
            }
            Action::Kill => self.kill(),
        }
    }

    fn append(&mut self, bytes: usize, tell: bool) {
        let number = self.spool().next();
        assert!(self.used.insert(number), "{number:?} is used twice");
        let payload = vec![u8::try_from(number.1 % 251).expect("below 251"); bytes];
        let drops = match tell {
            true => self.spool().drops().expect("readable"),
            false => Vec::new(),
        };
        let batch = NewBatch {
            epoch: number.0,
            sequence: number.1,
            payload: &payload,
            tells_drops_through: drops.last().map(|dropped| dropped.id),
            now_us: self.now_us,
        };
        let appended = self.spool().append(batch).expect("writable");

        let mut forced_out = Vec::new();
        loop {
            let sum: usize = self
                .waiting
                .iter()
                .map(|waiting| waiting.payload.len())
                .sum();
            let cause = match self.waiting.first() {
                Some(oldest) if oldest.created_us < self.now_us - SETTINGS.max_age_us => {
                    DropCause::Age
                }
                Some(_) if (sum + bytes) as u64 > SETTINGS.max_bytes => DropCause::Full,
                _ => break,
            };
            let oldest = self.waiting.remove(0);
            forced_out.push((oldest.number, cause));
        }
        self.dropped.extend(forced_out.iter().copied());
        let said: Vec<_> = appended.dropped.iter().flat_map(numbers).collect();
        assert_eq!(said, forced_out);
        assert!(self.waiting.iter().all(|waiting| waiting.id < appended.id));
        self.tells.insert(appended.id, drops);
        self.waiting.push(Waiting {
            id: appended.id,
            number,
            payload,
            created_us: self.now_us,
        });
    }

    fn acknowledge(&mut self, indexes: &[prop::sample::Index]) {
        let mut ids = vec![i64::MAX];
        for index in indexes {
            if !self.waiting.is_empty() {
                let known = self.waiting.remove(index.index(self.waiting.len()));
                ids.push(known.id);
                assert!(
                    self.received.insert(known.number),
                    "{:?} came twice",
                    known.number
                );
                self.told
                    .extend(self.tells[&known.id].iter().flat_map(numbers));
            }
        }
        let forgotten = self.spool().acknowledge(&ids).expect("writable");
        assert_eq!(forgotten, ids.len() as u64 - 1);
    }

    fn kill(&mut self) {
        let folder = TempDir::new().expect("a folder");
        for name in ["spool.db", "spool.db-wal"] {
            let from = self.path().with_file_name(name);
            if from.exists() {
                fs::copy(from, folder.path().join(name)).expect("a copy");
            }
        }
        self.folders.push(folder);
        self.spool = Some(open(&self.path(), SETTINGS));
    }

    fn check(&self) {
        let entries = self
            .spool()
            .read(0, usize::MAX, usize::MAX)
            .expect("readable")
            .entries;
        assert_eq!(entries.len(), self.waiting.len());
        for (entry, waiting) in entries.iter().zip(&self.waiting) {
            assert_eq!(
                (entry.id, (entry.epoch, entry.sequence)),
                (waiting.id, waiting.number)
            );
            assert_eq!(entry.created_us, waiting.created_us);
            assert!(entry.payload == waiting.payload);
        }
        let bytes: usize = self
            .waiting
            .iter()
            .map(|waiting| waiting.payload.len())
            .sum();
        let stats = self.spool().stats().expect("readable");
        assert_eq!(
            (stats.entries, stats.bytes),
            (self.waiting.len() as u64, bytes as u64)
        );
        assert!(stats.bytes <= SETTINGS.max_bytes);
        assert_eq!(
            stats.oldest_us,
            self.waiting.first().map(|oldest| oldest.created_us)
        );
        for dropped in self.spool().drops().expect("readable") {
            for (number, cause) in numbers(&dropped) {
                assert_eq!(
                    self.dropped.get(&number),
                    Some(&cause),
                    "{number:?} was not dropped"
                );
            }
        }
    }

    /// The receiver gets all that waits, and then one batch that tells the rest.
    fn finish(&mut self) {
        for tell in [false, true] {
            if tell {
                self.append(1, true);
            }
            let all: Vec<_> = self.waiting.iter().map(|waiting| waiting.id).collect();
            for waiting in self.waiting.drain(..) {
                assert!(
                    self.received.insert(waiting.number),
                    "{:?} came twice",
                    waiting.number
                );
                self.told
                    .extend(self.tells[&waiting.id].iter().flat_map(numbers));
            }
            self.spool().acknowledge(&all).expect("writable");
        }
        assert_eq!(self.spool().drops().expect("readable"), []);
        assert_eq!(self.told, self.dropped, "what was told is what was dropped");
        let both: BTreeSet<_> = self
            .told
            .keys()
            .copied()
            .chain(self.received.iter().copied())
            .collect();
        assert_eq!(both, self.used, "every number is accounted for");
        assert_eq!(
            self.told.len() + self.received.len(),
            self.used.len(),
            "and but once"
        );
    }
}

fn numbers(dropped: &Dropped) -> impl Iterator<Item = (Number, DropCause)> + use<> {
    let (epoch, cause) = (dropped.epoch, dropped.cause);
    (dropped.first_sequence..=dropped.last_sequence).map(move |sequence| ((epoch, sequence), cause))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_nothing_doubled(actions in prop::collection::vec(action(), 1..60)) {
        let mut run = Run::new();
        for action in &actions {
            run.act(action);
            run.check();
        }
        run.finish();
    }
}
