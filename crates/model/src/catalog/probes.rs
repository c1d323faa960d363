//! Measurements of the probes beside `http`, and of changes of state. A phase that did not take place
//! has no value.

use super::{
    FieldEntry, Kind, MeasurementEntry, TagEntry, gauge, number, percent, tag, text, truth,
};

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[
    TCP, TLS_CHECK, DNS, ICMP, GRPC, POSTGRES, MYSQL, KAFKA, HEARTBEAT, STATE,
];

pub(super) const TAGS: &[TagEntry] = &[tag(
    "target",
    "The name of the check; its address without user and password unless it was given a name.",
)];

// The fields that several measurements have, `http_check` too.
pub(super) const UP: FieldEntry = truth("up", "Whether the target answered as expected.");
pub(super) const REASON: FieldEntry = text(
    "reason",
    "Why the check ended as it did: `ok` or one word from a closed list.",
);
pub(super) const DETAIL: FieldEntry = text(
    "detail",
    "What went wrong, for a person; absent when the target is up.",
);
pub(super) const RESOLVE: FieldEntry = gauge(
    "resolve_seconds",
    "seconds",
    "Looking up the name; absent when the address needs no lookup.",
);
pub(super) const CONNECT: FieldEntry =
    gauge("connect_seconds", "seconds", "Opening the TCP connection.");
const TLS: FieldEntry = gauge(
    "tls_seconds",
    "seconds",
    "The TLS handshake; absent without TLS.",
);
const ANSWER: FieldEntry = gauge(
    "answer_seconds",
    "seconds",
    "From sending the question to having the answer.",
);
pub(super) const TOTAL: FieldEntry = gauge(
    "total_seconds",
    "seconds",
    "The whole check, also when it failed.",
);
pub(super) const START_DELAY: FieldEntry = gauge(
    "start_delay_seconds",
    "seconds",
    "How late the check began; absent for a further attempt.",
);
pub(super) const REPEATED: FieldEntry = truth(
    "repeated",
    "Present when the attempt failed and another one follows at once: together they are one check.",
);
const ADDRESS: FieldEntry = text("address", "The address that was asked, with its port.");
pub(super) const CERTIFICATE_EXPIRES: FieldEntry = gauge(
    "certificate_expires_seconds",
    "seconds",
    "Seconds until the server's certificate expires, negative afterwards.",
);
pub(super) const VERIFIED: FieldEntry = truth(
    "verified",
    "Whether chain, name and dates of the certificate are right; the reason says why not.",
);
pub(super) const CHAIN_EXPIRES: FieldEntry = gauge(
    "chain_expires_seconds",
    "seconds",
    "Seconds until the first certificate of the chain expires, negative afterwards.",
);
pub(super) const ISSUER: FieldEntry = text("issuer", "Who issued the certificate.");
pub(super) const SUBJECT: FieldEntry = text("subject", "Whom the certificate names.");
pub(super) const NAMES: FieldEntry = text(
    "names",
    "The host names and addresses that the certificate is for, with commas.",
);
pub(super) const FINGERPRINT: FieldEntry = text(
    "fingerprint_sha256",
    "SHA-256 of the certificate, in hexadecimal digits.",
);

const TCP: MeasurementEntry = MeasurementEntry {
    name: "tcp_check",
    kind: Kind::Gauge,
    description: "One TCP connection, with TLS, STARTTLS and a dialogue if they are asked for.",
    tags: TAGS,
    fields: &[
        UP,
        REASON,
        DETAIL,
        RESOLVE,
        CONNECT,
        gauge(
            "starttls_seconds",
            "seconds",
            "Asking for TLS in the protocol of the server.",
        ),
        TLS,
        gauge(
            "dialogue_seconds",
            "seconds",
            "The dialogue, to its last pattern.",
        ),
        TOTAL,
        START_DELAY,
        REPEATED,
        ADDRESS,
        CERTIFICATE_EXPIRES,
    ],
};

const TLS_CHECK: MeasurementEntry = MeasurementEntry {
    name: "tls_check",
    kind: Kind::Gauge,
    description: "One TLS handshake and what the server showed in it; the certificate is told also if it is not trusted.",
    tags: TAGS,
    fields: &[
        UP,
        REASON,
        DETAIL,
        RESOLVE,
        CONNECT,
        TLS,
        TOTAL,
        START_DELAY,
        REPEATED,
        ADDRESS,
        text("tls_version", "The version that was agreed on."),
        text("cipher", "The cipher suite that was agreed on."),
        VERIFIED,
        CERTIFICATE_EXPIRES,
        CHAIN_EXPIRES,
        number("chain_certificates", "Certificates that the server sent."),
        ISSUER,
        SUBJECT,
        NAMES,
        FINGERPRINT,
        truth(
            "ocsp_stapled",
            "Whether the server sent a statement on revocation (OCSP) with it.",
        ),
    ],
};

const DNS: MeasurementEntry = MeasurementEntry {
    name: "dns_check",
    kind: Kind::Gauge,
    description: "One question to a name server.",
    tags: TAGS,
    fields: &[
        UP,
        REASON,
        DETAIL,
        RESOLVE,
        CONNECT,
        TLS,
        ANSWER,
        TOTAL,
        START_DELAY,
        REPEATED,
        ADDRESS,
        text("rcode", "The code of the answer: `NOERROR`, `NXDOMAIN`, …"),
        number("answers", "Records in the answer."),
        text("answer", "The data of these records, with commas."),
        gauge("answer_bytes", "bytes", "The size of the answer."),
        number(
            "soa_serial",
            "The serial number of the zone, where the answer has it.",
        ),
        truth(
            "authoritative",
            "Whether the server is responsible for the name.",
        ),
        truth(
            "authenticated",
            "Whether the server says that it has verified the answer (DNSSEC).",
        ),
        truth(
            "truncated",
            "Present when the answer over UDP was cut and asked for again over TCP.",
        ),
        CERTIFICATE_EXPIRES,
    ],
};

const ICMP: MeasurementEntry = MeasurementEntry {
    name: "icmp_check",
    kind: Kind::Gauge,
    description: "Echo requests to a host (ping).",
    tags: TAGS,
    fields: &[
        UP,
        REASON,
        DETAIL,
        RESOLVE,
        TOTAL,
        START_DELAY,
        REPEATED,
        ADDRESS,
        number("packets_sent", "Requests that were sent."),
        number("packets_received", "Requests that were answered."),
        percent("loss_percent", "Requests that were not answered."),
        gauge("rtt_min_seconds", "seconds", "The fastest answer."),
        gauge("rtt_mean_seconds", "seconds", "The mean of the answers."),
        gauge("rtt_max_seconds", "seconds", "The slowest answer."),
        gauge(
            "rtt_deviation_seconds",
            "seconds",
            "The standard deviation of the answers.",
        ),
    ],
};

const GRPC: MeasurementEntry = MeasurementEntry {
    name: "grpc_check",
    kind: Kind::Gauge,
    description: "One question by the health checking protocol of gRPC.",
    tags: TAGS,
    fields: &[
        UP,
        REASON,
        DETAIL,
        RESOLVE,
        CONNECT,
        TLS,
        ANSWER,
        TOTAL,
        START_DELAY,
        REPEATED,
        ADDRESS,
        number("grpc_status", "The status of the call; 0 is success."),
        text(
            "health",
            "What the server says of the service: `serving`, `not_serving`, `unknown`, `service_unknown`.",
        ),
        CERTIFICATE_EXPIRES,
    ],
};

const POSTGRES: MeasurementEntry = MeasurementEntry {
    name: "postgres_check",
    kind: Kind::Gauge,
    description: "One login into a PostgreSQL server, and one query.",
    tags: TAGS,
    fields: DATABASE_FIELDS,
};

const MYSQL: MeasurementEntry = MeasurementEntry {
    name: "mysql_check",
    kind: Kind::Gauge,
    description: "One login into a MySQL or MariaDB server, and one query.",
    tags: TAGS,
    fields: DATABASE_FIELDS,
};

const KAFKA: MeasurementEntry = MeasurementEntry {
    name: "kafka_check",
    kind: Kind::Gauge,
    description: "One question to a broker of Kafka: who is in its cluster, and a topic.",
    tags: TAGS,
    fields: &[
        UP,
        REASON,
        DETAIL,
        RESOLVE,
        CONNECT,
        gauge(
            "answer_seconds",
            "seconds",
            "From connecting once more to having the answer, with TLS and login.",
        ),
        TOTAL,
        START_DELAY,
        REPEATED,
        ADDRESS,
        number("brokers", "Brokers that are in the cluster."),
        number("partitions", "Partitions of the topic."),
        number(
            "leaderless_partitions",
            "Those of them that have no leader.",
        ),
    ],
};

const DATABASE_FIELDS: &[FieldEntry] = &[
    UP,
    REASON,
    DETAIL,
    RESOLVE,
    gauge(
        "connect_seconds",
        "seconds",
        "Opening the TCP connection; MySQL: part of the login.",
    ),
    gauge(
        "starttls_seconds",
        "seconds",
        "Asking for TLS in the protocol of the server; MySQL: part of the login.",
    ),
    gauge(
        "tls_seconds",
        "seconds",
        "The TLS handshake; absent without TLS; MySQL: part of the login.",
    ),
    gauge(
        "login_seconds",
        "seconds",
        "From the first message to the server's word that it is ready; MySQL: from the connecting on.",
    ),
    gauge(
        "query_seconds",
        "seconds",
        "From sending the query to having all of its answer.",
    ),
    TOTAL,
    START_DELAY,
    REPEATED,
    ADDRESS,
    text("server_version", "What the server says that it is."),
    CERTIFICATE_EXPIRES,
];

const HEARTBEAT: MeasurementEntry = MeasurementEntry {
    name: "heartbeat_check",
    kind: Kind::Gauge,
    description: "A call of a job that says that it is alive, or that none came in time.",
    tags: TAGS,
    fields: &[
        UP,
        REASON,
        DETAIL,
        gauge(
            "since_last_seconds",
            "seconds",
            "Time since the call before; absent if there was none since the agent began.",
        ),
    ],
};

const STATE: MeasurementEntry = MeasurementEntry {
    name: "check_state",
    kind: Kind::Gauge,
    description: "A change of a target between up and down; the first one says what it was when the agent began.",
    tags: TAGS,
    fields: &[
        truth("up", "Whether the target is up from now on."),
        REASON,
        gauge(
            "since_seconds",
            "seconds",
            "When the first of the checks was that led to this, seconds since 1970 UTC.",
        ),
        gauge(
            "before_seconds",
            "seconds",
            "How long the state before lasted; absent for the first.",
        ),
    ],
};
