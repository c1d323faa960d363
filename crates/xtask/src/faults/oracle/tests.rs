//! The oracle on made-up evidence: silent when all is well, and loud about each thing that is not.

use super::*;

const EPOCH: i64 = 7;

fn numbering() -> Numbering {
    ("numbered-0".to_owned(), EPOCH)
}

fn row(number: u64) -> Row {
    Row {
        host: "numbered-0".to_owned(),
        measurement: "numbered".to_owned(),
        time_us: 1_000 + number as i64,
        values: [("n".to_owned(), value_text(&number.to_string()))].into(),
    }
}

/// A batch of two samples, in partition 0 under the number that it is sent as.
fn sent(sequence: u64) -> Sent {
    Sent {
        partition: 0,
        offset: 0,
        numbering: numbering(),
        sequence,
        rows: vec![row(2 * sequence), row(2 * sequence + 1)],
    }
}

/// Six batches of two samples: number 3 was given up, 5 was sent twice, 6 was under way at a kill.
fn clean() -> Evidence {
    let topic = [0, 1, 2, 4, 5, 5].into_iter().enumerate();
    let topic: Vec<Sent> = topic
        .map(|(offset, sequence)| Sent {
            offset: offset as u64,
            ..sent(sequence)
        })
        .collect();
    let outcome = |sequence| match sequence {
        6 => Outcome::Unknown,
        _ => Outcome::Spooled,
    };
    let journal = (0..7).map(|sequence| Written {
        epoch: EPOCH,
        sequence,
        first_number: 2 * sequence,
        numbers: 2,
        outcome: outcome(sequence),
    });
    let ledger = LedgerRow {
        next_sequence: 6,
        batches: 5,
        points: 10,
        duplicate_batches: 1,
        dropped_batches: 1,
        dropped: vec![(3, 3, "spool_full".to_owned())],
        ..LedgerRow::default()
    };
    let position = Position {
        next_offset: 6,
        messages: 6,
        points: 10,
        duplicate_points: 2,
    };
    Evidence {
        numbered: [(numbering(), 6)].into(),
        journals: [("numbered-0".to_owned(), journal.collect())].into(),
        allowed: [("numbered-0".to_owned(), ["spool_full".to_owned()].into())].into(),
        tables: topic[..5]
            .iter()
            .flat_map(|sent| sent.rows.clone())
            .collect(),
        topic,
        ends: [(0, 6)].into(),
        ledger: [(numbering(), ledger)].into(),
        positions: [(0, position)].into(),
        dead_letters: Vec::new(),
    }
}

/// The kinds of what is found after a change of the clean evidence.
fn kinds(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = clean();
    change(&mut evidence);
    let mut kinds: Vec<&str> = judge(&evidence).0.iter().map(|found| found.kind).collect();
    kinds.dedup();
    kinds
}

fn ledger(evidence: &mut Evidence) -> &mut LedgerRow {
    evidence.ledger.get_mut(&numbering()).unwrap()
}

#[test]
fn clean_evidence_is_clean_and_counted() {
    let (findings, counts) = judge(&clean());
    assert_eq!(findings, []);
    let expected = Counts {
        batches: 6,
        points: 10,
        repeated: 1,
        dropped: 1,
        epochs: 1,
    };
    assert_eq!(counts, expected);
}

#[test]
fn a_loss_is_found_in_the_tables_and_by_the_journal() {
    let mut evidence = clean();
    evidence.tables.remove(4);
    let (findings, _) = judge(&evidence);
    let details: Vec<_> = findings
        .iter()
        .filter(|found| found.kind == "lost")
        .collect();
    assert_eq!(details.len(), 2, "{findings:?}");
    // The counts do not fit either.
    assert!(findings.iter().any(|found| found.kind == "position"));
}

#[test]
fn a_batch_that_never_reached_the_topic_is_found() {
    let lost = |evidence: &mut Evidence| {
        evidence.topic.retain(|sent| sent.sequence != 2);
        for (offset, sent) in evidence.topic.iter_mut().enumerate() {
            sent.offset = offset as u64;
        }
        evidence.tables.retain(|row| !sent(2).rows.contains(row));
        evidence.ends.insert(0, 5);
        let position = evidence.positions.get_mut(&0).unwrap();
        (position.next_offset, position.messages, position.points) = (5, 5, 8);
        let ledger = ledger(evidence);
        (ledger.batches, ledger.points) = (4, 8);
    };
    assert_eq!(kinds(lost), ["lost", "untold"]);
}

#[test]
fn a_double_is_found() {
    let doubled = |evidence: &mut Evidence| {
        evidence.tables.push(row(4));
        evidence.positions.get_mut(&0).unwrap().points += 1;
    };
    assert_eq!(kinds(doubled), ["doubled"]);
}

#[test]
fn what_nobody_sent_is_found() {
    let invented = |evidence: &mut Evidence| {
        evidence.tables.push(row(4_000));
        evidence.positions.get_mut(&0).unwrap().points += 1;
    };
    assert_eq!(kinds(invented), ["invented"]);
    let went_back = |evidence: &mut Evidence| {
        evidence.numbered.insert(numbering(), 5);
        ledger(evidence).next_sequence = 5;
    };
    assert_eq!(kinds(went_back), ["invented"]);
}

#[test]
fn a_drop_that_is_not_told_or_not_allowed_is_found() {
    let untold = |evidence: &mut Evidence| {
        let ledger = ledger(evidence);
        (ledger.dropped, ledger.dropped_batches) = (Vec::new(), 0);
    };
    assert_eq!(kinds(untold), ["lost", "untold"]);
    assert_eq!(kinds(|evidence| evidence.allowed.clear()), ["lost"]);
    let missing = |evidence: &mut Evidence| {
        let ledger = ledger(evidence);
        (ledger.dropped, ledger.dropped_batches) = (Vec::new(), 0);
        (ledger.missing, ledger.missing_batches) = ("3".to_owned(), 1);
    };
    assert_eq!(kinds(missing), ["ledger", "lost", "untold"]);
}

#[test]
fn a_ledger_that_counts_wrongly_is_found() {
    for change in [
        |row: &mut LedgerRow| row.duplicate_batches = 0,
        |row: &mut LedgerRow| row.conflicts = 1,
        |row: &mut LedgerRow| row.next_sequence = 7,
        |row: &mut LedgerRow| row.points = 9,
    ] {
        assert_eq!(kinds(|evidence| change(ledger(evidence))), ["ledger"]);
    }
    let told_and_stored = |evidence: &mut Evidence| {
        let ledger = ledger(evidence);
        (ledger.dropped_batches, ledger.dropped) = (2, vec![(2, 3, "spool_full".to_owned())]);
    };
    assert_eq!(kinds(told_and_stored), ["ledger"]);
}

#[test]
fn positions_and_dead_letters_are_looked_at() {
    assert_eq!(
        kinds(|evidence| evidence.positions.get_mut(&0).unwrap().duplicate_points = 0),
        ["position"]
    );
    assert_eq!(
        kinds(|evidence| evidence.positions.get_mut(&0).unwrap().next_offset = 7),
        ["position"]
    );
    assert_eq!(
        kinds(|evidence| evidence.dead_letters.push("unreadable".to_owned())),
        ["dead_letter"]
    );
}

#[test]
fn a_batch_under_way_at_a_kill_may_be_there_once() {
    let arrived = |evidence: &mut Evidence| {
        evidence.numbered.insert(numbering(), 7);
        let batch = Sent {
            rows: vec![row(12), row(13)],
            offset: 6,
            ..sent(6)
        };
        evidence.tables.extend(batch.rows.clone());
        evidence.topic.push(batch);
        evidence.ends.insert(0, 7);
        let position = evidence.positions.get_mut(&0).unwrap();
        (position.next_offset, position.messages, position.points) = (7, 7, 12);
        let ledger = ledger(evidence);
        (ledger.next_sequence, ledger.batches, ledger.points) = (7, 6, 12);
    };
    assert_eq!(kinds(arrived), [""; 0]);
}

/// Position 3 of 6: batches 0 to 2 are stored, 4 and both copies of 5 wait, 3 is told by one of them.
fn half_stored(evidence: &mut Evidence) {
    evidence
        .tables
        .retain(|stored| (0..3).any(|sequence| sent(sequence).rows.contains(stored)));
    evidence.positions.insert(
        0,
        Position {
            next_offset: 3,
            messages: 3,
            points: 6,
            duplicate_points: 0,
        },
    );
    *ledger(evidence) = LedgerRow {
        next_sequence: 3,
        batches: 3,
        points: 6,
        ..LedgerRow::default()
    };
}

#[test]
fn what_waits_in_the_topic_is_stuck_and_not_lost() {
    assert_eq!(kinds(half_stored), ["stuck"]);
    let mut evidence = clean();
    half_stored(&mut evidence);
    let (findings, counts) = judge(&evidence);
    assert_eq!(verdict(&findings), "stuck", "{findings:?}");
    assert_eq!((counts.points, counts.repeated), (6, 0));
    // A partition that nobody ever read.
    assert_eq!(kinds(|evidence| evidence.ends.extend([(1, 3)])), ["stuck"]);
    // Of one batch the first copy is stored, the second waits.
    let second_copy = |evidence: &mut Evidence| {
        let position = evidence.positions.get_mut(&0).unwrap();
        (
            position.next_offset,
            position.messages,
            position.duplicate_points,
        ) = (5, 5, 0);
        ledger(evidence).duplicate_batches = 0;
    };
    assert_eq!(kinds(second_copy), ["stuck"]);
}

#[test]
fn what_is_lost_before_the_position_is_lost_even_if_the_rest_is_stuck() {
    let both = |evidence: &mut Evidence| {
        half_stored(evidence);
        evidence.tables.remove(2);
        evidence.positions.get_mut(&0).unwrap().points -= 1;
    };
    assert_eq!(kinds(both), ["lost", "stuck"]);
    // A row of what waits is there although no position went past it.
    let too_early = |evidence: &mut Evidence| {
        half_stored(evidence);
        evidence.tables.push(row(8));
    };
    assert_eq!(kinds(too_early), ["position", "stuck"]);
    let mut evidence = clean();
    both(&mut evidence);
    assert_eq!(verdict(&judge(&evidence).0), "lost");
}

#[test]
fn the_worst_finding_is_the_verdict() {
    let of = |kinds: &[&'static str]| {
        let findings = kinds.iter().map(|kind| Finding {
            kind,
            detail: String::new(),
        });
        verdict(&findings.collect::<Vec<_>>())
    };
    assert_eq!(of(&[]), "ok");
    assert_eq!(of(&["stuck", "stuck"]), "stuck");
    assert_eq!(of(&["stuck", "ledger"]), "failed");
    assert_eq!(of(&["panic"]), "failed");
    assert_eq!(of(&["doubled", "ledger", "stuck"]), "doubled");
    assert_eq!(of(&["invented"]), "doubled");
    assert_eq!(of(&["doubled", "lost", "stuck"]), "lost");
    assert_eq!(of(&["untold"]), "lost");
}
