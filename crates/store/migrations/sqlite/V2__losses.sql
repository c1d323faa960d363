-- What was not stored, and how fresh each host is: two views for people, and what they need.

-- Messages that were in the log and can never be read: they were gone before the sink came to
-- them. `to_offset` is the offset after the last of them.
create table "gap" (
    "source" text not null,
    "partition" integer not null,
    "from_offset" integer not null,
    "topic" text not null,
    "to_offset" integer not null,
    "reason" text not null check ("reason" in ('retention', 'truncated')),
    "noted" integer not null default (cast(unixepoch('now', 'subsec') * 1000000 as integer)),
    primary key ("source", "partition", "from_offset")
) strict, without rowid;

-- Dead letters that went because they were too old, or too many bytes, counted by what they were.
create table "dead_letter_removed" (
    "source" text not null,
    "partition" integer not null,
    "reason" text not null,
    "bound" text not null check ("bound" in ('age', 'bytes')),
    "topic" text not null,
    "letters" integer not null,
    "bytes" integer not null,
    "first_time" integer not null,
    "last_time" integer not null,
    primary key ("source", "partition", "reason", "bound")
) strict, without rowid;

-- Values that were not finite numbers: the rest of their points is stored.
alter table "position" add column "left_out_values" integer not null default 0;

-- The youngest sample of a host without an agent, noted now and then; for the others see ledger.
alter table "host" add column "last_time" integer;

-- The greatest sequence that is known of; the first of an epoch is 0.
alter table "ledger" add column
    "last_sequence" integer generated always as ("next_sequence" - 1) virtual;

-- Per host: the time of its youngest sample, and how long ago that is.
create view "freshness" as
select "host_id", "identity", "name",
       strftime('%Y-%m-%dT%H:%M:%S', "us" / 1000000, 'unixepoch')
       || printf('.%06dZ', "us" % 1000000) as "last_sample",
       "us" as "last_sample_us",
       (unixepoch('now', 'subsec') * 1000000 - "us") / 1000000.0 as "age_seconds"
from (select h."id" as "host_id", h."identity", h."name",
             nullif(max(coalesce(l."last_time", 0), coalesce(h."last_time", 0)), 0) as "us"
      from "host" h
      left join (select "agent", max("last_time") as "last_time" from "ledger" group by "agent") l
      on l."agent" = h."agent" and h."agent" <> '');

-- Everything that was not stored, and why; empty: nothing was lost.
create view "losses" as
select "what", "source", "epoch", "topic", "partition", "reason", "count",
       strftime('%Y-%m-%dT%H:%M:%S', "first_us" / 1000000, 'unixepoch')
       || printf('.%06dZ', "first_us" % 1000000) as "first_time",
       "first_us" as "first_time_us",
       strftime('%Y-%m-%dT%H:%M:%S', "last_us" / 1000000, 'unixepoch')
       || printf('.%06dZ', "last_us" % 1000000) as "last_time",
       "last_us" as "last_time_us"
from (
    select 'missing_batches' as "what", "agent" as "source", "epoch", null as "topic",
           null as "partition", 'unknown' as "reason", "missing_batches" as "count",
           null as "first_us", "updated" as "last_us"
    from "ledger" where "missing_batches" > 0
    union all
    select iif(d."epoch" = 0, 'lost_spools', 'dropped_batches'), d."agent", d."epoch", null, null,
           substr(d."told", instr(d."told", ':') + 1),
           sum(cast(substr(d."told", instr(d."told", '-') + 1) as integer)
               - cast(d."told" as integer) + 1),
           null, max(d."updated")
    from (select l."agent", l."epoch", l."updated", t."value" as "told"
          from "ledger" l, json_each('["' || replace(l."dropped", ',', '","') || '"]') t
          where l."dropped" <> '') d
    group by d."agent", d."epoch", substr(d."told", instr(d."told", ':') + 1)
    union all
    select 'unread_messages', "source", null, "topic", "partition", "reason",
           sum("to_offset" - "from_offset"), min("noted"), max("noted")
    from "gap" group by "source", "topic", "partition", "reason"
    union all
    select 'dead_letters', "source", null, "topic", "partition", "reason", count(*),
           min("stored"), max("stored")
    from "dead_letter" group by "source", "topic", "partition", "reason"
    union all
    select 'removed_dead_letters', "source", null, "topic", "partition", "reason", sum("letters"),
           min("first_time"), max("last_time")
    from "dead_letter_removed" group by "source", "topic", "partition", "reason"
    union all
    select 'left_out_values', "source", null, "topic", "partition", 'not_finite',
           "left_out_values", null, "updated"
    from "position" where "left_out_values" > 0
);

-- The letters of one message, for who takes one of them out.
create index "dead_letter_message" on "dead_letter" ("message_offset", "partition");
