//! Integration tests of the agent.

mod clients;
mod collect;
mod collectors;
mod hosts;
mod http_server;
mod listeners;
mod probes;
mod publish;
mod sources;
mod stress;
mod writes;
