//! Cases of D7: dead letters are found again, deleted, and replayed once.

use super::Subject;
use super::building::{
    BEGIN_US, Writer, as_rows, committed, dead_letter, moved, point, source, stored,
};
use std::sync::Arc;
use tidegauge_model::Reason;
use tidegauge_store::{
    Applied, DeadLetter, DeadLetterBounds, DeadLetterFilter, DeadLetterRow, FurtherLetters,
    LetterBound, PositionMove, Reader, RemovedLetters, Step, Store,
};

const PAYLOAD: &[u8] = b"{\"v\":1, \xff\0";

/// A dead letter of a message whose bytes another one holds.
fn sibling(offset: i64, index: u32) -> DeadLetter {
    DeadLetter {
        payload: [].as_slice().into(),
        ..dead_letter(offset, Some(index), Reason::TypeConflict)
    }
}

/// A writer with the dead letters 0 (whole message), and 1, 1, 1 (three points of one message).
async fn with_letters(subject: &impl Subject) -> (Writer, Vec<DeadLetterRow>) {
    let mut writer = Writer::open(subject).await;
    let mut step = writer.step(vec![moved(0..2)], &[]).await;
    step.dead_letters = vec![
        dead_letter(0, None, Reason::Syntax),
        dead_letter(1, Some(3), Reason::TypeConflict),
        sibling(1, 5),
        sibling(1, 8),
    ];
    step.moves[0].dead_letters = 4;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(0, 0));
    let mut letters = list(&mut writer.store, DeadLetterFilter::default()).await;
    letters.reverse();
    let indexes: Vec<_> = letters.iter().map(|letter| letter.index).collect();
    assert_eq!(indexes, [None, Some(3), Some(5), Some(8)]);
    (writer, letters)
}

async fn list(store: &mut Box<dyn Store>, filter: DeadLetterFilter) -> Vec<DeadLetterRow> {
    store.dead_letters(&filter).await.expect("listed")
}

async fn ids(store: &mut Box<dyn Store>, filter: DeadLetterFilter) -> Vec<i64> {
    let found = list(store, filter).await;
    found.into_iter().map(|letter| letter.id).collect()
}

pub(crate) async fn further_ones_of_a_message_are_counted(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    for (from, letters) in [(0, 7_u64), (1, 1_000_000)] {
        let mut step = writer.step(vec![moved(from..from + 1)], &[]).await;
        step.dead_letters = vec![dead_letter(from, Some(3), Reason::Syntax)];
        let further = |reason, letters| FurtherLetters {
            slot: 0,
            reason,
            letters,
        };
        step.further_letters = vec![
            further(Reason::Syntax, letters),
            further(Reason::BadTime, 1),
        ];
        assert_eq!(step.rejected(), letters + 2);
        step.moves[0].dead_letters = step.rejected();
        let applied = writer.store.apply(&step).await.expect("applied");
        assert_eq!(applied, committed(0, 0));
    }
    let losses = subject.reader().losses().await.expect("losses");
    let mut counts: Vec<_> = losses
        .iter()
        .map(|loss| (loss.what.as_str(), loss.reason.clone(), loss.count))
        .collect();
    counts.sort();
    let reason = |reason: Reason| reason.as_str().to_owned();
    assert_eq!(
        counts,
        [
            ("dead_letters", reason(Reason::Syntax), 2),
            ("removed_dead_letters", reason(Reason::BadTime), 2),
            ("removed_dead_letters", reason(Reason::Syntax), 1_000_007),
        ]
    );
}

pub(crate) async fn they_are_found_by_number_time_and_page(subject: &impl Subject) {
    let (mut writer, letters) = with_letters(subject).await;
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| letters[at].id);
    assert!(a < b && b < c && c < d, "in the order of the step");
    for letter in &letters {
        assert_eq!(letter.source, source().as_str());
        assert_eq!(letter.payload, PAYLOAD, "each with its message");
    }
    let store = &mut writer.store;
    let filter = DeadLetterFilter {
        ids: vec![b, d, 1_000_000],
        ..DeadLetterFilter::default()
    };
    assert_eq!(ids(store, filter).await, [d, b]);
    let filter = DeadLetterFilter {
        below: Some(c),
        reason: Some(Reason::TypeConflict),
        ..DeadLetterFilter::default()
    };
    assert_eq!(ids(store, filter).await, [b]);
    let stored_us = letters[0].stored_us;
    for (since_us, until_us, count) in [
        (Some(stored_us), None, 4),
        (Some(stored_us + 1), None, 0),
        (None, Some(stored_us), 0),
        (None, Some(stored_us + 1), 4),
        (Some(BEGIN_US * 2), None, 0),
    ] {
        let filter = DeadLetterFilter {
            since_us,
            until_us,
            ..DeadLetterFilter::default()
        };
        let found = ids(store, filter).await.len();
        assert_eq!(found, count, "{since_us:?} to {until_us:?}");
    }
}

pub(crate) async fn deleting_one_leaves_the_message_with_the_others(subject: &impl Subject) {
    let (mut writer, letters) = with_letters(subject).await;
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| letters[at].id);
    let store = &mut writer.store;
    let deleted = store.delete_dead_letters(&[a, b]).await.expect("deleted");
    assert_eq!(deleted, 2);
    let left = list(store, DeadLetterFilter::default()).await;
    assert_eq!(left.iter().map(|l| l.id).collect::<Vec<_>>(), [d, c]);
    assert!(left.iter().all(|letter| letter.payload == PAYLOAD));

    let deleted = store.delete_dead_letters(&[b, c]).await.expect("deleted");
    assert_eq!(deleted, 1, "one was gone already");
    let left = list(store, DeadLetterFilter::default()).await;
    assert_eq!((left.len(), left[0].id), (1, d));
    assert_eq!(left[0].payload, PAYLOAD);
    assert_eq!(store.delete_dead_letters(&[]).await.expect("nothing"), 0);
}

fn removed(reason: Reason, bound: LetterBound, letters: u64) -> RemovedLetters {
    RemovedLetters {
        reason: reason.as_str().to_owned(),
        bound,
        letters,
    }
}

/// What a store removes by these bounds, sorted by reason.
async fn removes(store: &mut Box<dyn Store>, bounds: &DeadLetterBounds) -> Vec<RemovedLetters> {
    let mut removed = store.bound_dead_letters(bounds).await.expect("bounded");
    removed.sort_by(|a, b| a.reason.cmp(&b.reason));
    removed
}

/// Reasons and counts of removed letters, as the view `losses` has them.
async fn removed_losses(subject: &impl Subject) -> Vec<(String, u64)> {
    let losses = subject.reader().losses().await.expect("losses");
    let removed = losses
        .into_iter()
        .filter(|loss| loss.what == "removed_dead_letters");
    removed
        .map(|loss| {
            assert_eq!(loss.topic.as_deref(), Some("metrics"));
            assert!(loss.first_us.is_some() && loss.first_us <= loss.last_us);
            (loss.reason, loss.count)
        })
        .collect()
}

pub(crate) async fn old_ones_go_and_are_counted(subject: &impl Subject) {
    let (mut writer, letters) = with_letters(subject).await;
    let store = &mut writer.store;
    let mut bounds = DeadLetterBounds {
        now_us: letters[0].stored_us + 1_000_000,
        keep_us: Some(2_000_000),
        bytes: None,
    };
    assert_eq!(removes(store, &bounds).await, []);
    assert_eq!(removed_losses(subject).await, []);
    bounds.keep_us = Some(500_000);
    let expected = [
        removed(Reason::Syntax, LetterBound::Age, 1),
        removed(Reason::TypeConflict, LetterBound::Age, 3),
    ];
    assert_eq!(removes(store, &bounds).await, expected);
    assert!(ids(store, DeadLetterFilter::default()).await.is_empty());
    let expected = [("syntax".to_owned(), 1), ("type_conflict".to_owned(), 3)];
    assert_eq!(removed_losses(subject).await, expected);
    assert_eq!(removes(store, &bounds).await, []);
}

pub(crate) async fn too_many_bytes_push_the_oldest_out(subject: &impl Subject) {
    let (mut writer, letters) = with_letters(subject).await;
    let each = 200 + "what is wrong at 0".len() as u64;
    let message = PAYLOAD.len() as u64;
    let mut bounds = DeadLetterBounds {
        now_us: letters[0].stored_us,
        keep_us: None,
        bytes: Some(4 * each + 2 * message),
    };
    assert_eq!(removes(&mut writer.store, &bounds).await, []);
    // One more is one too many, and the first goes; what was measured before is not measured again.
    let mut step = writer.step(vec![moved(2..3)], &[]).await;
    step.dead_letters = vec![dead_letter(2, None, Reason::Empty)];
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(0, 0));
    let store = &mut writer.store;
    let first = [removed(Reason::Syntax, LetterBound::Bytes, 1)];
    assert_eq!(removes(store, &bounds).await, first);
    assert_eq!(removes(store, &bounds).await, []);
    // The first of three of one message goes: the next one has the bytes.
    bounds.bytes = Some(3 * each + 2 * message);
    let second = [removed(Reason::TypeConflict, LetterBound::Bytes, 1)];
    assert_eq!(removes(store, &bounds).await, second);
    let left = list(store, DeadLetterFilter::default()).await;
    let indexes: Vec<_> = left.iter().map(|letter| letter.index).collect();
    assert_eq!(indexes, [None, Some(8), Some(5)]);
    assert!(left.iter().all(|letter| letter.payload == PAYLOAD));
    bounds.bytes = Some(0);
    let rest = [
        removed(Reason::Empty, LetterBound::Bytes, 1),
        removed(Reason::TypeConflict, LetterBound::Bytes, 2),
    ];
    assert_eq!(removes(store, &bounds).await, rest);
    let expected = [("empty", 1), ("syntax", 1), ("type_conflict", 3)];
    let expected = expected.map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(removed_losses(subject).await, expected);
}

pub(crate) async fn many_go_in_several_transactions(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let mut step = writer.step(vec![moved(0..2_500)], &[]).await;
    let letters = (0..2_500).map(|offset| dead_letter(offset, None, Reason::Syntax));
    step.dead_letters = letters.collect();
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(0, 0));
    let bounds = DeadLetterBounds {
        now_us: BEGIN_US,
        keep_us: None,
        bytes: Some(10_000),
    };
    // Two at once take none twice and count each once.
    let mut other = subject.store();
    let (one, two) = tokio::join!(
        removes(&mut writer.store, &bounds),
        removes(&mut other, &bounds)
    );
    let mut gone: u64 = one.iter().chain(&two).map(|removed| removed.letters).sum();
    // Both may have left it to the other.
    let again = removes(&mut writer.store, &bounds).await;
    gone += again.iter().map(|removed| removed.letters).sum::<u64>();
    let filter = DeadLetterFilter {
        limit: 5_000,
        ..DeadLetterFilter::default()
    };
    let left = list(&mut writer.store, filter).await;
    assert_eq!(left.len() as u64 + gone, 2_500);
    assert!((20..=45).contains(&left.len()), "{}", left.len());
    assert_eq!(
        left.last().map(|letter| letter.offset),
        Some(2_500 - left.len() as i64)
    );
    assert_eq!(removed_losses(subject).await, [("syntax".to_owned(), gone)]);
}

/// A step that stores a point of a dead letter's and takes the letter out.
async fn replay(writer: &mut Writer, second: i64, resolves: &[i64]) -> Step {
    let replayed = PositionMove {
        messages: 0,
        ..moved(1..1)
    };
    let points = [point("load", second).field("load1", 1.0)];
    let mut step = writer.step(vec![replayed], &points).await;
    step.resolves = resolves.to_vec();
    step
}

pub(crate) async fn replaying_stores_and_takes_the_letter_out_once(subject: &impl Subject) {
    let (mut writer, letters) = with_letters(subject).await;
    let step = replay(&mut writer, 7, &[letters[1].id]).await;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
    for _ in 0..2 {
        let again = writer.store.apply(&step).await.expect("answered");
        assert_eq!(again, Applied::Fenced, "it is not there any more");
    }
    let mut two = replay(&mut writer, 8, &[letters[2].id, letters[1].id]).await;
    two.dead_letters = vec![dead_letter(1, Some(5), Reason::TooOld)];
    let refused = writer.store.apply(&two).await.expect("answered");
    assert_eq!(refused, Applied::Fenced, "all of them or nothing");

    assert_eq!(
        writer.position(0).await,
        Some(2),
        "the position is not moved"
    );
    let reader: Arc<dyn Reader> = subject.reader();
    let rows = as_rows(&[point("load", 7).field("load1", 1.0)]);
    assert_eq!(stored(&reader, "load").await, rows);
    let left = list(&mut writer.store, DeadLetterFilter::default()).await;
    let numbers: Vec<i64> = left.iter().map(|letter| letter.id).collect();
    assert_eq!(numbers, [letters[3].id, letters[2].id, letters[0].id]);
    assert!(left.iter().all(|letter| letter.payload == PAYLOAD));
}

pub(crate) async fn a_letter_replayed_by_two_at_once_is_stored_once(subject: &impl Subject) {
    let (mut writer, letters) = with_letters(subject).await;
    let step = replay(&mut writer, 7, &[letters[0].id]).await;
    let mut others: Vec<Box<dyn Store>> = (0..3).map(|_| subject.store()).collect();
    let applying = others.iter_mut().map(|store| store.apply(&step));
    let outcomes = futures_util::future::join_all(applying).await;
    let outcomes: Vec<Applied> = outcomes
        .into_iter()
        .map(|outcome| outcome.expect("answered"))
        .collect();
    let stored_by = outcomes.iter().filter(|o| **o == committed(1, 0)).count();
    let refused = outcomes.iter().filter(|o| **o == Applied::Fenced).count();
    assert_eq!((stored_by, refused), (1, 2), "{outcomes:?}");
    assert_eq!(stored(&subject.reader(), "load").await.len(), 1);
}
