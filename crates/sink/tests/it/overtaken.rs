//! A sink whose step another one committed meanwhile, with more beside it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::ManualClock;
use tidegauge_sink::assemble::Assembler;
use tidegauge_sink::{
    Finished, Message, Sink, SinkError, SinkSettings, SinkStatus, Source, SourceEvent,
};
use tidegauge_store::{OpenOptions, PositionMove, SourceId, Store, StoreUrl, open_store};
use tokio_util::sync::CancellationToken;

const NOW_US: i64 = 1_795_183_200_000_000;

fn source() -> SourceId {
    SourceId::kafka("id-1", "topic")
}

/// One point of agent-1.
fn message(partition: i32, offset: i64, sequence: u64) -> Message {
    let time_us = NOW_US + i64::try_from(sequence).expect("small");
    let point =
        format!(r#"{{"measurement":"numbered","time_us":{time_us},"fields":{{"n":{sequence}}}}}"#);
    let text = format!(
        r#"{{"v":1,"agent":"agent-1","epoch":1,"sequence":{sequence},"host":"h","points":[{point}]}}"#
    );
    Message {
        source: source(),
        partition,
        offset,
        received_us: None,
        encoding: None,
        payload: text.into(),
    }
}

fn store(folder: &Path) -> Box<dyn Store> {
    let url = format!("sqlite:{}", folder.join("store.db").display());
    let url = StoreUrl::parse(&url).expect("a URL");
    open_store(&url, &OpenOptions::default()).expect("the URL is right")
}

/// What a source brings next.
enum Brings {
    Event(SourceEvent),
    /// The other sink takes these in one step before anything else comes.
    Other(Vec<Message>),
}

struct Script {
    folder: Arc<Path>,
    brings: VecDeque<Brings>,
    other: Option<tokio::task::JoinHandle<()>>,
}

#[async_trait::async_trait]
impl Source for Script {
    async fn next(&mut self) -> Result<SourceEvent, SinkError> {
        // Kept in `self`, as whoever asks may give up asking.
        if let Some(Brings::Other(messages)) = self.brings.front_mut() {
            let messages = std::mem::take(messages);
            self.brings.pop_front();
            let assigned = SourceEvent::Assigned(vec![(source(), 0, 1), (source(), 1, 0)]);
            let brings = [assigned, SourceEvent::Messages(messages)].map(Brings::Event);
            let settings = SinkSettings {
                cycles: Some(1),
                ..SinkSettings::default()
            };
            let other = run(Arc::clone(&self.folder), brings.into(), settings);
            self.other = Some(tokio::spawn(other));
        }
        if let Some(other) = &mut self.other {
            other.await.expect("the other sink did its step");
            self.other = None;
        }
        match self.brings.pop_front() {
            Some(Brings::Event(event)) => Ok(event),
            Some(Brings::Other(_)) => unreachable!("one other sink"),
            None => std::future::pending().await,
        }
    }

    fn try_next(&mut self) -> Result<Option<SourceEvent>, SinkError> {
        Ok(None)
    }

    async fn acknowledge(&mut self, _: &[PositionMove]) -> Result<(), SinkError> {
        Ok(())
    }

    async fn rewind(&mut self, positions: &[(SourceId, i32, i64)]) -> Result<(), SinkError> {
        panic!("every step is committed by somebody, but the sink goes back to {positions:?}")
    }

    async fn ends(&mut self) -> Result<Vec<(SourceId, i32, i64)>, SinkError> {
        Ok(Vec::new())
    }

    async fn close(&mut self, _: Duration) {}
}

async fn run(folder: Arc<Path>, brings: VecDeque<Brings>, settings: SinkSettings) {
    let clock = Arc::new(ManualClock::at(NOW_US));
    let sink = Sink::new(
        store(&folder),
        Box::new(Script {
            folder,
            brings,
            other: None,
        }),
        Assembler::new(&settings, clock.clone()),
        settings,
        clock,
        Arc::new(SinkStatus::default()),
        CancellationToken::new(),
    );
    let finished = tokio::time::timeout(Duration::from_secs(60), sink.run()).await;
    assert_eq!(
        finished.expect("in time").expect("no error"),
        Finished::Cycles
    );
}

/// Both sinks come from sequence 0 to the end of one step at offset 2 of partition 0, so the ledger
/// row has the version that this sink expects; but the other's step had sequence 1 in it, from
/// another partition. Then sequence 1 comes again.
async fn is_overtaken(packed_ahead: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let path: Arc<Path> = folder.path().into();
    let mut begun = store(&path);
    begun.migrate().await.expect("migrated");
    let positions = begun.positions(&source(), &[(0, 0), (1, 0)]).await;
    assert_eq!(positions.expect("begun").len(), 2);
    let event = |messages| Brings::Event(SourceEvent::Messages(messages));
    let mut brings = VecDeque::from([
        Brings::Event(SourceEvent::Assigned(vec![(source(), 0, 0)])),
        event(vec![message(0, 0, 0)]),
        Brings::Other(vec![message(0, 1, 3), message(1, 0, 1)]),
    ]);
    let (overtaken, again) = (message(0, 1, 3), message(0, 2, 1));
    match packed_ahead {
        true => brings.push_back(event(vec![overtaken, again])),
        false => brings.extend([event(vec![overtaken]), event(vec![again])]),
    }
    let settings = SinkSettings {
        cycles: Some(3),
        step_points: 1,
        ..SinkSettings::default()
    };
    run(Arc::clone(&path), brings, settings).await;
    let rows = store(&path).ledger_rows().await.expect("the ledger");
    let [(_, row)] = rows.as_slice() else {
        panic!("not one row: {rows:?}")
    };
    assert_eq!(
        (row.batches, row.points, row.duplicate_batches),
        (3, 3, 1),
        "{row:?}"
    );
    assert_eq!(
        (row.next_sequence, row.missing.to_text().as_str()),
        (4, "2")
    );
    let connection = rusqlite::Connection::open(path.join("store.db")).expect("opened");
    let stored: i64 = connection
        .query_row("select count(*) from m_numbered", [], |row| row.get(0))
        .expect("counted");
    assert_eq!(stored, 3, "each point once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_sink_booked_in_the_same_step_is_seen_by_the_next() {
    is_overtaken(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_sink_booked_in_the_same_step_is_seen_by_the_one_packed_ahead() {
    is_overtaken(true).await;
}
