//! A broker for unit tests: librdkafka's mock cluster, real sockets on loopback.
