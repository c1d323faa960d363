//! Sources, decode, step, commit, retry.
