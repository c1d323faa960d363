//! Sends messages and tells, by token, which of them the brokers have stored.
//!
//! Not a spool: what is in its queue is lost with the process, so the owner keeps every message until
//! its [`Delivery`] says that it is stored (D2).
//!
//! # The contract
//! - `acks=all` and the idempotent producer: a message is acknowledged when all in-sync replicas have
//!   it, retries make no duplicates, and messages of one key keep their order.
//! - `message.timeout.ms=0`: a queued message never expires. During an outage the queue fills, then
//!   [`Producer::send`] says [`SendError::Full`]; afterwards everything goes out in the old order.
//!   An expiry would open a hole in the middle of the order, which the owner could close only by
//!   sending an older message after a younger one. So a message that the owner has given up meanwhile
//!   (its spool was full) may still arrive; the receiver must tell that from a repeat.
//! - Every message that was queued gets exactly one delivery, also at the end ([`Producer`]'s drop
//!   purges the queue; those deliveries are errors that are neither `refused` nor `fatal`).

mod slack;

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::error::{DeliveryError, Right};
use crate::health::{self, Health};
use crate::security::{self, Sasl};
use crate::settings::{check_topic_name, of_config};
use crate::{BrokerState, KafkaError, KafkaSettings, SendError};
use slack::TimerSlack;

/// How long the polling thread waits for deliveries at a time; they wake it at once.
const POLL: Duration = Duration::from_millis(500);
/// How long it rests while nothing is on its way; a message wakes it. Longer than an agent's default interval, so
/// that it is not woken between two batches. Errors wait as long.
const REST: Duration = Duration::from_secs(15);
/// The same where tokens are to be renewed, which `poll` asks for: librdkafka does so with a fifth of their time left.
const REST_WITH_TOKENS: Duration = Duration::from_secs(5);
/// How long it looks for errors between two rests.
const GLANCE: Duration = Duration::from_millis(1);
/// What the call of `poll` itself takes, and more. `poll` waits whole milliseconds and spins through
/// the rest of its time: with so little beyond them, no time is left when the wait is over.
const POLL_CALL: Duration = Duration::from_micros(50);
/// What the settings' properties may change. Of zstd the fastest level: its own default, 3, makes a batch of
/// measurements 2 % smaller, and clears large tables for each.
const DEFAULTS: [(&str, &str); 2] = [
    ("partitioner", "murmur2_random"),
    ("compression.level", "1"),
];
/// How long dropping a producer may take; afterwards its threads are left behind.
const DROP_DEADLINE: Duration = Duration::from_secs(2);

/// Bounds of the producer's memory and how it batches.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// Messages that may be queued or on their way.
    pub max_in_flight_messages: u32,
    /// Their bytes (rounded up to KiB).
    pub max_in_flight_bytes: u64,
    /// How long a message waits for others to share a request with.
    pub linger: Duration,
    /// `zstd`, `lz4`, `snappy`, `gzip` or `none`.
    pub compression: &'static str,
    /// How much later than it is due work of librdkafka may begin that only time makes due: its three threads look
    /// each second whether there is any, and then look less often (`PR_SET_TIMERSLACK` of prctl(2); Linux alone).
    /// What is woken (a message to send, an answer) is not later, but a connection may take longer to begin, and
    /// retries wait longer. With more than nothing, `linger` should be nothing.
    pub timer_slack: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            max_in_flight_messages: 10_000,
            max_in_flight_bytes: 16 << 20,
            linger: Duration::from_millis(20),
            compression: "zstd",
            timer_slack: Duration::ZERO,
        }
    }
}

/// One message to send; everything is copied by [`Producer::send`].
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// Messages of one key stay in order, in one partition (hashed as the Java client does).
    pub key: &'a [u8],
    /// Header names and values.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The bytes.
    pub payload: &'a [u8],
    /// Comes back in the [`Delivery`].
    pub token: i64,
}

/// What became of one message.
#[derive(Debug)]
pub struct Delivery {
    /// The token of its [`Outgoing`].
    pub token: i64,
    /// Partition and offset where it is stored, or why it is not.
    pub result: Result<(i32, i64), DeliveryError>,
}

struct Context {
    health: Health,
    deliveries: UnboundedSender<Delivery>,
    /// Counted here, as librdkafka counts its log lines and errors among its messages.
    in_flight: AtomicUsize,
    sasl: Option<Sasl>,
    /// The brokers gave no number for an idempotent producer, which takes the right to write somewhere.
    may_not_send: AtomicBool,
    /// The thread that polls.
    poller: OnceLock<ThreadId>,
    /// Held by the polling thread between its look for work and its rest.
    resting: Mutex<()>,
    /// Wakes the polling thread from its rest.
    work: Condvar,
    stop: AtomicBool,
}

impl Context {
    fn deliver(&self, delivery: Delivery) {
        if self.deliveries.send(delivery).is_err() {
            tracing::debug!("a delivery came after its receiver had gone");
        }
    }

    /// The work of the polling thread.
    fn poll_until_stopped(client: &BaseProducer<Self>) {
        let context = client.context();
        context.poller.get_or_init(|| thread::current().id());
        while !context.stop.load(Ordering::Acquire) {
            let wait = if context.is_idle() { GLANCE } else { POLL };
            let began = Instant::now();
            client.poll(wait + POLL_CALL);
            // A call that took so long has rested in it.
            if began.elapsed() < context.longest_rest() {
                context.rest();
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) == 0
    }

    fn longest_rest(&self) -> Duration {
        match self.sasl {
            Some(Sasl::Token(_)) => REST_WITH_TOKENS,
            _ => REST,
        }
    }

    /// Waits while there is nothing to do.
    fn rest(&self) {
        let nothing_to_do = |_: &mut ()| self.is_idle() && !self.stop.load(Ordering::Acquire);
        let rested =
            self.work
                .wait_timeout_while(self.resting(), self.longest_rest(), nothing_to_do);
        drop(rested);
    }

    /// Rests within the call of `poll` that brought the last delivery: that cannot be ended early, waits for
    /// whole milliseconds only, and would spin through what is beyond them. Its time is over after the rest.
    fn rest_instead_of_polling(&self) {
        if self.poller.get() == Some(&thread::current().id()) {
            self.rest();
        }
    }

    /// Ends a rest, after what it waits for has changed.
    fn wake(&self) {
        drop(self.resting());
        self.work.notify_one();
    }

    fn resting(&self) -> MutexGuard<'_, ()> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        security::give(self.sasl.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        health::log(level, facility, line);
    }

    fn error(&self, error: ClientError, reason: &str) {
        if reason.contains("idempotence PID") && reason.contains("authorization failed") {
            self.may_not_send.store(true, Ordering::Relaxed);
        }
        self.health.failed(&error, reason);
    }
}

impl ProducerContext for Context {
    // Boxed, as a pointer may be narrower than the token.
    type DeliveryOpaque = Box<i64>;

    fn delivery(&self, result: &DeliveryResult<'_>, token: Box<i64>) {
        let result = match result {
            Ok(message) => {
                self.health.answered();
                Ok((message.partition(), message.offset()))
            }
            Err((error, message)) => {
                let mut failed = DeliveryError::new(message.topic(), error.clone());
                failed.not_authorized |= self.may_not_send.load(Ordering::Relaxed);
                Err(failed)
            }
        };
        let others = self.in_flight.fetch_sub(1, Ordering::AcqRel) > 1;
        self.deliver(Delivery {
            token: *token,
            result,
        });
        // Nobody waits for another one.
        if !others {
            self.rest_instead_of_polling();
        }
    }
}

/// Queues messages for librdkafka and reports each one's fate.
pub struct Producer {
    client: Option<Arc<BaseProducer<Context>>>,
    poller: Option<JoinHandle<()>>,
}

impl Producer {
    /// Makes a producer; needs no broker yet. Deliveries come on `deliveries`, from a thread of the
    /// producer; it is unbounded because what can be on its way is bounded by `options`.
    ///
    /// # Errors
    /// Properties that are refused, and a client or thread that can't be made.
    pub fn new(
        settings: &KafkaSettings,
        options: &ProducerOptions,
        deliveries: UnboundedSender<Delivery>,
    ) -> Result<Self, KafkaError> {
        settings.check()?;
        let role = "producer";
        let mut config = settings.config(role)?;
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .set("compression.type", options.compression)
            .set("linger.ms", options.linger.as_millis().to_string())
            .set(
                "queue.buffering.max.messages",
                options.max_in_flight_messages.to_string(),
            )
            .set(
                "queue.buffering.max.kbytes",
                options
                    .max_in_flight_bytes
                    .div_ceil(1024)
                    .max(1)
                    .to_string(),
            );
        for (name, value) in DEFAULTS {
            if !settings.properties.contains_key(name) {
                config.set(name, value);
            }
        }
        let context = Context {
            health: Health::new(role),
            deliveries,
            in_flight: AtomicUsize::new(0),
            sasl: settings.sasl.clone(),
            may_not_send: AtomicBool::new(false),
            poller: OnceLock::new(),
            resting: Mutex::new(()),
            work: Condvar::new(),
            stop: AtomicBool::new(false),
        };
        // Threads have the slack of the one that makes them.
        let slack = TimerSlack::of_this_thread(options.timer_slack);
        let client = BaseProducer::from_config_and_context(&config, context)
            .map_err(|error| of_config(role, error))?;
        drop(slack);
        let client = Arc::new(client);
        let polled = Arc::clone(&client);
        let poller = spawn("kafka-deliver", move || {
            Context::poll_until_stopped(&polled)
        })?;
        Ok(Self {
            client: Some(client),
            poller: Some(poller),
        })
    }

    fn client(&self) -> &Arc<BaseProducer<Context>> {
        self.client.as_ref().expect("taken only by drop")
    }

    /// Queues one message; never blocks. A message that is not acceptable (too large, a topic that is
    /// known to be missing) is queued nowhere and comes back as a failed [`Delivery`], like one that
    /// the brokers refuse.
    ///
    /// # Errors
    /// [`SendError::Full`] when the queue is full, [`SendError::Fatal`] when a new producer is needed.
    pub fn send(&self, message: Outgoing<'_>) -> Result<(), SendError> {
        let Outgoing {
            topic,
            key,
            headers,
            payload,
            token,
        } = message;
        check_topic_name(topic).map_err(SendError::Fatal)?;
        let mut native = OwnedHeaders::new_with_capacity(headers.len());
        for &(name, value) in headers {
            native = native.insert(Header {
                key: name,
                value: Some(value),
            });
        }
        let record = BaseRecord::with_opaque_to(topic, Box::new(token))
            .key(key)
            .payload(payload)
            .headers(native);
        let context = self.client().context();
        // Before it is sent, as its delivery may be reported before `send` returns.
        if context.in_flight.fetch_add(1, Ordering::AcqRel) == 0 {
            context.wake();
        }
        let Err((error, _)) = self.client().send(record) else {
            return Ok(());
        };
        context.in_flight.fetch_sub(1, Ordering::AcqRel);
        match error.rdkafka_error_code() {
            Some(Code::QueueFull) => Err(SendError::Full),
            Some(Code::Fatal) if context.may_not_send.load(Ordering::Relaxed) => {
                Err(SendError::Fatal(KafkaError::NotAuthorized {
                    what: format!("send to topic {topic}"),
                    needs: Right::Write(topic).missing(),
                    source: self.fatal_cause(error),
                }))
            }
            Some(Code::Fatal) => {
                let what = format!("queue a message for topic {topic}");
                Err(SendError::Fatal(KafkaError::Fatal {
                    what,
                    source: self.fatal_cause(error),
                }))
            }
            _ => {
                let result = Err(DeliveryError::new(topic, error));
                context.deliver(Delivery { token, result });
                Ok(())
            }
        }
    }

    /// librdkafka's first fatal error says more than the code that `send` returns.
    fn fatal_cause(&self, error: ClientError) -> Box<dyn std::error::Error + Send + Sync> {
        match self.client().client().fatal_error() {
            Some((_, reason)) => reason.into(),
            None => error.into(),
        }
    }

    /// Sends what is queued without lingering and waits until every message has its delivery.
    /// **Blocks** the calling thread up to `deadline`: call it from `spawn_blocking`.
    ///
    /// # Errors
    /// [`KafkaError::Timeout`] when messages are still on their way.
    pub fn flush(&self, deadline: Duration) -> Result<(), KafkaError> {
        let what = "flush the producer";
        self.client()
            .flush(deadline)
            .map_err(|error| KafkaError::of_client(what, error))
    }

    /// Messages that are queued or on their way and have no delivery yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.client().context().in_flight.load(Ordering::Relaxed)
    }

    /// Whether the brokers can be reached, as far as deliveries and errors tell.
    #[must_use]
    pub fn broker_state(&self) -> watch::Receiver<BrokerState> {
        self.client().context().health.subscribe()
    }
}

impl Drop for Producer {
    /// Throws away what is queued (the owner's spool has it) and stops the client, within two seconds:
    /// librdkafka may wait for its threads, so this happens on a thread of its own.
    fn drop(&mut self) {
        let context = self.client().context();
        context.stop.store(true, Ordering::Release);
        context.wake();
        let (client, poller) = (self.client.take(), self.poller.take());
        let (done, finished) = std_mpsc::channel::<()>();
        let closer = spawn("kafka-close", move || {
            let panicked = poller.is_some_and(|poller| poller.join().is_err());
            // Dropping the last handle purges the queue and polls the deliveries of that.
            drop(client);
            drop(done);
            if panicked {
                tracing::error!("the delivery thread of the producer has panicked");
            }
        });
        let timed_out =
            finished.recv_timeout(DROP_DEADLINE) == Err(std_mpsc::RecvTimeoutError::Timeout);
        if closer.is_err() || timed_out {
            tracing::warn!("the producer did not stop in time and was left behind");
        }
    }
}

pub(crate) fn spawn(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, KafkaError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| KafkaError::Thread { name, source })
}

#[cfg(test)]
mod tests;
