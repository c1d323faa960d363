//! Connections: taken one by one, with limits on their number, on heads and on time.

use crate::door::Door;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Requests at the same time on one connection of HTTP/2.
const MOST_STREAMS: u32 = 32;
/// The largest head of a request.
const MOST_HEAD_BYTES: usize = 16_384;
/// How long a connection of HTTP/2 may be idle: exporters send once a minute.
const IDLE: Duration = Duration::from_secs(150);
/// How often a connection of HTTP/2 is asked whether somebody is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long to wait after an error of the system, such as too many open files.
const AFTER_ERROR: Duration = Duration::from_millis(200);

/// The limits of one server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at the same time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// How long the handshake of TLS and the head of a request may take to come; also how long a connection
    /// of HTTP/1 may be idle.
    pub head_within: Duration,
    /// How long a stop waits for answers that are under way.
    pub stop_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head_within: Duration::from_secs(10),
            stop_within: Duration::from_millis(900),
        }
    }
}

/// Who sent a request; every request has it among its extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Serves HTTP/1 and HTTP/2 at all these sockets until `cancel`, then lets what is under way end.
/// Whether a request is answered at all is left to `service`, which asks the door.
pub async fn serve<F, A, B>(
    listeners: Vec<TcpListener>,
    door: Arc<Door>,
    limits: Limits,
    cancel: CancellationToken,
    service: F,
) where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let free = Arc::new(Semaphore::new(limits.connections));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let (door, free, cancel) = (door.clone(), free.clone(), cancel.clone());
        accepting.spawn(accept(
            listener,
            door,
            free,
            limits,
            cancel,
            service.clone(),
        ));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept<F, A, B>(
    listener: TcpListener,
    door: Arc<Door>,
    free: Arc<Semaphore>,
    limits: Limits,
    cancel: CancellationToken,
    service: F,
) where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            let place = Arc::clone(&free).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let next = tokio::select! {
            () = cancel.cancelled() => break,
            next = next => next,
        };
        match next {
            Some((Ok((stream, peer)), place)) => {
                let (door, cancel, service) = (door.clone(), cancel.clone(), service.clone());
                connections.spawn(async move {
                    secured(stream, Peer(peer), &door, limits, cancel, service).await;
                    drop(place);
                });
            }
            Some((Err(error), _)) => {
                tracing::warn!(%error, "taking a connection");
                tokio::time::sleep(AFTER_ERROR).await;
            }
            None => break,
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    tokio::time::timeout(limits.stop_within, ended).await.ok();
}

/// Speaks TLS first, if the door has it.
async fn secured<F, A, B>(
    stream: TcpStream,
    peer: Peer,
    door: &Door,
    limits: Limits,
    cancel: CancellationToken,
    service: F,
) where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Some(tls) = &door.tls else {
        return connection(stream, peer, limits, cancel, service).await;
    };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limits.head_within, tls.accept(stream)) => shaken,
        () = cancel.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => connection(stream, peer, limits, cancel, service).await,
        Ok(Err(error)) => tracing::debug!(peer = %peer.0, %error, "no TLS with this client"),
        Err(_) => tracing::debug!(peer = %peer.0, "no TLS with this client in time"),
    }
}

/// Until the server stops, or nobody asks for anything: hyper waits for ever for the first byte, and
/// on a connection of HTTP/2 for the next request. An answer that is under way then still ends.
async fn over(asked: &Notify, limits: Limits, cancel: &CancellationToken) {
    let silent = async {
        let mut patience = limits.head_within;
        while tokio::time::timeout(patience, asked.notified())
            .await
            .is_ok()
        {
            patience = IDLE;
        }
    };
    tokio::select! {
        () = silent => {}
        () = cancel.cancelled() => {}
    }
}

async fn connection<I, F, A, B>(
    stream: I,
    peer: Peer,
    limits: Limits,
    cancel: CancellationToken,
    service: F,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_within)
        .max_buf_size(MOST_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD_BYTES as u32)
        .keep_alive_interval(Some(KEEP_ALIVE));
    let asked = Arc::new(Notify::new());
    let asks = Arc::clone(&asked);
    let service = service_fn(move |mut request: Request<Incoming>| {
        asks.notify_one();
        request.extensions_mut().insert(peer);
        let answer = service(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = over(&asked, limits, &cancel) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.0, error, "a connection broke off");
    }
}
