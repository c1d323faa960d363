//! Answers, errors, headers and files.

use crate::Server;
use serde_json::json;

/// A time that is a multiple of a minute.
const NOW_MS: i64 = 1_795_183_200_000;
const MINUTE_MS: i64 = 60_000;

async fn server() -> Server {
    Server::demo(NOW_MS * 1_000).await.0
}

fn panel(name: &str, from_ms: i64, to_ms: i64, pixels: &str) -> String {
    format!("/api/panel?host=demo-1&panel={name}&from={from_ms}&to={to_ms}&pixels={pixels}")
}

#[tokio::test]
async fn hosts_and_their_panels_are_listed() {
    let server = server().await;
    let hosts = server.get("/api/hosts", "").await.json();
    assert_eq!(hosts[0]["identity"], "agent:demo-1");
    assert_eq!(hosts[0]["name"], "demo-1");
    let overview = server
        .get("/api/overview?host=agent:demo-1", "")
        .await
        .json();
    let all = [
        "cpu",
        "load",
        "memory",
        "disk_io",
        "network",
        "filesystem",
        "checks",
    ];
    assert_eq!(overview["panels"], json!(all));
    assert_eq!(overview["now_ms"], NOW_MS);
    assert_eq!(overview["refresh_ms"], 20);
    let devices = &overview["series"]["disk_io"];
    assert_eq!(devices, &json!([{"device": "nvme0n1"}, {"device": "sda"}]));
    server.stop().await;
}

#[tokio::test]
async fn a_panel_is_columns_over_one_axis() {
    let server = server().await;
    let path = panel("disk_io", NOW_MS - 10_000, NOW_MS + 1, "400");
    let answer = server.get(&path, "").await.json();
    let chart = &answer["charts"][0];
    let times: Vec<i64> = (0..=10)
        .map(|second| NOW_MS - 10_000 + second * 1_000)
        .collect();
    assert_eq!(chart["times_ms"], json!(times));
    assert_eq!(
        (&chart["step_ms"], &chart["bucket_ms"]),
        (&json!(1_000), &json!(null))
    );
    let column = &chart["columns"][3];
    assert_eq!(column["tags"], json!({"device": "sda"}));
    assert_eq!(column["field"], "written_bytes");
    assert_eq!(column["per_second"], true, "a counter is told as its rate");
    let values = column["values"].as_array().expect("a column");
    assert!(values[0].is_null(), "nothing before the first");
    let is_rate = |value: &serde_json::Value| {
        value
            .as_f64()
            .is_some_and(|rate| rate > 0.0 && rate < 5.4e6)
    };
    assert!(values[1..].iter().all(is_rate), "{values:?}");
    server.stop().await;
}

#[tokio::test]
async fn fewer_pixels_make_buckets_with_min_and_max() {
    let server = server().await;
    let path = panel("load", NOW_MS - MINUTE_MS, NOW_MS, "13");
    let answer = server.get(&path, "").await.json();
    let chart = &answer["charts"][0];
    assert_eq!(chart["bucket_ms"], 5_000);
    assert_eq!(chart["times_ms"].as_array().map(Vec::len), Some(12));
    let column = &chart["columns"][0];
    for row in 0..12 {
        let value = |name: &str| column[name][row].as_f64().expect("a number");
        assert!(value("min") < value("values") && value("values") < value("max"));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_check_has_states_and_phases_on_an_axis_of_its_own() {
    let server = server().await;
    let path = panel("checks", NOW_MS - MINUTE_MS, NOW_MS + 1_000, "400");
    let answer = server.get(&path, "").await.json();
    let charts = answer["charts"].as_array().expect("charts");
    let keys: Vec<_> = charts
        .iter()
        .map(|chart| chart["key"].as_str().expect("a key"))
        .collect();
    let expected = [
        "http_check target=https://example.org/",
        "http_check target=https://shop.example.org/health",
    ];
    assert_eq!(keys, expected);
    assert_eq!(charts[0]["times_ms"][59], NOW_MS + 150);
    assert_eq!(charts[0]["states"]["up_samples"], 60);
    assert_eq!(
        charts[0]["states"]["runs"].as_array().map(Vec::len),
        Some(1)
    );
    let last = charts[1]["states"]["runs"]
        .as_array()
        .expect("runs")
        .last()
        .expect("a run");
    assert_eq!(last["up"], false, "{last}");
    assert_eq!(last["reason"], "connect_refused");
    assert_eq!(last["detail"], "192.0.2.7:443 refused the connection");
    let fields: Vec<_> = charts[0]["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .collect();
    assert_eq!(fields.len(), 6, "five phases and the total");
    server.stop().await;
}

#[tokio::test]
async fn wrong_parameters_are_refused_with_a_reason() {
    let server = server().await;
    let (from, to) = (NOW_MS - MINUTE_MS, NOW_MS);
    let days_401 = 401 * 1_440 * MINUTE_MS;
    let cases = [
        (panel("nope", from, to, "400"), 400, "panel is one of cpu"),
        (panel("cpu", to, from, "400"), 400, "from is before to"),
        (panel("cpu", from, to, "9"), 400, "pixels is 10 to 4000"),
        (panel("cpu", from, to, "4001"), 400, "pixels is 10 to 4000"),
        (panel("cpu", from, to, "x"), 400, "pixels"),
        (panel("cpu", -1, to, "400"), 400, "milliseconds since 1970"),
        (
            panel("cpu", from, i64::MAX, "400"),
            400,
            "milliseconds since 1970",
        ),
        (
            panel("cpu", to - days_401, to, "400"),
            400,
            "at most 400 days",
        ),
        ("/api/panel?host=demo-1".to_owned(), 400, "missing field"),
        (
            "/api/overview?host=demo-1&more=1".to_owned(),
            400,
            "unknown field",
        ),
        (
            "/api/overview?host=other".to_owned(),
            404,
            "no host has the identity or name",
        ),
        (
            "/api/live?host=other".to_owned(),
            404,
            "no host has the identity or name",
        ),
        (
            "/api/live?host=demo-1&since=-5".to_owned(),
            400,
            "since is milliseconds",
        ),
        ("/api/nope".to_owned(), 404, "nothing at this address"),
        ("/nope.js".to_owned(), 404, "nothing at this address"),
    ];
    for (path, status, words) in cases {
        let answer = server.get(&path, "").await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        let error = answer.json()["error"]
            .as_str()
            .expect("an error")
            .to_owned();
        assert!(error.contains(words), "{path}: {error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_is_cached_by_its_etag() {
    let server = server().await;
    let page = server.get("/", "").await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert!(page.body.contains("Tidegauge"));
    assert!(
        !page.body.contains("style="),
        "the policy forbids style attributes"
    );

    let etag = page.header("etag").expect("an ETag").to_owned();
    let same = server
        .get("/", &format!("if-none-match: \"x\", {etag}\r\n"))
        .await;
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    assert_eq!(same.header("etag"), Some(etag.as_str()));
    let other = server.get("/", "if-none-match: \"x\"\r\n").await;
    assert_eq!(other.status, 200);

    if let Some(begin) = page.body.find("/assets/") {
        let asset: String = page.body[begin..]
            .chars()
            .take_while(|c| *c != '"')
            .collect();
        let asset = server.get(&asset, "").await;
        assert_eq!(asset.status, 200);
        let lasting = asset.header("cache-control").expect("set");
        assert!(lasting.contains("immutable"), "{lasting}");
    }
    let api = server.get("/api/hosts", "").await;
    assert_eq!(api.header("cache-control"), Some("no-store"));
    assert!(
        api.header("content-security-policy").is_some(),
        "answers of the API too"
    );
    let packed = server
        .get(
            &panel("cpu", NOW_MS - MINUTE_MS, NOW_MS, "400"),
            "accept-encoding: br\r\n",
        )
        .await;
    assert_eq!(
        packed.header("content-encoding"),
        None,
        "only gzip is there"
    );
    server.stop().await;
}
