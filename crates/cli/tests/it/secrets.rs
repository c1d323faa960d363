//! D13: no secret is in a log, an error, `/metrics`, `/healthz`, a dead letter or the database.

use crate::produce;
use crate::program::{PATIENCE, Program, command, http_get, text};
use crate::web_server;
use std::fs;
use tidegauge_testkit::servers::{USERS, free_port};
use tidegauge_testkit::{
    KafkaListeners, MysqlDatabase, eventually, kafka_listeners, mysql_database, random_hex,
    random_topic,
};

const DATABASE: &str = "planted-d@tabase:/%";
const IN_URL: &str = "planted-in-url";
const TOKEN: &str = "planted-token";
/// A part of each, and of the password of the broker's user.
const PLANTED: [&str; 2] = ["planted-", USERS[0].1];

/// A user of the server who must know a password; it goes away with the test.
struct User<'a>(&'a MysqlDatabase, String);

impl<'a> User<'a> {
    fn create(database: &'a MysqlDatabase) -> Self {
        let (user, name) = (format!("tg_{}", random_hex(8)), &database.name);
        let sql = format!(
            "create user {user}@'%' identified by '{DATABASE}'; grant all on {name}.* to {user}@'%'"
        );
        database.query(&sql).unwrap();
        Self(database, user)
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        let _gone = self.0.query(&format!("drop user if exists {}@'%'", self.1));
    }
}

fn assert_clean(what: &str, said: &str) {
    for planted in PLANTED {
        assert!(!said.contains(planted), "{what} has {planted}:\n{said}");
    }
}

/// Every value of every table, as text.
fn everything(database: &MysqlDatabase) -> String {
    let texts = |sql: &str| -> Vec<String> {
        let rows = database.query(sql).unwrap();
        rows.into_iter()
            .map(|row| row.into_iter().flatten().collect::<Vec<_>>().join("."))
            .collect()
    };
    let columns = texts(&format!(
        "select table_name, column_name from information_schema.columns where table_schema = '{}'",
        database.name
    ));
    assert!(columns.len() > 50, "{columns:?}");
    let mut all = String::new();
    for column in columns {
        let (table, column) = column.split_once('.').unwrap();
        let sql = format!("select convert(`{column}` using utf8mb4) from `{table}`");
        all.push_str(&texts(&sql).join("\n"));
    }
    all
}

#[test]
fn d13_planted_secrets_are_found_nowhere() {
    const TEST: &str = "secrets::d13_planted_secrets_are_found_nowhere";
    let Some(KafkaListeners {
        plaintext,
        sasl_ssl,
        certificates,
        ..
    }) = kafka_listeners(TEST)
    else {
        return;
    };
    let Some(database) = mysql_database(TEST) else {
        return;
    };
    let user = User::create(&database);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        text(&path).to_owned()
    };
    let (server, closed) = (web_server::start(), web_server::closed_port());
    let (scheme, rest) = database.url.split_once("://").unwrap();
    let url = format!("{scheme}://{}@{}", user.1, rest.split_once('@').unwrap().1);
    let (password, wrong) = (file("password", DATABASE), file("wrong", "planted-wrong"));
    let config = |password: &str| {
        format!(
            "[kafka]\nbrokers = \"{sasl_ssl}\"\n[kafka.tls]\nca_file = \"{}/ca.pem\"\n\
             [kafka.sasl]\nmechanism = \"SCRAM-SHA-512\"\nusername = \"{}\"\npassword_file = \"{}\"\n\
             [influx]\nlisten = \"127.0.0.1:{}\"\ntoken_file = \"{}\"\n\
             [store]\nurl = \"{url}\"\npassword_file = \"{password}\"\n\
             [agent]\ninterval = \"1s\"\n\
             [[agent.checks]]\nurl = \"http://me:{IN_URL}@{server}/broken\"\ninterval = \"300ms\"\n\
             [[agent.checks]]\nurl = \"http://me:{IN_URL}@{closed}/\"\ninterval = \"300ms\"\n\
             [[agent.checks]]\nurl = \"http://me:{IN_URL}@nowhere.invalid/\"\ninterval = \"300ms\"\n",
            certificates.display(),
            USERS[0].0,
            file("sasl", USERS[0].1),
            free_port(),
            file("token", TOKEN)
        )
    };
    let good = file("good.toml", &config(&password));
    let topic = random_topic("secrets");
    let state = text(folder.path());
    let usual = [
        "--config",
        good.as_str(),
        "--topic",
        topic.as_str(),
        "-vv",
        "--log-format",
        "json",
        "--listen",
    ];
    let listen = || format!("127.0.0.1:{}", free_port());
    let (of_agent, of_sink) = (listen(), listen());
    let agent =
        Program::start(&[&["agent", "--state-dir", state], &usual[..], &[&of_agent]].concat());
    let sink = Program::start(&[&["sink", "--group", &topic], &usual[..], &[&of_sink]].concat());
    let is_there = |sql: &str| {
        eventually(PATIENCE, sql, || {
            let rows = database.query(sql).ok()?;
            (rows.first()?.first()?.as_deref() != Some("0")).then_some(())
        });
    };
    is_there("select count(*) from http_check where reason = 'status'");
    is_there("select count(*) from http_check where reason = 'connect_refused'");
    is_there("select count(*) from http_check where reason = 'resolve_failed'");
    produce::send(
        &plaintext,
        &topic,
        &[("x".to_owned(), b"not a message".to_vec())],
    );
    is_there("select count(*) from dead_letter");

    for address in [&of_agent, &of_sink] {
        for page in ["/metrics", "/healthz"] {
            assert_clean(page, &http_get(address, page).unwrap());
        }
    }
    let config_show = command(&["config", "show", "--config", &good, "--format", "toml"])
        .output()
        .unwrap();
    assert!(config_show.status.success());
    assert_clean(
        "config show",
        &String::from_utf8(config_show.stdout).unwrap(),
    );
    let letters = command(&["dead-letters", "list", "--config", &good])
        .output()
        .unwrap();
    assert!(
        letters.status.success(),
        "the password of the file is taken"
    );
    assert_clean("dead-letters", &String::from_utf8(letters.stdout).unwrap());
    assert_clean("the agent's log", &agent.terminate());
    assert_clean("the sink's log", &sink.terminate());
    let all = everything(&database);
    assert!(
        all.contains("connect_refused"),
        "the database was looked through"
    );
    assert_clean("the database", &all);

    // A password that the database refuses is no secret less.
    let bad = file("bad.toml", &config(&wrong));
    let refused = command(&["dead-letters", "list", "--config", &bad, "-vv"])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains(&user.1), "it names the user:\n{said}");
    assert_clean("the refusal", &said);
}

#[test]
fn a_password_from_two_places_or_without_a_user_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    for (store, expected) in [
        (
            "url = \"postgres://me:planted-x@h/d\"\npassword = \"planted-y\"",
            "t.toml:2: store.url: putting the password into the store's URL postgres://me:***@h/d: it has a password already",
        ),
        (
            "url = \"mysql://h/d\"\npassword_command = \"echo planted-y\"",
            "it names no user, as in user@host",
        ),
        (
            "url = \"postgres://me@h/d\"\npassword = \"planted-y\"\npassword_file = \"/x\"",
            "store.password_file is said too: take one of them",
        ),
        (
            "url = \"postgres://me@h/d\"\npassword_command = \"exit 3\"",
            "t.toml:3: store.password_command: the command failed: exit status: 3",
        ),
    ] {
        fs::write(&path, format!("[store]\n{store}\n")).unwrap();
        let output = command(&["store", "ledger", "--config", text(&path)])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{expected} is not in\n{said}");
        assert_clean("the error", &said);
    }
}
