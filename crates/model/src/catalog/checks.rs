//! Measurements of checks. A phase that did not take place has no value: a check that could not
//! connect has no `tls_seconds`.

use super::{Kind, MeasurementEntry, gauge, tag, text, truth};

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[MeasurementEntry {
    name: "http_check",
    kind: Kind::Gauge,
    description: "One request to a web address over a fresh connection, taken apart into its phases.",
    tags: &[tag(
        "target",
        "The name of the check; its address without user and password unless it was given a name.",
    )],
    fields: &[
        truth("up", "Whether the target answered as expected."),
        text(
            "reason",
            "Why the check ended as it did: `ok` or one word from a closed list.",
        ),
        text(
            "detail",
            "What went wrong, for a person; absent when the target is up.",
        ),
        gauge("status", "", "The status code of the answer."),
        gauge(
            "resolve_seconds",
            "seconds",
            "Looking up the name; absent when the address needs no lookup.",
        ),
        gauge("connect_seconds", "seconds", "Opening the TCP connection."),
        gauge(
            "tls_seconds",
            "seconds",
            "The TLS handshake; absent for plain http.",
        ),
        gauge(
            "first_byte_seconds",
            "seconds",
            "From sending the request to having the head of the answer.",
        ),
        gauge("transfer_seconds", "seconds", "Reading the body."),
        gauge(
            "total_seconds",
            "seconds",
            "The whole check, also when it failed.",
        ),
        gauge("body_bytes", "bytes", "Bytes of the body that were read."),
        truth(
            "body_matched",
            "Whether the pattern was found in the body; absent without a pattern.",
        ),
        text("address", "The address and port that were connected to."),
        text(
            "http_version",
            "The version of the protocol that was spoken.",
        ),
        gauge(
            "certificate_expires_seconds",
            "seconds",
            "Seconds until the server's certificate expires, negative afterwards.",
        ),
    ],
}];
