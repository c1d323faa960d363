//! `proto/compact_v1.proto` as types, for writing. Not for reading: `decode` borrows, these own.

/// See the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Batch {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) origin: Option<Origin>,
    #[prost(string, tag = "3")]
    pub(super) host: String,
    #[prost(string, repeated, tag = "4")]
    pub(super) texts: Vec<String>,
    #[prost(uint32, repeated, tag = "5")]
    pub(super) labels: Vec<u32>,
    #[prost(message, repeated, tag = "6")]
    pub(super) drops: Vec<Drop>,
    #[prost(message, repeated, tag = "7")]
    pub(super) shapes: Vec<Shape>,
    #[prost(message, repeated, tag = "8")]
    pub(super) blocks: Vec<Block>,
    #[prost(uint32, repeated, tag = "10")]
    pub(super) kinds: Vec<u32>,
}

/// See the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Origin {
    #[prost(string, tag = "1")]
    pub(super) agent: String,
    #[prost(uint64, tag = "2")]
    pub(super) epoch: u64,
    #[prost(uint64, tag = "3")]
    pub(super) sequence: u64,
}

/// See the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Drop {
    #[prost(uint64, tag = "1")]
    pub(super) epoch: u64,
    #[prost(uint64, tag = "2")]
    pub(super) first: u64,
    #[prost(uint64, tag = "3")]
    pub(super) last: u64,
    #[prost(uint32, tag = "4")]
    pub(super) reason: u32,
}

/// See the schema.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Shape {
    #[prost(uint32, tag = "1")]
    pub(super) measurement: u32,
    #[prost(uint32, repeated, tag = "2")]
    pub(super) tags: Vec<u32>,
    #[prost(uint32, repeated, tag = "3")]
    pub(super) fields: Vec<u32>,
}

/// See the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Block {
    #[prost(uint32, tag = "1")]
    pub(super) shape: u32,
    #[prost(sint64, repeated, tag = "2")]
    pub(super) times: Vec<i64>,
    #[prost(uint32, repeated, tag = "3")]
    pub(super) tags: Vec<u32>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) kinds: Vec<u8>,
    #[prost(sint64, repeated, tag = "5")]
    pub(super) decimals: Vec<i64>,
    #[prost(double, repeated, tag = "6")]
    pub(super) doubles: Vec<f64>,
    #[prost(bytes = "vec", tag = "7")]
    pub(super) truths: Vec<u8>,
    #[prost(uint32, repeated, tag = "8")]
    pub(super) texts: Vec<u32>,
}
