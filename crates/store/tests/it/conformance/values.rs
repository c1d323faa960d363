//! Cases of what rows hold: numbers, truth values, texts, nothing; and rows known by their key.

use super::Subject;
use super::building::{
    TestPoint, Writer, as_rows, committed, moved, moved_in, point, push, source, stored,
};
use tidegauge_store::{RowBlock, RowOrigin};

async fn round_trip(subject: &impl Subject, points: &[TestPoint]) {
    let mut writer = Writer::open(subject).await;
    writer.commit(0..1, points).await;
    let measurement = &points[0].measurement;
    assert_eq!(
        stored(&subject.reader(), measurement).await,
        as_rows(points)
    );
}

pub(crate) async fn numbers_come_back_exactly(subject: &impl Subject) {
    let numbers = [
        0.0,
        -1.5,
        0.1,
        1.0 / 3.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        9_007_199_254_740_993.0,
        9_223_372_036_854_775_808.0,
        1e300,
        -7.0,
    ];
    let points: Vec<TestPoint> = (0..)
        .zip(numbers)
        .map(|(second, number)| point("numbers", second).field("number", number))
        .collect();
    round_trip(subject, &points).await;
}

pub(crate) async fn texts_come_back_exactly(subject: &impl Subject) {
    let texts = [
        "",
        " ",
        "it's \"quoted\" \\ back",
        "two\nlines\r\n\ttab",
        "umlaut ä, snow ☃, clef 𝄞",
        "NULL",
        "\\N",
        "{\"a\":1}",
        "%_;--",
        "123",
    ];
    let mut points: Vec<TestPoint> = (0..)
        .zip(texts)
        .map(|(second, text)| {
            point("texts", second)
                .field("text", text)
                .tag("named", text)
        })
        .collect();
    points.push(point("texts", 99).field("text", "x".repeat(16_384)));
    round_trip(subject, &points).await;
}

pub(crate) async fn truth_values_and_absent_fields_come_back(subject: &impl Subject) {
    let points = [
        point("mixed", 0).field("up", true).field("code", 200.0),
        point("mixed", 1).field("up", false),
        point("mixed", 2).field("reason", "deadline"),
        point("mixed", 3)
            .field("up", true)
            .field("code", 0.0)
            .field("reason", ""),
    ];
    round_trip(subject, &points).await;
}

/// Contract line 6: within a step, across steps, and across writers.
pub(crate) async fn keyed_points_make_one_row(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let keyed = |seconds, number: f64| point("sales", seconds).field("sum", number).keyed();
    let begun = writer.store.positions(&source(), &[(1, 0)]).await;
    begun.expect("begun");
    let points = [
        keyed(0, 1.0),
        keyed(1, 1.0),
        keyed(0, 2.0),
        keyed(1, 3.0).slot(1),
    ];
    let moves = vec![moved(0..1), moved_in(&source(), 1, 0..1)];
    let step = writer.step(moves, &points).await;
    assert!(step.blocks[0].measurement().keyed);
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(2, 2), "within one step");
    let applied = writer.apply(1..2, &[keyed(1, 9.0), keyed(2, 1.0)]).await;
    assert_eq!(applied.expect("applied"), committed(1, 1), "across steps");
    let mut other = Writer::open(subject).await;
    let applied = other.apply(2..3, &[keyed(2, 9.0), keyed(0, 9.0)]).await;
    assert_eq!(applied.expect("applied"), committed(0, 2), "across writers");

    let first = [keyed(0, 1.0), keyed(1, 1.0), keyed(2, 1.0)];
    let rows = stored(&subject.reader(), "sales").await;
    assert_eq!(rows, as_rows(&first), "the first one stays");
    let summary = subject.reader().summary().await.expect("summary");
    assert_eq!(summary.points, 3, "duplicates are no stored points");
}

/// A measurement that got a column while the step was built has a block of each width.
pub(crate) async fn blocks_of_two_widths_go_together(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let narrow = point("load", 0).field("load1", 1.0);
    let wide = point("load", 1).field("load1", 2.0).field("load5", 3.0);
    let mut step = writer
        .step(vec![moved(0..2)], std::slice::from_ref(&narrow))
        .await;
    writer.ensure(std::slice::from_ref(&wide)).await;
    let mut block = RowBlock::new(writer.measurement("load"));
    let origin = RowOrigin {
        slot: 0,
        offset: 1,
        index: 0,
    };
    push(&mut block, writer.series(&wide), origin, &wide);
    step.blocks.push(block);
    step.moves[0].points += 1;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(2, 0));
    let rows = stored(&subject.reader(), "load").await;
    assert_eq!(rows, as_rows(&[narrow, wide]));
}
