-- What was not stored, and how fresh each host is: two views for people, and what they need.

create table gap (
    source text not null,
    partition integer not null,
    from_offset bigint not null,
    topic text not null,
    to_offset bigint not null,
    reason text not null check (reason in ('retention', 'truncated')),
    noted timestamptz not null default now(),
    primary key (source, partition, from_offset)
);
comment on table gap is 'Messages that were in the log and can never be read: they were gone before the sink came to them';
comment on column gap.to_offset is 'the offset after the last of them';

create table dead_letter_removed (
    source text not null,
    partition integer not null,
    reason text not null,
    bound text not null check (bound in ('age', 'bytes')),
    topic text not null,
    letters bigint not null,
    bytes bigint not null,
    first_time timestamptz not null,
    last_time timestamptz not null,
    primary key (source, partition, reason, bound)
);
comment on table dead_letter_removed is 'Dead letters that went because they were too old, or too many bytes, counted by what they were';

alter table position add column left_out_values bigint not null default 0;
comment on column position.left_out_values is 'values that were not finite numbers: the rest of their points is stored';

alter table host add column last_time timestamptz;
comment on column host.last_time is 'the youngest sample of a host without an agent, noted now and then; for the others see ledger';

alter table ledger add column last_sequence bigint generated always as (next_sequence - 1) stored;
comment on column ledger.last_sequence is 'the greatest sequence that is known of; the first of an epoch is 0';

create view freshness as
select h.id as host_id, h.identity, h.name, greatest(l.last_time, h.last_time) as last_sample,
       extract(epoch from now() - greatest(l.last_time, h.last_time))::double precision as age_seconds
from host h
left join (select agent, max(last_time) filter (where last_time > 'epoch') as last_time
           from ledger group by agent) l
on l.agent = h.agent and h.agent <> '';
comment on view freshness is 'Per host: the time of its youngest sample, and how long ago that is';

create view losses as
select 'missing_batches'::text as what, agent as source, epoch, null::text as topic,
       null::integer as partition, 'unknown'::text as reason, missing_batches as count,
       null::timestamptz as first_time, updated as last_time
from ledger where missing_batches > 0
union all
select case d.epoch when 0 then 'lost_spools' else 'dropped_batches' end, d.agent, d.epoch, null,
       null, d.reason, sum(d.last_sequence - d.first_sequence + 1)::bigint, null, max(d.updated)
from (select l.agent, l.epoch, l.updated, split_part(t.told, ':', 2) as reason,
             split_part(split_part(t.told, ':', 1), '-', 1)::bigint as first_sequence,
             regexp_replace(split_part(t.told, ':', 1), '^.*-', '')::bigint as last_sequence
      from ledger l cross join lateral string_to_table(l.dropped, ',') as t(told)
      where l.dropped <> '') d
group by d.agent, d.epoch, d.reason
union all
select 'unread_messages', source, null, topic, partition, reason,
       sum(to_offset - from_offset)::bigint, min(noted), max(noted)
from gap group by source, topic, partition, reason
union all
select 'dead_letters', source, null, topic, partition, reason, count(*), min(stored), max(stored)
from dead_letter group by source, topic, partition, reason
union all
select 'removed_dead_letters', source, null, topic, partition, reason, sum(letters)::bigint,
       min(first_time), max(last_time)
from dead_letter_removed group by source, topic, partition, reason
union all
select 'left_out_values', source, null, topic, partition, 'not_finite', left_out_values, null, updated
from position where left_out_values > 0;
comment on view losses is 'Everything that was not stored, and why; empty: nothing was lost';

-- The letters of one message, for who takes one of them out.
create index dead_letter_message on dead_letter (message_offset, partition);
