//! The conformance suite on PostgreSQL.
