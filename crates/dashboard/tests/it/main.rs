//! The API and the page over a reader in memory, through real connections.

mod api;
mod browser;
mod client;
mod demo;
mod live;
#[path = "../../../query/tests/it/memory_reader.rs"]
mod memory_reader;

use memory_reader::MemoryReader;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_dashboard::{DashboardError, DashboardOptions, serve};
use tidegauge_model::{Clock, ManualClock};
use tidegauge_query::Query;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whatever a test waits for comes within this, or the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A served page.
struct Server {
    reader: Arc<MemoryReader>,
    address: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), DashboardError>>,
}

impl Server {
    async fn start(clock: Arc<dyn Clock>, refresh: Duration) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let reader = Arc::new(MemoryReader::default());
        let cancel = CancellationToken::new();
        let query = Query::new(reader.clone());
        let options = DashboardOptions { refresh };
        let task = tokio::spawn(serve(listener, query, options, clock, cancel.clone()));
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
        let result = ended.expect("ends in time").expect("does not panic");
        result.expect("ends without an error");
    }
}
