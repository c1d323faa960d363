//! Cases of D3 and D5: a step is applied whole, once, by one writer.

use super::Subject;
use super::building::{
    Writer, as_rows, committed, dead_letter, moved, moved_in, point, source, stored,
};
use tidegauge_model::Reason;
use tidegauge_store::{Applied, DeadLetterFilter, SourceId, Step, StoredPosition};

pub(crate) async fn a_step_is_applied_whole(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [
        point("cpu", 0).tag("cpu", "0").field("user_percent", 3.5),
        point("cpu", 0).tag("cpu", "1").field("user_percent", 4.5),
        point("load", 0).field("load1", 0.25),
    ];
    writer.commit(0..3, &points).await;
    assert_eq!(writer.position(0).await, Some(3));
    let reader = subject.reader();
    assert_eq!(stored(&reader, "cpu").await, as_rows(&points[..2]));
    assert_eq!(stored(&reader, "load").await, as_rows(&points[2..]));
}

pub(crate) async fn a_repeated_step_is_known_already(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let mut step = writer.step(vec![moved(0..1)], &points).await;
    step.dead_letters.push(dead_letter(0, None, Reason::Syntax));
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
    for _ in 0..2 {
        let applied = writer.store.apply(&step).await.expect("answered");
        assert_eq!(applied, Applied::Already);
    }
    assert_eq!(stored(&subject.reader(), "load").await.len(), 1);
    let summary = subject.reader().summary().await.expect("summary");
    assert_eq!((summary.points, summary.dead_letters), (1, 1));
}

pub(crate) async fn a_step_behind_or_ahead_is_fenced(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [point("load", 0).field("load1", 1.0)];
    writer.commit(0..10, &points).await;
    let late = [point("load", 1).field("load1", 2.0)];
    for range in [0..5, 5..10, 9..12, 11..12, 10_000..10_001] {
        let applied = match range.clone() {
            // Its end is the stored position: known already, whatever its begin.
            range if range.end == 10 => Applied::Already,
            _ => Applied::Fenced,
        };
        let answer = writer.apply(range.clone(), &late).await.expect("answered");
        assert_eq!(answer, applied, "{range:?}");
    }
    let unknown = vec![moved_in(&source(), 7, 0..1)];
    let step = writer.step(unknown, &late).await;
    let answer = writer.store.apply(&step).await.expect("answered");
    assert_eq!(answer, Applied::Fenced, "a partition without a position");
    assert_eq!(writer.position(0).await, Some(10));
    assert_eq!(writer.position(7).await, None);
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&points));
}

pub(crate) async fn a_step_of_several_partitions_is_all_or_nothing(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let begun = writer
        .store
        .positions(&source(), &[(1, 100), (2, 200)])
        .await;
    assert_eq!(begun.expect("positions").len(), 2);
    let moves = |one: std::ops::Range<i64>, two| {
        vec![moved_in(&source(), 1, one), moved_in(&source(), 2, two)]
    };
    let first = [
        point("load", 0).field("load1", 1.0),
        point("load", 1).field("load1", 2.0).slot(1),
    ];
    let step = writer.step(moves(100..110, 200..220), &first).await;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(2, 0));

    let second = [point("load", 2).field("load1", 3.0)];
    for (one, two) in [(110..111, 200..220), (110..111, 0..1), (100..110, 220..221)] {
        let step = writer.step(moves(one, two), &second).await;
        let applied = writer.store.apply(&step).await.expect("answered");
        assert_eq!(applied, Applied::Fenced, "{:?}", step.moves);
    }
    let again = writer.step(moves(100..110, 200..220), &second).await;
    let applied = writer.store.apply(&again).await.expect("answered");
    assert_eq!(applied, Applied::Already);
    assert_eq!(writer.position(1).await, Some(110));
    assert_eq!(writer.position(2).await, Some(220));
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&first));
}

pub(crate) async fn offsets_have_holes(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    // Transaction markers and compaction take offsets away; only the two ends count (D5).
    let mut step = writer.step(vec![moved(0..1_000_000)], &[]).await;
    step.moves[0].messages = 3;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(0, 0));
    writer
        .commit(
            1_000_000..1_000_001,
            &[point("load", 0).field("load1", 1.0)],
        )
        .await;
}

pub(crate) async fn positions_begin_where_they_are_told_and_stay(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let kafka = SourceId::kafka("uuid-2", "other");
    let position = |partition, next_offset| StoredPosition {
        partition,
        next_offset,
    };
    let mut begun = writer
        .store
        .positions(&kafka, &[(3, 30), (0, 5)])
        .await
        .expect("begun");
    begun.sort_by_key(|known| known.partition);
    assert_eq!(begun, [position(0, 5), position(3, 30)]);
    // Known ones keep what is stored, whatever is offered; by another writer too.
    let mut other = subject.store();
    let mut known = other
        .positions(&kafka, &[(3, 99), (4, 40)])
        .await
        .expect("known");
    known.sort_by_key(|known| known.partition);
    assert_eq!(known, [position(3, 30), position(4, 40)]);
    let mut all = other.known_positions(&kafka).await.expect("known");
    all.sort_by_key(|known| known.partition);
    assert_eq!(all, [position(0, 5), position(3, 30), position(4, 40)]);
    assert_eq!(other.positions(&kafka, &[]).await.expect("none"), []);
}

pub(crate) async fn sources_do_not_share_positions(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    // A topic that was made anew has the same name and another id (D5).
    let recreated = SourceId::kafka("uuid-1b", "metrics");
    let spool = SourceId::spool("0123456789abcdef");
    for source in [&recreated, &spool] {
        let begun = writer.store.positions(source, &[(0, 0)]).await;
        assert_eq!(begun.expect("begun")[0].next_offset, 0);
    }
    writer
        .commit(0..5, &[point("load", 0).field("load1", 1.0)])
        .await;
    for source in [&recreated, &spool] {
        let known = writer.store.known_positions(source).await.expect("known");
        assert_eq!(known[0].next_offset, 0);
    }
    let next = [point("load", 1).field("load1", 1.0)];
    let step = writer
        .step(vec![moved_in(&recreated, 0, 0..1)], &next)
        .await;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
}

pub(crate) async fn the_second_of_two_writers_is_fenced(subject: &impl Subject) {
    let (mut first, mut second) = (Writer::open(subject).await, Writer::open(subject).await);
    let points = [point("load", 0).field("load1", 1.0)];
    let same = first.step(vec![moved(0..2)], &points).await;
    let ours = first.store.apply(&same).await.expect("applied");
    assert_eq!(ours, committed(1, 0));
    // The zombie read less: its step ends elsewhere.
    let theirs = second.apply(0..1, &points).await.expect("answered");
    assert_eq!(theirs, Applied::Fenced);
    let position = second.position(0).await.expect("known");
    let points = [point("load", 1).field("load1", 2.0)];
    second.commit(position..position + 1, &points).await;
    let ours = first.apply(2..4, &points).await.expect("answered");
    assert_eq!(ours, Applied::Fenced);

    // Both at once: one of them wins.
    let points = [point("load", 2).field("load1", 3.0)];
    let (ours, theirs) = (
        first.step(vec![moved(3..10)], &points).await,
        second.step(vec![moved(3..11)], &points).await,
    );
    let (ours, theirs) = tokio::join!(first.store.apply(&ours), second.store.apply(&theirs));
    let outcomes = [ours.expect("answered"), theirs.expect("answered")];
    assert!(outcomes.contains(&committed(1, 0)), "{outcomes:?}");
    assert!(outcomes.contains(&Applied::Fenced), "{outcomes:?}");
    assert_eq!(stored(&subject.reader(), "load").await.len(), 3);
}

pub(crate) async fn a_step_without_rows_moves_the_position(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let mut step = Step {
        moves: vec![moved(0..4)],
        ..Step::default()
    };
    step.moves[0].duplicate_points = 12;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(0, 0));
    assert_eq!(writer.position(0).await, Some(4));
    assert_eq!(subject.reader().summary().await.expect("summary").points, 0);
    writer.store.housekeep().await.expect("housekeeping");
}

pub(crate) async fn dead_letters_are_stored_and_listed(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let other = SourceId::kafka("uuid-9", "others");
    let begun = writer.store.positions(&other, &[(4, 70)]).await;
    begun.expect("begun");
    let mut step = writer
        .step(
            vec![moved(0..3), moved_in(&other, 4, 70..71)],
            &[point("load", 0).field("load1", 1.0)],
        )
        .await;
    step.dead_letters = vec![
        dead_letter(0, None, Reason::Syntax),
        dead_letter(2, Some(7), Reason::TypeConflict),
        dead_letter(70, Some(0), Reason::Syntax),
    ];
    step.dead_letters[2].slot = 1;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0), "the neighbours are stored (D7)");

    let mut list = async |reason, topic: Option<&str>, limit| {
        let topic = topic.map(str::to_owned);
        let filter = DeadLetterFilter {
            reason,
            topic,
            limit,
            ..DeadLetterFilter::default()
        };
        let found = writer.store.dead_letters(&filter).await.expect("listed");
        found
            .into_iter()
            .map(|found| found.offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 0).await, [70, 2, 0], "newest first");
    assert_eq!(list(None, None, 1).await, [70]);
    assert_eq!(list(Some(Reason::Syntax), None, 0).await, [70, 0]);
    assert_eq!(list(None, Some("metrics"), 0).await, [2, 0]);
    let one = list(Some(Reason::Syntax), Some("metrics"), 9).await;
    assert_eq!(one, [0]);
    assert!(list(Some(Reason::Empty), None, 0).await.is_empty());

    let rows = writer
        .store
        .dead_letters(&DeadLetterFilter::default())
        .await;
    let rows = rows.expect("listed");
    let row = &rows[1];
    assert_eq!((row.topic.as_str(), row.partition), ("metrics", 0));
    assert_eq!((row.index, row.reason.as_str()), (Some(7), "type_conflict"));
    assert_eq!(row.detail, "what is wrong at 2");
    assert_eq!(row.encoding, "json/1");
    assert_eq!(row.payload, step.dead_letters[1].payload);
    assert!(row.stored_us > 1_500_000_000_000_000, "{}", row.stored_us);
    assert_eq!((rows[0].partition, rows[2].index), (4, None));
}
