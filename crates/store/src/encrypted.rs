//! How a store's connection is protected, and its servers up to where TLS begins, for the person who looks at their
//! certificates. Nothing of ours is sent: neither a name nor a password.

use crate::{ErrorClass, StoreError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// PostgreSQL's question for TLS: the length, and a code in the place of a version (manual, "SSLRequest").
const POSTGRES_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// MySQL's capabilities: protocol 4.1, TLS, authentication of version 4.1.
const MYSQL_CAPABILITIES: u32 = 0x0200 | MYSQL_TLS | 0x8000;
const MYSQL_TLS: u32 = 0x0800;
const MYSQL_PACKET_BYTES: u32 = 1 << 24;
const MYSQL_UTF8MB4: u8 = 45;
/// A greeting is far shorter than this.
const MYSQL_MOST_GREETING_BYTES: usize = 4096;

/// How the connection to a store is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// A file, a unix socket, or this very machine.
    Local,
    /// In the clear over the network, as the URL says.
    Plaintext,
    /// Encrypted, to whoever answers: certificate and name are not verified, as the URL says.
    Unverified(Vec<TlsServer>),
    /// Certificate and name are verified.
    Verified(Vec<TlsServer>),
}

/// A server that is spoken to over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsServer {
    /// The name that its certificate must have.
    pub name: String,
    /// Where it is: an address, or the same name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is asked for TLS.
    pub(crate) begin: Begin,
}

/// How a connection comes to TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// By PostgreSQL's SSLRequest.
    Postgres,
    /// At once (`sslnegotiation=direct`).
    AtOnce,
    /// By MySQL's SSLRequest, after the server's greeting.
    Mysql,
}

impl TlsServer {
    /// A connection on which the handshake of TLS is next.
    ///
    /// # Errors
    /// [`ErrorClass::Outage`] when nobody answers within the deadline, or the server has no TLS.
    pub async fn connect(&self, deadline: Duration) -> Result<TcpStream, StoreError> {
        let failed = |cause: std::io::Error| {
            let doing = format!("asking {}:{} for TLS", self.host, self.port);
            StoreError::new(doing, ErrorClass::Outage).caused_by(cause)
        };
        let asked = async {
            let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            match self.begin {
                Begin::AtOnce => {}
                Begin::Postgres => ask_postgres(&mut stream).await?,
                Begin::Mysql => ask_mysql(&mut stream).await?,
            }
            Ok(stream)
        };
        tokio::time::timeout(deadline, asked)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(failed)
    }
}

fn no_tls() -> std::io::Error {
    std::io::Error::other("the server offers no TLS")
}

async fn ask_postgres(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&POSTGRES_REQUEST).await?;
    match stream.read_u8().await? {
        b'S' => Ok(()),
        _ => Err(no_tls()),
    }
}

/// MySQL, "Connection Phase": the greeting tells whether there is TLS; a short answer asks for it.
async fn ask_mysql(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [a, b, c, _] = head;
    let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    if length > MYSQL_MOST_GREETING_BYTES {
        return Err(std::io::Error::other("the server does not speak MySQL"));
    }
    let mut greeting = vec![0; length];
    stream.read_exact(&mut greeting).await?;
    match mysql_capabilities(&greeting) {
        None => return Err(std::io::Error::other("the server takes no connection")),
        Some(capabilities) if capabilities & MYSQL_TLS == 0 => return Err(no_tls()),
        Some(_) => {}
    }
    let mut request = vec![32, 0, 0, 1];
    request.extend(MYSQL_CAPABILITIES.to_le_bytes());
    request.extend(MYSQL_PACKET_BYTES.to_le_bytes());
    request.push(MYSQL_UTF8MB4);
    request.extend([0; 23]);
    stream.write_all(&request).await
}

/// The lower half of what the server can do; `None` for an error in the place of a greeting.
fn mysql_capabilities(greeting: &[u8]) -> Option<u32> {
    let (&10, rest) = greeting.split_first()? else {
        return None;
    };
    let version_end = rest.iter().position(|byte| *byte == 0)?;
    // The connection's id, eight bytes of the challenge, a zero.
    let lower = rest.get(version_end + 1 + 4 + 8 + 1..)?.get(..2)?;
    Some(u32::from(u16::from_le_bytes([lower[0], lower[1]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_tells_whether_there_is_tls() {
        let greeting = |capabilities: [u8; 2]| {
            let mut bytes = b"\x0a11.4.5-MariaDB\0".to_vec();
            bytes.extend([1, 0, 0, 0]);
            bytes.extend(*b"challeng\0");
            bytes.extend(capabilities);
            bytes
        };
        let with = mysql_capabilities(&greeting([0xff, 0x0f])).expect("a greeting");
        assert_ne!(with & MYSQL_TLS, 0);
        let without = mysql_capabilities(&greeting([0xff, 0xf7])).expect("a greeting");
        assert_eq!(without & MYSQL_TLS, 0);
        for bad in [
            &b""[..],
            b"\xff\x10\x04too many connections",
            b"\x0a11.4",
            b"\x0a\0",
        ] {
            assert_eq!(mysql_capabilities(bad), None, "{bad:?}");
        }
    }
}
