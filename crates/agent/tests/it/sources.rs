//! Listeners that fetch: pages of exporters, files of a folder, what programs print.

use crate::http_server::{Behaviour, Server, reply};
use crate::listeners::Running;
use crate::probes::Authority;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegauge_agent::listeners::exec::{ExecSettings, OutputFormat, ProgramSettings};
use tidegauge_agent::listeners::prometheus::{Credentials, PrometheusSettings, ScrapeSettings};
use tidegauge_agent::listeners::textfile::TextfileSettings;
use tidegauge_agent::listeners::{Bindings, ListenerSettings};
use tidegauge_agent::probes::CheckSettings;
use tidegauge_model::{Kind, Point, Value, name};
use tidegauge_testkit as testkit;

const INTERVAL: Duration = Duration::from_millis(200);

fn page(url: &str) -> CheckSettings {
    CheckSettings::new(url)
        .and_then(|page| page.with_name("node"))
        .and_then(|page| page.with_interval(INTERVAL))
        .expect("valid")
}

fn scrape(page: CheckSettings, credentials: Option<Credentials>) -> ListenerSettings {
    let target = ScrapeSettings {
        page,
        credentials,
        labels: vec![(name!("env"), "test".into())],
        prefix: None,
    };
    ListenerSettings {
        prometheus: PrometheusSettings {
            targets: vec![target],
        },
        ..ListenerSettings::default()
    }
}

fn of<'p>(points: &'p [Point], measurement: &str) -> Vec<&'p Point> {
    let of = |point: &&Point| point.measurement().as_str() == measurement;
    points.iter().filter(of).collect()
}

fn text<'p>(point: &'p Point, field: &str) -> &'p str {
    match point.value(field) {
        Some(Value::Text(text)) => text,
        other => panic!("{field} is {other:?} in {point:?}"),
    }
}

/// The last point of a measurement, once there is one that `is_it`.
async fn awaited(running: &Running, measurement: &str, is_it: impl Fn(&Point) -> bool) -> Point {
    let last = || {
        let points = running.points();
        of(&points, measurement).last().copied().cloned()
    };
    running
        .until(measurement, || last().is_some_and(|point| is_it(&point)))
        .await;
    last().expect("it is there")
}

struct Exporter(Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("waited for");
    }
}

#[tokio::test]
async fn an_unmodified_exporter_is_scraped() {
    const PROGRAM: &str = "prometheus-node-exporter";
    let port = testkit::servers::free_port();
    let started = Command::new(PROGRAM)
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = started else {
        testkit::skip(
            "sources::an_unmodified_exporter_is_scraped",
            "no prometheus-node-exporter (Debian has it)",
        );
        return;
    };
    let _exporter = Exporter(child);
    let url = format!("http://127.0.0.1:{port}/metrics");
    let mut running = Running::start_fetching(scrape(page(&url), None));
    let told = awaited(&running, "scrape", |point| {
        point.value("up") == Some(&Value::Bool(true))
    })
    .await;
    running.stop().await;
    assert_eq!(told.tag_text("target"), Some("node"));
    assert_eq!(told.value("status"), Some(&Value::Float(200.0)));
    let Some(Value::Float(points)) = told.value("points") else {
        panic!("{told:?}");
    };
    assert!(*points > 100.0, "{told:?}");
    assert_eq!(told.value("refused"), Some(&Value::Float(0.0)), "{told:?}");
    let points = running.points();
    let cpu = of(&points, "node_cpu_seconds_total");
    let idle = cpu
        .iter()
        .find(|point| point.tag_text("mode") == Some("idle"));
    let idle = idle.expect("every host idles");
    assert_eq!(idle.kind(), Kind::Counter);
    assert_eq!(
        (idle.tag_text("target"), idle.tag_text("env")),
        (Some("node"), Some("test"))
    );
    let pauses = of(&points, "go_gc_duration_seconds");
    assert!(pauses[0].value("p50").is_some() && pauses[0].value("count").is_some());
}

#[tokio::test]
async fn a_target_that_is_down_or_answers_nonsense_says_why() {
    let port = testkit::servers::free_port();
    let mut running =
        Running::start_fetching(scrape(page(&format!("http://127.0.0.1:{port}/")), None));
    let told = awaited(&running, "scrape", |_| true).await;
    running.stop().await;
    assert_eq!(told.value("up"), Some(&Value::Bool(false)));
    assert_eq!(text(&told, "reason"), "connect_refused");

    let answer = "good 1\nbad\nscrape 1\ngood{target=\"its own\"} 2\n";
    let server = Server::start(Behaviour::Reply(reply(200, answer.as_bytes())), None).await;
    let url = server.url("http", "127.0.0.1");
    let mut running = Running::start_fetching(scrape(page(&url), None));
    let told = awaited(&running, "scrape", |_| true).await;
    running.stop().await;
    assert_eq!(told.value("up"), Some(&Value::Bool(true)));
    assert_eq!(told.value("points"), Some(&Value::Float(2.0)));
    // A line that is none, and a name that is the agent's own.
    assert_eq!(told.value("refused"), Some(&Value::Float(2.0)));
    assert!(text(&told, "detail").starts_with("at line 2: "), "{told:?}");
    let points = running.points();
    let good = of(&points, "good");
    assert_eq!(good[1].tag_text("exported_target"), Some("its own"));

    let large = page(&url).with("max_body_bytes", 10).expect("a size");
    let mut running = Running::start_fetching(scrape(large, None));
    let told = awaited(&running, "scrape", |_| true).await;
    running.stop().await;
    assert_eq!(text(&told, "reason"), "too_large");
}

#[tokio::test]
async fn a_page_over_tls_needs_the_authority_that_is_trusted() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let tls = ours.acceptor("localhost", 2020, 2100);
    let server = Server::start(Behaviour::Reply(reply(200, b"a 1\n")), Some(tls)).await;
    let url = server.url("https", "localhost");
    for (file, reason) in [(&ours.file, "ok"), (&theirs.file, "certificate_untrusted")] {
        let page = page(&url).with_ca_file(file).expect("a path");
        let mut running = Running::start_fetching(scrape(page, None));
        let told = awaited(&running, "scrape", |_| true).await;
        running.stop().await;
        assert_eq!(text(&told, "reason"), reason, "{told:?}");
    }
}

#[tokio::test]
async fn secrets_come_from_files_and_are_in_no_text_d13() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let missing = Credentials {
        user: None,
        file: file.clone(),
    };
    let head = Arc::new(Mutex::new(String::new()));
    let answer = Behaviour::Keep(Arc::clone(&head), reply(200, b"a 1\n"));
    let server = Server::start(answer, None).await;
    let url = server.url("http", "127.0.0.1");
    let refused = tidegauge_agent::listeners::LISTENERS
        .iter()
        .find_map(|entry| {
            let settings = scrape(page(&url), Some(missing.clone()));
            (entry.open)(&settings, &mut Bindings::default()).err()
        });
    let refused = refused.expect("told at the start").to_string();
    assert!(refused.contains("token"), "{refused}");
    for (user, sent) in [(None, "Bearer s3cret"), (Some("me"), "Basic bWU6czNjcmV0")] {
        fs::write(&file, "s3cret\n").expect("written");
        let credentials = Credentials {
            user: user.map(str::to_owned),
            file: file.clone(),
        };
        let mut running = Running::start_fetching(scrape(page(&url), Some(credentials)));
        awaited(&running, "scrape", |point| {
            point.value("up") == Some(&Value::Bool(true))
        })
        .await;
        running.stop().await;
        let head = head.lock().expect("not poisoned").clone();
        assert!(
            head.to_lowercase()
                .contains(&format!("authorization: {sent}").to_lowercase()),
            "{head}"
        );
        assert!(!format!("{:?}", running.points()).contains("s3cret"));
    }
}

#[tokio::test]
async fn files_of_a_folder_are_told_and_each_says_how_it_went() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write(
        "backup.prom",
        "# TYPE backup_bytes gauge\nbackup_bytes 17\nbackup_files 1",
    );
    write("empty.prom", "");
    write("other.txt", "other 1\n");
    fs::create_dir(folder.path().join("folder.prom")).expect("a folder");
    let mut running = Running::start_fetching(ListenerSettings {
        textfile: Some(TextfileSettings {
            folder: folder.path().to_owned(),
            interval: INTERVAL,
            prefix: None,
        }),
        ..ListenerSettings::default()
    });
    awaited(&running, "textfile", |point| {
        point.tag_text("file") == Some("folder.prom")
    })
    .await;
    write("backup.prom", "backup_bytes 18\nbackup_files 1\n");
    awaited(&running, "backup_files", |_| true).await;
    running.stop().await;
    let points = running.points();
    let told = |name: &str| {
        let told = of(&points, "textfile");
        let told = told
            .into_iter()
            .find(|point| point.tag_text("file") == Some(name));
        told.unwrap_or_else(|| panic!("{name} was not told"))
            .clone()
    };
    let backup = told("backup.prom");
    assert_eq!(backup.value("success"), Some(&Value::Bool(true)));
    assert_eq!(backup.value("points"), Some(&Value::Float(1.0)));
    assert!(text(&backup, "detail").contains("cut off"), "{backup:?}");
    assert!(backup.value("age_seconds").is_some());
    assert_eq!(told("empty.prom").value("points"), Some(&Value::Float(0.0)));
    let not_a_file = told("folder.prom");
    assert_eq!(not_a_file.value("success"), Some(&Value::Bool(false)));
    assert_eq!(text(&not_a_file, "detail"), "it is no file");
    assert!(of(&points, "other").is_empty());
    assert_eq!(
        of(&points, "backup_bytes")[0].value("value"),
        Some(&Value::Float(17.0))
    );
}

/// A script, and the settings that run it.
fn program(folder: &Path, name: &str, format: OutputFormat, script: &str) -> ProgramSettings {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("executable");
    ProgramSettings {
        name: name.to_owned(),
        command: vec![
            path.display().to_string(),
            "two words".to_owned(),
            "$HOME".to_owned(),
        ],
        interval: Duration::from_secs(2),
        deadline: Duration::from_secs(1),
        format,
        environment: vec![("GREETING".to_owned(), "hello".to_owned())],
        folder: Some(folder.to_owned()),
        prefix: None,
    }
}

#[tokio::test]
async fn what_programs_print_is_taken_and_how_they_ended_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = |name: &str, format, script: &str| program(folder.path(), name, format, script);
    let (influx, json, page) = (
        OutputFormat::Influx,
        OutputFormat::Json,
        OutputFormat::OpenMetrics,
    );
    let environment = "echo \"env n=$(env | grep -vc '^PWD=\\|^_=\\|^SHLVL=')i,words=\\\"$1|$2|$GREETING|$(basename $PWD)\\\"\"";
    let programs = vec![
        program("lines", influx, environment),
        program(
            "message",
            json,
            "echo '{\"v\":1,\"host\":\"x\",\"points\":[{\"measurement\":\"queue\",\"time_us\":5,\"fields\":{\"length\":17}}]}'",
        ),
        program(
            "page",
            page,
            "echo '# TYPE jobs counter'; echo 'jobs_total 3'; echo '# EOF'",
        ),
        program(
            "fails",
            influx,
            "echo 'lost v=1'; echo first >&2; echo 'the last line' >&2; exit 3",
        ),
        program("killed", influx, "kill -9 $$"),
        program("hangs", influx, "sleep 600 & echo $! > child; sleep 600"),
        program(
            "leaves",
            influx,
            "sleep 600 & echo $! > left; echo 'fine v=1'",
        ),
        program(
            "endless",
            influx,
            "while :; do echo 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx v=1'; done",
        ),
        program("nonsense", json, "echo nonsense"),
        program("partly", influx, "echo 'good v=1'; echo 'bad'"),
        ProgramSettings {
            command: vec!["/nonexistent/program".to_owned()],
            ..program("missing", influx, "")
        },
    ];
    let names: Vec<String> = programs
        .iter()
        .map(|program| program.name.clone())
        .collect();
    let mut running = Running::start_fetching(ListenerSettings {
        exec: ExecSettings { programs },
        limits: tidegauge_agent::listeners::ListenerLimits {
            message_bytes: 10_000,
            ..Default::default()
        },
        ..ListenerSettings::default()
    });
    running
        .until("each was run", || {
            let points = running.points();
            let told = of(&points, "exec");
            let is_told = |name: &String| {
                told.iter()
                    .any(|point| point.tag_text("program") == Some(name))
            };
            names.iter().all(is_told)
        })
        .await;
    running.stop().await;
    let points = running.points();
    let told = |name: &str| {
        let of_it = |point: &&&Point| point.tag_text("program") == Some(name);
        (*of(&points, "exec").iter().find(of_it).expect("told")).clone()
    };
    for name in ["lines", "message", "page", "leaves", "partly"] {
        let told = told(name);
        assert_eq!(told.value("success"), Some(&Value::Bool(true)), "{told:?}");
        assert_eq!(told.value("exit_status"), Some(&Value::Float(0.0)));
        assert_eq!(told.value("points"), Some(&Value::Float(1.0)), "{told:?}");
    }
    // The words are not looked at by a shell; beside what was set there is only PATH.
    let environment = of(&points, "env")[0];
    assert_eq!(environment.value("n"), Some(&Value::Float(2.0)));
    let last = folder
        .path()
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert_eq!(
        text(environment, "words"),
        format!("two words|$HOME|hello|{last}")
    );
    assert_eq!(
        of(&points, "queue")[0].value("length"),
        Some(&Value::Float(17.0))
    );
    assert_eq!(of(&points, "jobs_total")[0].kind(), Kind::Counter);
    assert_eq!(told("partly").value("refused"), Some(&Value::Float(1.0)));
    for (name, reason, detail) in [
        (
            "fails",
            "exit_status",
            "it ended with exit status: 3: the last line",
        ),
        ("killed", "signal", "signal 9 ended it"),
        (
            "hangs",
            "deadline",
            "it was not done after 1s and was killed",
        ),
        ("endless", "too_large", "it printed more than 10000 bytes"),
        (
            "nonsense",
            "unreadable",
            "decoding a message failed with syntax",
        ),
        (
            "missing",
            "not_started",
            "/nonexistent/program: No such file",
        ),
    ] {
        let told = told(name);
        assert_eq!(told.value("success"), Some(&Value::Bool(false)), "{name}");
        assert_eq!(text(&told, "reason"), reason, "{told:?}");
        assert!(text(&told, "detail").starts_with(detail), "{told:?}");
    }
    assert_eq!(told("fails").value("exit_status"), Some(&Value::Float(3.0)));
    assert_eq!(told("killed").value("end_signal"), Some(&Value::Float(9.0)));
    assert!(of(&points, "lost").is_empty());
    // What a program started ended with it.
    for file in ["child", "left"] {
        let child = fs::read_to_string(folder.path().join(file)).expect("it was started");
        let state = Path::new("/proc").join(child.trim()).join("stat");
        let gone = || match fs::read_to_string(&state) {
            Err(_) => Some(()),
            Ok(stat) => stat.contains(") Z ").then_some(()),
        };
        testkit::eventually(Duration::from_secs(10), "it is gone", gone);
    }
}

#[tokio::test]
async fn a_stop_kills_the_program_that_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "echo $$ > mine; sleep 600";
    let slow = program(folder.path(), "slow", OutputFormat::Influx, script);
    let mut running = Running::start_fetching(ListenerSettings {
        exec: ExecSettings {
            programs: vec![slow],
        },
        ..ListenerSettings::default()
    });
    let mine = folder.path().join("mine");
    running
        .until("it runs", || {
            fs::read_to_string(&mine).is_ok_and(|text| text.ends_with('\n'))
        })
        .await;
    running.stop().await;
    let own = fs::read_to_string(&mine).expect("it was started");
    let state = Path::new("/proc").join(own.trim()).join("stat");
    let gone = || match fs::read_to_string(&state) {
        Err(_) => Some(()),
        Ok(stat) => stat.contains(") Z ").then_some(()),
    };
    testkit::eventually(Duration::from_secs(10), "it is gone", gone);
}
