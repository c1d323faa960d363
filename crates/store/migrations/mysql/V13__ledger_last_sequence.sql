alter table `ledger` add column `last_sequence` bigint generated always as (`next_sequence` - 1) virtual
comment 'the greatest sequence that is known of, the first of an epoch is 0'
