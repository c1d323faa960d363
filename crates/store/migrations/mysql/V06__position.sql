create table if not exists `position` (
    `source` varchar(255) not null comment 'kafka:<topic id> or spool:<spool id>',
    `partition` int not null,
    `topic` varchar(1024) not null,
    `next_offset` bigint not null,
    `messages` bigint not null default 0,
    `points` bigint not null default 0,
    `duplicate_points` bigint not null default 0,
    `dead_letters` bigint not null default 0,
    `updated` datetime(6) not null default (utc_timestamp(6)),
    primary key (`source`, `partition`)
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin
comment 'The next offset to apply of every partition, the only truth about progress'
