//! Tests of the search, against a store in memory that refuses rows by their number.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegauge_model::{Kind, ValueType};
use tidegauge_store::{
    Applied, Catalog, Cell, DeadLetterFilter, DeadLetterRow, FieldColumn, LedgerKey, LedgerRow,
    Measurement, PositionMove, Requirements, RowKey, RowOrigin, SeriesId, SourceId, StoredPosition,
};
use tidegauge_wire::ENCODINGS;

/// Refuses rows whose number is bad, and rows that are in one question together.
#[derive(Default)]
struct Refusing {
    bad: BTreeSet<usize>,
    not_together: Option<(usize, usize)>,
    /// The question that fails for another reason.
    outage_at: Option<usize>,
    questions: usize,
}

#[async_trait::async_trait]
impl Store for Refusing {
    async fn try_rows(&mut self, rows: Vec<RowBlock>) -> Result<(), StoreError> {
        self.questions += 1;
        if self.outage_at == Some(self.questions) {
            return Err(StoreError::new("trying rows", ErrorClass::Outage));
        }
        let numbers: BTreeSet<usize> = rows
            .iter()
            .flat_map(|block| (0..block.len()).map(|row| block.key(row).time_us as usize))
            .collect();
        let together = |(a, b)| numbers.contains(&a) && numbers.contains(&b);
        let found = numbers.intersection(&self.bad).next();
        if found.is_some() || self.not_together.is_some_and(together) {
            let number = found.or(numbers.last()).copied().unwrap_or_default();
            let error = StoreError::new("trying rows", ErrorClass::Data);
            return Err(error.with_refusal(format!("SQLSTATE 23514: no {number}")));
        }
        Ok(())
    }

    async fn migrate(&mut self) -> Result<(), StoreError> {
        unreachable!("the search only tries rows")
    }

    async fn positions(
        &mut self,
        _source: &SourceId,
        _partitions: &[(i32, i64)],
    ) -> Result<Vec<StoredPosition>, StoreError> {
        unreachable!("the search only tries rows")
    }

    async fn known_positions(
        &mut self,
        _source: &SourceId,
    ) -> Result<Vec<StoredPosition>, StoreError> {
        unreachable!("the search only tries rows")
    }

    async fn ledger(
        &mut self,
        _keys: &[LedgerKey],
    ) -> Result<HashMap<LedgerKey, LedgerRow>, StoreError> {
        unreachable!("the search only tries rows")
    }

    async fn ensure(
        &mut self,
        _needs: &Requirements,
        _catalog: &mut Catalog,
    ) -> Result<(), StoreError> {
        unreachable!("the search only tries rows")
    }

    async fn apply(&mut self, _step: &Step) -> Result<Applied, StoreError> {
        unreachable!("the search only tries rows")
    }

    async fn housekeep(&mut self) -> Result<(), StoreError> {
        unreachable!("the search only tries rows")
    }

    async fn dead_letters(
        &mut self,
        _filter: &DeadLetterFilter,
    ) -> Result<Vec<DeadLetterRow>, StoreError> {
        unreachable!("the search only tries rows")
    }

    async fn delete_dead_letters(&mut self, _ids: &[i64]) -> Result<u64, StoreError> {
        unreachable!("the search only tries rows")
    }

    async fn ledger_rows(&mut self) -> Result<Vec<(LedgerKey, LedgerRow)>, StoreError> {
        unreachable!("the search only tries rows")
    }
}

/// Blocks of these lengths; rows are numbered by their times, four to a message, and hold their
/// number as a value and as a text.
fn blocks(lengths: &[usize]) -> Vec<RowBlock> {
    let field = |name: &str, value_type| FieldColumn {
        name: name.to_owned(),
        value_type,
    };
    let mut number = 0;
    let block = |&length: &usize| {
        let mut block = RowBlock::new(Arc::new(Measurement {
            id: 1,
            name: "m".to_owned(),
            kind: Kind::Gauge,
            keyed: false,
            fields: vec![field("n", ValueType::Float), field("t", ValueType::Text)],
            tags: Vec::new(),
            refused: BTreeMap::new(),
        }));
        for _ in 0..length {
            let key = RowKey {
                series: SeriesId(1),
                time_us: number,
            };
            let origin = RowOrigin {
                slot: (number / 4 % 2) as u32,
                offset: number / 4,
                index: (number % 4) as u32,
            };
            let row = block.push(key, origin);
            block.set(row, 0, Cell::float(number as f64));
            block.set_text(row, 1, &format!("row {number}"));
            number += 1;
        }
        block
    };
    lengths.iter().map(block).collect()
}

fn run(store: &mut Refusing, blocks: &[RowBlock]) -> Result<Vec<Refused>, StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(search(store, blocks))
}

fn numbers(found: &[Refused]) -> Vec<usize> {
    found.iter().map(|refused| refused.row).collect()
}

proptest! {
    /// Any bad rows are found, all of them and no others, within the bound (D7).
    #[test]
    fn d7_any_bad_rows_are_found_within_the_bound(
        lengths in proptest::collection::vec(1..400_usize, 1..4),
        picks in proptest::collection::vec(any::<proptest::sample::Index>(), 1..40),
    ) {
        let rows: usize = lengths.iter().sum();
        let bad: BTreeSet<usize> = picks.iter().map(|pick| pick.index(rows)).collect();
        let mut store = Refusing { bad: bad.clone(), ..Refusing::default() };
        let found = run(&mut store, &blocks(&lengths)).expect("no outage");
        prop_assert_eq!(numbers(&found), bad.iter().copied().collect::<Vec<_>>());
        for refused in &found {
            prop_assert_eq!(&refused.why, &format!("SQLSTATE 23514: no {}", refused.row));
        }
        let bound = 2 * bad.len() * (rows.ilog2() as usize + 1);
        prop_assert!(store.questions <= bound.min(2 * rows), "{} for {:?}", store.questions, bad);
    }
}

#[test]
fn one_of_two_thousand_takes_few_questions() {
    let mut store = Refusing {
        bad: BTreeSet::from([1_234]),
        ..Refusing::default()
    };
    let found = run(&mut store, &blocks(&[2_000])).expect("no outage");
    assert_eq!(numbers(&found), [1_234]);
    assert!(store.questions <= 22, "{}", store.questions);
}

#[test]
fn it_ends_when_all_rows_are_bad() {
    for rows in [1, 2, 3, 500] {
        let mut store = Refusing {
            bad: (0..rows).collect(),
            ..Refusing::default()
        };
        let found = run(&mut store, &blocks(&[rows])).expect("no outage");
        assert_eq!(found.len(), rows);
        assert!(store.questions <= 2 * rows, "{}", store.questions);
    }
}

#[test]
fn rows_that_are_refused_only_together_lose_the_last_of_them() {
    for (rows, pair) in [(2, (0, 1)), (100, (10, 90)), (100, (49, 50)), (7, (2, 3))] {
        let mut store = Refusing {
            not_together: Some(pair),
            ..Refusing::default()
        };
        let found = run(&mut store, &blocks(&[rows])).expect("no outage");
        assert_eq!(numbers(&found), [pair.1], "{pair:?} of {rows}");
        assert!(store.questions <= 3 * (rows.ilog2() as usize + 1));
    }
}

#[test]
fn d6_nothing_is_suspected_when_the_refusal_does_not_come_again() {
    for rows in [0, 1, 2, 100] {
        let mut store = Refusing::default();
        let found = run(&mut store, &blocks(&[rows])).expect("no outage");
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn d8_an_outage_meanwhile_is_told_and_changes_nothing() {
    let mut store = Refusing {
        bad: BTreeSet::from([3]),
        outage_at: Some(4),
        ..Refusing::default()
    };
    let mut packed = packed(&[10]);
    let before = format!("{:?}", packed.step);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let aside = set_refused_rows_aside(&mut store, &mut packed, &[], ENCODINGS[0]);
    let error = runtime.expect("a runtime").block_on(aside);
    assert!(error.expect_err("an outage").is_retryable());
    assert_eq!(format!("{:?}", packed.step), before);
}

fn packed(lengths: &[usize]) -> Packed {
    let moved = |partition, points| PositionMove {
        source: SourceId::kafka("id", "topic"),
        partition,
        from: 0,
        to: 100,
        messages: 50,
        points,
        duplicate_points: 0,
        dead_letters: 0,
        left_out_values: 0,
    };
    let step = Step {
        moves: vec![moved(5, 10), moved(6, 10)],
        blocks: blocks(lengths),
        ..Step::default()
    };
    Packed {
        step: step.into(),
        consumed: 2,
        tally: crate::assemble::Tally::default(),
    }
}

#[test]
fn d7_refused_rows_become_dead_letters_with_their_message() {
    let mut store = Refusing {
        bad: BTreeSet::from([2, 4, 6, 7]),
        ..Refusing::default()
    };
    let mut packed = packed(&[6, 2, 4]);
    let message = |partition, offset, encoding: Option<&'static str>| Message {
        source: SourceId::kafka("id", "topic"),
        partition,
        offset,
        received_us: None,
        encoding: encoding.map(|text| Bytes::from_static(text.as_bytes())),
        payload: Bytes::from(format!("message {offset}")),
    };
    let messages = [
        message(5, 0, Some("json/1")),
        message(6, 1, None),
        message(5, 2, None),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let aside = set_refused_rows_aside(&mut store, &mut packed, &messages, ENCODINGS[0]);
    let aside = runtime.expect("a runtime").block_on(aside);
    assert_eq!(aside.expect("no outage"), 4);

    let step = &packed.step;
    let letters: Vec<_> = step
        .dead_letters
        .iter()
        .map(|l| (l.slot, l.offset, l.index, l.payload.as_ref()))
        .collect();
    assert_eq!(
        letters,
        [
            (0, 0, Some(2), b"message 0".as_slice()),
            (1, 1, Some(0), b"message 1"),
            (1, 1, Some(2), b""),
            (1, 1, Some(3), b""),
        ]
    );
    assert_eq!(step.dead_letters[0].detail, "SQLSTATE 23514: no 2");
    assert!(
        step.dead_letters
            .iter()
            .all(|l| l.encoding == "json/1" && l.reason == Reason::RefusedByDatabase)
    );
    let counts: Vec<_> = step
        .moves
        .iter()
        .map(|m| (m.points, m.dead_letters))
        .collect();
    assert_eq!(counts, [(9, 1), (7, 3)]);
    assert_eq!(packed.tally.dead_letters[&Reason::RefusedByDatabase], 4);
    // The block that lost all its rows is gone; the others kept theirs with their values.
    let kept: Vec<Vec<(i64, f64, String)>> = step
        .blocks
        .iter()
        .map(|block| {
            (0..block.len())
                .map(|row| {
                    let cells = block.cells(row);
                    let text = block.text(cells[1]).to_owned();
                    (block.key(row).time_us, cells[0].as_float(), text)
                })
                .collect()
        })
        .collect();
    let row = |n: i64| (n, n as f64, format!("row {n}"));
    assert_eq!(
        kept,
        [
            vec![row(0), row(1), row(3), row(5)],
            vec![row(8), row(9), row(10), row(11)],
        ]
    );
}
