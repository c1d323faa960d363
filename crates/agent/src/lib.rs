//! Collectors, probes, schedule, publishing.
