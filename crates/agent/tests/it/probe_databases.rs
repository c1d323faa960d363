//! The probes `postgres` and `mysql` against real servers, and against some that are none.

use crate::scripted::{Act, Scripted, check, hurried, say, settings};
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;
use testkit::servers::{
    Distribution, MariadbOptions, MariadbServer, PostgresOptions, PostgresServer, certificates,
};
use tidegauge_agent::probes::{CheckReason as Reason, CheckSettings, ProbeContext, check_once};
use tidegauge_model::{SystemClock, Value};
use tidegauge_testkit as testkit;

const PASSWORD: &str = "s3cret:/@";
const DEADLINE: Duration = Duration::from_secs(30);

/// What of a check is set beside its URL, and how it must end: its reason, and a part of its detail.
type Case<'a> = (&'a str, &'a [(&'static str, &'a str)], Reason, &'a str);

fn with(url: &str, pairs: &[(&'static str, &str)]) -> CheckSettings {
    let set = |made: CheckSettings, (key, text): &(&'static str, &str)| {
        made.with(key, *text)
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    };
    pairs.iter().fold(settings(url), set)
}

/// Runs cases whose URLs have `PORT` in them.
async fn judge(port: u16, cases: &[Case<'_>]) {
    for (url, pairs, reason, told) in cases {
        let url = url.replace("PORT", &port.to_string());
        let result = check(with(&url, pairs)).await;
        let finding = &result.finding;
        assert_eq!(finding.reason, *reason, "{url} {pairs:?}: {result:?}");
        let detail = finding.detail.as_deref().unwrap_or_default();
        assert!(detail.contains(told), "{url}: {detail}, not {told}");
        assert!(!format!("{result:?}").contains("s3cret"), "{result:?}");
        let has = |field: &str| matches!(result.value(field), Some(Value::Float(_)));
        assert!(has("total_seconds"));
        let answered = matches!(reason, Reason::Ok | Reason::AnswerMismatch);
        assert_eq!(has("query_seconds"), answered, "{url} {pairs:?}");
        assert_eq!(
            has("login_seconds"),
            answered || *reason == Reason::QueryFailed,
            "{url} {pairs:?}"
        );
    }
}

/// A folder with certificates that the servers may read.
fn certificates_in(owner: Option<u32>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    certificates::write_certificates(folder.path()).expect("written");
    set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("readable");
    let key = folder.path().join("server.key");
    if owner.is_some() {
        set_permissions(&key, Permissions::from_mode(0o600)).expect("private");
        chown(&key, owner, None).expect("given to the server");
    } else {
        set_permissions(&key, Permissions::from_mode(0o644)).expect("readable");
    }
    folder
}

/// A server that speaks TLS, and lets `carol` in by her password alone.
fn postgres_server() -> Option<(PostgresServer, tempfile::TempDir)> {
    let distribution = Distribution::of_environment("agent: probe postgres")?;
    let server = PostgresServer::start(&distribution, &PostgresOptions::default());
    let server = server.expect("started");
    let process = server.process_id().expect("it runs");
    let about = std::fs::metadata(format!("/proc/{process}")).expect("it runs");
    let folder = certificates_in(Some(about.uid()));
    let ask = |sql: &str| testkit::postgres_query(server.url(), sql).expect("answered");
    let rules = ask("show hba_file")[0][0].clone().expect("a path");
    let before = std::fs::read_to_string(&rules).expect("read");
    std::fs::write(
        &rules,
        format!("host all carol all scram-sha-256\n{before}"),
    )
    .expect("written");
    let path = folder.path().display();
    ask(&format!("create user carol password '{PASSWORD}'"));
    ask(&format!(
        "alter system set ssl_cert_file = '{path}/server.crt'"
    ));
    ask(&format!(
        "alter system set ssl_key_file = '{path}/server.key'"
    ));
    ask("alter system set ssl = on");
    ask("select pg_reload_conf()");
    testkit::eventually(DEADLINE, "the server has its certificate", || {
        (ask("show ssl") == [[Some("on".to_owned())]]).then_some(())
    });
    Some((server, folder))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_logs_in_and_asks() {
    let Some((server, folder)) = postgres_server() else {
        return;
    };
    let secret = folder.path().join("password");
    std::fs::write(&secret, format!("{PASSWORD}\n")).expect("written");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (secret, ca, other) = (file("password"), file("ca.pem"), file("other-ca.pem"));
    let carol: &str = "postgres://carol@localhost:PORT/postgres";
    let failing = "select 1/(n - 2) from generate_series(1, 3) n";
    judge(
        server.port(),
        &[
            (carol, &[("password_file", &secret)], Reason::Ok, ""),
            (
                carol,
                &[("password", PASSWORD), ("query", "select null")],
                Reason::Ok,
                "",
            ),
            (
                "postgres://localhost:PORT/postgres",
                &[("username", "carol"), ("password", PASSWORD)],
                Reason::Ok,
                "",
            ),
            (
                "postgresql://carol:s3cret%3A%2F%40@localhost:PORT/postgres",
                &[("query_equals", "1")],
                Reason::Ok,
                "",
            ),
            (
                "postgres://carol@localhost:PORT/postgres?sslmode=verify-full",
                &[
                    ("password", PASSWORD),
                    ("ca_file", &ca),
                    (
                        "query",
                        "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
                    ),
                    ("query_equals", "t"),
                ],
                Reason::Ok,
                "",
            ),
            (
                carol,
                &[("password", "s3cret-not")],
                Reason::LoginFailed,
                "password authentication failed",
            ),
            (carol, &[], Reason::LoginFailed, "password missing"),
            (
                "postgres://carol@localhost:PORT/nowhere",
                &[("password", PASSWORD)],
                Reason::LoginFailed,
                "does not exist",
            ),
            (
                carol,
                &[("password", PASSWORD), ("query", "selec 1")],
                Reason::QueryFailed,
                "syntax error",
            ),
            (
                carol,
                &[("password", PASSWORD), ("query", failing)],
                Reason::QueryFailed,
                "division by zero",
            ),
            (
                carol,
                &[("password", PASSWORD), ("query_equals", "2")],
                Reason::AnswerMismatch,
                "\"1\", expected \"2\"",
            ),
            (
                carol,
                &[
                    ("password", PASSWORD),
                    ("query", "select 1 where false"),
                    ("query_equals", "1"),
                ],
                Reason::AnswerMismatch,
                "nothing",
            ),
            (
                carol,
                &[
                    ("password", PASSWORD),
                    ("sslmode", "verify-full"),
                    ("ca_file", &other),
                ],
                Reason::CertificateUntrusted,
                "",
            ),
            (
                carol,
                &[
                    ("password", PASSWORD),
                    ("sslmode", "verify-full"),
                    ("ca_file", &ca),
                    ("server_name", "db.example"),
                ],
                Reason::CertificateName,
                "",
            ),
        ],
    )
    .await;
    let version = check(with(
        &carol.replace("PORT", &server.port().to_string()),
        &[("password", PASSWORD)],
    ))
    .await;
    assert!(
        matches!(version.value("server_version"), Some(Value::Text(_))),
        "{version:?}"
    );
    let open = || {
        testkit::postgres_query(
            server.url(),
            "select count(*) from pg_stat_activity where usename = 'carol'",
        )
        .ok()
    };
    testkit::eventually(DEADLINE, "no connection is left", || {
        (open()? == [[Some("0".to_owned())]]).then_some(())
    });
}

/// A server that speaks TLS, with the user `carol`.
fn mysql_server() -> Option<(MariadbServer, tempfile::TempDir)> {
    let distribution = Distribution::of_environment("agent: probe mysql")?;
    let folder = certificates_in(None);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let options = MariadbOptions {
        settings: vec![
            format!("--ssl-cert={}", file("server.crt")),
            format!("--ssl-key={}", file("server.key")),
        ],
        ..MariadbOptions::default()
    };
    let server = MariadbServer::start(&distribution, &options).expect("started")?;
    let made = format!(
        "create user carol@'%' identified by '{PASSWORD}'; create database shop; grant all on shop.* to carol@'%'"
    );
    testkit::mysql_query(&server.url(), &made).expect("made");
    Some((server, folder))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_logs_in_and_asks() {
    let Some((server, folder)) = mysql_server() else {
        return;
    };
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, other) = (file("ca.pem"), file("other-ca.pem"));
    let carol: &str = "mysql://carol@localhost:PORT/shop";
    judge(
        server.port(),
        &[
            (carol, &[("password", PASSWORD)], Reason::Ok, ""),
            ("mysql://carol:s3cret%3A%2F%40@127.0.0.1:PORT", &[("query", "select 2 union all select 3"), ("query_equals", "2")], Reason::Ok, ""),
            (
                "mysql://carol@localhost:PORT/shop?sslmode=verify-full",
                &[("password", PASSWORD), ("ca_file", &ca), ("query", "select if(variable_value = '', 'plain', 'tls') from information_schema.session_status where variable_name = 'ssl_cipher'"), ("query_equals", "tls")],
                Reason::Ok,
                "",
            ),
            (carol, &[("password", "s3cret-not")], Reason::LoginFailed, "Access denied"),
            (carol, &[], Reason::LoginFailed, "Access denied"),
            ("mysql://carol@localhost:PORT/nowhere", &[("password", PASSWORD)], Reason::LoginFailed, "(1044)"),
            (carol, &[("password", PASSWORD), ("query", "selec 1")], Reason::QueryFailed, "(1064)"),
            (carol, &[("password", PASSWORD), ("query_equals", "2")], Reason::AnswerMismatch, "\"1\", expected \"2\""),
            (carol, &[("password", PASSWORD), ("query", "select null"), ("query_equals", "1")], Reason::AnswerMismatch, "nothing"),
            (carol, &[("password", PASSWORD), ("sslmode", "verify-full"), ("ca_file", &other)], Reason::CertificateUntrusted, ""),
            (carol, &[("password", PASSWORD), ("sslmode", "verify-full"), ("ca_file", &ca), ("server_name", "db.example")], Reason::CertificateName, ""),
        ],
    )
    .await;
    let open = || {
        testkit::mysql_query(
            &server.url(),
            "select count(*) from information_schema.processlist where user = 'carol'",
        )
        .ok()
    };
    testkit::eventually(DEADLINE, "no connection is left", || {
        (open()? == [[Some("0".to_owned())]]).then_some(())
    });
}

#[tokio::test]
async fn what_is_no_database_has_a_reason_of_its_own() {
    let hangs = Scripted::start(vec![Act::Hang]).await;
    let resets = Scripted::start(vec![Act::Reset]).await;
    let closes = Scripted::start(vec![]).await;
    let chatters = Scripted::start(vec![say("HTTP/1.1 400 Bad Request\r\n\r\n"), Act::Hang]).await;
    let refuses_tls = Scripted::start(vec![say("N"), Act::Hang]).await;
    for scheme in ["postgres", "mysql"] {
        let of = |server: &Scripted| {
            settings(&format!(
                "{scheme}://u:p@127.0.0.1:{}/d",
                server.address.port()
            ))
        };
        for (settings, reasons) in [
            (
                settings(&format!("{scheme}://u:p@127.0.0.1:1/d")),
                [Reason::ConnectRefused].as_slice(),
            ),
            (hurried(of(&hangs)), &[Reason::Deadline]),
            (hurried(of(&resets)), &[Reason::ConnectionLost]),
            (hurried(of(&closes)), &[Reason::ConnectionLost]),
            // What it says is the length of a message that never comes.
            (
                hurried(of(&chatters)),
                &[Reason::Protocol, Reason::Deadline],
            ),
        ] {
            let result = check(settings).await;
            assert!(
                reasons.contains(&result.finding.reason),
                "{scheme}: {result:?}"
            );
        }
    }
    let url = format!(
        "postgres://u:p@127.0.0.1:{}/d?sslmode=verify-full",
        refuses_tls.address.port()
    );
    let result = check(hurried(settings(&url))).await;
    assert_eq!(result.finding.reason, Reason::StarttlsRefused, "{result:?}");
}

#[tokio::test]
async fn settings_of_databases_that_do_not_fit_together_are_refused() {
    let path = Path::new("/nowhere/ca.pem").display().to_string();
    for (url, pairs, key) in [
        ("postgres://localhost/d", [].as_slice(), "url"),
        ("postgres://u@localhost/d", &[("username", "v")], "username"),
        (
            "postgres://u:p@localhost/d",
            &[("password", "s3cret")],
            "password",
        ),
        ("postgres://u@localhost/d?sslmode=prefer", &[], "url"),
        ("postgres://u@localhost/d?password=s3cret", &[], "url"),
        (
            "mysql://u@localhost/d",
            &[("ca_file", path.as_str())],
            "ca_file",
        ),
    ] {
        let error = check_once(with(url, pairs), &ProbeContext::new(), &SystemClock).await;
        let error = error.expect_err("cannot be used").to_string();
        assert!(
            error.starts_with(&format!("checking the setting {key}: ")),
            "{error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
    }
    let elsewhere = with("mysql://u@db.example/d", &[("ca_file", path.as_str())]);
    let error = check_once(elsewhere, &ProbeContext::new(), &SystemClock).await;
    assert!(
        error
            .expect_err("no such file")
            .to_string()
            .contains("/nowhere/ca.pem")
    );
    let from = settings("mysql://u@localhost/d").with_source_address([127, 0, 0, 9].into());
    assert!(
        check_once(from, &ProbeContext::new(), &SystemClock)
            .await
            .is_err()
    );
}
