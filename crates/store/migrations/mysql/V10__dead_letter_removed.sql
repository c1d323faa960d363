create table if not exists `dead_letter_removed` (
    `source` varchar(255) not null,
    `partition` int not null,
    `reason` varchar(64) not null,
    `bound` varchar(16) not null comment 'age or bytes',
    `topic` varchar(1024) not null,
    `letters` bigint not null,
    `bytes` bigint not null,
    `first_time` datetime(6) not null,
    `last_time` datetime(6) not null,
    primary key (`source`, `partition`, `reason`, `bound`)
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin
comment 'Dead letters that went because they were too old, or too many bytes, counted by what they were'
