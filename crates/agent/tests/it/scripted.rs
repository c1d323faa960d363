//! A server in this process that plays a script on every connection, whatever the other side does.

use std::net::SocketAddr;
use std::time::Duration;
use tidegauge_agent::probes::{CheckResult, CheckSettings, ProbeContext, check_once};
use tidegauge_model::SystemClock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// One thing that a server does.
#[derive(Clone)]
pub(crate) enum Act {
    /// Sends these bytes.
    Say(Vec<u8>),
    /// Reads to the end of these bytes.
    Hear(&'static str),
    /// Sends one byte every few milliseconds.
    Drip(u8),
    /// Sends this byte as fast as it is taken.
    Flood(u8),
    /// Keeps the connection and does nothing.
    Hang,
    /// Ends the connection at once, by a reset.
    Reset,
    /// Speaks TLS from here on.
    StartTls(TlsAcceptor),
}

pub(crate) fn say(text: &str) -> Act {
    Act::Say(text.as_bytes().to_vec())
}

/// A server that lives as long as this. When the script ends the connection is closed.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    _task: JoinSet<()>,
}

impl Scripted {
    pub(crate) async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // What the client breaks off is no failure of the server.
                connections.spawn(serve(stream, script.clone()));
            }
        });
        Self {
            address,
            _task: task,
        }
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/", self.address.port())
    }
}

async fn serve(mut stream: TcpStream, script: Vec<Act>) -> std::io::Result<()> {
    for (at, act) in script.iter().enumerate() {
        match act {
            Act::Reset => {
                stream.set_zero_linger()?;
                return Ok(());
            }
            Act::StartTls(acceptor) => {
                let mut stream = acceptor.accept(stream).await?;
                for act in &script[at + 1..] {
                    if matches!(act, Act::Reset) {
                        stream.get_ref().0.set_zero_linger()?;
                        return Ok(());
                    }
                    play(&mut stream, act).await?;
                }
                return stream.shutdown().await;
            }
            act => play(&mut stream, act).await?,
        }
    }
    stream.shutdown().await?;
    // A socket that is closed with unread bytes in it sends a reset, which may overtake what was said.
    tokio::io::copy(&mut stream, &mut tokio::io::sink())
        .await
        .map(drop)
}

async fn play(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    act: &Act,
) -> std::io::Result<()> {
    match act {
        Act::Say(bytes) => {
            stream.write_all(bytes).await?;
            stream.flush().await
        }
        Act::Hear(text) => {
            let mut heard = Vec::new();
            while !heard.ends_with(text.as_bytes()) {
                heard.push(stream.read_u8().await?);
            }
            Ok(())
        }
        Act::Drip(byte) => {
            let mut beat = tokio::time::interval(Duration::from_millis(5));
            loop {
                beat.tick().await;
                stream.write_all(&[*byte]).await?;
                stream.flush().await?;
            }
        }
        Act::Flood(byte) => loop {
            stream.write_all(&[*byte; 4_096]).await?;
        },
        Act::Hang => std::future::pending().await,
        Act::Reset | Act::StartTls(_) => unreachable!("they end the plain part of a script"),
    }
}

pub(crate) fn settings(url: &str) -> CheckSettings {
    CheckSettings::new(url).expect("a URL")
}

/// A deadline that a check of a server on loopback meets only when it is held up.
pub(crate) fn hurried(settings: CheckSettings) -> CheckSettings {
    settings
        .with_deadline(Duration::from_millis(300))
        .expect("a deadline")
}

pub(crate) async fn check(settings: CheckSettings) -> CheckResult {
    check_once(settings, &ProbeContext::new(), &SystemClock)
        .await
        .expect("the settings can be used")
}
