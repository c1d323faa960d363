//! A web server in this process that misbehaves on demand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What a server does with a connection after it has read the head of the request.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Sends these bytes and closes.
    Reply(Vec<u8>),
    /// Sends the head of the request back as the body.
    Echo,
    /// Keeps the head of the request and sends these bytes.
    Keep(Arc<Mutex<String>>, Vec<u8>),
    /// Sends nothing and keeps the connection.
    Hang,
    /// Sends these bytes, then one more every few milliseconds.
    Drip(&'static [u8]),
}

/// A server that lives as long as this.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _task: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (behaviour, tls) = (behaviour.clone(), tls.clone());
                // What the client breaks off is no failure of the server.
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, behaviour).await,
                        Some(tls) => serve(tls.accept(stream).await?, behaviour).await,
                    }
                });
            }
        });
        Self {
            address,
            _task: task,
        }
    }

    pub(crate) fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/", self.address.port())
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    behaviour: Behaviour,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    match behaviour {
        Behaviour::Reply(bytes) => stream.write_all(&bytes).await?,
        Behaviour::Echo => stream.write_all(&reply(200, &head)).await?,
        Behaviour::Keep(kept, bytes) => {
            *kept.lock().expect("not poisoned") = String::from_utf8_lossy(&head).into_owned();
            stream.write_all(&bytes).await?;
        }
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Drip(bytes) => {
            stream.write_all(bytes).await?;
            let mut beat = tokio::time::interval(Duration::from_millis(5));
            loop {
                beat.tick().await;
                stream.write_all(b".").await?;
                stream.flush().await?;
            }
        }
    }
    stream.shutdown().await
}

/// The bytes of an answer.
pub(crate) fn reply(status: u16, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
