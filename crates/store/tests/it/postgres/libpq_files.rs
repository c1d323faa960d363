//! Passwords and services from libpq's files, on a server that asks for a password.

use super::{chain, store_url};
use crate::conformance::building::source;
use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt as _;
use testkit::servers::{Distribution, PostgresOptions, PostgresServer};
use tidegauge_store::{ErrorClass, LibpqFiles, OpenOptions, StoreError, open_store};
use tidegauge_testkit as testkit;

/// A server that lets the role `sink` in by password alone; others come in as before.
fn start(test: &str) -> Option<PostgresServer> {
    let distribution = Distribution::of_environment(test)?;
    let server = PostgresServer::start(&distribution, &PostgresOptions::default());
    let server = server.expect("started");
    super::tls::add_rules(&server, "host all sink all scram-sha-256\n");
    testkit::postgres_query(
        server.url(),
        r"create role sink login password 'a:b\c'; grant create on schema public to sink;
          select pg_reload_conf()",
    )
    .expect("a role");
    Some(server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_and_the_service_come_from_files_of_libpq() {
    let Some(server) = start("store: postgres: files of libpq") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (passwords, services) = (folder.path().join("pass"), folder.path().join("services"));
    let port = server.port();
    let service = format!("[metrics]\nhost=127.0.0.1\nport={port}\ndbname=postgres\nuser=sink\n");
    write(&services, service).expect("written");
    let options = OpenOptions {
        libpq: LibpqFiles {
            pass_file: Some(passwords.clone()),
            service_files: vec![services],
        },
        ..OpenOptions::default()
    };
    let ask = async |url: &str| -> Result<(), StoreError> {
        let mut store = open_store(&store_url(url), &options)?;
        store.migrate().await?;
        store.known_positions(&source()).await.map(|_| ())
    };
    let by_url = format!("postgres://sink@127.0.0.1:{port}/postgres");
    let by_service = "postgres:///?service=metrics";

    let refused = |error: StoreError, told: &str| {
        assert_eq!(error.class(), ErrorClass::Outage, "{}", chain(&error));
        assert!(chain(&error).contains(told), "{}", chain(&error));
    };
    let written = |text: &str, mode| {
        write(&passwords, text).expect("written");
        set_permissions(&passwords, Permissions::from_mode(mode)).expect("set");
    };
    let right =
        format!("127.0.0.1:{port}:*:other:wrong\n127.0.0.1:{port}:postgres:sink:a\\:b\\\\c\n");
    for url in [by_url.as_str(), by_service] {
        written(&right, 0o600);
        let let_in = ask(url).await;
        let_in.unwrap_or_else(|error| panic!("{url}: {}", chain(&error)));
        written("*:*:*:sink:wrong", 0o600);
        refused(
            ask(url).await.expect_err(url),
            "password authentication failed",
        );
        for (text, mode) in [("*:*:*:other:no", 0o600), (&right, 0o644)] {
            written(text, mode);
            refused(ask(url).await.expect_err(url), "password missing");
        }
    }

    // One that is open already takes the file as it is when it connects.
    let mut waiting = open_store(&store_url(by_service), &options).expect("the URL is right");
    refused(
        waiting.migrate().await.expect_err("no password"),
        "password missing",
    );
    written(&right, 0o600);
    waiting.migrate().await.expect("let in");
}
