//! The sockets of one listener, kept so that it can begin anew without letting go of them.
//!
//! A listener gets a handle of its own of each. One that takes its place and asks for the same
//! address gets a handle of the same socket, so what the kernel holds meanwhile is not lost, and
//! both can be there until it is sure that the new one can begin.

use super::{AgentError, listen_error};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixDatagram as StdUnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};

/// The sockets of one listener, by the setting and the address as it stands there.
#[derive(Debug, Default)]
pub struct Bindings {
    bound: Vec<(&'static str, String, Socket)>,
    /// Those of the listener before.
    before: Vec<(&'static str, String, Socket)>,
}

#[derive(Debug, Clone)]
enum Socket {
    Tcp(Arc<std::net::TcpListener>),
    Udp(Arc<std::net::UdpSocket>),
    Unix(Arc<UnixSocket>),
}

/// A unix socket, whose file goes with it.
#[derive(Debug)]
struct UnixSocket {
    socket: StdUnixDatagram,
    path: PathBuf,
}

impl UnixSocket {
    fn handle(self: &Arc<Self>) -> io::Result<UnixHandle> {
        Ok(UnixHandle {
            socket: UnixDatagram::from_std(self.socket.try_clone()?)?,
            _file: Arc::clone(self),
        })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "removing the socket");
        }
    }
}

/// A handle of a unix socket; the file is there for as long as it is.
pub(super) struct UnixHandle {
    socket: UnixDatagram,
    _file: Arc<UnixSocket>,
}

impl UnixHandle {
    /// The next datagram; the bytes that it has.
    pub(super) async fn recv(&self, datagram: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(datagram).await
    }
}

impl Bindings {
    /// For a listener that takes the place of the one that has these.
    pub(crate) fn after(before: &Self) -> Self {
        Self {
            bound: Vec::new(),
            before: before.bound.clone(),
        }
    }

    /// Lets go of what only the listener before had.
    pub(crate) fn settle(&mut self) {
        self.before.clear();
    }

    /// A socket for connections.
    pub(super) fn tcp(
        &mut self,
        key: &'static str,
        address: SocketAddr,
    ) -> Result<TcpListener, AgentError> {
        let bind = || {
            let socket = std::net::TcpListener::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(Socket::Tcp(Arc::new(socket)))
        };
        let handle = |socket: &Socket| match socket {
            Socket::Tcp(socket) => Some(socket.try_clone().and_then(TcpListener::from_std)),
            _ => None,
        };
        self.handle(key, address.to_string(), bind, handle)
    }

    /// A socket for datagrams.
    pub(super) fn udp(
        &mut self,
        key: &'static str,
        address: SocketAddr,
    ) -> Result<UdpSocket, AgentError> {
        let bind = || {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(Socket::Udp(Arc::new(socket)))
        };
        let handle = |socket: &Socket| match socket {
            Socket::Udp(socket) => Some(socket.try_clone().and_then(UdpSocket::from_std)),
            _ => None,
        };
        self.handle(key, address.to_string(), bind, handle)
    }

    /// A unix socket for datagrams. The file of one that a program left behind is replaced; one that
    /// is in use is not, nor is a file of another kind.
    pub(super) fn unix(
        &mut self,
        key: &'static str,
        path: &Path,
    ) -> Result<UnixHandle, AgentError> {
        let handle = |socket: &Socket| match socket {
            Socket::Unix(unix) => Some(unix.handle()),
            _ => None,
        };
        self.handle(key, path.display().to_string(), || bind_unix(path), handle)
    }

    fn handle<T>(
        &mut self,
        key: &'static str,
        address: String,
        bind: impl FnOnce() -> io::Result<Socket>,
        handle: impl Fn(&Socket) -> Option<io::Result<T>>,
    ) -> Result<T, AgentError> {
        let held = self
            .before
            .iter()
            .find(|(of, at, socket)| *of == key && *at == address && handle(socket).is_some());
        let socket = match held {
            Some((_, _, socket)) => Ok(socket.clone()),
            None => bind(),
        };
        let handled = socket.and_then(|socket| {
            let made = handle(&socket).unwrap_or_else(|| Err(io::ErrorKind::Unsupported.into()));
            made.map(|made| (socket, made))
        });
        let (socket, made) = handled.map_err(|source| listen_error(key, &address, source))?;
        self.bound.push((key, address, socket));
        Ok(made)
    }
}

fn bind_unix(path: &Path) -> io::Result<Socket> {
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        let in_use = || StdUnixDatagram::unbound()?.connect(path);
        if !metadata.file_type().is_socket() || in_use().is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let socket = StdUnixDatagram::bind(path)?;
    socket.set_nonblocking(true)?;
    Ok(Socket::Unix(Arc::new(UnixSocket {
        socket,
        path: path.to_owned(),
    })))
}
