alter table `host` add column `last_time` datetime(6) null
comment 'the youngest sample of a host without an agent, noted now and then, for the others see ledger'
