//! Real Kafka, PostgreSQL and MariaDB on loopback, for tests that stop, kill and restart their server.
//!
//! Each server has its own folder and ports, keeps both over a restart, and ends when its value is
//! dropped or this process dies. Nothing is fetched here but by [`Distribution::fetch`]. Most tests
//! need none of this: the shared servers of the run are enough (`testkit::kafka`).

pub mod certificates;
pub(crate) mod distribution;
mod folder;
mod kafka;
mod kafka_acls;
mod kafka_metadata;
mod kafka_partitions;
mod mariadb;
mod port;
mod postgres;
mod process;

pub use certificates::write_certificates;
pub use distribution::{Distribution, FetchError, SERVICES_FOLDER, WAYS_TO_GET_SERVERS};
pub use folder::Place;
pub use kafka::{KafkaOptions, KafkaServer, USERS, random_cluster_id, send_in_transactions};
pub use kafka_acls::{Operation, Resource, allow};
pub use kafka_metadata::{KafkaMetadata, kafka_metadata};
pub use mariadb::{MariadbOptions, MariadbServer};
pub use port::free_port;
pub use postgres::{PostgresOptions, PostgresServer};
pub use process::{Lifetime, Process, is_running, stop_by_id};
