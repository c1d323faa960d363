//! Real brokers and databases on loopback, fault proxy, host trees, paused clock.
