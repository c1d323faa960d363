//! Tests of the turns, against a store that notes what it is asked for.

use super::*;
use std::collections::HashMap;
use std::sync::Mutex;
use tidegauge_model::ManualClock;
use tidegauge_store::{
    Applied, Catalog, DeadLetterFilter, DeadLetterRow, ErrorClass, LedgerKey, LedgerRow,
    Requirements, RowBlock, SourceId, Step, StoreError, StoredPosition,
};

#[derive(Default)]
struct Asked {
    settled: usize,
    retained: Vec<RetentionRequest>,
    bounded: Vec<DeadLetterBounds>,
}

/// Has so many partitions to settle; its retention fails.
struct Noting {
    partitions: u64,
    asked: Arc<Mutex<Asked>>,
}

#[async_trait::async_trait]
impl Store for Noting {
    async fn settle(&mut self, request: &SettleRequest) -> Result<SettleReport, StoreError> {
        assert_eq!((request.at_most, request.postponed_too), (1, false));
        assert_eq!(request.grace_us, 3_600_000_000);
        self.asked.lock().expect("no panic").settled += 1;
        self.partitions = self.partitions.saturating_sub(1);
        Ok(SettleReport {
            remaining: self.partitions,
            ..SettleReport::default()
        })
    }

    async fn retain(&mut self, request: &RetentionRequest) -> Result<RetentionReport, StoreError> {
        let mut asked = self.asked.lock().expect("no panic");
        asked.retained.push(request.clone());
        Err(StoreError::new("removing", ErrorClass::Outage))
    }

    async fn bound_dead_letters(
        &mut self,
        bounds: &DeadLetterBounds,
    ) -> Result<Vec<RemovedLetters>, StoreError> {
        let mut asked = self.asked.lock().expect("no panic");
        asked.bounded.push(bounds.clone());
        Ok(Vec::new())
    }

    async fn migrate(&mut self) -> Result<(), StoreError> {
        unreachable!("upkeep asks for nothing else")
    }

    async fn positions(
        &mut self,
        _source: &SourceId,
        _partitions: &[(i32, i64)],
    ) -> Result<Vec<StoredPosition>, StoreError> {
        unreachable!("upkeep asks for nothing else")
    }

    async fn known_positions(
        &mut self,
        _source: &SourceId,
    ) -> Result<Vec<StoredPosition>, StoreError> {
        unreachable!("upkeep asks for nothing else")
    }

    async fn ledger(
        &mut self,
        _keys: &[LedgerKey],
    ) -> Result<HashMap<LedgerKey, LedgerRow>, StoreError> {
        unreachable!("upkeep asks for nothing else")
    }

    async fn ensure(
        &mut self,
        _needs: &Requirements,
        _catalog: &mut Catalog,
    ) -> Result<(), StoreError> {
        unreachable!("upkeep asks for nothing else")
    }

    async fn apply(&mut self, _step: &Step) -> Result<Applied, StoreError> {
        unreachable!("upkeep asks for nothing else")
    }

    async fn try_rows(&mut self, _rows: Vec<RowBlock>) -> Result<(), StoreError> {
        unreachable!("upkeep asks for nothing else")
    }

    async fn housekeep(&mut self) -> Result<(), StoreError> {
        unreachable!("upkeep asks for nothing else")
    }

    async fn dead_letters(
        &mut self,
        _filter: &DeadLetterFilter,
    ) -> Result<Vec<DeadLetterRow>, StoreError> {
        unreachable!("upkeep asks for nothing else")
    }

    async fn delete_dead_letters(&mut self, _ids: &[i64]) -> Result<u64, StoreError> {
        unreachable!("upkeep asks for nothing else")
    }

    async fn ledger_rows(&mut self) -> Result<Vec<(LedgerKey, LedgerRow)>, StoreError> {
        unreachable!("upkeep asks for nothing else")
    }
}

/// Lets time pass, and then every task that is due.
async fn pass(time: Duration) {
    tokio::time::advance(time).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn settling_waits_until_the_sink_has_caught_up() {
    let clock = ManualClock::at(1_000_000_000_000);
    let (status, asked) = (Arc::new(SinkStatus::default()), Arc::default());
    let store = Noting {
        partitions: 3,
        asked: Arc::clone(&asked),
    };
    let settings = UpkeepSettings {
        retention: Some(Duration::from_secs(5)),
        ..UpkeepSettings::default()
    };
    let cancel = CancellationToken::new();
    let every = settings.every;
    let running = tokio::spawn(run(
        Box::new(store),
        settings,
        Arc::new(clock.clone()),
        Arc::clone(&status),
        cancel.clone(),
    ));
    let counts = || {
        let asked: &Mutex<Asked> = &asked;
        let asked = asked.lock().expect("no panic");
        (asked.settled, asked.retained.len())
    };
    pass(Duration::ZERO).await;
    assert_eq!(counts(), (0, 1), "behind: old rows go all the same");
    status.caught_up(clock.now_us());
    pass(every).await;
    assert_eq!(counts(), (3, 2), "until nothing remains");
    clock.advance(CAUGHT_UP_WITHIN_US + 1);
    pass(every).await;
    assert_eq!(counts(), (3, 3), "behind again");
    let request = asked.lock().expect("no panic").retained[0].clone();
    assert_eq!(
        request.before_us("cpu"),
        Some(1_000_000_000_000 - 5_000_000)
    );
    let bounds = DeadLetterBounds {
        now_us: 1_000_000_000_000,
        keep_us: Some(30 * 86_400_000_000),
        bytes: Some(1 << 30),
    };
    assert_eq!(asked.lock().expect("no panic").bounded[0], bounds);
    cancel.cancel();
    running.await.expect("ended");
}
