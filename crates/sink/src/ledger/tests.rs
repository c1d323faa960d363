//! Tests of the ledger's rules, by example and against a simple model.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tidegauge_model::{AgentId, DropReason};

fn key() -> LedgerKey {
    LedgerKey {
        agent: AgentId::new("a").unwrap(),
        epoch: 1,
    }
}

fn book() -> LedgerBook {
    let mut book = LedgerBook::default();
    book.learn(&[key()], std::collections::HashMap::new());
    book
}

fn row(book: &LedgerBook) -> LedgerRow {
    book.changed
        .get(&key())
        .or_else(|| book.known.get(&key()))
        .cloned()
        .unwrap()
}

fn notice(first: u64, last: u64) -> DropNotice {
    DropNotice {
        epoch: 1,
        first_sequence: first,
        last_sequence: last,
        reason: DropReason::SpoolFull,
    }
}

#[test]
fn d6_a_late_batch_is_new_and_a_repeated_one_is_not() {
    let mut book = book();
    assert_eq!(book.judge(&key(), 0, Some(10..=10), 1), Verdict::New);
    assert_eq!(book.judge(&key(), 3, Some(40..=40), 1), Verdict::New);
    assert_eq!(row(&book).missing.to_text(), "1-2");
    assert_eq!(
        book.judge(&key(), 2, Some(30..=30), 1),
        Verdict::New,
        "late"
    );
    assert_eq!(book.judge(&key(), 2, Some(30..=30), 1), Verdict::Repeat);
    assert_eq!(book.judge(&key(), 3, Some(40..=40), 1), Verdict::Repeat);
    let row = row(&book);
    assert_eq!(
        (row.missing.to_text().as_str(), row.next_sequence),
        ("1", 4)
    );
    assert_eq!(
        (
            row.batches,
            row.points,
            row.duplicate_batches,
            row.last_time_us
        ),
        (3, 3, 2, 40)
    );
}

#[test]
fn d6_new_data_is_never_dropped_on_suspicion() {
    let mut book = book();
    assert_eq!(book.judge(&key(), 0, Some(10..=20), 2), Verdict::New);
    assert_eq!(
        book.judge(&key(), 0, Some(21..=30), 2),
        Verdict::Conflict,
        "younger than all"
    );
    assert_eq!(
        book.judge(&key(), 0, Some(25..=31), 2),
        Verdict::Repeat,
        "not younger than all"
    );
    assert_eq!(row(&book).conflicts, 1);
}

#[test]
fn clones_that_send_under_one_id_are_told_apart() {
    let of = |epoch| LedgerKey { epoch, ..key() };
    let mut book = LedgerBook::default();
    book.learn(&[of(100), of(200)], std::collections::HashMap::new());
    assert_eq!(book.judge(&of(100), 0, Some(10..=10), 1), Verdict::New);
    // A new start, and what is late of the one before.
    assert_eq!(book.judge(&of(200), 0, Some(30..=30), 1), Verdict::New);
    assert_eq!(book.judge(&of(100), 2, Some(25..=25), 1), Verdict::New);
    assert_eq!(book.judge(&of(100), 1, Some(20..=20), 1), Verdict::New);
    // The old one is alive: nothing is lost, and it is counted.
    assert_eq!(book.judge(&of(100), 3, Some(31..=31), 1), Verdict::Conflict);
    assert_eq!(book.judge(&of(100), 3, Some(31..=31), 1), Verdict::Repeat);
    assert_eq!(book.judge(&of(200), 1, Some(40..=40), 1), Verdict::New);
    assert_eq!(book.judge(&of(100), 4, Some(41..=41), 1), Verdict::Conflict);
    let old = book.changed[&of(100)].clone();
    assert_eq!((old.conflicts, old.batches, old.next_sequence), (2, 5, 5));
    assert_eq!(book.changed[&of(200)].conflicts, 0);
    assert!(book.is_to_be_told(&key().agent) && !book.is_to_be_told(&key().agent));
}

#[test]
fn a_new_start_in_an_abandoned_step_is_not_a_clone() {
    let of = |epoch| LedgerKey { epoch, ..key() };
    let absent = std::collections::HashMap::new;
    let mut book = LedgerBook::default();
    book.learn(&[of(100), of(200)], absent());
    let judge_both = |book: &mut LedgerBook| {
        let old = book.judge(&of(100), 0, Some(10..=10), 1);
        (old, book.judge(&of(200), 0, Some(30..=30), 1))
    };
    assert_eq!(judge_both(&mut book), (Verdict::New, Verdict::New));
    // Given up while it was built, then when its commit failed.
    book.begin_step();
    assert_eq!(judge_both(&mut book), (Verdict::New, Verdict::New));
    book.assume();
    book.forget([&of(100), &of(200)].into_iter());
    book.learn(&[of(100), of(200)], absent());
    assert_eq!(judge_both(&mut book), (Verdict::New, Verdict::New));
    assert_eq!(book.changed[&of(100)].conflicts, 0);
}

#[test]
fn d2_told_drops_are_not_missing_and_count_once() {
    let mut book = book();
    book.judge(&key(), 5, Some(1..=1), 1);
    assert_eq!(row(&book).missing.to_text(), "0-4");
    book.note_drop(&key(), &notice(1, 3));
    book.note_drop(&key(), &notice(1, 3));
    assert_eq!(
        (
            row(&book).missing.to_text().as_str(),
            row(&book).dropped_batches()
        ),
        ("0,4", 3)
    );
    book.note_drop(&key(), &notice(4, 4));
    assert_eq!(
        row(&book).dropped_text(),
        "1-4:spool_full",
        "neighbours are one range"
    );
    // One that was in flight when it was given up arrives after all.
    assert_eq!(book.judge(&key(), 2, Some(0..=0), 1), Verdict::New);
    assert_eq!(row(&book).dropped_text(), "1:spool_full,3-4:spool_full");
    // Told before anything later of the epoch arrived.
    book.note_drop(&key(), &notice(8, 9));
    assert_eq!(
        (
            row(&book).next_sequence,
            row(&book).missing.to_text().as_str()
        ),
        (10, "0,6-7")
    );
}

#[test]
fn d10_a_spool_lost_whole_is_one_loss_and_nothing_before_it_is_missing() {
    let lost = LedgerKey { epoch: 0, ..key() };
    let mut book = book();
    book.learn(
        std::slice::from_ref(&lost),
        std::collections::HashMap::new(),
    );
    let moment = 1_795_183_200_000_000;
    let notice = DropNotice {
        epoch: 0,
        reason: DropReason::SpoolCorrupt,
        ..notice(moment, moment)
    };
    book.note_drop(&lost, &notice);
    book.note_drop(&lost, &notice);
    let row = &book.changed[&lost];
    assert_eq!((row.missing.count(), row.dropped_batches()), (0, 1));
}

#[test]
fn an_abandoned_step_leaves_nothing() {
    let mut book = book();
    book.judge(&key(), 0, None, 0);
    book.begin_step();
    assert!(book.changes().is_empty());
    assert_eq!(book.judge(&key(), 0, None, 0), Verdict::New);
    assert_eq!(book.changes()[0].expected_version, 0);
    book.assume();
    assert_eq!(book.judge(&key(), 0, None, 0), Verdict::Repeat);
    assert_eq!(book.changes()[0].expected_version, 1);
    book.forget([&key()].into_iter());
    assert!(!book.knows(&key()), "read again after a conflict");
}

proptest! {
    /// Batches in any order, repeated, with told drops: what is stored is each once, and what is
    /// missing is what neither came nor was told.
    #[test]
    fn d6_behaves_like_a_set(actions in prop::collection::vec((0u64..30, 0u64..4, any::<bool>()), 1..80)) {
        let mut book = book();
        let mut came = BTreeSet::new();
        let mut told = BTreeMap::new();
        let mut next = 0;
        for (sequence, more, is_batch) in actions {
            if is_batch {
                // All samples of one age: no sequence can look younger than all.
                let verdict = book.judge(&key(), sequence, Some(0..=0), 1);
                prop_assert_eq!(verdict == Verdict::New, came.insert(sequence));
                told.remove(&sequence);
                next = next.max(sequence + 1);
            } else {
                let last = sequence + more;
                book.note_drop(&key(), &notice(sequence, last));
                for n in sequence..=last {
                    if !came.contains(&n) {
                        told.insert(n, ());
                    }
                }
                next = next.max(last + 1);
            }
            let row = row(&book);
            prop_assert_eq!(row.next_sequence, next);
            prop_assert_eq!(row.batches, came.len() as u64);
            prop_assert_eq!(row.dropped_batches(), told.len() as u64);
            for n in 0..40 {
                let missing = n < next && !came.contains(&n) && !told.contains_key(&n);
                prop_assert_eq!(row.missing.contains(n), missing, "{}", n);
            }
        }
    }
}
