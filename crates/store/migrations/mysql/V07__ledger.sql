create table if not exists `ledger` (
    `agent` varchar(255) not null,
    `epoch` bigint not null,
    `version` bigint not null,
    `next_sequence` bigint not null,
    `missing` longtext not null,
    `dropped` longtext not null,
    `missing_batches` bigint not null,
    `dropped_batches` bigint not null,
    `last_time` bigint not null comment 'microseconds since 1970 UTC of the youngest sample',
    `batches` bigint not null,
    `points` bigint not null,
    `duplicate_batches` bigint not null,
    `conflicts` bigint not null,
    `updated` datetime(6) not null default (utc_timestamp(6)),
    primary key (`agent`, `epoch`)
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin
comment 'Per agent and epoch: what came, what is missing, what was given up'
