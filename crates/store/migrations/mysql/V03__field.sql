create table if not exists `field` (
    `measurement_id` int not null,
    `name` varchar(64) not null,
    `value_type` varchar(32) not null,
    `kind` varchar(32) not null,
    `unit` varchar(255) not null,
    `description` text not null,
    `ordinal` int not null,
    primary key (`measurement_id`, `name`),
    constraint `field_measurement` foreign key (`measurement_id`) references `measurement` (`id`)
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin
comment 'Fields, each a column of its measurement''s table'
