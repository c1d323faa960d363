//! gRPC as far as one unary call needs it: a message in its frame, and the status in the trailers.
//! By hand, because a library for it would weigh more than all listeners together.
//!
//! Source: "gRPC over HTTP2" in the documentation of gRPC.

use super::super::Refusal;
use super::super::http::{Answer, Call, gunzip};
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue};
use tidegauge_model::Reason;

/// The one method.
pub(super) const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

pub(super) const OK: u8 = 0;
pub(super) const INVALID_ARGUMENT: u8 = 3;
pub(super) const PERMISSION_DENIED: u8 = 7;
pub(super) const UNIMPLEMENTED: u8 = 12;
pub(super) const UNAVAILABLE: u8 = 14;
pub(super) const UNAUTHENTICATED: u8 = 16;

/// One byte says whether it is compressed, four how long it is.
const FRAME_BYTES: usize = 5;

/// The message of a call, decompressed.
pub(super) async fn message(call: Call, most: usize) -> Result<Vec<u8>, (Refusal, &'static str)> {
    let encoding = call.header("grpc-encoding").map(str::to_owned);
    let mut body = call.body;
    let wrong = |problem| Err((Refusal::Bad(Reason::Syntax), problem));
    let Some((&[flag, a, b, c, d], rest)) = body.split_first_chunk::<FRAME_BYTES>() else {
        return wrong("the frame of the message is cut");
    };
    if u32::from_be_bytes([a, b, c, d]) as usize != rest.len() {
        return wrong("the frame has another length than its message");
    }
    match (flag, encoding.as_deref()) {
        (0, _) => {
            body.drain(..FRAME_BYTES);
            Ok(body)
        }
        (1, Some("gzip")) => {
            let gunzipped = move || gunzip(&body[FRAME_BYTES..], most);
            match tokio::task::spawn_blocking(gunzipped).await {
                Ok(Ok(message)) => Ok(message),
                Ok(Err(error)) => Err((error.into(), "the message is too large or no gzip")),
                Err(_) => wrong("the message is no gzip"),
            }
        }
        _ => Err((
            Refusal::Unsupported,
            "of the compressions gzip alone is taken",
        )),
    }
}

/// An answer with a message, or with a status that says why there is none.
pub(super) fn answer(message: Option<&[u8]>, status: u8, text: &str) -> Answer {
    let mut body = Vec::new();
    if let Some(message) = message {
        body.push(0);
        body.extend((message.len() as u32).to_be_bytes());
        body.extend_from_slice(message);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(u16::from(status)));
    let plain = |character: char| match character {
        ' '..='~' if character != '%' => character,
        _ => ' ',
    };
    let text: String = text.chars().map(plain).collect();
    if let Ok(text) = HeaderValue::try_from(text)
        && !text.is_empty()
    {
        trailers.insert("grpc-message", text);
    }
    Answer {
        trailers: Some(trailers),
        ..Answer::new(StatusCode::OK, "application/grpc", body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_comes_in_one_frame() {
        let read = async |body: &[u8], encoding| {
            let mut call = Call {
                method: hyper::Method::POST,
                path: EXPORT.to_owned(),
                query: vec![],
                headers: HeaderMap::new(),
                body: body.to_vec(),
            };
            if let Some(encoding) = encoding {
                let encoding = HeaderValue::from_static(encoding);
                call.headers.insert("grpc-encoding", encoding);
            }
            let read = message(call, 100).await;
            read.map_err(|(refusal, _)| refusal.as_str())
        };
        assert_eq!(read(b"\0\0\0\0\x02ab", None).await, Ok(b"ab".to_vec()));
        for (body, word) in [
            (&b""[..], "syntax"),
            (b"\0\0\0\0", "syntax"),
            (b"\0\0\0\0\x02a", "syntax"),
            (b"\0\0\0\0\x01ab", "syntax"),
            (b"\0\xff\xff\xff\xffab", "syntax"),
            (b"\x01\0\0\0\x02ab", "syntax"),
        ] {
            assert_eq!(read(body, Some("gzip")).await, Err(word));
        }
        let other = read(b"\x01\0\0\0\x02ab", Some("snappy")).await;
        assert_eq!(other, Err("unsupported"));
    }
}
