-- Bookkeeping tables (S2). Times are microseconds since 1970 UTC. The tables and views of the
-- measurements are made on demand, outside of the steps (D9).

create table "host" (
    "id" integer primary key,
    "identity" text not null unique,
    "agent" text not null,
    "name" text not null,
    "labels" text not null check (json_valid("labels")),
    "first_seen" integer not null
) strict;

-- The views are asked for host names.
create index "host_name" on "host" ("name");

create table "measurement" (
    "id" integer primary key,
    "name" text not null unique,
    "kind" text not null,
    "description" text not null,
    "keyed" integer not null
) strict;

create table "field" (
    "measurement_id" integer not null references "measurement" ("id"),
    "name" text not null,
    "value_type" text not null,
    "kind" text not null,
    "unit" text not null,
    "description" text not null,
    "ordinal" integer not null,
    primary key ("measurement_id", "name")
) strict, without rowid;

-- With a rowid: it keeps the order in which the tags were seen.
create table "tag" (
    "measurement_id" integer not null references "measurement" ("id"),
    "name" text not null,
    unique ("measurement_id", "name")
) strict;

create table "series" (
    "id" integer primary key,
    "measurement_id" integer not null references "measurement" ("id"),
    "host_id" integer not null references "host" ("id"),
    "tags" text not null check (json_valid("tags")),
    unique ("measurement_id", "host_id", "tags")
) strict;

create index "series_host" on "series" ("host_id");

create table "position" (
    "source" text not null,
    "partition" integer not null,
    "topic" text not null,
    "next_offset" integer not null,
    "messages" integer not null default 0,
    "points" integer not null default 0,
    "duplicate_points" integer not null default 0,
    "dead_letters" integer not null default 0,
    "updated" integer not null,
    primary key ("source", "partition")
) strict, without rowid;

create table "ledger" (
    "agent" text not null,
    "epoch" integer not null,
    "version" integer not null,
    "next_sequence" integer not null,
    "missing" text not null,
    "dropped" text not null,
    "missing_batches" integer not null,
    "dropped_batches" integer not null,
    "last_time" integer not null,
    "batches" integer not null,
    "points" integer not null,
    "duplicate_batches" integer not null,
    "conflicts" integer not null,
    "updated" integer not null,
    primary key ("agent", "epoch")
) strict, without rowid;

create table "dead_letter" (
    "id" integer primary key,
    "stored" integer not null,
    "source" text not null,
    "topic" text not null,
    "partition" integer not null,
    "message_offset" integer not null,
    "point_index" integer,
    "reason" text not null,
    "detail" text not null,
    "encoding" text not null,
    "payload" blob not null
) strict;
