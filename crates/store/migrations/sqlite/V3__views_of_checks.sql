-- By which texts the views of checks (uptime, outages, certificates) were made: they are made anew when
-- a new kind of check comes.
create table "tidegauge_view" (
    "name" text primary key,
    "definition" text not null
) strict, without rowid;
