alter table `position` add column `left_out_values` bigint not null default 0
comment 'values that were not finite numbers: the rest of their points is stored'
