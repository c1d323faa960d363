-- Makes the partitions of these days (in UTC, both included) that are not there; answers how many.
create function tidegauge_make_partitions(from_day date, to_day date) returns integer
language plpgsql as $$
declare
    m record;
    day date;
    begins timestamptz;
    ends timestamptz;
    leaf text;
    made integer := 0;
begin
    for m in select id, name, keyed from measurement order by id loop
        for day in select generate_series(from_day, to_day, interval '1 day')::date loop
            begins := day::timestamp at time zone 'UTC';
            ends := (day + 1)::timestamp at time zone 'UTC';
            continue when exists (select from partition p where p.measurement_id = m.id
                                  and p.from_time < ends and p.to_time > begins);
            leaf := format('p_%s_%sT0000', m.id, to_char(day, 'YYYYMMDD'));
            execute format('create table %I (like %I including constraints)', leaf, 'm_' || m.name);
            execute format('create index %I on %I using brin (series_id)
                            with (pages_per_range = 32, autosummarize = on)',
                           leaf || '_series_id', leaf);
            execute format('create index %I on %I using brin (time)
                            with (pages_per_range = 32, autosummarize = on)', leaf || '_time', leaf);
            if m.keyed then
                execute format('create unique index %I on %I (series_id, time)', leaf || '_key', leaf);
            end if;
            execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                           'm_' || m.name, leaf, begins, ends);
            insert into partition (measurement_id, name, from_time, to_time, state)
            values (m.id, leaf, begins, ends, 'open');
            made := made + 1;
        end loop;
    end loop;
    return made;
end $$;

-- Has the rows of a measurement be known by series and time, for sources that do not number their
-- batches. Rows that repeat each other have to be removed first.
create function tidegauge_make_keyed(measurement_name text) returns void
language plpgsql as $$
declare
    leaf text;
begin
    execute format('lock table only %I in share row exclusive mode', 'm_' || measurement_name);
    for leaf in select p.name from partition p join measurement m on m.id = p.measurement_id
                where m.name = measurement_name loop
        execute format('create unique index if not exists %I on %I (series_id, time)',
                       leaf || '_key', leaf);
    end loop;
    update measurement set keyed = true where name = measurement_name;
end $$;
