//! Ports for servers that must come back on the same one.

use std::net::TcpListener;

/// Below the range that the kernel takes for outgoing connections (32768 on, on Linux): a client
/// that retries a port of that range while its server is down can connect to itself and keep the
/// port from the server.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A loopback port that nobody listens on now.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn free_port() -> u16 {
    for _ in 0..1_000 {
        let mut bytes = [0_u8; 2];
        getrandom::fill(&mut bytes).expect("the system gives random bytes");
        let port = PORTS.start + u16::from_ne_bytes(bytes) % (PORTS.end - PORTS.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no loopback port is free");
}
