create or replace view `freshness` as
select `host_id`, `identity`, `name`, `last_sample`,
       timestampdiff(microsecond, `last_sample`, utc_timestamp(6)) / 1000000e0 as `age_seconds`
from (select h.`id` as `host_id`, h.`identity`, h.`name`,
             coalesce(date_add(cast('1970-01-01' as datetime(6)), interval l.`last_time` microsecond),
                      h.`last_time`) as `last_sample`
      from `host` h
      left join (select `agent`, nullif(max(`last_time`), 0) as `last_time` from `ledger`
                 group by `agent`) l
      on l.`agent` = h.`agent` and h.`agent` <> '') f
