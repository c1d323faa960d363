//! Dead letters of messages that are larger than a packet of ours, or than the server takes.

use super::OwnServer;
use crate::conformance::Subject;
use crate::conformance::building::{Writer, committed, dead_letter, moved, point};
use tidegauge_model::Reason;
use tidegauge_store::{DeadLetter, DeadLetterFilter};

fn letter(offset: i64, index: Option<u32>, bytes: usize) -> DeadLetter {
    // No text, and not one byte again and again.
    let payload: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    DeadLetter {
        payload: payload.into(),
        ..dead_letter(offset, index, Reason::MessageTooLarge)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_server_does_not_take_is_left_out_and_told_d8() {
    let own = OwnServer::start("store: mysql: large letters", &["--max-allowed-packet=2M"]);
    let Some(OwnServer { database, server }) = own else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let mut step = writer.step(vec![moved(0..4)], &points).await;
    let sibling = |index| DeadLetter {
        payload: [].as_slice().into(),
        ..letter(1, Some(index), 0)
    };
    step.dead_letters = vec![
        letter(0, None, 100),
        // In digits it would be too large.
        letter(1, Some(3), 1_900_000),
        sibling(5),
        letter(2, None, 2 << 20),
        letter(3, Some(0), 6 << 20),
    ];
    step.moves[0].dead_letters = 5;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0), "its neighbours are stored");
    let filter = DeadLetterFilter::default();
    let mut found = writer.store.dead_letters(&filter).await.expect("listed");
    found.sort_by_key(|letter| (letter.offset, letter.index));
    let sizes: Vec<_> = found
        .iter()
        .map(|found| (found.offset, found.payload.len()))
        .collect();
    assert_eq!(
        sizes,
        [(0, 100), (1, 1_900_000), (1, 1_900_000), (2, 0), (3, 0)]
    );
    for (found, sent) in found.iter().zip(&step.dead_letters) {
        assert_eq!(found.index, sent.index);
        if found.index == sent.index && !sent.payload.is_empty() && !found.payload.is_empty() {
            assert_eq!(found.payload, sent.payload);
        }
        let is_told = found
            .detail
            .contains("is not kept: the server's max_allowed_packet is 2097152");
        assert_eq!(is_told, found.offset > 1, "{}", found.detail);
        assert!(found.detail.starts_with(&sent.detail));
    }
    let reader = database.reader();
    let losses = reader.losses().await.expect("losses");
    let counts: Vec<_> = losses
        .iter()
        .map(|loss| (loss.what.as_str(), loss.count))
        .collect();
    assert_eq!(counts, [("dead_letters", 5)]);
    drop((writer, reader, database, server));
}
