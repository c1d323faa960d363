//! Making topics, and telling them apart.

use tidegauge_kafka::{KafkaError, TopicInfo, TopicPlan, Watermark};

use crate::support::{DEADLINE, Topic};

#[tokio::test]
async fn a_missing_topic_is_made_once_with_its_settings() {
    let Some(brokers) = tidegauge_testkit::kafka("a_missing_topic_is_made_once_with_its_settings")
    else {
        return;
    };
    let topic = Topic::named(&brokers, "made");
    let missing = topic
        .admin
        .topic(&topic.name, DEADLINE)
        .await
        .expect("answered");
    assert_eq!(missing, None);
    let watermarks = topic.admin.watermarks(&topic.name, DEADLINE).await;
    assert!(
        matches!(watermarks, Err(KafkaError::TopicMissing { .. })),
        "{watermarks:?}"
    );

    let made = topic.make(3).await;
    assert!(
        made.created && made.partitions == 3 && made.id.len() == 22,
        "{made:?}"
    );
    assert_ne!(made.id, "AAAAAAAAAAAAAAAAAAAAAA");
    let again = topic.make(7).await;
    assert_eq!(
        again,
        TopicInfo {
            created: false,
            ..made
        },
        "left as it is"
    );

    topic.fill(0..10).await;
    let watermarks = topic
        .admin
        .watermarks(&topic.name, DEADLINE)
        .await
        .expect("answered");
    assert_eq!(
        watermarks
            .iter()
            .map(|mark| mark.partition)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(
        watermarks
            .iter()
            .map(|mark| mark.high - mark.low)
            .sum::<i64>(),
        10
    );
}

#[tokio::test]
async fn two_makers_at_once_are_fine() {
    let Some(brokers) = tidegauge_testkit::kafka("two_makers_at_once_are_fine") else {
        return;
    };
    let topic = Topic::named(&brokers, "race");
    let (one, two) = tokio::join!(topic.make(1), topic.make(1));
    assert_eq!(one.id, two.id);
    assert!(one.created != two.created, "{one:?} {two:?}");
}

#[tokio::test]
async fn a_topic_made_again_has_another_id_d5() {
    let Some(brokers) = tidegauge_testkit::kafka("a_topic_made_again_has_another_id_d5") else {
        return;
    };
    let topic = Topic::named(&brokers, "again");
    let first = topic.make(1).await;
    topic.fill(0..3).await;
    topic.delete().await;
    tidegauge_testkit::eventually_async(DEADLINE, "the topic is gone", || async {
        let found = topic
            .admin
            .topic(&topic.name, DEADLINE)
            .await
            .expect("answered");
        found.is_none().then_some(())
    })
    .await;
    let second = topic.make(1).await;
    assert!(second.created);
    assert_ne!(first.id, second.id);
    let watermarks = topic
        .admin
        .watermarks(&topic.name, DEADLINE)
        .await
        .expect("answered");
    assert_eq!(
        watermarks,
        [Watermark {
            partition: 0,
            low: 0,
            high: 0
        }]
    );
}

#[tokio::test]
async fn a_plan_that_the_brokers_refuse_is_not_retryable() {
    let Some(brokers) = tidegauge_testkit::kafka("a_plan_that_the_brokers_refuse_is_not_retryable")
    else {
        return;
    };
    let topic = Topic::named(&brokers, "refused");
    let plan = TopicPlan {
        name: topic.name.clone(),
        partitions: 1,
        replication: 99,
        config: Default::default(),
    };
    let error = topic
        .admin
        .ensure_topic(&plan, DEADLINE)
        .await
        .expect_err("too few brokers");
    assert!(!error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains(&topic.name), "{error}");
}
