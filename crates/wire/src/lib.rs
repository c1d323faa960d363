//! Batches to bytes and back.
