//! A durable, bounded, checksummed queue of opaque bytes.
