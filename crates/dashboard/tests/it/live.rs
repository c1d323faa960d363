//! Live samples: they come, they come once, and they end with the program.

use crate::{Server, demo};
use std::time::Duration;

const NOW_MS: i64 = 1_795_183_200_000;

fn chart<'a>(event: &'a serde_json::Value, panel: &str) -> &'a serde_json::Value {
    let panels = event["panels"].as_array().expect("panels");
    let found = panels.iter().find(|one| one["panel"] == panel);
    &found.expect("the panel")["charts"][0]
}

#[tokio::test]
async fn a_new_sample_is_pushed_with_its_rate() {
    let (server, clock) = Server::demo(NOW_MS * 1_000).await;
    let path = format!("/api/live?host=demo-1&since={NOW_MS}");
    let mut stream = server.stream(&path).await;
    assert_eq!(stream.line().await.as_deref(), Some("HTTP/1.1 200 OK"));
    clock.advance(1_000_000);
    demo::sample(&server.reader, (NOW_MS + 1_000) * 1_000);
    loop {
        let event = stream.event("samples").await;
        let panels = event["panels"].as_array().expect("panels").len();
        // Checks of the last second are newer than the page's time: they may come on their own.
        if panels < 7 {
            continue;
        }
        assert!(event["now_ms"].as_i64() >= Some(NOW_MS));
        let network = chart(&event, "network");
        let times = network["times_ms"].as_array().expect("times");
        assert_eq!(
            times.last().and_then(serde_json::Value::as_i64),
            Some(NOW_MS + 1_000)
        );
        let rates = network["columns"][0]["values"].as_array().expect("values");
        assert!(
            rates.last().and_then(serde_json::Value::as_f64).is_some(),
            "a rate: {network}"
        );
        break;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_page_that_was_away_is_told_what_it_missed_or_to_read_anew() {
    let (server, _clock) = Server::demo(NOW_MS * 1_000).await;
    let since = NOW_MS - 5_000;
    let mut stream = server
        .stream(&format!("/api/live?host=demo-1&since={since}"))
        .await;
    let event = stream.event("samples").await;
    let times: Vec<i64> = (-4..=0).map(|second| NOW_MS + second * 1_000).collect();
    assert_eq!(chart(&event, "cpu")["times_ms"], serde_json::json!(times));
    let long_ago = NOW_MS - 3_600_000;
    let mut stream = server
        .stream(&format!("/api/live?host=demo-1&since={long_ago}"))
        .await;
    stream.event("resync").await;
    server.stop().await;
}

#[tokio::test]
async fn open_streams_end_with_the_program() {
    let (server, _clock) = Server::demo(NOW_MS * 1_000).await;
    let mut stream = server.stream("/api/live?host=demo-1").await;
    assert_eq!(stream.line().await.as_deref(), Some("HTTP/1.1 200 OK"));
    server.cancel.cancel();
    let begin = tokio::time::Instant::now();
    while stream.line().await.is_some() {}
    server.stop().await;
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "not cut by the deadline"
    );
}

#[tokio::test]
async fn the_store_is_left_alone_when_nobody_looks() {
    let (server, _clock) = Server::demo(NOW_MS * 1_000).await;
    let mut one = server.stream("/api/live?host=demo-1").await;
    let mut other = server.stream("/api/live?host=demo-1").await;
    one.line().await.expect("answered");
    other.line().await.expect("answered");
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let is_read = async |ticks: &mut tokio::time::Interval| {
        ticks.tick().await;
        ticks.tick().await;
        !server.reader.take_asked().is_empty()
    };
    assert!(is_read(&mut ticks).await, "somebody looks");
    drop((one, other));
    let begin = tokio::time::Instant::now();
    while is_read(&mut ticks).await {
        assert!(begin.elapsed() < crate::DEADLINE, "still read");
    }
    server.stop().await;
}
