//! End-to-end tests: the real program on real Kafka and databases, by the scenarios that users of
//! such programs expect.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what went wrong by failing"
)]

mod bad_messages;
mod command_line;
mod config_command;
mod config_import;
mod containers;
mod crashes;
mod dead_letters;
mod deployed;
mod doctor;
mod doctor_texts;
mod host_metrics;
mod image;
mod listeners;
mod logs;
mod lost_messages;
mod network_gone;
mod packaged;
mod produce;
mod program;
mod refused;
mod reload;
mod rights;
mod roles;
mod schema;
mod secrets;
mod security;
mod seen_from_outside;
mod served;
mod settings;
mod several_sinks;
mod stores;
mod telegraf;
mod tokens;
mod up;
mod web_checks;
mod web_server;
