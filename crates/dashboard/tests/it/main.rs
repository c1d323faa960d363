//! The API and the page over a reader in memory, through real connections.

mod api;
mod browser;
mod client;
mod crawl;
mod demo;
mod live;
#[path = "../../../query/tests/it/memory_reader.rs"]
mod memory_reader;

use memory_reader::MemoryReader;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_dashboard::{DashboardOptions, serve};
use tidegauge_model::{Clock, ManualClock};
use tidegauge_query::Query;
use tidegauge_serve::{Door, DoorSettings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whatever a test waits for comes within this, or the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A served page.
struct Server {
    reader: Arc<MemoryReader>,
    address: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(clock: Arc<dyn Clock>, refresh: Duration) -> Self {
        Self::behind(DoorSettings::default(), clock, refresh).await
    }

    /// One that asks this of whoever comes.
    async fn behind(door: DoorSettings, clock: Arc<dyn Clock>, refresh: Duration) -> Self {
        let door = Arc::new(Door::open(door).expect("a door"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let reader = Arc::new(MemoryReader::default());
        let cancel = CancellationToken::new();
        let query = Query::new(reader.clone());
        let options = DashboardOptions { refresh };
        let task = tokio::spawn(serve(listener, door, query, options, clock, cancel.clone()));
        Self {
            reader,
            address,
            cancel,
            task,
        }
    }

    /// With demo data of one host up to the time that the clock stands at.
    async fn demo(now_us: i64) -> (Self, ManualClock) {
        let clock = ManualClock::at(now_us);
        let server = Self::start(Arc::new(clock.clone()), Duration::from_millis(20)).await;
        demo::fill(&server.reader, now_us, 60);
        (server, clock)
    }

    async fn stop(self) {
        self.cancel.cancel();
        let ended = tokio::time::timeout(DEADLINE, self.task).await;
        ended.expect("ends in time").expect("does not panic");
    }
}
