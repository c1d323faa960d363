-- The bookkeeping of a Tidegauge store in PostgreSQL (14 or newer, no extension).
-- Names are not qualified: everything lies in the first schema of the search path, so an
-- ordinary role that owns one schema is enough. Data tables (m_<measurement>), their partitions
-- (p_<measurement id>_<begin>) and views (<measurement>) are made as data comes.

create table host (
    id integer generated always as identity primary key,
    identity text not null unique,
    agent text not null,
    name text not null,
    labels jsonb not null,
    first_seen timestamptz not null default now()
);
comment on table host is 'Every host that was seen; known by its agent id, or by its name without one';

create table measurement (
    id integer generated always as identity primary key,
    name text not null unique,
    kind text not null check (kind in ('gauge', 'counter', 'timer')),
    description text not null,
    keyed boolean not null default false
);
comment on table measurement is 'Every measurement; its rows are in m_<name>, for reading in the view <name>';
comment on column measurement.keyed is 'whether rows are unique by series and time from the first day';

create table field (
    measurement_id integer not null references measurement,
    name text not null,
    value_type text not null check (value_type in ('float', 'bool', 'text')),
    kind text not null check (kind in ('gauge', 'counter', 'timer')),
    unit text not null,
    description text not null,
    ordinal integer not null,
    primary key (measurement_id, name)
);

create table tag (
    measurement_id integer not null references measurement,
    name text not null,
    primary key (measurement_id, name)
);

create table series (
    id integer generated always as identity primary key,
    measurement_id integer not null references measurement,
    host_id integer not null references host,
    tags jsonb not null
);
comment on table series is 'Measurement, host and tags: what a row of a data table belongs to';
-- The text of the tags may be longer than an index entry; its digest is not.
create unique index series_identity on series (host_id, measurement_id, md5(tags::text));
create index series_measurement on series (measurement_id);

create table position (
    source text not null,
    partition integer not null,
    topic text not null,
    next_offset bigint not null,
    messages bigint not null default 0,
    points bigint not null default 0,
    duplicate_points bigint not null default 0,
    dead_letters bigint not null default 0,
    updated timestamptz not null default now(),
    primary key (source, partition)
);
comment on table position is 'The next offset to apply of every partition: the only truth about what is stored';

create table ledger (
    agent text not null,
    epoch bigint not null,
    version bigint not null,
    next_sequence bigint not null,
    missing text not null,
    dropped text not null,
    missing_batches bigint not null,
    dropped_batches bigint not null,
    last_time timestamptz not null,
    batches bigint not null,
    points bigint not null,
    duplicate_batches bigint not null,
    conflicts bigint not null,
    updated timestamptz not null default now(),
    primary key (agent, epoch)
);
comment on table ledger is 'Per agent and epoch: what came, what is missing, what the agent gave up';

create table dead_letter (
    id bigint generated always as identity primary key,
    stored timestamptz not null default now(),
    source text not null,
    topic text not null,
    partition integer not null,
    message_offset bigint not null,
    point_index integer,
    reason text not null,
    detail text not null,
    encoding text not null,
    payload bytea not null
);
comment on table dead_letter is 'Messages and points that could not be stored, with their origin';

create table partition (
    measurement_id integer not null references measurement,
    name text not null,
    from_time timestamptz not null,
    to_time timestamptz not null,
    state text not null check (state in ('open', 'settling', 'settled')),
    settle_after timestamptz,
    duplicates_removed bigint not null default 0,
    primary key (measurement_id, from_time)
);
comment on table partition is 'The partitions of the data tables; writers lock the row while they write';
comment on column partition.state is 'open: rows are appended; settled: sorted and unique by series and time; settling: a sorted copy is being made';
comment on column partition.settle_after is 'settling was put off until then';
comment on column partition.duplicates_removed is 'rows that settling left out because they repeated the series and time of another';
