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
    /// Nothing is written for it before the next action.
    AcknowledgeInMemory(Vec<prop::sample::Index>),
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
        4 => indexes.clone().prop_map(Action::Acknowledge),
        4 => indexes.prop_map(Action::AcknowledgeInMemory),
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
    /// Acknowledged in memory only.
    noted: Vec<Waiting>,
    /// They were that when the process was killed: they wait again.
    again: BTreeSet<Number>,
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
            noted: Vec::new(),
            again: BTreeSet::new(),
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
            Action::Acknowledge(indexes) => {
                let known = self.receive(indexes);
                let mut ids: Vec<_> = known.iter().map(|known| known.id).collect();
                ids.push(i64::MAX);
                let forgotten = self.spool().acknowledge(&ids).expect("writable");
                assert_eq!(forgotten, known.len() as u64);
            }
            Action::AcknowledgeInMemory(indexes) => {
                let known = self.receive(indexes);
                let ids: Vec<_> = known.iter().map(|known| known.id).collect();
                if self.spool().acknowledge_in_memory(&ids) {
                    self.noted.extend(known);
                } else {
                    self.spool().acknowledge(&ids).expect("writable");
                    self.noted.clear();
                }
            }
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

    fn receive(&mut self, indexes: &[prop::sample::Index]) -> Vec<Waiting> {
        let mut all = Vec::new();
        for index in indexes {
            if !self.waiting.is_empty() {
                let known = self.waiting.remove(index.index(self.waiting.len()));
                self.came(known.number, known.id);
                all.push(known);
            }
        }
        all
    }

    fn came(&mut self, number: Number, id: i64) {
        assert!(
            self.received.insert(number) || self.again.contains(&number),
            "{number:?} came twice"
        );
        self.told.extend(self.tells[&id].iter().flat_map(numbers));
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
        self.again
            .extend(self.noted.iter().map(|noted| noted.number));
        self.waiting.append(&mut self.noted);
        self.waiting.sort_by_key(|waiting| waiting.id);
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
    }

    fn check_figures(&self) {
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
            for waiting in std::mem::take(&mut self.waiting) {
                self.came(waiting.number, waiting.id);
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
        let twice: BTreeSet<_> = self.told.keys().copied().collect();
        let twice: BTreeSet<_> = twice.intersection(&self.received).copied().collect();
        assert!(twice.is_subset(&self.again), "and but once: {twice:?}");
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
            run.check_figures();
            // To read from the beginning takes out what is acknowledged in memory.
            if !matches!(action, Action::AcknowledgeInMemory(_)) {
                run.noted.clear();
                run.check();
            }
        }
        run.finish();
    }
}
