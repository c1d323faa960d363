//! Cases of D10: "did I lose anything?" has an answer, and every host tells how fresh it is.

use super::Subject;
use super::building::{
    BEGIN_US, Writer, agent_host, committed, dead_letter, moved, moved_in, point, source,
};
use tidegauge_model::{AgentId, Clock, DropReason, Reason, SequenceRanges, SystemClock};
use tidegauge_store::{HostFreshness, LedgerChange, LedgerKey, LedgerRow, Loss, ToldDrop};

/// A new ledger row of an agent.
pub(crate) fn ledger_change(agent: &str, epoch: i64, row: LedgerRow) -> LedgerChange {
    LedgerChange {
        key: LedgerKey {
            agent: AgentId::new(agent).expect("an id"),
            epoch,
        },
        expected_version: 0,
        row: LedgerRow { version: 1, ..row },
    }
}

fn told(first: u64, last: u64, reason: DropReason) -> ToldDrop {
    ToldDrop {
        first,
        last,
        reason,
    }
}

pub(crate) async fn a_store_that_lost_nothing_says_so(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let reader = subject.reader();
    assert_eq!(reader.losses().await.expect("losses"), []);
    assert_eq!(reader.freshness().await.expect("freshness"), []);
    let points = [point("load", 0).field("load1", 1.0)];
    let mut step = writer.step(vec![moved(0..1)], &points).await;
    step.ledger = vec![ledger_change("agent-1", 7, LedgerRow::default())];
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
    assert_eq!(reader.losses().await.expect("losses"), []);
}

pub(crate) async fn every_loss_is_told_with_its_reason(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let mut step = writer.step(vec![moved(0..9)], &[]).await;
    let mut missing = SequenceRanges::default();
    missing.insert(3, 4);
    missing.insert(9, 9);
    step.ledger = vec![
        ledger_change(
            "agent-1",
            0,
            LedgerRow {
                next_sequence: 2,
                dropped: vec![told(0, 1, DropReason::SpoolCorrupt)],
                ..LedgerRow::default()
            },
        ),
        ledger_change(
            "agent-1",
            7,
            LedgerRow {
                next_sequence: 100,
                missing,
                dropped: vec![
                    told(12, 40, DropReason::SpoolFull),
                    told(44, 44, DropReason::Refused),
                    told(50, 50, DropReason::SpoolFull),
                ],
                ..LedgerRow::default()
            },
        ),
    ];
    step.moves[0].left_out_values = 5;
    step.dead_letters = vec![
        dead_letter(1, None, Reason::Syntax),
        dead_letter(2, None, Reason::Syntax),
        dead_letter(3, Some(1), Reason::BadName),
    ];
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(0, 0));
    let (gap, partition) = (subject.quoted("gap"), subject.quoted("partition"));
    for (from, to, reason) in [
        (10, 15, "retention"),
        (20, 22, "retention"),
        (30, 31, "truncated"),
    ] {
        let sql = format!(
            "insert into {gap} (source, topic, {partition}, from_offset, to_offset, reason)
             values ('kafka:uuid-1', 'metrics', 0, {from}, {to}, '{reason}')"
        );
        subject.execute(&sql).await;
    }

    let losses = subject.reader().losses().await.expect("losses");
    let told: Vec<_> = losses
        .iter()
        .map(|loss: &Loss| {
            let (what, reason) = (loss.what.as_str(), loss.reason.as_str());
            (what, loss.source.as_str(), loss.epoch, reason, loss.count)
        })
        .collect();
    let metrics = "kafka:uuid-1";
    assert_eq!(
        told,
        [
            ("dead_letters", metrics, None, "bad_name", 1),
            ("dead_letters", metrics, None, "syntax", 2),
            ("dropped_batches", "agent-1", Some(7), "refused", 1),
            ("dropped_batches", "agent-1", Some(7), "spool_full", 30),
            ("left_out_values", metrics, None, "not_finite", 5),
            ("lost_spools", "agent-1", Some(0), "spool_corrupt", 2),
            ("missing_batches", "agent-1", Some(7), "unknown", 3),
            ("unread_messages", metrics, None, "retention", 7),
            ("unread_messages", metrics, None, "truncated", 1),
        ]
    );
    for loss in &losses {
        assert!(
            loss.last_us.is_some_and(|us| us > 1_600_000_000_000_000),
            "{loss:?}"
        );
        let is_of_the_log = loss.source == metrics;
        assert_eq!(loss.partition, is_of_the_log.then_some(0), "{loss:?}");
        let topic = is_of_the_log.then_some("metrics");
        assert_eq!(loss.topic.as_deref(), topic, "{loss:?}");
    }
    let letters = &losses[1];
    assert!(letters.first_us.is_some() && letters.first_us <= letters.last_us);
}

pub(crate) async fn freshness_is_told_per_host(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [
        point("load", 0).field("load1", 1.0),
        point("load", 0)
            .host(agent_host("agent-2", "db-1"))
            .field("load1", 1.0),
    ];
    let mut step = writer.step(vec![moved(0..1)], &points).await;
    let of = |epoch, last_time_us| {
        let row = LedgerRow {
            last_time_us,
            ..LedgerRow::default()
        };
        ledger_change("agent-1", epoch, row)
    };
    // A spool that was lost whole has no sample of its own.
    step.ledger = vec![of(0, 0), of(7, BEGIN_US), of(8, BEGIN_US + 5)];
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(2, 0));
    let hosts = subject.reader().freshness().await.expect("freshness");
    let [unknown, known] = hosts.as_slice() else {
        panic!("{hosts:?}");
    };
    assert_eq!(
        (unknown.name.as_str(), unknown.last_sample_us),
        ("db-1", None)
    );
    assert_eq!(unknown.age_seconds, None);
    let HostFreshness {
        identity,
        name,
        last_sample_us,
        age_seconds,
    } = known;
    assert_eq!(
        (identity.as_str(), name.as_str()),
        ("agent:agent-1", "web-1")
    );
    assert_eq!(*last_sample_us, Some(BEGIN_US + 5));
    let expected = (SystemClock.now_us() - BEGIN_US) as f64 / 1e6;
    let age = age_seconds.expect("known");
    assert!((age - expected).abs() < 60.0, "{age} against {expected}");
}

pub(crate) async fn hosts_without_an_agent_are_fresh_too(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let of = |host: &str, seconds| {
        point("load", seconds)
            .host(agent_host("", host))
            .field("load1", 1.0)
            .keyed()
    };
    // Of an agent, in the same measurement: its ledger row is what counts.
    let agents = point("load", 900).field("load1", 1.0);
    let points = [
        of("a", 5),
        of("a", 3),
        of("b", 1).tag("t", "x"),
        of("b", 2),
        agents,
    ];
    writer.commit(0..1, &points).await;
    let last_samples = async || {
        let hosts = subject.reader().freshness().await.expect("freshness");
        let last = |host: HostFreshness| (host.name, host.last_sample_us.map(|us| us - BEGIN_US));
        hosts.into_iter().map(last).collect::<Vec<_>>()
    };
    let named =
        |name: &str, seconds: Option<i64>| (name.to_owned(), seconds.map(|s| s * 1_000_000));
    let expected = [
        named("a", Some(5)),
        named("b", Some(2)),
        named("web-1", None),
    ];
    assert_eq!(last_samples().await, expected);
    // It was noted just now, so what follows is noted later, at the latest at the end.
    writer.commit(1..2, &[of("a", 4), of("b", 9)]).await;
    writer.store.finish().await.expect("finished");
    let expected = [
        named("a", Some(5)),
        named("b", Some(9)),
        named("web-1", None),
    ];
    assert_eq!(last_samples().await, expected);
}

pub(crate) async fn progress_is_told_per_partition(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let begun = writer.store.positions(&source(), &[(3, 40)]).await;
    assert_eq!(begun.expect("begun").len(), 1);
    let points = [point("load", 0).field("load1", 1.0)];
    let mut moves = vec![moved(0..4), moved_in(&source(), 3, 40..41)];
    (moves[0].left_out_values, moves[1].duplicate_points) = (2, 6);
    let step = writer.step(moves, &points).await;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
    let partitions = subject.reader().progress().await.expect("progress");
    let told: Vec<_> = partitions
        .iter()
        .map(|told| {
            assert_eq!(
                (told.source.as_str(), told.topic.as_str()),
                ("kafka:uuid-1", "metrics")
            );
            assert!(told.updated_us > 1_600_000_000_000_000);
            let counts = (told.messages, told.points, told.duplicate_points);
            (
                told.partition,
                told.next_offset,
                counts,
                told.left_out_values,
            )
        })
        .collect();
    assert_eq!(told, [(0, 4, (4, 1, 0), 2), (3, 41, (1, 0, 6), 0)]);
}
