//! Servers through real sockets, as clients and as those who mean harm see them.

mod client;
mod limits;
mod pages;
mod tls;

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_serve::pages::IsKnown;
use tidegauge_serve::{Door, DoorSettings, Limits};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whatever a test waits for comes within this, or the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// Files that are replaced are seen after this.
const SEEN_AFTER: Duration = Duration::from_millis(1_200);

/// Two pages: one for those who may come in, one for everybody.
struct Server {
    address: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(door: DoorSettings) -> Self {
        Self::within(Limits::default(), door).await
    }

    async fn within(limits: Limits, door: DoorSettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let door = Arc::new(Door::open(door).expect("a door"));
        let open = |Extension(IsKnown(is_known)): Extension<IsKnown>| async move {
            format!("known: {is_known}")
        };
        let router = Router::new()
            .route("/page", get(|| async { "the page" }))
            .route("/open", get(open));
        let cancel = CancellationToken::new();
        let served = tidegauge_serve::pages::serve(
            listener,
            router,
            door,
            &["/open"],
            limits,
            cancel.clone(),
        );
        Self {
            address,
            cancel,
            task: tokio::spawn(served),
        }
    }

    async fn stop(self) {
        self.cancel.cancel();
        let ended = tokio::time::timeout(DEADLINE, self.task).await;
        ended.expect("in time").expect("no panic");
    }
}
