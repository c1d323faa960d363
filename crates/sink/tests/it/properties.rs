//! Batches repeated, late, reordered over partitions and with gaps, through packing and a store, against
//! a simple model: a set of (agent, sequence) and a set of points (D3, D5, D6).
//!
//! The ways into the tables are all taken: the direct one, the one past a unique key, and on PostgreSQL
//! the one into partitions that are settled. The answer must be the same.

use proptest::collection::vec;
use proptest::strategy::{Just, Strategy};
use proptest::test_runner::{Config, TestRunner};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tidegauge_model::{AgentId, ManualClock, SequenceRanges, Value};
use tidegauge_sink::assemble::{Assembled, Assembler, Needs, Packed};
use tidegauge_sink::{Message, SinkSettings};
use tidegauge_store::{
    Applied, LedgerKey, OpenOptions, RowsRequest, SeriesFilter, SettleRequest, SourceId, Step,
    Store, StoreUrl, open_reader, open_store,
};
use tidegauge_testkit as testkit;

const NOW_US: i64 = 1_795_183_200_000_000;
const DAY_US: i64 = 86_400_000_000;
const PARTITIONS: i32 = 3;

/// A message that comes.
#[derive(Debug, Clone)]
enum Arrival {
    /// The agent's next batch, of so many points.
    Next { agent: u8, points: u8 },
    /// So many of the agent's batches are left out for now.
    Skip { agent: u8, batches: u8 },
    /// One that was left out comes after all.
    Late { agent: u8, which: usize },
    /// One that was sent comes again.
    Again { agent: u8, which: usize },
    /// A point of a producer without numbers, at this second.
    Foreign { second: u8 },
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It is committed.
    Committed,
    /// It is committed, and its answer is lost.
    AnswerLost,
    /// It is packed, and given up before it reaches the store.
    GivenUp,
    /// It is committed, and the sink dies: the next one knows nothing.
    ThenKilled,
}

#[derive(Debug, Clone)]
enum Action {
    Send(Vec<(i32, Arrival)>),
    Step { most: usize, fate: Fate },
    Settle,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let agent = || 0..3_u8;
    let arrival = proptest::prop_oneof![
        6 => (agent(), 1..4_u8).prop_map(|(agent, points)| Arrival::Next { agent, points }),
        1 => (agent(), 1..4_u8).prop_map(|(agent, batches)| Arrival::Skip { agent, batches }),
        2 => (agent(), 0..8_usize).prop_map(|(agent, which)| Arrival::Late { agent, which }),
        3 => (agent(), 0..8_usize).prop_map(|(agent, which)| Arrival::Again { agent, which }),
        2 => (0..20_u8).prop_map(|second| Arrival::Foreign { second }),
    ];
    let send = vec((0..PARTITIONS, arrival), 1..12).prop_map(Action::Send);
    let fate = proptest::prop_oneof![
        5 => Just(Fate::Committed),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::GivenUp),
        1 => Just(Fate::ThenKilled),
    ];
    let step = (1..20_usize, fate).prop_map(|(most, fate)| Action::Step { most, fate });
    let action = proptest::prop_oneof![4 => send, 4 => step, 1 => Just(Action::Settle)];
    vec(action, 1..30)
}

/// What was sent, and what should become of it.
#[derive(Default)]
struct Model {
    logs: BTreeMap<i32, Vec<Message>>,
    next: BTreeMap<u8, u64>,
    left_out: BTreeMap<u8, Vec<u64>>,
    /// The batches, with the number of points of each.
    sent: BTreeMap<(u8, u64), u8>,
    repeats: BTreeMap<u8, u64>,
    foreign: BTreeSet<u8>,
}

impl Model {
    fn send(&mut self, case: &Case, partition: i32, arrival: Arrival) {
        let text = match arrival {
            Arrival::Skip { agent, batches } => {
                for _ in 0..batches {
                    let sequence = self.number(agent);
                    self.left_out.entry(agent).or_default().push(sequence);
                }
                return;
            }
            Arrival::Next { agent, points } => {
                let sequence = self.number(agent);
                self.sent.insert((agent, sequence), points);
                case.batch(agent, sequence, points)
            }
            Arrival::Late { agent, which } => {
                let left_out = self.left_out.entry(agent).or_default();
                if left_out.is_empty() {
                    return;
                }
                let sequence = left_out.remove(which % left_out.len());
                self.sent.insert((agent, sequence), 1);
                case.batch(agent, sequence, 1)
            }
            Arrival::Again { agent, which } => {
                let of_agent = self.sent.range((agent, 0)..(agent + 1, 0));
                let of_agent: Vec<_> = of_agent.map(|(key, points)| (key.1, *points)).collect();
                if of_agent.is_empty() {
                    return;
                }
                let (sequence, points) = of_agent[which % of_agent.len()];
                *self.repeats.entry(agent).or_default() += 1;
                case.batch(agent, sequence, points)
            }
            Arrival::Foreign { second } => {
                self.foreign.insert(second);
                case.foreign(second)
            }
        };
        let log = self.logs.entry(partition).or_default();
        log.push(Message {
            source: case.source.clone(),
            partition,
            offset: log.len() as i64,
            received_us: None,
            encoding: None,
            payload: text.into_bytes().into(),
        });
    }

    fn number(&mut self, agent: u8) -> u64 {
        let next = self.next.entry(agent).or_default();
        *next += 1;
        *next - 1
    }

    /// Messages from the positions on, partition by partition.
    fn waiting(&self, positions: &HashMap<(SourceId, i32), i64>, most: usize) -> Vec<Message> {
        let mut waiting = Vec::new();
        for ((_, partition), &next) in positions {
            let log = self.logs.get(partition).map_or(&[][..], Vec::as_slice);
            waiting.extend(log.iter().skip(next as usize).cloned());
        }
        waiting.sort_by_key(|message| (message.offset, message.partition));
        waiting.truncate(most);
        waiting
    }
}

/// One run: names of its own, so that all share a database.
struct Case {
    number: u32,
    source: SourceId,
}

impl Case {
    fn agent(&self, agent: u8) -> String {
        format!("agent-{}-{agent}", self.number)
    }

    fn numbered(&self) -> String {
        format!("numbered_{}", self.number)
    }

    fn keyed(&self) -> String {
        format!("keyed_{}", self.number)
    }

    /// The times and values of a batch; three days ago, so that their partition can be settled.
    fn points(agent: u8, sequence: u64, points: u8) -> impl Iterator<Item = (i64, f64)> {
        (0..i64::from(points)).map(move |index| {
            let number = i64::from(agent) * 100_000 + sequence as i64 * 10 + index;
            (NOW_US - 3 * DAY_US + number * 1_000, number as f64)
        })
    }

    fn batch(&self, agent: u8, sequence: u64, points: u8) -> String {
        let points: Vec<String> = Self::points(agent, sequence, points)
            .map(|(time_us, value)| self.point(&self.numbered(), time_us, value))
            .collect();
        format!(
            r#"{{"v":1,"agent":"{}","epoch":1,"sequence":{sequence},"host":"h","points":[{}]}}"#,
            self.agent(agent),
            points.join(",")
        )
    }

    fn foreign(&self, second: u8) -> String {
        let (time_us, value) = Self::foreign_point(second);
        let point = self.point(&self.keyed(), time_us, value);
        format!(r#"{{"v":1,"host":"foreign","points":[{point}]}}"#)
    }

    fn foreign_point(second: u8) -> (i64, f64) {
        let time_us = NOW_US - 3 * DAY_US + i64::from(second) * 1_000_000;
        (time_us, f64::from(second))
    }

    fn point(&self, measurement: &str, time_us: i64, value: f64) -> String {
        format!(r#"{{"measurement":"{measurement}","time_us":{time_us},"fields":{{"n":{value}}}}}"#)
    }
}

/// A sink without its loop.
struct Player<'a> {
    url: &'a StoreUrl,
    case: Case,
    store: Box<dyn Store>,
    assembler: Assembler,
    positions: HashMap<(SourceId, i32), i64>,
}

fn open(url: &StoreUrl) -> Box<dyn Store> {
    open_store(url, &OpenOptions::default()).expect("the URL is right")
}

fn assembler() -> Assembler {
    let clock = Arc::new(ManualClock::at(NOW_US));
    Assembler::new(&SinkSettings::default(), clock)
}

impl Player<'_> {
    /// A sink that has just started.
    async fn restart(&mut self) {
        self.store = open(self.url);
        self.assembler = assembler();
        let source = self.case.source.clone();
        let begin: Vec<(i32, i64)> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
        let stored = self.store.positions(&source, &begin).await;
        let stored = stored.expect("positions").into_iter();
        self.positions = stored
            .map(|stored| ((source.clone(), stored.partition), stored.next_offset))
            .collect();
    }

    async fn pack(&mut self, waiting: &[Message]) -> Packed {
        for _ in 0..5 {
            match self.assembler.assemble(waiting, &self.positions) {
                Assembled::Packed(packed) => return *packed,
                Assembled::Needs(Needs {
                    requirements,
                    ledger,
                }) => {
                    let made = self
                        .store
                        .ensure(&requirements, &mut self.assembler.catalog);
                    made.await.expect("made");
                    let keys: Vec<LedgerKey> = ledger.into_iter().collect();
                    let rows = self.store.ledger(&keys).await.expect("the ledger");
                    self.assembler.learn_ledger(&keys, rows);
                }
            }
        }
        panic!("it asks for ever");
    }

    /// A step; whether there was anything to do.
    async fn step(&mut self, model: &Model, most: usize, fate: Fate) -> bool {
        let waiting = model.waiting(&self.positions, most);
        if waiting.is_empty() {
            return false;
        }
        let packed = self.pack(&waiting).await;
        if matches!(fate, Fate::GivenUp) {
            self.assembler.abandoned(&packed.step);
            return true;
        }
        self.apply(&packed.step).await;
        if matches!(fate, Fate::AnswerLost) {
            let again = self.store.apply(&packed.step).await.expect("answered");
            assert_eq!(again, Applied::Already);
        }
        for moved in &packed.step.moves {
            let key = (moved.source.clone(), moved.partition);
            self.positions.insert(key, moved.to);
        }
        if matches!(fate, Fate::ThenKilled) {
            self.restart().await;
        }
        true
    }

    /// Commits a step. A busy server is an outage, which a sink waits out (D8).
    async fn apply(&mut self, step: &Step) {
        let mut tries = 0;
        let applied = loop {
            match self.store.apply(step).await {
                Ok(applied) => break applied,
                Err(error) if error.is_retryable() && tries < 20 => tries += 1,
                Err(error) => panic!("{error:?}"),
            }
        };
        match applied {
            Applied::Committed { .. } => {}
            Applied::Already if tries > 0 => {}
            _ => panic!("{applied:?} after {tries} tries"),
        }
    }

    async fn settle(&mut self) {
        let request = SettleRequest {
            now_us: NOW_US,
            grace_us: 3_600_000_000,
            at_most: usize::MAX,
            postponed_too: true,
        };
        self.store.settle(&request).await.expect("settled");
    }

    /// Times and values of a measurement, in their order.
    async fn rows(&self, measurement: &str) -> Vec<(i64, f64)> {
        let reader = open_reader(self.url, &OpenOptions::default()).expect("the URL is right");
        let filter = SeriesFilter {
            measurement: Some(measurement.to_owned()),
            ..SeriesFilter::default()
        };
        let series = reader.series(&filter).await.unwrap_or_default();
        if series.is_empty() {
            return Vec::new();
        }
        let request = RowsRequest {
            measurement: measurement.to_owned(),
            series: series.iter().map(|series| series.id).collect(),
            fields: vec!["n".to_owned()],
            range_us: 0..i64::MAX / 2,
            limit_per_series: u32::MAX,
        };
        let mut rows = Vec::new();
        for found in reader.rows(&request).await.expect("rows") {
            for (time_us, value) in found.times_us.iter().zip(&found.columns[0]) {
                let Some(Value::Float(value)) = value else {
                    panic!("{value:?} is no number");
                };
                rows.push((*time_us, *value));
            }
        }
        rows.sort_by_key(|row| row.0);
        rows
    }

    async fn compare(&mut self, model: &Model) {
        let mut expected: Vec<(i64, f64)> = model
            .sent
            .iter()
            .flat_map(|(&(agent, sequence), &points)| Case::points(agent, sequence, points))
            .collect();
        expected.sort_by_key(|row| row.0);
        assert_eq!(self.rows(&self.case.numbered()).await, expected);
        let foreign: Vec<(i64, f64)> = model
            .foreign
            .iter()
            .map(|&second| Case::foreign_point(second))
            .collect();
        assert_eq!(self.rows(&self.case.keyed()).await, foreign);
        for (&agent, &next) in &model.next {
            let of_agent: Vec<u64> = model
                .sent
                .range((agent, 0)..(agent + 1, 0))
                .map(|(key, _)| key.1)
                .collect();
            let key = LedgerKey {
                agent: AgentId::new(self.case.agent(agent)).expect("an id"),
                epoch: 1,
            };
            let keys = [key];
            let found = self.store.ledger(&keys).await.expect("the ledger");
            let Some(row) = found.get(&keys[0]) else {
                assert!(of_agent.is_empty(), "{agent}");
                continue;
            };
            // What was left out behind the last that came is not known of.
            let known = of_agent.iter().max().map_or(0, |last| last + 1);
            assert!(known <= next);
            let mut missing = SequenceRanges::default();
            for sequence in (0..known).filter(|sequence| !of_agent.contains(sequence)) {
                missing.insert(sequence, sequence);
            }
            let repeats = model.repeats.get(&agent).copied().unwrap_or(0);
            assert_eq!(row.next_sequence, known);
            assert_eq!(row.missing, missing);
            assert_eq!(row.batches, of_agent.len() as u64);
            assert_eq!((row.duplicate_batches, row.conflicts), (repeats, 0));
        }
        for ((_, partition), next) in &self.positions {
            let length = model.logs.get(partition).map_or(0, Vec::len);
            assert_eq!(*next, length as i64);
        }
    }
}

async fn play(url: &StoreUrl, number: u32, actions: Vec<Action>) {
    let topic = format!("topic-{number}");
    let case = Case {
        number,
        source: SourceId::kafka(&topic, &topic),
    };
    let mut player = Player {
        url,
        case,
        store: open(url),
        assembler: assembler(),
        positions: HashMap::new(),
    };
    player.restart().await;
    let mut model = Model::default();
    for action in actions {
        match action {
            Action::Send(arrivals) => {
                for (partition, arrival) in arrivals {
                    model.send(&player.case, partition, arrival);
                }
            }
            Action::Step { most, fate } => {
                player.step(&model, most, fate).await;
            }
            Action::Settle => player.settle().await,
        }
    }
    while player.step(&model, usize::MAX, Fate::Committed).await {}
    player.compare(&model).await;
}

fn run(url: &str, cases: u32) {
    let url = StoreUrl::parse(url).expect("a URL");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async { open(&url).migrate().await.expect("migrated") });
    let config = Config {
        cases,
        max_shrink_iters: 100,
        failure_persistence: None,
        ..Config::default()
    };
    let numbers = AtomicU32::new(0);
    let outcome = TestRunner::new(config).run(&actions(), |actions| {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        runtime.block_on(play(&url, number, actions));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn d6_any_arrivals_equal_a_simple_model_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    run(&format!("sqlite:{}", path.display()), 40);
}

#[test]
fn d6_any_arrivals_equal_a_simple_model_on_postgres() {
    let test = "properties::d6_any_arrivals_equal_a_simple_model_on_postgres";
    if let Some(database) = testkit::postgres_database(test) {
        run(&database.url, 8);
    }
}

#[test]
fn d6_any_arrivals_equal_a_simple_model_on_mysql() {
    let test = "properties::d6_any_arrivals_equal_a_simple_model_on_mysql";
    if let Some(database) = testkit::mysql_database(test) {
        run(&database.url, 8);
    }
}
