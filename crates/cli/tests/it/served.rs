//! What the program serves: to whom, and what it refuses at the start.

use crate::program::{PATIENCE, Program, command, http_get, text};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use tidegauge_testkit::eventually;

/// A line of a file of users, as the program makes it.
fn user(name: &str, password: &str) -> (Option<i32>, String, String) {
    let mut child = command(&["config", "hash-password", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(password.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn ask(address: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn hash_password_reads_a_password_and_prints_a_user() {
    let (status, line, said) = user("anna", "correct horse\n");
    assert_eq!((status, said.as_str()), (Some(0), ""));
    assert!(
        line.starts_with("anna:$argon2id$v=19$m=7168,t=5,p=1$"),
        "{line}"
    );
    assert_ne!(
        line,
        user("anna", "correct horse").1,
        "the salt is another one"
    );
    for (name, password, expected) in [
        (
            "a:b",
            "x",
            "tidegauge: hash-password: \"a:b\": a name has no colon, no blank at its ends and no # at its beginning\n",
        ),
        (
            "anna",
            "\n",
            "tidegauge: hash-password: a password has 1 to 1024 bytes\n",
        ),
    ] {
        let (status, line, said) = user(name, password);
        assert_eq!(
            (status, line.as_str(), said.as_str()),
            (Some(2), "", expected)
        );
    }
}

/// The page of `up` over SQLite, asked by somebody who may read and means harm: statements in every
/// name change nothing and find nothing.
#[test]
fn d14_sql_in_every_name_of_the_api_finds_and_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let users = state.path().join("users");
    std::fs::write(&users, user("anna", "pass").1).unwrap();
    let environment = [("TIDEGAUGE_WEB_USERS_FILE", text(&users))];
    let arguments = [
        "up",
        "--listen",
        "127.0.0.1:0",
        "--state-dir",
        text(state.path()),
    ];
    let program = Program::start_with(&arguments, &environment);
    program.wait_for_output("Tidegauge is live at http://");
    let address = &program.page_address();
    // anna:pass
    let key = "authorization: Basic YW5uYTpwYXNz\r\n";
    assert!(
        http_get(address, "/api/hosts")
            .unwrap()
            .starts_with("HTTP/1.1 401")
    );
    let host = eventually(PATIENCE, "the host is there", || {
        let hosts = ask(address, "/api/hosts", key);
        let (_, rest) = hosts.split_once(r#""identity":""#)?;
        Some(rest.split('"').next()?.to_owned())
    });
    let good = format!("/api/panel?host={host}&panel=cpu&from=0&to=1000&pixels=100");
    assert!(ask(address, &good, key).starts_with("HTTP/1.1 200"));
    let statements = [
        "%27%20or%20%271%27=%271",
        "%27;drop%20table%20host;--",
        "%22;drop%20view%20cpu;--",
        "1%29%20union%20select%20name%20from%20sqlite_master--",
        "%00",
        "%ff%fe",
        "%f0%9f%8c%8a",
    ];
    for statement in statements {
        for path in [
            format!("/api/overview?host={statement}"),
            format!("/api/overview?host={host}{statement}"),
            format!("/api/panel?host={statement}&panel=cpu&from=0&to=1000&pixels=100"),
            format!("/api/panel?host={host}&panel={statement}&from=0&to=1000&pixels=100"),
            format!("/api/panel?host={host}&panel=cpu&from={statement}&to=1000&pixels=100"),
            format!("/api/live?host={statement}"),
            format!("/api/{statement}"),
            format!("/{statement}"),
        ] {
            let answer = ask(address, &path, key);
            let status: u16 = answer[9..12].parse().unwrap();
            assert!((400..500).contains(&status), "{path}: {answer}");
            assert!(!answer.contains(r#""identity":"#), "{path}: {answer}");
        }
    }
    assert!(ask(address, &good, key).starts_with("HTTP/1.1 200"));
    let said = program.terminate();
    assert!(
        !said.contains("panicked") && !said.contains("pass\n"),
        "{said}"
    );
}

#[test]
fn d13_what_is_half_said_or_open_to_all_ends_the_start_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("t.toml");
    let file = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).unwrap();
    };
    file("users", "anna:secret-in-clear\n");
    file("none.pem", "");
    let start = |settings: &str| {
        std::fs::write(&config, settings.replace("FOLDER", text(folder.path()))).unwrap();
        let arguments = [
            "up",
            "--config",
            text(&config),
            "--state-dir",
            text(folder.path()),
        ];
        let output = command(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let said = said
            .replace(text(Path::new(&config)), "CONFIG")
            .replace(text(folder.path()), "FOLDER");
        let end = said.lines().last().unwrap_or_default().to_owned();
        (output.status.code(), end)
    };
    for (settings, expected) in [
        (
            "[general]\nlisten = \"0.0.0.0:0\"\n",
            "CONFIG:2: general.listen: 0.0.0.0:0 can be reached from other hosts, by whoever wants; set a token or a users_file in [web], or allow_insecure = true",
        ),
        (
            "[web]\ncertificate_file = \"FOLDER/none.pem\"\n",
            "CONFIG:2: web.certificate_file: it needs key_file too",
        ),
        (
            "[web]\ncertificate_file = \"FOLDER/none.pem\"\nkey_file = \"FOLDER/none.pem\"\n",
            "CONFIG:2: web.certificate_file: FOLDER/none.pem: there is no certificate in PEM form",
        ),
        (
            "[web]\nusers_file = \"FOLDER/users\"\n",
            "CONFIG:2: web.users_file: FOLDER/users:1: this is no argon2 hash of at most 64 MiB and 20 passes; `tidegauge config hash-password NAME` makes one",
        ),
        (
            "[web]\nhosts = [\"metrics.example.org:443\"]\n",
            "CONFIG:2: web.hosts: `metrics.example.org:443`: expected a name without a port, such as metrics.example.org or *.example.org",
        ),
        (
            "[influx]\nlisten = \"127.0.0.1:0\"\nkey_file = \"FOLDER/none.pem\"\n",
            "CONFIG:3: influx.key_file: it needs certificate_file too",
        ),
    ] {
        let (status, said) = start(settings);
        assert_eq!(said, format!("tidegauge: {expected}"), "{settings}");
        assert_eq!(status, Some(2), "{settings}");
    }
}
