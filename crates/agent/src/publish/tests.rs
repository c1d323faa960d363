//! Publishing against a broker that the test plays: it sees every message and decides what becomes
//! of it.

use super::link::{Broker, Link, NotSent, Outcome, Trouble, Verdict};
use super::*;
use async_trait::async_trait;
use std::sync::Mutex;
use tidegauge_kafka::KafkaSettings;
use tidegauge_model::{AgentId, ManualClock};
use tidegauge_spool::{DropCause, NewBatch, SpoolLook, SpoolSettings};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What the broker is told, in order.
#[derive(Debug, PartialEq)]
enum Told {
    Prepared,
    Connected,
    Sent(i64),
}

/// The test's side of the broker.
struct Play {
    told: mpsc::UnboundedReceiver<Told>,
    outcomes: Outcomes,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    /// Answers to `prepare`, the first one first; afterwards all is well.
    troubles: Vec<fn() -> Trouble>,
    /// Answers to the next sends; afterwards all are taken.
    not_sent: Vec<NotSent>,
    outage: Option<String>,
}

type Outcomes = Arc<Mutex<Option<mpsc::UnboundedSender<Outcome>>>>;

struct FakeBroker {
    told: mpsc::UnboundedSender<Told>,
    outcomes: Outcomes,
    script: Arc<Mutex<Script>>,
}

struct FakeLink {
    told: mpsc::UnboundedSender<Told>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    script: Arc<Mutex<Script>>,
}

#[async_trait]
impl Broker for FakeBroker {
    async fn prepare(&mut self) -> Result<(), Trouble> {
        self.told.send(Told::Prepared).expect("the test listens");
        let mut script = self.script.lock().expect("not poisoned");
        if script.troubles.is_empty() {
            Ok(())
        } else {
            Err(script.troubles.remove(0)())
        }
    }

    fn connect(&mut self) -> Result<Box<dyn Link>, AgentError> {
        self.told.send(Told::Connected).expect("the test listens");
        let (sender, outcomes) = mpsc::unbounded_channel();
        *self.outcomes.lock().expect("not poisoned") = Some(sender);
        let (told, script) = (self.told.clone(), Arc::clone(&self.script));
        Ok(Box::new(FakeLink {
            told,
            outcomes,
            script,
        }))
    }
}

#[async_trait]
impl Link for FakeLink {
    fn send(&mut self, id: i64, payload: &[u8]) -> Result<(), NotSent> {
        assert_eq!(payload, format!("batch {id}").as_bytes());
        let mut script = self.script.lock().expect("not poisoned");
        if !script.not_sent.is_empty() {
            return Err(script.not_sent.remove(0));
        }
        self.told.send(Told::Sent(id)).expect("the test listens");
        Ok(())
    }

    async fn outcome(&mut self) -> Outcome {
        self.outcomes
            .recv()
            .await
            .expect("the test holds the other end")
    }

    fn try_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.try_recv().ok()
    }

    fn outage(&self) -> Option<String> {
        self.script.lock().expect("not poisoned").outage.clone()
    }
}

impl Play {
    async fn expect(&mut self, expected: Told) {
        let told = tokio::time::timeout(Duration::from_secs(3_600), self.told.recv()).await;
        assert_eq!(
            told.expect("told in time").expect("publishing goes on"),
            expected
        );
    }

    async fn expect_sent(&mut self, ids: impl IntoIterator<Item = i64>) {
        for id in ids {
            self.expect(Told::Sent(id)).await;
        }
    }

    fn answer(&self, id: i64, verdict: Verdict) {
        let outcomes = self.outcomes.lock().expect("not poisoned");
        let sender = outcomes.as_ref().expect("connected");
        sender
            .send(Outcome { id, verdict })
            .expect("publishing goes on");
    }
}

/// A publisher on a spool of its own. Dropping it ends it.
struct Scene {
    play: Play,
    spool: Spool,
    clock: ManualClock,
    appended: Arc<Notify>,
    status: AgentStatus,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), AgentError>>,
    folder: tempfile::TempDir,
}

impl Scene {
    fn start(batches: u64, script: Script, max_in_flight_batches: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bounds = SpoolSettings {
            max_bytes: 1 << 20,
            max_age_us: i64::MAX,
        };
        let (spool, _) = Spool::open(&folder.path().join("spool.db"), bounds, 1).expect("a spool");
        spool.begin_epoch(1).expect("an epoch");
        let agent = AgentId::new("agent").expect("valid");
        let settings = PublishSettings {
            max_in_flight_batches,
            ..PublishSettings::new(KafkaSettings::default(), "topic", agent)
        };
        let (sender, told) = mpsc::unbounded_channel();
        let script = Arc::new(Mutex::new(script));
        let outcomes = Outcomes::default();
        let broker = FakeBroker {
            told: sender,
            outcomes: Arc::clone(&outcomes),
            script: Arc::clone(&script),
        };
        let scene = (
            Arc::new(Notify::new()),
            AgentStatus::new(),
            CancellationToken::new(),
        );
        let (appended, status, cancel) = scene;
        let clock = ManualClock::at(77);
        append(&spool, batches);
        let publisher = Publisher::new(
            settings,
            spool.clone(),
            Arc::new(clock.clone()),
            Arc::clone(&appended),
            status.clone(),
            cancel.clone(),
        );
        let task = tokio::spawn(publisher.run(Box::new(broker)));
        let play = Play {
            told,
            outcomes,
            script,
        };
        Self {
            play,
            spool,
            clock,
            appended,
            status,
            cancel,
            task,
            folder,
        }
    }

    /// Waits, in real time, until the spool holds so many batches.
    async fn expect_waiting(&self, batches: u64) {
        let stats = || self.spool.stats().expect("readable").entries;
        tidegauge_testkit::eventually_async(Duration::from_secs(10), "batches wait", async || {
            (stats() == batches).then_some(())
        })
        .await;
    }

    async fn expect_state(&self, what: &str, is: impl Fn(&PublishState) -> bool) {
        tidegauge_testkit::eventually_async(Duration::from_secs(10), what, async || {
            is(&self.status.figures().publish).then_some(())
        })
        .await;
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.expect("no panic").expect("no error");
    }
}

fn append(spool: &Spool, batches: u64) {
    for _ in 0..batches {
        let next_id = spool.stats().expect("readable").next_id;
        let (epoch, sequence) = spool.next();
        let payload = format!("batch {next_id}");
        let payload = payload.as_bytes();
        let batch = NewBatch {
            epoch,
            sequence,
            payload,
            tells_drops_through: None,
            now_us: 1,
        };
        assert_eq!(spool.append(batch).expect("appended").id, next_id);
    }
}

fn failed() -> Verdict {
    Verdict::Failed {
        cause: "not now".to_owned(),
        topic_missing: false,
        broken: false,
    }
}

#[tokio::test(start_paused = true)]
async fn forgets_only_what_is_acknowledged_d2() {
    let mut scene = Scene::start(3, Script::default(), 100);
    scene.play.expect(Told::Prepared).await;
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent([1, 2, 3]).await;
    scene.expect_waiting(3).await;
    scene.play.answer(2, Verdict::Stored);
    scene.expect_waiting(2).await;
    let left: Vec<_> = scene.spool.read(0, 10, 1 << 20).expect("readable").entries;
    assert_eq!(
        left.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [1, 3]
    );
    scene.play.answer(1, Verdict::Stored);
    scene.play.answer(3, Verdict::Stored);
    scene.expect_waiting(0).await;
    append(&scene.spool, 1);
    scene.appended.notify_one();
    scene.play.expect_sent([4]).await;
    scene.play.answer(4, Verdict::Stored);
    scene.expect_waiting(0).await;
    assert_eq!(scene.status.figures().publish, PublishState::Connected);
    assert_eq!(scene.status.figures().acknowledged_batches, 4);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_no_append_takes_out_of_the_spool_is_out_of_it_after_a_minute() {
    let mut scene = Scene::start(1, Script::default(), 100);
    scene.play.expect(Told::Prepared).await;
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent([1]).await;
    scene.play.answer(1, Verdict::Stored);
    scene.expect_waiting(0).await;
    let path = scene.folder.path().join("spool.db");
    let in_the_file = || {
        let look = SpoolLook::at(&path).expect("readable");
        look.expect("a spool").entries
    };
    assert_eq!(in_the_file(), 1);
    tokio::time::advance(FORGET + LOOK).await;
    tidegauge_testkit::eventually_async(Duration::from_secs(10), "it is forgotten", async || {
        (in_the_file() == 0).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_sent_again_in_order_after_the_rest_came_back() {
    let mut scene = Scene::start(4, Script::default(), 100);
    scene.play.expect(Told::Prepared).await;
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent([1, 2, 3, 4]).await;
    scene.clock.set(99);
    scene.play.answer(2, failed());
    scene.play.answer(1, Verdict::Stored);
    scene.play.answer(3, Verdict::Stored);
    scene.expect_waiting(2).await;
    assert!(scene.play.told.try_recv().is_err(), "4 has no outcome yet");
    scene.play.answer(4, failed());
    scene.play.expect_sent([2, 4]).await;
    let away = PublishState::Away {
        since_us: 99,
        cause: "not now".to_owned(),
    };
    assert_eq!(scene.status.figures().publish, away);
    scene.play.answer(2, Verdict::Stored);
    scene.play.answer(4, Verdict::Stored);
    scene.expect_waiting(0).await;
    scene
        .expect_state("back", |state| *state == PublishState::Connected)
        .await;
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_given_up_and_told_d10() {
    let mut scene = Scene::start(2, Script::default(), 100);
    scene.play.expect(Told::Prepared).await;
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent([1, 2]).await;
    scene
        .play
        .answer(1, Verdict::Refused("too large".to_owned()));
    scene.play.answer(2, Verdict::Stored);
    scene.expect_waiting(0).await;
    let drops = scene.spool.drops().expect("readable");
    assert_eq!(drops.len(), 1);
    assert_eq!((drops[0].first_sequence, drops[0].last_sequence), (0, 0));
    assert_eq!(drops[0].cause, DropCause::Refused);
    scene
        .expect_state("connected", |state| *state == PublishState::Connected)
        .await;
    assert_eq!(scene.status.figures().dropped_batches, 1);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_at_the_start_is_waited_for() {
    let away = || Trouble::Away("connection refused".to_owned());
    let no_topic = || Trouble::NoTopic("not authorized".to_owned());
    let script = Script {
        troubles: vec![away, away, no_topic, away],
        ..Script::default()
    };
    let mut scene = Scene::start(1, script, 100);
    for _ in 0..5 {
        scene.play.expect(Told::Prepared).await;
    }
    let state = scene.status.figures().publish;
    assert_eq!(
        state,
        PublishState::Away {
            since_us: 77,
            cause: "connection refused".to_owned()
        }
    );
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent([1]).await;
    scene.play.answer(1, Verdict::Stored);
    scene.expect_waiting(0).await;
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn settings_that_can_never_work_end_it() {
    let unusable = || {
        Trouble::Unusable(AgentError::Setting {
            key: "kafka",
            problem: "wrong".to_owned(),
        })
    };
    let script = Script {
        troubles: vec![unusable],
        ..Script::default()
    };
    let scene = Scene::start(0, script, 100);
    let error = scene.task.await.expect("no panic").expect_err("ends");
    assert!(error.to_string().contains("wrong"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_bounded_d11() {
    let mut scene = Scene::start(25, Script::default(), 10);
    scene.play.expect(Told::Prepared).await;
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent(1..=10).await;
    let mut next = 11;
    for id in 1..=25 {
        assert!(next - id <= 10, "no more than ten under way");
        scene.play.answer(id, Verdict::Stored);
        scene.expect_waiting(25 - id as u64).await;
        while let Ok(told) = scene.play.told.try_recv() {
            assert_eq!(told, Told::Sent(next));
            next += 1;
        }
    }
    assert_eq!(next, 26);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_waits_and_a_broken_producer_is_made_anew() {
    let script = Script {
        not_sent: vec![NotSent::Full],
        ..Script::default()
    };
    let mut scene = Scene::start(2, script, 100);
    scene.play.expect(Told::Prepared).await;
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent([1, 2]).await;
    let broken = Verdict::Failed {
        cause: "fenced".into(),
        topic_missing: false,
        broken: true,
    };
    scene.play.answer(1, broken);
    scene.play.expect(Told::Prepared).await;
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent([1, 2]).await;
    scene.play.answer(1, Verdict::Stored);
    scene.play.answer(2, Verdict::Stored);
    scene.expect_waiting(0).await;
    scene.play.script.lock().expect("not poisoned").not_sent =
        vec![NotSent::Broken("fatal".to_owned())];
    append(&scene.spool, 1);
    scene.appended.notify_one();
    scene.play.expect(Told::Prepared).await;
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent([3]).await;
    let gone = Verdict::Failed {
        cause: "no topic".into(),
        topic_missing: true,
        broken: false,
    };
    scene.play.answer(3, gone);
    scene.play.expect(Told::Prepared).await;
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent([3]).await;
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn silence_is_an_outage_and_the_first_answer_ends_it() {
    let mut scene = Scene::start(1, Script::default(), 100);
    scene.play.expect(Told::Prepared).await;
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent([1]).await;
    let away = |state: &PublishState| matches!(state, PublishState::Away { .. });
    let before = Instant::now();
    scene.expect_state("away", away).await;
    let waited = before.elapsed();
    assert!(
        (NO_ANSWER..NO_ANSWER + LOOK * 2).contains(&waited),
        "{waited:?}"
    );
    scene.play.answer(1, Verdict::Stored);
    scene
        .expect_state("back", |state| *state == PublishState::Connected)
        .await;
    scene.play.script.lock().expect("not poisoned").outage = Some("all are down".to_owned());
    append(&scene.spool, 1);
    scene.appended.notify_one();
    scene.play.expect_sent([2]).await;
    scene.expect_state("away", away).await;
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_acknowledgements_but_not_for_ever_d12() {
    let mut scene = Scene::start(2, Script::default(), 100);
    scene.play.expect(Told::Prepared).await;
    scene.play.expect(Told::Connected).await;
    scene.play.expect_sent([1, 2]).await;
    append(&scene.spool, 1);
    let before = Instant::now();
    scene.cancel.cancel();
    scene.play.expect_sent([3]).await;
    scene.play.answer(1, Verdict::Stored);
    scene.play.answer(3, Verdict::Stored);
    scene.task.await.expect("no panic").expect("no error");
    assert!(
        before.elapsed() <= Duration::from_secs(6),
        "{:?}",
        before.elapsed()
    );
    let left = scene.spool.read(0, 10, 1 << 20).expect("readable").entries;
    assert_eq!(
        left.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [2],
        "2 stays in the spool"
    );
}
