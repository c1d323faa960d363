//! Cases of the views of checks: `uptime`, `outages` and `certificates`, with figures worked out by hand.

use super::Subject;
use super::building::{BEGIN_US, TestPoint, Writer, agent_host, point, requirements};
use tidegauge_model::{Clock, SystemClock};

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;

/// The beginning of the UTC day so many days ago: what is still down is down until now.
fn days_ago(days: i64) -> i64 {
    (SystemClock.now_us() / DAY_US - days) * DAY_US
}

/// A UTC time as the answers below have it.
fn text(time_us: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(time_us).expect("a time");
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A check at a time.
fn check(probe: &str, target: &str, time_us: i64, up: bool) -> TestPoint {
    let point = point(&format!("{probe}_check"), 0).tag("target", target);
    TestPoint { time_us, ..point }.field("up", up)
}

/// A change of state that is known at a time, and began with the check before.
fn state(target: &str, time_us: i64, since_us: i64, up: bool, reason: &'static str) -> TestPoint {
    let point = point("check_state", 0).tag("target", target);
    TestPoint { time_us, ..point }
        .field("up", up)
        .field("reason", reason)
        .field("since_seconds", since_us as f64 / 1e6)
}

/// The rows of a query, times without their zone and parts of seconds, numbers to six digits.
async fn rows(subject: &impl Subject, sql: &str) -> Vec<Vec<String>> {
    let value = |value: Option<String>| {
        let Some(value) = value else {
            return "-".to_owned();
        };
        match value.parse::<f64>() {
            Ok(number) => ((number * 1e6).round() / 1e6).to_string(),
            Err(_) if value.len() > 19 && value.starts_with("20") => value[..19].replace('T', " "),
            Err(_) => value,
        }
    };
    let rows = subject.rows(sql).await.into_iter();
    rows.map(|row| row.into_iter().map(value).collect())
        .collect()
}

const UPTIME: &str = "select day, location, target, probe, checks, failed, availability, outages, \
                      longest_outage_seconds, down_seconds from uptime order by day, target, location";
const OUTAGES: &str =
    "select location, target, from_time, to_time, reason from outages order by from_time, location";

/// Commits the points and gives their hosts a location.
async fn commit(writer: &mut Writer, points: &[TestPoint]) {
    writer.commit(0..1, points).await;
    let mut needs = requirements(points);
    for (host, labels) in &mut needs.hosts {
        let location = match host.name.as_str() {
            "web-1" => "berlin",
            _ => "oslo",
        };
        *labels = vec![("location".to_owned(), location.to_owned())];
    }
    let ensured = writer.store.ensure(&needs, &mut writer.catalog).await;
    ensured.expect("ensured");
}

fn fields<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

pub(crate) async fn without_checks_the_views_are_empty(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let certificates = "select target, days_left from certificates";
    for sql in [UPTIME, OUTAGES, certificates] {
        assert_eq!(rows(subject, sql).await, Vec::<Vec<String>>::new());
    }
    // A measurement that is no check by its fields, and one that only seems to be of states.
    let points = [
        point("spell_check", 0).field("words", 3.0),
        point("check_state", 0).field("up", "a text"),
    ];
    writer.commit(0..1, &points).await;
    for sql in [UPTIME, OUTAGES, certificates] {
        assert_eq!(rows(subject, sql).await, Vec::<Vec<String>>::new());
    }
}

pub(crate) async fn uptime_and_outages_are_those_worked_out_by_hand(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let (first, second) = (days_ago(3), days_ago(2));
    let at = |hours: i64| first + hours * HOUR_US;
    let oslo = |point: TestPoint| point.host(agent_host("agent-2", "web-2"));
    let mut points: Vec<TestPoint> = Vec::new();
    // In Berlin the shop is down from 23:00 to 02:00 over midnight, and from 10:00 to 11:00.
    for hour in 0..48 {
        let down = [23, 24, 25, 34].contains(&hour);
        points.push(check("http", "shop", at(hour), !down));
    }
    points.extend([
        state("shop", at(0), at(0), true, "ok"),
        // Confirmed by the second failure; the first is when it began.
        state("shop", at(24), at(23), false, "deadline"),
        // The agent began anew meanwhile: what it says then is no change.
        state("shop", at(25), at(25), false, "status"),
        state("shop", at(26), at(26), true, "ok"),
        state("shop", at(34), at(34), false, "connect_refused"),
        state("shop", at(35), at(35), true, "ok"),
        state("shop", at(36), at(36), true, "ok"),
    ]);
    // Seen from Oslo it was up, though one check needed a second attempt.
    for hour in 0..24 {
        points.push(oslo(check("http", "shop", at(hour), true)));
    }
    points.push(oslo(
        check("http", "shop", at(5) - 1, false).field("repeated", true),
    ));
    points.push(oslo(state("shop", at(0), at(0), true, "ok")));
    // A job that called once and was never heard of again; its own label is more than the host's.
    let cellar = |point: TestPoint| point.tag("location", "cellar");
    points.extend([
        cellar(check("heartbeat", "backup", at(36), true)),
        cellar(check("heartbeat", "backup", at(60), false)),
        cellar(state("backup", at(36), at(36), true, "ok")),
        cellar(state("backup", at(60), at(60), false, "missing")),
    ]);
    // A check of somebody else's, without states.
    points.push(check("my_own", "mine", at(1), true));
    commit(&mut writer, &points).await;

    let days = [first, second, days_ago(1)].map(|day| text(day)[..10].to_owned());
    let [one, two, three] = days.each_ref().map(String::as_str);
    let expected = [
        fields([
            one, "berlin", "mine", "my_own", "1", "0", "1", "0", "0", "0",
        ]),
        fields([
            one, "berlin", "shop", "http", "24", "1", "0.958333", "1", "3600", "3600",
        ]),
        fields([one, "oslo", "shop", "http", "24", "0", "1", "0", "0", "0"]),
        fields([
            two,
            "cellar",
            "backup",
            "heartbeat",
            "1",
            "0",
            "1",
            "0",
            "0",
            "0",
        ]),
        fields([
            two, "berlin", "shop", "http", "24", "3", "0.875", "2", "7200", "10800",
        ]),
        fields([
            three,
            "cellar",
            "backup",
            "heartbeat",
            "1",
            "1",
            "0",
            "1",
            "43200",
            "43200",
        ]),
    ];
    assert_eq!(rows(subject, UPTIME).await, expected);
    let one_day = format!("select target from uptime where day = '{two}' order by target");
    assert_eq!(rows(subject, &one_day).await, [["backup"], ["shop"]]);

    let (began, night) = (text(at(60)), [text(at(23)), text(at(26))]);
    let day = [text(at(34)), text(at(35))];
    let expected = [
        fields(["berlin", "shop", &night[0], &night[1], "deadline"]),
        fields(["berlin", "shop", &day[0], &day[1], "connect_refused"]),
        fields(["cellar", "backup", &began, "-", "missing"]),
    ];
    assert_eq!(rows(subject, OUTAGES).await, expected);
    let lasted = "select duration_seconds from outages order by from_time";
    let lasted = rows(subject, lasted).await.concat();
    assert_eq!(lasted[..2], ["10800", "3600"]);
    let expected = (SystemClock.now_us() - at(60)) as f64 / 1e6;
    let open: f64 = lasted[2].parse().expect("a number");
    assert!((open - expected).abs() < 60.0, "{open} against {expected}");
}

pub(crate) async fn certificates_that_end_soonest_come_first(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let now_us = SystemClock.now_us();
    let ends_after =
        |point: TestPoint, days: f64| point.field("certificate_expires_seconds", days * 86_400.0);
    let ago = |hours: i64| now_us - hours * HOUR_US;
    let points = [
        ends_after(check("tls", "mail", ago(13), true), 1.0),
        // It was renewed.
        ends_after(check("tls", "mail", ago(12), true), 90.5),
        ends_after(check("http", "shop", ago(24), true), 11.0),
        // No connection came about: the last one that was seen still is what is known.
        check("http", "shop", ago(1), false),
        ends_after(check("http", "expired", ago(6), false), -0.75),
        // Its check is gone.
        ends_after(check("http", "gone", ago(24 * 8), true), 3.0),
        check("http", "plain", ago(1), true),
    ];
    commit(&mut writer, &points).await;
    let sql = "select target, probe, days_left from certificates";
    let found = rows(subject, sql).await;
    let expected = [
        ("expired", "http", -1.0),
        ("shop", "http", 10.0),
        ("mail", "tls", 90.0),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (row, (target, probe, days)) in found.iter().zip(expected) {
        assert_eq!(row[..2], [target, probe], "{found:?}");
        let left: f64 = row[2].parse().expect("a number");
        assert!((left - days).abs() < 0.001, "{found:?}");
    }
    let sql = "select seen_time, expires_time from certificates";
    let times = rows(subject, sql).await;
    assert_eq!(times[1][0], text(ago(24)));
    assert_eq!(times[1][1], text(ago(24) + 11 * DAY_US));
}

pub(crate) async fn checks_that_come_later_are_taken_in(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let sql = "select target, checks, failed from uptime order by target";
    let one = check("http", "one", BEGIN_US, false);
    writer.commit(0..1, &[one]).await;
    assert_eq!(rows(subject, sql).await, [["one", "1", "1"]]);
    // A column that changes what is counted, and a further kind of check, which another writer made.
    let mut other = Writer::open(subject).await;
    let points = [
        check("http", "one", BEGIN_US + 1, false).field("repeated", true),
        check("http", "one", BEGIN_US + 2, true),
        check("dns", "two", BEGIN_US, true),
    ];
    other.commit(1..2, &points).await;
    assert_eq!(
        rows(subject, sql).await,
        [["one", "2", "1"], ["two", "1", "0"]]
    );
    // A view that was lost is made again by the next start.
    let quoted = subject.quoted("uptime");
    subject.execute(&format!("drop view {quoted}")).await;
    drop(Writer::open(subject).await);
    assert_eq!(rows(subject, sql).await.len(), 2);
}
