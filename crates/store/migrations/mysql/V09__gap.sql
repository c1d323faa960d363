create table if not exists `gap` (
    `source` varchar(255) not null,
    `partition` int not null,
    `from_offset` bigint not null,
    `topic` varchar(1024) not null,
    `to_offset` bigint not null comment 'the offset after the last of them',
    `reason` varchar(64) not null comment 'retention or truncated',
    `noted` datetime(6) not null default (utc_timestamp(6)),
    primary key (`source`, `partition`, `from_offset`)
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin
comment 'Messages that were in the log and can never be read: they were gone before the sink came to them'
