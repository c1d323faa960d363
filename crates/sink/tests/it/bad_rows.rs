//! Rows that the database refuses (D7), and their way back: on PostgreSQL and on SQLite.

use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::ManualClock;
use tidegauge_sink::assemble::Assembler;
use tidegauge_sink::{
    Finished, Message, Replayed, Replayer, Sink, SinkError, SinkSettings, SinkStatus, Source,
    SourceEvent,
};
use tidegauge_store::{
    DeadLetterFilter, DeadLetterRow, LedgerRow, OpenOptions, PositionMove, SourceId, Store,
    StoreUrl, open_reader, open_store,
};
use tidegauge_testkit as testkit;
use tokio_util::sync::CancellationToken;

const NOW_US: i64 = 1_795_183_200_000_000;
const POINTS: usize = 100;

/// A database with a way to run SQL beside the store.
enum Scratch {
    Postgres(testkit::Database),
    Sqlite(tempfile::TempDir),
}

impl Scratch {
    fn all(test: &str) -> Vec<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut all = vec![Self::Sqlite(folder)];
        all.extend(testkit::postgres_database(test).map(Self::Postgres));
        all
    }

    fn url(&self) -> StoreUrl {
        let url = match self {
            Self::Postgres(database) => database.url.clone(),
            Self::Sqlite(folder) => {
                format!("sqlite:{}", folder.path().join("store.db").display())
            }
        };
        StoreUrl::parse(&url).expect("a URL")
    }

    fn store(&self) -> Box<dyn Store> {
        open_store(&self.url(), &OpenOptions::default()).expect("the URL is right")
    }

    fn execute(&self, sql: &str) {
        match self {
            Self::Postgres(database) => {
                database.query(sql).expect("executed");
            }
            Self::Sqlite(folder) => {
                let path = folder.path().join("store.db");
                let connection = rusqlite::Connection::open(path).expect("opened");
                connection.execute_batch(sql).expect("executed");
            }
        }
    }

    /// Has the database refuse numbers from 1,000,000 on.
    fn refuse_large_numbers(&self) {
        self.execute(match self {
            Self::Postgres(_) => {
                "alter table \"m_numbered\" add constraint \"small\" check (\"n\" < 1000000)"
            }
            Self::Sqlite(_) => {
                "create trigger \"small\" before insert on \"m_numbered\"
                 when new.\"n\" >= 1000000 begin select raise(abort, 'not small'); end"
            }
        });
    }

    fn take_all_numbers(&self) {
        self.execute(match self {
            Self::Postgres(_) => "alter table \"m_numbered\" drop constraint \"small\"",
            Self::Sqlite(_) => "drop trigger \"small\"",
        });
    }

    async fn rows(&self) -> u64 {
        let reader = open_reader(&self.url(), &OpenOptions::default()).expect("the URL is right");
        reader.summary().await.expect("summary").points
    }

    async fn letters(&self) -> Vec<DeadLetterRow> {
        let filter = DeadLetterFilter {
            limit: 10_000,
            ..DeadLetterFilter::default()
        };
        let mut letters = self.store().dead_letters(&filter).await.expect("listed");
        letters.reverse();
        letters
    }

    async fn ledger(&self) -> LedgerRow {
        let rows = self.store().ledger_rows().await.expect("the ledger");
        rows.into_iter().next().expect("one agent").1
    }
}

/// Gives its messages once.
struct Script {
    store: Box<dyn Store>,
    messages: Vec<Message>,
    end: i64,
    assigned: bool,
}

fn source() -> SourceId {
    SourceId::kafka("id-1", "topic")
}

#[async_trait::async_trait]
impl Source for Script {
    async fn next(&mut self) -> Result<SourceEvent, SinkError> {
        if !self.assigned {
            let positions = self.store.positions(&source(), &[(0, 0)]).await;
            let stored = positions.map_err(SinkError::Store)?[0].next_offset;
            self.messages.retain(|message| message.offset >= stored);
            self.assigned = true;
            return Ok(SourceEvent::Assigned(vec![(source(), 0, stored)]));
        }
        match self.messages.is_empty() {
            true => std::future::pending().await,
            false => Ok(SourceEvent::Messages(std::mem::take(&mut self.messages))),
        }
    }

    fn try_next(&mut self) -> Result<Option<SourceEvent>, SinkError> {
        Ok(None)
    }

    async fn acknowledge(&mut self, _moves: &[PositionMove]) -> Result<(), SinkError> {
        Ok(())
    }

    async fn rewind(&mut self, positions: &[(SourceId, i32, i64)]) -> Result<(), SinkError> {
        panic!("nobody else writes, but the sink goes back to {positions:?}")
    }

    async fn ends(&mut self) -> Result<Vec<(SourceId, i32, i64)>, SinkError> {
        Ok(vec![(source(), 0, self.end)])
    }

    async fn close(&mut self, _deadline: Duration) {}
}

/// The message with this offset, with the numbers of its points.
fn message(offset: i64, number: impl Fn(usize) -> usize) -> Message {
    let points: Vec<String> = (0..POINTS)
        .map(|point| {
            let (n, time_us) = (number(point), NOW_US + offset * 1_000 + point as i64);
            format!(r#"{{"measurement":"numbered","time_us":{time_us},"fields":{{"n":{n}}}}}"#)
        })
        .collect();
    let text = format!(
        r#"{{"v":1,"agent":"agent-1","epoch":1,"sequence":{offset},"host":"h","points":[{}]}}"#,
        points.join(",")
    );
    raw(offset, text)
}

fn raw(offset: i64, text: impl Into<bytes::Bytes>) -> Message {
    Message {
        source: source(),
        partition: 0,
        offset,
        received_us: None,
        encoding: None,
        payload: text.into(),
    }
}

/// Messages of `POINTS` points each, of which those of `bad` (offset and place) are refused.
fn messages(offsets: std::ops::Range<i64>, bad: impl Fn(i64, usize) -> bool) -> Vec<Message> {
    let number = |offset, point| match bad(offset, point) {
        true => 1_000_000 + point,
        false => point,
    };
    offsets
        .map(|offset| message(offset, |point| number(offset, point)))
        .collect()
}

/// Runs a sink until it has applied the messages; answers what it says of itself.
async fn sink(scratch: &Scratch, messages: Vec<Message>) -> (u64, u64, u64) {
    let mut store = scratch.store();
    store.migrate().await.expect("migrated");
    let settings = SinkSettings {
        until_end: true,
        ..SinkSettings::default()
    };
    let clock = Arc::new(ManualClock::at(NOW_US));
    let script = Script {
        store: scratch.store(),
        end: messages.last().map_or(0, |message| message.offset + 1),
        messages,
        assigned: false,
    };
    let status = Arc::new(SinkStatus::default());
    let sink = Sink::new(
        store,
        Box::new(script),
        Assembler::new(&settings, clock.clone()),
        settings,
        clock,
        status.clone(),
        CancellationToken::new(),
    );
    let finished = tokio::time::timeout(Duration::from_secs(120), sink.run()).await;
    let finished = finished.expect("in time").expect("no error");
    assert_eq!(finished, Finished::ReachedEnd);
    let report = status.report();
    (report.steps, report.rows, report.dead_letters)
}

/// A database that has the measurement, holds one message, and refuses large numbers.
async fn picky(test: &str) -> Vec<Scratch> {
    let all = Scratch::all(test);
    for scratch in &all {
        let first = messages(0..1, |_, _| false);
        assert_eq!(sink(scratch, first).await, (1, POINTS as u64, 0));
        scratch.refuse_large_numbers();
    }
    all
}

fn places(letters: &[DeadLetterRow]) -> Vec<(i64, Option<u32>)> {
    letters.iter().map(|l| (l.offset, l.index)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_one_bad_row_of_two_thousand_is_a_dead_letter() {
    const TEST: &str = "bad_rows::d7_one_bad_row_of_two_thousand_is_a_dead_letter";
    for scratch in picky(TEST).await {
        let bad = |offset, point| (offset, point) == (13, 57);
        let sent = messages(1..21, bad);
        assert_eq!(sink(&scratch, sent.clone()).await, (1, 1_999, 1));
        assert_eq!(scratch.rows().await, 2_099);
        let letters = scratch.letters().await;
        assert_eq!(places(&letters), [(13, Some(57))]);
        assert_eq!(letters[0].reason, "refused_by_database");
        assert_eq!(letters[0].encoding, "json/1");
        assert_eq!(letters[0].payload, sent[12].payload);
        let expected = match &scratch {
            Scratch::Postgres(_) => "SQLSTATE 23514: new row for relation",
            Scratch::Sqlite(_) => "SQLite 1811: not small",
        };
        let detail = &letters[0].detail;
        assert!(detail.starts_with(expected), "{detail}");
        let ledger = scratch.ledger().await;
        assert_eq!((ledger.batches, ledger.points), (21, 2_100));
        // The same messages again are known.
        assert_eq!(sink(&scratch, sent).await, (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_two_bad_rows_far_apart_are_dead_letters() {
    const TEST: &str = "bad_rows::d7_two_bad_rows_far_apart_are_dead_letters";
    for scratch in picky(TEST).await {
        let bad = |offset, point| [(1, 0), (20, 99)].contains(&(offset, point));
        assert_eq!(sink(&scratch, messages(1..21, bad)).await, (1, 1_998, 2));
        assert_eq!(scratch.rows().await, 2_098);
        let letters = scratch.letters().await;
        assert_eq!(places(&letters), [(1, Some(0)), (20, Some(99))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_a_step_where_everything_is_bad_ends() {
    const TEST: &str = "bad_rows::d7_a_step_where_everything_is_bad_ends";
    for scratch in picky(TEST).await {
        let sent = messages(1..4, |_, _| true);
        assert_eq!(sink(&scratch, sent.clone()).await, (1, 0, 300));
        assert_eq!(scratch.rows().await, POINTS as u64);
        let letters = scratch.letters().await;
        assert_eq!(letters.len(), 300);
        assert!(
            letters
                .iter()
                .all(|l| l.payload == sent[(l.offset - 1) as usize].payload),
            "each can be shown with its message"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_what_was_refused_is_replayed_once_after_a_fix() {
    const TEST: &str = "bad_rows::d7_what_was_refused_is_replayed_once_after_a_fix";
    for scratch in picky(TEST).await {
        let mut sent = messages(1..3, |_, point| point % 50 == 7);
        // Sequence 3 comes in an encoding that is not known, then sequence 4.
        let mut foreign = message(3, |point| point);
        foreign.encoding = Some("jsonx/1".into());
        sent.extend([foreign, message(4, |point| point), raw(5, "not json")]);
        assert_eq!(sink(&scratch, sent).await.1, 2 * 98 + 100);
        let letters = scratch.letters().await;
        assert_eq!(letters.len(), 6);
        assert_eq!(scratch.ledger().await.missing.to_text(), "3");
        let mut replayer = Replayer::new(scratch.store(), SinkSettings::default());

        // Before the fix all stay as they are.
        for letter in &letters {
            let replayed = replayer.replay(letter).await.expect("answered");
            assert!(matches!(replayed, Replayed::Refused(_)), "{replayed:?}");
        }
        assert_eq!(scratch.letters().await, letters);

        scratch.take_all_numbers();
        scratch.execute("update dead_letter set encoding = 'json/1' where encoding = 'jsonx/1'");
        let mut other = Replayer::new(scratch.store(), SinkSettings::default());
        for letter in scratch.letters().await {
            let first = replayer.replay(&letter).await.expect("answered");
            let rows = match letter.offset {
                3 => 100,
                _ => 1,
            };
            if letter.offset == 5 {
                assert!(matches!(first, Replayed::Refused(_)), "{first:?}");
                continue;
            }
            assert_eq!(first, Replayed::Stored { rows, rejected: 0 }, "{letter:?}");
            let second = other.replay(&letter).await.expect("answered");
            assert_eq!(second, Replayed::Gone);
        }
        assert_eq!(scratch.rows().await, 500, "each point once");
        let left = scratch.letters().await;
        assert_eq!(places(&left), [(5, None)]);
        let ledger = scratch.ledger().await;
        assert_eq!(ledger.missing.to_text(), "", "the late batch is booked");
        assert_eq!((ledger.batches, ledger.points), (5, 500));
    }
}
