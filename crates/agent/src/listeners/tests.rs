//! The limits, the room and its acknowledgements, on a listener that is told what to hand on.

use super::*;
use std::time::Duration;
use tidegauge_model::{ManualClock, Point, Reason, name};

const PATIENCE: Duration = Duration::from_secs(10);

struct Silent;

#[async_trait]
impl Listener for Silent {
    async fn run(self: Box<Self>, _intake: Intake, cancel: CancellationToken) {
        cancel.cancelled().await;
    }
}

fn intake(limits: &ListenerLimits, prefix: Option<Name>) -> (Intake, mpsc::Receiver<Handed>) {
    let (room, handed) = Room::new(Arc::new(ManualClock::at(1_000)));
    let opened = OpenedListener {
        name: "test".to_owned(),
        addresses: vec![],
        prefix,
        listener: Box::new(Silent),
    };
    (room.intake(&opened, limits), handed)
}

fn point(measurement: &str, tag: &str) -> Point {
    let measurement = Name::new(measurement).expect("valid");
    Point::new(measurement, 5)
        .tag(name!("t"), tag.to_owned())
        .field(name!("f"), 1.0)
}

/// Why each point is refused, with empty words for those that are not.
async fn refusals(intake: &Intake, points: Vec<Point>) -> Vec<&'static str> {
    let mut words = vec![""; points.len()];
    let receipt = intake.hand_on(points).await;
    assert_eq!(receipt.accepted + receipt.refused.len(), words.len());
    for refused in &receipt.refused {
        words[refused.index] = refused.refusal.as_str();
    }
    words
}

#[tokio::test]
async fn what_exceeds_a_limit_is_refused_with_its_reason_d14() {
    let limits = ListenerLimits {
        measurements: 3,
        fields_per_measurement: 2,
        series: 4,
        tags_per_point: 2,
        tag_bytes: 5,
        text_bytes: 5,
        message_bytes: 1,
    };
    let (intake, _handed) = intake(&limits, None);
    let field = |name: Name| point("a", "1").field(name, 2.0);
    let points = vec![
        point("a", "1"),
        field(name!("g")),
        field(name!("h")),
        field(name!("time_us")),
        point("a", "1").tag(name!("u"), "").tag(name!("v"), ""),
        point("a", "123456"),
        point("a", "1").field(name!("g"), "text"),
        Point::new(name!("b"), 5).field(name!("f"), "longer"),
        Point::new(name!("b"), 5),
        point("cpu", "1"),
        point("ledger", "1"),
        point("b", "1"),
        point("c", "1"),
        point("d", "1"),
        point("a", "2"),
        point("a", "3"),
        point("a", "1"),
    ];
    let expected = [
        "",
        "",
        "too_many_fields",
        "reserved_name",
        "too_many_tags",
        "tag_too_long",
        "type_conflict",
        "text_too_long",
        "no_fields",
        "reserved_name",
        "reserved_name",
        "",
        "",
        "too_many_measurements",
        "",
        "too_many_series",
        "",
    ];
    assert_eq!(refusals(&intake, points).await, expected);
    let told = intake.figures.point(7);
    assert_eq!(told.value("accepted_points"), Some(&6_u64.into()));
    assert_eq!(told.value("refused_points"), Some(&11_u64.into()));
    assert_eq!(told.value("reason"), Some(&"too_many_series".into()));
    assert_eq!(intake.figures.point(8).value("reason"), None);
}

#[tokio::test]
async fn a_prefix_keeps_names_apart_from_the_agents_own() {
    let (intake, mut handed) = intake(&ListenerLimits::default(), Some(name!("app")));
    assert_eq!(refusals(&intake, vec![point("cpu", "1")]).await, [""]);
    let handed = handed.recv().await.expect("one");
    assert_eq!(handed.points[0].measurement().as_str(), "app_cpu");
}

#[tokio::test]
async fn a_receipt_says_what_became_of_the_points_a4() {
    for (answer, expected) in [(Some(true), true), (Some(false), false), (None, false)] {
        let (intake, mut handed) = intake(&ListenerLimits::default(), None);
        let receipt = intake.hand_on(vec![point("a", "1")]).await;
        assert_eq!((receipt.accepted, &receipt.refused[..]), (1, &[][..]));
        let stored = handed.recv().await.expect("one").stored.expect("awaited");
        match answer {
            Some(answer) => stored.send(answer).expect("awaited"),
            None => drop(stored),
        }
        assert_eq!(receipt.stored().await, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn room_is_bounded_and_comes_back_d11() {
    let (intake, mut handed) = intake(&ListenerLimits::default(), None);
    let most = MOST_WAITING_POINTS;
    intake.hand_on_now((0..most).map(|_| point("a", "1")).collect());
    intake.hand_on_now(vec![point("a", "1")]);
    let told = intake.figures.point(7);
    assert_eq!(told.value("accepted_points"), Some(&(most as u64).into()));
    assert_eq!(told.value("reason"), Some(&"queue_full".into()));
    let waits = tokio::spawn({
        let intake = intake.clone();
        async move { intake.hand_on(vec![point("a", "1")]).await.accepted }
    });
    drop(handed.recv().await.expect("a part"));
    let accepted = tokio::time::timeout(PATIENCE, waits).await.expect("room");
    assert_eq!(accepted.expect("no panic"), 1);
    assert_eq!(Refusal::from(Reason::Syntax).as_str(), "syntax");
}
