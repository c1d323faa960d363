create table if not exists `series` (
    `id` int not null auto_increment primary key,
    `measurement_id` int not null,
    `host_id` int not null,
    `digest` binary(32) not null comment 'SHA-256 of <measurement_id>/<host_id>/<tags>',
    `tags` longtext not null check (json_valid(`tags`)),
    unique key `series_digest` (`digest`),
    constraint `series_measurement` foreign key (`measurement_id`) references `measurement` (`id`),
    constraint `series_host` foreign key (`host_id`) references `host` (`id`)
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin
comment 'Series: measurement, host and tags'
