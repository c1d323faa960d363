create table if not exists `measurement` (
    `id` int not null auto_increment primary key,
    `name` varchar(64) not null,
    `kind` varchar(32) not null,
    `description` text not null,
    `keyed` boolean not null comment 'some source of it does not number its batches',
    unique key `measurement_name` (`name`)
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin
comment 'Measurements: the rows of each are in the table m_<name>, the view <name> is for people'
