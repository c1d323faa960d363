//! Produce and consume opaque records; the only crate that knows librdkafka.
//!
//! It knows neither what a record means nor where positions are kept: payloads are bytes, and the
//! owner of a [`Consumer`] says through [`Positions`] where each partition begins.
//!
//! - [`Producer`]: queue, acknowledge by token, never expire, never reorder (D2).
//! - [`Consumer`]: a member of a classic group on its own thread; starts each partition exactly where
//!   [`Positions`] says, never anywhere else (D4, D5), and stops fetching when its reader is slow (D11).
//! - [`ask`]: one question to a broker, and what stood in the way of its answer.
//! - [`Admin`]: topics, their ids and their watermarks.
//!
//! No type of librdkafka is part of the interface, so that another client can take its place.

mod admin;
mod answer;
mod consumer;
mod diagnosis;
mod error;
mod health;
mod listener;
mod look;
mod producer;
mod security;
mod settings;
#[cfg(test)]
mod testing;
mod topic_id;

pub use admin::{Admin, TopicInfo, TopicPlan, Watermark};
pub use answer::{Answer, Obstacle, TopicAnswer, Unanswered, ask};
pub use consumer::{
    Consumer, ConsumerOptions, ENCODING_HEADER, Event, FetchState, Message, Positions,
    PositionsError, TopicIdentity,
};
pub use diagnosis::why_unreachable;
pub use error::{DeliveryError, KafkaError, SendError};
pub use health::BrokerState;
pub use look::{TopicLook, newest_message_ms, see_group};
pub use producer::{Delivery, Outgoing, Producer, ProducerOptions};
pub use security::{Sasl, SaslMechanism, Secret, Tls, Token, Tokens};
pub use settings::KafkaSettings;
