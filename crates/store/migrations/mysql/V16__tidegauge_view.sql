create table if not exists `tidegauge_view` (
    `name` varchar(64) not null primary key,
    `definition` mediumtext not null
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin
comment 'By which texts the views of checks were made: they are made anew when a new kind of check comes'
