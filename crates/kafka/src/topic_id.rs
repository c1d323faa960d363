//! Asks the brokers for a topic's id and its number of partitions.
//!
//! One of the four files of the project with `unsafe`: the id (KIP-516) tells a topic from another one that was
//! made later under the same name, the delivery contract needs that (D5), and the safe interface of
//! `rdkafka` 0.39 has no way to it. It calls `DescribeTopics` of librdkafka and nothing else.
//!
//! Every native object is owned by an [`Owned`] from the moment it exists, so it is freed on every
//! path; borrowed ones (descriptions, ids, strings) live inside the event and are copied out before
//! that is freed.
#![expect(
    unsafe_code,
    reason = "DescribeTopics has no safe binding; see the head of this file"
)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka_sys as native;

use crate::KafkaError;
use crate::error::{Right, is_unknown_topic};
use crate::settings::check_topic_name;

/// What a broker says about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// 22 characters of base64. Brokers before 2.8 know no ids and give the same for every topic.
    pub id: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Those of READ, WRITE and DESCRIBE that this user has on it; none where brokers do not tell.
    pub rights: Vec<&'static str>,
}

/// A native object that is freed when it goes out of scope.
struct Owned<T> {
    object: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    /// `object` is null, or a valid object that nobody else frees and that `free` may free once.
    unsafe fn new(object: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(object).map(|object| Self { object, free })
    }

    fn as_ptr(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: by the contract of `new`, the object is valid and this is the only time it is freed.
        unsafe { (self.free)(self.object.as_ptr()) }
    }
}

/// Asks for one topic; `None` when it does not exist. **Blocks** up to `deadline` and a second.
///
/// # Errors
/// No answer in time, no rights, or any other refusal.
pub(crate) fn describe<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    deadline: Duration,
) -> Result<Option<Description>, KafkaError> {
    check_topic_name(topic)?;
    let what = || format!("describe topic {topic}");
    let failed = |code: Code| {
        KafkaError::of_client(what(), ClientError::MetadataFetch(code))
            .needing(Right::Describe(topic))
    };
    let deadline_ms = c_int::try_from(deadline.as_millis())
        .unwrap_or(c_int::MAX)
        .max(1);
    let name = CString::new(topic).map_err(|_| KafkaError::TopicName {
        topic: topic.to_owned(),
    })?;
    let mut names: [*const c_char; 1] = [name.as_ptr()];
    let rk = client.native_ptr();
    let broker = answering_broker(client, topic, deadline)?;

    // SAFETY: `names` holds one pointer to a C string that outlives the call; librdkafka copies it.
    // The result is ours to free with the given function.
    let topics = unsafe {
        Owned::new(
            native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            native::rd_kafka_TopicCollection_destroy,
        )
    };
    // SAFETY: `rk` is valid while `client` is borrowed; the result is ours to free.
    let options = unsafe {
        Owned::new(
            native::rd_kafka_AdminOptions_new(
                rk,
                native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            native::rd_kafka_AdminOptions_destroy,
        )
    };
    // SAFETY: as above. A queue may be freed while a request still names it: late answers to it are
    // thrown away by librdkafka.
    let queue = unsafe {
        Owned::new(
            native::rd_kafka_queue_new(rk),
            native::rd_kafka_queue_destroy,
        )
    };
    let (Some(topics), Some(options), Some(queue)) = (topics, options, queue) else {
        return Err(failed(Code::CriticalSystemResource));
    };

    // SAFETY: `options` is valid; a null error buffer of length 0 is allowed.
    let set = unsafe {
        let none = std::ptr::null_mut();
        native::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), deadline_ms, none, 0)
    };
    // SAFETY: as above; the error, if any, is ours to free, and `Owned` does.
    let asked = unsafe {
        Owned::new(
            native::rd_kafka_AdminOptions_set_include_authorized_operations(options.as_ptr(), 1),
            native::rd_kafka_error_destroy,
        )
    };
    if asked.is_some() {
        return Err(failed(Code::InvalidArgument));
    }
    // SAFETY: as above.
    let sent_to = unsafe {
        let none = std::ptr::null_mut();
        native::rd_kafka_AdminOptions_set_broker(options.as_ptr(), broker, none, 0)
    };
    for code in [set, sent_to] {
        if code != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed(code.into()));
        }
    }
    // SAFETY: all four are valid; librdkafka copies topics and options before it returns.
    unsafe {
        native::rd_kafka_DescribeTopics(rk, topics.as_ptr(), options.as_ptr(), queue.as_ptr());
    }
    // SAFETY: `queue` is valid; the event, if any, is ours to free. Declared after `queue`, so freed
    // before it.
    let event = unsafe {
        Owned::new(
            native::rd_kafka_queue_poll(queue.as_ptr(), deadline_ms.saturating_add(1000)),
            native::rd_kafka_event_destroy,
        )
    };
    let Some(event) = event else {
        return Err(KafkaError::Timeout { what: what() });
    };

    // SAFETY: the event is valid.
    let code = unsafe { native::rd_kafka_event_error(event.as_ptr()) };
    if code != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(failed(code.into()));
    }
    match first_description(&event) {
        Ok(description) => Ok(Some(description)),
        Err(code) if is_unknown_topic(code) => Ok(None),
        Err(code) => Err(failed(code)),
    }
}

/// The words for the rights on a topic that we ask about.
fn word(right: native::rd_kafka_AclOperation_t) -> Option<&'static str> {
    use native::rd_kafka_AclOperation_t as Operation;
    match right {
        Operation::RD_KAFKA_ACL_OPERATION_READ => Some("READ"),
        Operation::RD_KAFKA_ACL_OPERATION_WRITE => Some("WRITE"),
        Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE => Some("DESCRIBE"),
        _ => None,
    }
}

/// A broker that answers now. Any broker can describe a topic; without naming one librdkafka asks the
/// controller, and waits for it when it is away.
fn answering_broker<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    deadline: Duration,
) -> Result<i32, KafkaError> {
    let what = || format!("find a broker to describe topic {topic}");
    let metadata = client
        .fetch_metadata(Some(topic), deadline)
        .map_err(|error| KafkaError::of_client(what(), error).needing(Right::Describe(topic)))?;
    let first = metadata
        .brokers()
        .first()
        .map(rdkafka::metadata::MetadataBroker::id);
    match metadata.orig_broker_id() {
        // The connection was made by address, and its number is not known yet.
        unknown if unknown < 0 => first.ok_or_else(|| KafkaError::Timeout { what: what() }),
        known => Ok(known),
    }
}

/// Copies the first description out of the event.
fn first_description(event: &Owned<native::rd_kafka_event_t>) -> Result<Description, Code> {
    // SAFETY: the event is valid; for an event of another type the result is null.
    let result = unsafe { native::rd_kafka_event_DescribeTopics_result(event.as_ptr()) };
    if result.is_null() {
        return Err(Code::InvalidType);
    }
    let mut count = 0;
    // SAFETY: `result` belongs to the event, and `count` is ours.
    let descriptions =
        unsafe { native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
    if descriptions.is_null() || count == 0 {
        return Err(Code::NoEnt);
    }
    // SAFETY: the array has `count` elements, at least one, and lives as long as the event.
    let description = unsafe { *descriptions };
    // SAFETY: `description` is valid while the event is; its error is null or valid as long.
    let error = unsafe { native::rd_kafka_TopicDescription_error(description) };
    if !error.is_null() {
        // SAFETY: checked for null above.
        let code = unsafe { native::rd_kafka_error_code(error) };
        if code != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code.into());
        }
    }
    let mut partitions = 0;
    // SAFETY: `description` is valid; only the count is used.
    unsafe { native::rd_kafka_TopicDescription_partitions(description, &raw mut partitions) };
    // SAFETY: `description` is valid; the id, if any, lives inside it, and so does its text.
    let id = unsafe {
        let uuid = native::rd_kafka_TopicDescription_topic_id(description);
        let text = if uuid.is_null() {
            std::ptr::null()
        } else {
            native::rd_kafka_Uuid_base64str(uuid)
        };
        if text.is_null() {
            return Err(Code::NoEnt);
        }
        CStr::from_ptr(text).to_string_lossy().into_owned()
    };
    let mut count = 0;
    // SAFETY: `description` is valid; the array, null or of `count` elements, lives as long.
    let rights = unsafe {
        let first =
            native::rd_kafka_TopicDescription_authorized_operations(description, &raw mut count);
        match first.is_null() {
            true => &[][..],
            false => std::slice::from_raw_parts(first, count),
        }
    };
    Ok(Description {
        rights: rights.iter().filter_map(|right| word(*right)).collect(),
        id,
        partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
    })
}
