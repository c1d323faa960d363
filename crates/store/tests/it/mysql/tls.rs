//! TLS to a real server: what is verified, who is let in by a certificate, and that nothing falls
//! back to plaintext (D13).

use super::{OwnServer, chain, store_url};
use crate::conformance::building::source;
use testkit::assert_golden;
use testkit::golden::Masks;
use testkit::servers::certificates;
use tidegauge_store::{OpenOptions, StoreError, open_store};
use tidegauge_testkit as testkit;

async fn ask(url: &str) -> Result<(), StoreError> {
    let mut store = open_store(&store_url(url), &OpenOptions::default())?;
    store.migrate().await?;
    store.known_positions(&source()).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_names_and_clients_are_verified_d13() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates::write_certificates(folder.path()).expect("written");
    readable(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let settings = [
        format!("--ssl-cert={}", file("server.crt")),
        format!("--ssl-key={}", file("server.key")),
        format!("--ssl-ca={}", file("ca.pem")),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let Some(own) = OwnServer::start("store: mysql: tls", &settings) else {
        return;
    };
    let (port, name) = (own.server.port(), &own.database.database.name);
    own.database.query(&format!(
        "create user alice@'%' require subject '/CN=alice'; grant all on {name}.* to alice@'%';
         create user bob@'%' require ssl; grant all on {name}.* to bob@'%';
         create user carol@'%' require subject '/CN=carol'; grant all on {name}.* to carol@'%'"
    ));
    let as_user = |user: &str, host: &str, parameters: &str| {
        format!("mysql://{user}@{host}:{port}/{name}?{parameters}")
    };
    let verified = format!("ssl-mode=verify_identity&ssl-ca={}", file("ca.pem"));
    let pair = |certificate: &str, key: &str| {
        let (certificate, key) = (file(certificate), file(key));
        format!("{verified}&ssl-cert={certificate}&ssl-key={key}")
    };

    for (user, parameters) in [
        ("bob", verified.clone()),
        ("bob", "ssl-mode=required".to_owned()),
        ("alice", pair("client.pem", "client.key")),
    ] {
        let let_in = ask(&as_user(user, "localhost", &parameters)).await;
        let_in.unwrap_or_else(|error| panic!("{user}, {parameters}: {}", chain(&error)));
    }
    let masks = Masks::default().hide(folder.path().display().to_string(), "CERTIFICATES");
    for (case, user, parameters) in [
        ("plaintext", "bob", "ssl-mode=disabled".to_owned()),
        (
            "wrong_ca",
            "bob",
            format!("ssl-mode=verify_identity&ssl-ca={}", file("other-ca.pem")),
        ),
        ("no_client_certificate", "alice", verified.clone()),
        // Carol is let in by a certificate too, but not by alice's.
        (
            "certificate_of_another_user",
            "carol",
            pair("client.pem", "client.key"),
        ),
        (
            "certificate_of_a_stranger",
            "alice",
            pair("stranger.pem", "stranger.key"),
        ),
        (
            "expired_certificate",
            "alice",
            pair("expired.pem", "expired.key"),
        ),
        (
            "half_of_a_pair",
            "alice",
            format!("{verified}&ssl-key={}", file("client.key")),
        ),
        ("key_of_another", "alice", pair("client.pem", "expired.key")),
    ] {
        let error = ask(&as_user(user, "localhost", &parameters)).await;
        let error = error.expect_err(case);
        let text = format!("{:?}\n{}\n", error.class(), chain(&error));
        assert_golden!(&format!("tls/mysql_{case}"), &masks.apply(&text));
    }

    // An authority that was replaced counts at the next connection.
    let ours = tempfile::tempdir().expect("a folder");
    let authority = ours.path().join("ca.pem");
    std::fs::copy(file("other-ca.pem"), &authority).expect("copied");
    let parameters = format!("ssl-mode=verify_identity&ssl-ca={}", authority.display());
    let url = store_url(&as_user("bob", "localhost", &parameters));
    let mut store = open_store(&url, &OpenOptions::default()).expect("the URL is right");
    let error = store.known_positions(&source()).await.expect_err("unknown");
    assert!(chain(&error).contains("certificate"), "{}", chain(&error));
    std::fs::copy(file("ca.pem"), &authority).expect("copied");
    let known = store.known_positions(&source()).await;
    known.unwrap_or_else(|error| panic!("{}", chain(&error)));
}

/// The server may run as another user.
fn readable(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(folder, mode(0o755)).expect("readable");
    let key = folder.join("server.key");
    std::fs::set_permissions(key, mode(0o644)).expect("readable");
}
