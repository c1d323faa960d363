//! What tests stand on: real brokers and databases on loopback, a fault proxy, fake host trees.
//!
//! Development only: no crate depends on it except for its tests, and `xtask`, which starts the
//! servers. It knows no metrics and no SQL of ours.
//!
//! A test that needs a server begins with `let Some(brokers) = testkit::kafka("name") else
//! { return };`: where there is none, the skip is said aloud and recorded (see [`skip`]).

mod clients;
mod database;
mod eventually;
pub mod golden;
mod host_tree;
mod mysql;
pub mod proxy;
pub mod servers;
mod services;
mod skips;
mod tokens;

pub use clients::{CLIENTS, CLIENTS_PROBLEM, Clients};
pub use database::{Database, postgres_database, postgres_query};
pub use eventually::{eventually, eventually_async};
pub use host_tree::HostTree;
pub use mysql::{MysqlDatabase, mysql_database, mysql_query};
pub use services::{KafkaListeners, kafka, kafka_listeners, random_topic};
pub use skips::{SKIPS_FILE, skip};
pub use tokens::{TokenProvider, unsecured_token};

/// Random lower-case hexadecimal text of `length` characters, for names that must not collide.
///
/// # Panics
/// When the system has no random numbers.
#[must_use]
pub fn random_hex(length: usize) -> String {
    let mut bytes = vec![0_u8; length.div_ceil(2)];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(length);
    text
}
