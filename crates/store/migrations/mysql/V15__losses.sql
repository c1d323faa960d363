create or replace view `losses` as
select 'missing_batches' as `what`, `agent` as `source`, `epoch`, null as `topic`,
       null as `partition`, 'unknown' as `reason`, `missing_batches` as `count`,
       cast(null as datetime(6)) as `first_time`, `updated` as `last_time`
from `ledger` where `missing_batches` > 0
union all
select case d.`epoch` when 0 then 'lost_spools' else 'dropped_batches' end, d.`agent`, d.`epoch`,
       null, null, d.`reason`, cast(sum(d.`last_sequence` - d.`first_sequence` + 1) as signed), null,
       max(d.`updated`)
from (select l.`agent`, l.`epoch`, l.`updated`, substring_index(t.`told`, ':', -1) as `reason`,
             cast(substring_index(substring_index(t.`told`, ':', 1), '-', 1) as signed)
                 as `first_sequence`,
             cast(substring_index(substring_index(t.`told`, ':', 1), '-', -1) as signed)
                 as `last_sequence`
      from `ledger` l,
           json_table(concat('["', replace(l.`dropped`, ',', '","'), '"]'), '$[*]'
                      columns (`told` varchar(128) path '$')) t
      where l.`dropped` <> '') d
group by d.`agent`, d.`epoch`, d.`reason`
union all
select 'unread_messages', `source`, null, `topic`, `partition`, `reason`,
       cast(sum(`to_offset` - `from_offset`) as signed), min(`noted`), max(`noted`)
from `gap` group by `source`, `topic`, `partition`, `reason`
union all
select 'dead_letters', `source`, null, `topic`, `partition`, `reason`, count(*), min(`stored`),
       max(`stored`)
from `dead_letter` group by `source`, `topic`, `partition`, `reason`
union all
select 'removed_dead_letters', `source`, null, `topic`, `partition`, `reason`,
       cast(sum(`letters`) as signed), min(`first_time`), max(`last_time`)
from `dead_letter_removed` group by `source`, `topic`, `partition`, `reason`
union all
select 'left_out_values', `source`, null, `topic`, `partition`, 'not_finite', `left_out_values`,
       null, `updated`
from `position` where `left_out_values` > 0
