//! Servers of HTTP that the program itself has: TLS, who may come in, and limits, in one place.
//!
//! ```text
//! socket ──> room for one more ──> TLS ──> head of a request ──> Door::admit ──> the service
//!                                                   (Host, then token or user and password)
//! ```
//! [`serve`] has the limits on connections, heads and time, and knows no service. A [`Door`] says who
//! comes in: each service asks it, because each says "no" in the words of its own format. [`pages`]
//! does both for pages that people and Prometheus read, with the headers that protect them.
//! Certificates and users are read again when their files are replaced.

mod access;
mod door;
mod hosts;
pub mod pages;
mod server;
mod tls;
mod watched;

pub use access::{Shown, Token, hash_password};
pub use door::{Denied, Door, DoorError, DoorSettings};
pub use server::{Limits, Peer, serve};
pub use tls::pem_problem;
