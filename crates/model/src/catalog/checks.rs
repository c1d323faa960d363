//! Measurements of checks. A phase that did not take place has no value: a check that could not
//! connect has no `tls_seconds`.

use super::probes::{
    CERTIFICATE_EXPIRES, CHAIN_EXPIRES, CONNECT, DETAIL, FINGERPRINT, ISSUER, NAMES, REASON,
    REPEATED, RESOLVE, START_DELAY, SUBJECT, TAGS, TOTAL, UP, VERIFIED,
};
use super::{Kind, MeasurementEntry, gauge, tag, text, truth};

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[
    SCRAPE,
    TEXTFILE,
    EXEC,
    MeasurementEntry {
        name: "http_check",
        kind: Kind::Gauge,
        description: "One request to a web address over a fresh connection, taken apart into its phases.",
        tags: TAGS,
        fields: &[
            UP,
            REASON,
            DETAIL,
            gauge("status", "", "The status code of the answer."),
            RESOLVE,
            CONNECT,
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
            TOTAL,
            START_DELAY,
            REPEATED,
            gauge("body_bytes", "bytes", "Bytes of the body that were read."),
            truth(
                "body_matched",
                "Whether the pattern was found in the body; absent without a pattern.",
            ),
            gauge(
                "redirects",
                "",
                "Redirects that were followed; absent where none are.",
            ),
            text(
                "final_url",
                "The last URL that was asked, without its query; absent where no redirects are followed.",
            ),
            text("address", "The address and port that were connected to."),
            text(
                "http_version",
                "The version of the protocol that was spoken.",
            ),
            CERTIFICATE_EXPIRES,
            CHAIN_EXPIRES,
            VERIFIED,
            ISSUER,
            SUBJECT,
            NAMES,
            FINGERPRINT,
        ],
    },
];

const POINTS: super::FieldEntry = gauge("points", "", "Points that were taken from it.");
const REFUSED: super::FieldEntry = gauge(
    "refused",
    "",
    "Lines and points that were refused; /metrics has them by reason.",
);

const SCRAPE: MeasurementEntry = MeasurementEntry {
    name: "scrape",
    kind: Kind::Gauge,
    description: "One fetch of a page of metrics by the listener `prometheus`.",
    tags: &[tag("target", "The name of the target.")],
    fields: &[
        truth("up", "Whether there was a page."),
        text(
            "reason",
            "Why the fetch ended as it did: `ok` or one word from the closed list of checks.",
        ),
        text(
            "detail",
            "What went wrong, for a person: with the fetch, or with the first line that was refused.",
        ),
        POINTS,
        REFUSED,
        gauge("status", "", "The status code of the answer."),
        gauge("body_bytes", "bytes", "Bytes of the page."),
        gauge(
            "total_seconds",
            "seconds",
            "The whole fetch, also when it failed.",
        ),
        text("address", "The address and port that were connected to."),
        gauge(
            "certificate_expires_seconds",
            "seconds",
            "Seconds until the server's certificate expires, negative afterwards.",
        ),
    ],
};

const TEXTFILE: MeasurementEntry = MeasurementEntry {
    name: "textfile",
    kind: Kind::Gauge,
    description: "One file that was read by the listener `textfile`.",
    tags: &[tag("file", "Its name in the folder.")],
    fields: &[
        truth("success", "Whether it could be read."),
        text(
            "detail",
            "What went wrong, for a person: with the file, or with the first line that was refused.",
        ),
        POINTS,
        REFUSED,
        gauge("age_seconds", "seconds", "Time since it was last changed."),
    ],
};

const EXEC: MeasurementEntry = MeasurementEntry {
    name: "exec",
    kind: Kind::Gauge,
    description: "One run of a program by the listener `exec`.",
    tags: &[tag("program", "The name of the program in the settings.")],
    fields: &[
        truth(
            "success",
            "Whether it ended with status 0 and what it printed could be read.",
        ),
        text(
            "reason",
            "Why it did not: `not_started`, `deadline`, `too_large`, `signal`, `exit_status` or `unreadable`; absent when it did.",
        ),
        text(
            "detail",
            "What went wrong, for a person; the last line that it wrote to stderr where it failed.",
        ),
        POINTS,
        REFUSED,
        gauge(
            "exit_status",
            "",
            "Its exit status; absent when a signal ended it.",
        ),
        gauge(
            "end_signal",
            "",
            "The signal that ended it; absent when it ended by itself.",
        ),
        gauge("output_bytes", "bytes", "Bytes that it printed."),
        gauge("duration_seconds", "seconds", "How long it ran."),
    ],
};
