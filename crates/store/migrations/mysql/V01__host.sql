create table if not exists `host` (
    `id` int not null auto_increment primary key,
    `digest` binary(32) not null comment 'SHA-256 of the identity: texts of any length are told apart',
    `identity` mediumtext not null comment 'agent:<id> or name:<host>',
    `agent` varchar(255) not null comment 'agent id, empty for producers without one',
    `name` varchar(1024) not null,
    `labels` longtext not null check (json_valid(`labels`)),
    `first_seen` datetime(6) not null default (utc_timestamp(6)),
    unique key `host_digest` (`digest`),
    key `host_name` (`name`(191))
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin
comment 'Hosts'
