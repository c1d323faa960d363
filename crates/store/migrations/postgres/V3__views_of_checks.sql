-- The views of checks (uptime, outages, certificates) are made anew when a new kind of check comes.
create table tidegauge_view (
    name text primary key,
    definition text not null
);
comment on table tidegauge_view is 'By which texts the views of checks were made';
