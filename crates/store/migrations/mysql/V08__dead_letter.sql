create table if not exists `dead_letter` (
    `id` bigint not null auto_increment primary key,
    `stored` datetime(6) not null default (utc_timestamp(6)),
    `source` varchar(255) not null,
    `topic` varchar(1024) not null,
    `partition` int not null,
    `message_offset` bigint not null,
    `point_index` bigint comment 'place of the point in the message, null for the whole message',
    `reason` varchar(64) not null,
    `detail` mediumtext not null,
    `encoding` mediumtext not null,
    `payload` longblob not null,
    key `dead_letter_message` (`source`, `partition`, `message_offset`)
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin
comment 'Messages and points that could not be stored, with their origin'
