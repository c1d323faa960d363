//! One broker and one database for all runs, each behind a proxy that breaks connections.

use crate::services::{fetch, make_enterable};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;
use tidegauge_testkit::Database;
use tidegauge_testkit::proxy::{Direction, Proxy};
use tidegauge_testkit::servers::{
    KafkaOptions, KafkaServer, Place, PostgresOptions, PostgresServer, free_port,
};

/// Makes sessions as short as a run needs them, and lets a broker that was killed come back at
/// once: as a rule the controller waits nine seconds for the end of its old session.
const BROKER_PROPERTIES: [&str; 3] = [
    "group.min.session.timeout.ms=1000",
    "broker.session.timeout.ms=2000",
    "broker.heartbeat.interval.ms=500",
];

/// A broker that is restarted again and again spends its life starting: one stage of compilation
/// gets it there sooner.
const QUICK_START: &str = "-XX:TieredStopAtLevel=1";

/// The servers. Fields are dropped in this order: the folder goes last.
pub(super) struct Servers {
    kafka: Mutex<KafkaServer>,
    postgres: Mutex<PostgresServer>,
    pub(super) kafka_proxy: Proxy,
    pub(super) postgres_proxy: Proxy,
    folder: TempDir,
}

impl Servers {
    pub(super) fn start() -> anyhow::Result<Self> {
        let distribution = fetch()?;
        let folder = tempfile::Builder::new()
            .prefix("tidegauge-faults-")
            .tempdir()
            .context("make a folder for the servers")?;
        make_enterable(folder.path())?;
        let postgres = PostgresServer::start(
            &distribution,
            &PostgresOptions {
                place: Place::Kept(folder.path().join("postgres")),
                ..PostgresOptions::default()
            },
        )?;
        let postgres_proxy = Proxy::start(&format!("127.0.0.1:{}", postgres.port()));
        let port = free_port();
        let kafka_proxy = Proxy::start(&format!("127.0.0.1:{port}"));
        let kafka = KafkaServer::start(
            &distribution,
            &KafkaOptions {
                place: Place::Kept(folder.path().join("kafka")),
                advertised: Some(kafka_proxy.address()),
                port: Some(port),
                properties: BROKER_PROPERTIES.map(str::to_owned).into(),
                java_options: vec![QUICK_START.to_owned()],
                ..KafkaOptions::default()
            },
        )?;
        Ok(Self {
            kafka: Mutex::new(kafka),
            postgres: Mutex::new(postgres),
            kafka_proxy,
            postgres_proxy,
            folder,
        })
    }

    /// The broker as clients reach it.
    pub(super) fn brokers(&self) -> String {
        self.kafka_proxy.address()
    }

    /// The URL of a database as sinks reach it.
    pub(super) fn url_through_proxy(&self, database: &Database) -> String {
        let name = &database.name;
        format!(
            "postgres://postgres@{}/{name}",
            self.postgres_proxy.address()
        )
    }

    pub(super) fn kafka(&self) -> MutexGuard<'_, KafkaServer> {
        self.kafka.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn postgres(&self) -> MutexGuard<'_, PostgresServer> {
        self.postgres.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies a program to where it stays as it is.
    pub(super) fn keep_program(&self, program: &Path) -> anyhow::Result<PathBuf> {
        let name = program.file_name().context("a program without a name")?;
        let kept = self.folder.path().join(name);
        std::fs::copy(program, &kept).with_context(|| format!("copy {}", program.display()))?;
        Ok(kept)
    }

    /// Nothing is broken any more, and what a cut that did not come about would break is not.
    pub(super) fn mend(&self) {
        for proxy in [&self.kafka_proxy, &self.postgres_proxy] {
            proxy.refuse(false);
            proxy.resume();
            proxy.cut_after(Direction::FromClient, u64::MAX);
        }
    }

    /// Forgets the connections of a run that is over.
    pub(super) fn clear(&self) {
        self.mend();
        self.kafka_proxy.cut();
        self.postgres_proxy.cut();
    }

    /// Copies the servers' logs to a folder.
    pub(super) fn keep_logs(&self, folder: &Path) {
        let logs = [
            ("kafka", self.kafka().log()),
            ("postgres", self.postgres().log()),
        ];
        for (name, log) in logs {
            // A log that cannot be copied is not worth failing for.
            std::fs::copy(log, folder.join(format!("{name}.log"))).ok();
        }
        std::fs::copy(
            self.folder.path().join("kafka/server.properties"),
            folder.join("server.properties"),
        )
        .ok();
    }
}
