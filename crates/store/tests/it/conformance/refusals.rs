//! Cases of D7: rows are tried without being written, and a refused one is named.

use super::Subject;
use super::building::{Writer, as_rows, committed, moved, point, stored};
use tidegauge_store::{ErrorClass, RowBlock};

pub(crate) async fn rows_that_are_tried_are_not_written(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [
        point("load", 0).field("load1", 1.0),
        point("load", 1).field("load1", 2.0),
        point("probe", 0).field("up", true).keyed(),
        point("probe", 0).field("up", true).keyed(),
    ];
    let step = writer.step(vec![moved(0..4)], &points).await;
    for _ in 0..2 {
        let tried = writer.store.try_rows(step.blocks.clone()).await;
        tried.expect("the database takes them");
    }
    let tried = writer.store.try_rows(Vec::new()).await;
    tried.expect("nothing is nothing's fault");
    assert!(stored(&subject.reader(), "load").await.is_empty());
    assert_eq!(writer.position(0).await, Some(0));

    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(3, 1));
    let tried = writer.store.try_rows(step.blocks.clone()).await;
    tried.expect("a repeated row is none that is refused");
    assert_eq!(
        stored(&subject.reader(), "load").await,
        as_rows(&points[..2])
    );
    assert_eq!(stored(&subject.reader(), "probe").await.len(), 1);
}

pub(crate) async fn a_refused_row_is_told_from_its_neighbours(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points: Vec<_> = [1.0, 666.0, 3.0]
        .into_iter()
        .zip(0..)
        .map(|(number, second)| point("memory", second).field("free_bytes", number))
        .collect();
    let mut step = writer.step(vec![moved(0..3)], &points).await;
    let poison = subject.poison_sql("memory", "free_bytes", 666.0);
    subject.execute(&poison).await;

    let only = |rows: &[usize]| -> Vec<RowBlock> {
        let block = &step.blocks[0];
        vec![block.select(rows.iter().copied())]
    };
    for rows in [[0, 1], [1, 2]] {
        let error = writer.store.try_rows(only(&rows)).await;
        let error = error.expect_err("refused");
        assert_eq!(error.class(), ErrorClass::Data, "{error:?}");
        assert!(error.is_certainly_rolled_back());
        let code = error.code().expect("a code");
        let refusal = error.refusal().expect("what was said");
        assert!(refusal.contains(code), "{refusal}");
        assert!(refusal.contains("poison"), "{refusal}");
    }
    let tried = writer.store.try_rows(only(&[2, 0])).await;
    tried.expect("the neighbours are well");
    step.blocks = only(&[0, 2]);
    step.moves[0].points = 2;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(2, 0));
    let rows = stored(&subject.reader(), "memory").await;
    assert_eq!(rows, as_rows(&[points[0].clone(), points[2].clone()]));
}
