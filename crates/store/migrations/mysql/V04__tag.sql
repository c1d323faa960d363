create table if not exists `tag` (
    `measurement_id` int not null,
    `name` varchar(255) not null,
    primary key (`measurement_id`, `name`),
    constraint `tag_measurement` foreign key (`measurement_id`) references `measurement` (`id`)
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin
comment 'Tag names that were seen'
