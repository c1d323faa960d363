//! The body of an answer as it comes in: counted, decoded when encodings were asked for, kept when
//! somebody looks at it, and never more than its limit, which is that after decoding.

use super::{Failure, failure};
use crate::probes::CheckReason;
use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use std::io::{self, Write};

/// The body of an answer, whatever brings it.
pub(super) trait Chunks: Send {
    /// The next bytes of it; `None` at its end.
    fn chunk(&mut self) -> impl Future<Output = Option<Result<Bytes, Failure>>> + Send;
}

impl Chunks for Incoming {
    async fn chunk(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            match self.frame().await? {
                Err(error) => return Some(Err(failure(&error))),
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
            }
        }
    }
}

pub(super) struct Body(Coding);

enum Coding {
    Plain(Kept),
    Gzip(Box<MultiGzDecoder<Kept>>),
    /// Which is the format of zlib (RFC 9110, section 8.4.1.2).
    Deflate(Box<ZlibDecoder<Kept>>),
}

/// What is left of a body.
pub(super) struct Kept {
    /// Empty unless it is to be kept.
    pub(super) bytes: Vec<u8>,
    /// How many bytes were read of it.
    pub(super) length: usize,
    /// Whether that is all of it.
    pub(super) whole: bool,
    limit: usize,
    keeps: bool,
}

impl Write for Kept {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let part = &data[..data.len().min(self.limit - self.length)];
        self.length += part.len();
        if self.keeps {
            self.bytes.extend_from_slice(part);
        }
        if part.len() < data.len() {
            self.whole = false;
            return Err(io::Error::other("the body is longer than what is read"));
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Body {
    /// Keeps the bytes if `keeps`, at most `limit`; decodes if `decodes` and the answer is encoded.
    pub(super) fn new(limit: usize, keeps: bool, decodes: bool, headers: &HeaderMap) -> Self {
        let kept = Kept {
            bytes: Vec::new(),
            length: 0,
            whole: true,
            limit,
            keeps,
        };
        let encoding = headers.get(header::CONTENT_ENCODING).filter(|_| decodes);
        let encoding = encoding.map(|encoding| encoding.as_bytes().to_ascii_lowercase());
        Self(match encoding.as_deref() {
            Some(b"gzip" | b"x-gzip") => Coding::Gzip(Box::new(MultiGzDecoder::new(kept))),
            Some(b"deflate") => Coding::Deflate(Box::new(ZlibDecoder::new(kept))),
            _ => Coding::Plain(kept),
        })
    }

    fn kept(&self) -> &Kept {
        match &self.0 {
            Coding::Plain(kept) => kept,
            Coding::Gzip(decoder) => decoder.get_ref(),
            Coding::Deflate(decoder) => decoder.get_ref(),
        }
    }

    /// Takes what came; `false` when the limit is reached and no more is wanted.
    pub(super) fn take(&mut self, data: &[u8]) -> Result<bool, Failure> {
        let written = match &mut self.0 {
            Coding::Plain(kept) => kept.write_all(data),
            Coding::Gzip(decoder) => decoder.write_all(data),
            Coding::Deflate(decoder) => decoder.write_all(data),
        };
        match written {
            Ok(()) => Ok(true),
            Err(_) if !self.kept().whole => Ok(false),
            Err(error) => Err(broken(&error)),
        }
    }

    /// The body, after all of it came or the limit was reached.
    pub(super) fn end(self) -> Result<Kept, Failure> {
        let mut body = self;
        let ended = match &mut body.0 {
            Coding::Plain(_) => Ok(()),
            Coding::Gzip(decoder) => decoder.try_finish(),
            Coding::Deflate(decoder) => decoder.try_finish(),
        };
        if let (Err(error), true) = (ended, body.kept().whole) {
            return Err(broken(&error));
        }
        Ok(match body.0 {
            Coding::Plain(kept) => kept,
            Coding::Gzip(mut decoder) => std::mem::replace(decoder.get_mut(), Kept::none()),
            Coding::Deflate(mut decoder) => std::mem::replace(decoder.get_mut(), Kept::none()),
        })
    }
}

impl Kept {
    const fn none() -> Self {
        Self {
            bytes: Vec::new(),
            length: 0,
            whole: true,
            limit: 0,
            keeps: false,
        }
    }
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(CheckReason::Protocol, format!("decoding the body: {error}"))
}
