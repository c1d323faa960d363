//! Integration tests of the agent.

mod collect;
mod collectors;
mod http_server;
mod probes;
mod publish;
