//! TLS to a real server: what is verified, and that nothing falls back to plaintext (D13).

use super::{chain, store_at, store_url};
use crate::conformance::building::source;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use testkit::assert_golden;
use testkit::golden::Masks;
use testkit::servers::{Distribution, PostgresOptions, PostgresServer, certificates};
use tidegauge_store::{ErrorClass, OpenOptions, StoreError, StoreUrl, open_store};
use tidegauge_testkit as testkit;

/// A server, and a folder with its certificates.
fn start() -> Option<(PostgresServer, tempfile::TempDir)> {
    let distribution = Distribution::of_environment("store: postgres: tls")?;
    let server = PostgresServer::start(&distribution, &PostgresOptions::default());
    let folder = tempfile::tempdir().expect("a folder");
    certificates::write_certificates(folder.path()).expect("written");
    Some((server.expect("started"), folder))
}

/// Whose fault an error is, and all that is said of it, word for word as `tests/golden/tls/postgres_<name>.txt`.
fn assert_told(name: &str, error: &StoreError, folder: &Path) {
    let masks = Masks::default()
        .hide(folder.display().to_string(), "CERTIFICATES")
        .number_before(" (UNIX)")
        .number_before(" seconds ago");
    let text = format!("{:?}\n{}\n", error.class(), chain(error));
    assert!(!text.contains("s3cret"), "{text}");
    assert_golden!(&format!("tls/postgres_{name}"), &masks.apply(&text));
}

/// Has the server take TLS; its key must be its own.
fn enable_tls(server: &PostgresServer, folder: &Path) {
    show_certificate(server, folder, "server");
}

/// Has the server take TLS with the certificate of this name.
fn show_certificate(server: &PostgresServer, folder: &Path, name: &str) {
    let process = server.process_id().expect("it runs");
    let owner = std::fs::metadata(format!("/proc/{process}"))
        .expect("it runs")
        .uid();
    let key = folder.join(format!("{name}.key"));
    set_permissions(folder, Permissions::from_mode(0o755)).expect("readable");
    set_permissions(&key, Permissions::from_mode(0o600)).expect("private");
    chown(&key, Some(owner), None).expect("given to the server");
    let (folder, key) = (folder.display(), key.display());
    for sql in [
        &format!("alter system set ssl_cert_file = '{folder}/{name}.crt'"),
        &format!("alter system set ssl_ca_file = '{folder}/ca.pem'"),
        &format!("alter system set ssl_key_file = '{key}'"),
        "alter system set ssl = on",
        "select pg_reload_conf()",
    ] {
        testkit::postgres_query(server.url(), sql).expect("set");
    }
    let shown = format!("{folder}/{name}.crt on");
    let reloaded = || {
        let sql = "select current_setting('ssl_cert_file') || ' ' || current_setting('ssl')";
        let found = testkit::postgres_query(server.url(), sql).ok()?;
        (found[0][0].as_ref() == Some(&shown)).then_some(())
    };
    testkit::eventually(super::DEADLINE, "the server has its certificate", reloaded);
}

async fn connect(server: &PostgresServer, parameters: &str) -> Result<(), StoreError> {
    let port = server.port();
    let host = match parameters.contains("hostaddr=") {
        true => format!("wrong.example:{port}"),
        false => format!("localhost:{port}"),
    };
    let url = store_url(&format!("postgres://postgres@{host}/postgres?{parameters}"));
    let mut store = store_at(&url);
    store.migrate().await?;
    store.known_positions(&source()).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_names_are_verified_d13() {
    let Some((server, folder)) = start() else {
        return;
    };
    let ca = |name: &str| format!("sslrootcert={}", folder.path().join(name).display());
    let good = format!("sslmode=verify-full&{}", ca("ca.pem"));

    let error = connect(&server, "sslmode=require").await;
    let error = error.expect_err("the server takes no TLS yet, and plaintext was not asked for");
    assert_told("no_tls_there", &error, folder.path());

    enable_tls(&server, folder.path());
    connect(&server, &good).await.expect("verified");
    connect(&server, "sslmode=require")
        .await
        .expect("encrypted");
    connect(&server, "sslmode=disable")
        .await
        .expect("in the clear, as was asked for");

    for (name, parameters) in [
        (
            "wrong_ca",
            format!("sslmode=verify-full&{}", ca("other-ca.pem")),
        ),
        // An authority is there to be asked.
        (
            "require_with_wrong_ca",
            format!("sslmode=require&{}", ca("other-ca.pem")),
        ),
        ("name_mismatch", format!("{good}&hostaddr=127.0.0.1")),
    ] {
        let error = connect(&server, &parameters).await.expect_err(name);
        assert_told(name, &error, folder.path());
    }
    show_certificate(&server, folder.path(), "old-server");
    let error = connect(&server, &good).await.expect_err("it has expired");
    assert_told("expired_server", &error, folder.path());
}

/// Who a server lets in by certificate alone, before all others.
const BY_CERTIFICATE: &str = "hostssl all alice all cert\nhostssl all bob all cert\n";

/// Puts rules about who is let in before those that are there; they count when the server reads them again.
pub(super) fn add_rules(server: &PostgresServer, rules: &str) {
    let shown = testkit::postgres_query(server.url(), "show hba_file");
    let file = shown.expect("shown")[0][0].clone().expect("a text");
    let others = std::fs::read_to_string(&file).expect("rules");
    std::fs::write(&file, format!("{rules}{others}")).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_lets_in_and_a_half_set_or_wrong_one_is_told_d13() {
    let Some((server, folder)) = start() else {
        return;
    };
    add_rules(&server, BY_CERTIFICATE);
    testkit::postgres_query(
        server.url(),
        "create role alice login; create role bob login; grant all on schema public to alice",
    )
    .expect("a role");
    enable_tls(&server, folder.path());

    let file = |name: &str| folder.path().join(name).display().to_string();
    let alice = |parameters: &str| {
        let (port, ca) = (server.port(), file("ca.pem"));
        let url = format!("postgres://alice@localhost:{port}/postgres?sslrootcert={ca}&sslmode=");
        store_url(&format!("{url}verify-full{parameters}"))
    };
    let pair = |certificate: &str, key: &str| {
        alice(&format!(
            "&sslcert={}&sslkey={}",
            file(certificate),
            file(key)
        ))
    };
    let ask = async |url: &StoreUrl| {
        let mut store = open_store(url, &OpenOptions::default())?;
        store.migrate().await?;
        store.known_positions(&source()).await.map(|_| ())
    };

    for key in ["client.key", "traditional.key"] {
        let let_in = ask(&pair("client.pem", key)).await;
        let_in.unwrap_or_else(|error| panic!("{key}: {}", chain(&error)));
    }
    let bob = |url: StoreUrl| store_url(&url.expose().replace("alice@", "bob@"));
    for (name, url) in [
        ("no_client_certificate", alice("")),
        (
            "certificate_of_another_user",
            bob(pair("client.pem", "client.key")),
        ),
        (
            "certificate_of_a_stranger",
            pair("stranger.pem", "stranger.key"),
        ),
        ("expired_certificate", pair("expired.pem", "expired.key")),
        ("future_certificate", pair("future.pem", "future.key")),
        (
            "half_of_a_pair",
            alice(&format!("&sslcert={}", file("client.pem"))),
        ),
        ("key_of_another", pair("client.pem", "expired.key")),
        ("encrypted_key", pair("client.pem", "encrypted.key")),
        (
            "key_in_the_place_of_a_certificate",
            pair("client.key", "client.key"),
        ),
        ("file_missing", pair("missing.pem", "client.key")),
    ] {
        let error = ask(&url).await.expect_err(name);
        assert_told(name, &error, folder.path());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channel_binding_is_kept_where_it_is_asked_for_d13() {
    let Some((server, folder)) = start() else {
        return;
    };
    add_rules(&server, "host all sink all scram-sha-256\n");
    testkit::postgres_query(
        server.url(),
        "create role sink login password 's3cret'; grant create on schema public to sink",
    )
    .expect("a role");
    enable_tls(&server, folder.path());
    let ca = folder.path().join("ca.pem").display().to_string();
    let ask = async |user: &str, parameters: &str| {
        let port = server.port();
        let url = format!("postgres://{user}@localhost:{port}/postgres?{parameters}");
        let mut store = store_at(&store_url(&url));
        store.migrate().await
    };
    let verified = format!("sslmode=verify-full&sslrootcert={ca}&channel_binding=require");
    ask("sink:s3cret", &verified).await.expect("bound");
    for (name, user, parameters) in [
        ("bound_wrong_password", "sink:wrong", verified.as_str()),
        // Without TLS there is nothing to bind to; and one who is let in without a password is bound to nothing.
        (
            "binding_without_tls",
            "sink:s3cret",
            "sslmode=disable&channel_binding=require",
        ),
        ("binding_without_password", "postgres", &verified),
    ] {
        let error = ask(user, parameters).await.expect_err(name);
        assert_told(name, &error, folder.path());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_were_replaced_count_at_the_next_connection() {
    let Some((server, old)) = start() else {
        return;
    };
    add_rules(&server, BY_CERTIFICATE);
    testkit::postgres_query(
        server.url(),
        "create role alice login; grant all on schema public to alice",
    )
    .expect("a role");
    enable_tls(&server, old.path());
    let (new, ours) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    certificates::write_certificates(new.path()).expect("written");
    let file = |name: &str| ours.path().join(name);
    let take = |from: &tempfile::TempDir, name: &str| {
        std::fs::copy(from.path().join(name), file(name)).expect("copied");
    };
    for name in ["ca.pem", "client.pem", "client.key"] {
        take(&old, name);
    }
    let url = format!(
        "postgres://alice@localhost:{}/postgres?sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}",
        server.port(),
        file("ca.pem").display(),
        file("client.pem").display(),
        file("client.key").display()
    );
    let mut store = store_at(&store_url(&url));
    store.migrate().await.expect("let in");

    // Another authority, on both sides; who is connected stays so.
    enable_tls(&server, new.path());
    store
        .known_positions(&source())
        .await
        .expect("still connected");
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'alice'";
    testkit::postgres_query(server.url(), end).expect("ended");
    let mut refused = async |why: &str| {
        // The first may be the one that finds its connection ended.
        for _ in 0..2 {
            let error = store.known_positions(&source()).await.expect_err(why);
            assert_eq!(
                error.class(),
                ErrorClass::Outage,
                "{why}: {}",
                chain(&error)
            );
        }
    };
    refused("another authority").await;
    take(&new, "ca.pem");
    refused("the server knows our certificate no more").await;
    std::fs::write(file("client.key"), "half").expect("written");
    take(&new, "client.pem");
    refused("its key is not there yet, so the old pair is shown").await;
    take(&new, "client.key");
    let let_in = store.known_positions(&source()).await;
    let_in.unwrap_or_else(|error| panic!("{}", chain(&error)));
}
