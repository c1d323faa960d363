//! Positions that are said to be outside of their logs: what is noted is what the database holds.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegauge_model::ManualClock;
use tidegauge_sink::assemble::Assembler;
use tidegauge_sink::{
    Finished, OnLostMessages, Sink, SinkError, SinkSettings, SinkStatus, Source, SourceEvent,
};
use tidegauge_store::{OpenOptions, PositionMove, SourceId, StoreUrl, open_store};
use tokio_util::sync::CancellationToken;

const LOW: i64 = 10;
const HIGH: i64 = 20;

fn source() -> SourceId {
    SourceId::kafka("id-1", "topic")
}

/// Says of one partition that its position is outside of the log, and ends the sink when that goes on.
struct Lost {
    events: Vec<SourceEvent>,
    rewound: Arc<Mutex<Vec<i64>>>,
    cancel: CancellationToken,
}

#[async_trait::async_trait]
impl Source for Lost {
    async fn next(&mut self) -> Result<SourceEvent, SinkError> {
        match self.events.pop() {
            Some(event) => Ok(event),
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
        let next = positions.iter().map(|(_, _, next)| *next);
        self.rewound.lock().expect("not poisoned").extend(next);
        self.cancel.cancel();
        Ok(())
    }

    async fn ends(&mut self) -> Result<Vec<(SourceId, i32, i64)>, SinkError> {
        Ok(vec![(source(), 0, HIGH)])
    }

    async fn close(&mut self, _: Duration) {}
}

/// Runs a sink that is told that `judged` is outside of the log, while `stored` is in the database;
/// answers where it goes on, and the gaps that are noted.
async fn go_on(judged: i64, stored: i64) -> (Vec<i64>, Vec<(i64, i64)>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let url = StoreUrl::parse(&format!("sqlite:{}", path.display())).expect("a URL");
    let mut store = open_store(&url, &OpenOptions::default()).expect("the URL is right");
    store.migrate().await.expect("migrated");
    let begun = store.positions(&source(), &[(0, stored)]).await;
    assert_eq!(begun.expect("begun")[0].next_offset, stored);
    let (rewound, cancel) = (Arc::default(), CancellationToken::new());
    let lost = SourceEvent::PositionLost {
        source: source(),
        partition: 0,
        stored: judged,
        low: LOW,
        high: HIGH,
    };
    let script = Lost {
        // From the last on.
        events: vec![lost, SourceEvent::Assigned(vec![(source(), 0, judged)])],
        rewound: Arc::clone(&rewound),
        cancel: cancel.clone(),
    };
    let settings = SinkSettings {
        on_lost_messages: OnLostMessages::SkipAndRecord,
        ..SinkSettings::default()
    };
    let clock = Arc::new(ManualClock::at(1_795_183_200_000_000));
    let sink = Sink::new(
        store,
        Box::new(script),
        Assembler::new(&settings, clock.clone()),
        settings,
        clock,
        Arc::new(SinkStatus::default()),
        cancel,
    );
    let finished = tokio::time::timeout(Duration::from_secs(60), sink.run()).await;
    let finished = finished.expect("in time").expect("no error");
    assert_eq!(finished, Finished::Stopped);
    let connection = rusqlite::Connection::open(path).expect("opened");
    let mut gaps = connection
        .prepare("select from_offset, to_offset from gap order by from_offset")
        .expect("the table is there");
    let gaps = gaps.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let gaps = gaps.expect("read").collect::<Result<_, _>>().expect("read");
    let rewound = rewound.lock().expect("not poisoned").clone();
    (rewound, gaps)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_noted_and_gone_past() {
    assert_eq!(go_on(5, 5).await, (vec![LOW], vec![(5, LOW)]));
    assert_eq!(go_on(25, 25).await, (vec![LOW], vec![(HIGH, 25)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_noted_of_a_position_that_another_sink_moved_meanwhile() {
    // The second is beyond the end as it was then: the log has grown, nothing is missing.
    for (judged, stored) in [(5, 15), (25, 27), (5, 7)] {
        assert_eq!(go_on(judged, stored).await, (vec![stored], vec![]));
    }
}
