//! Integration tests of the agent.

mod certificates;
mod changes;
mod clients;
mod collect;
mod collectors;
mod guarded;
mod heartbeat;
mod hostile;
mod hosts;
mod http_server;
mod listeners;
#[cfg(feature = "databases")]
mod probe_databases;
mod probe_dns;
mod probe_http;
mod probe_http2;
mod probe_kafka;
mod probe_others;
mod probes;
mod publish;
mod scripted;
mod services;
mod sources;
mod stress;
mod writes;
