-- name: store_facts
-- What PostgreSQL says of itself; the connections and statements are those this user may see.
select current_setting('server_version') as version,
       extract(epoch from now() - pg_postmaster_start_time())::float as up_s,
       (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections,
       current_setting('max_connections')::int as max_connections,
       pg_database_size(current_database()) as bytes,
       d.deadlocks, d.blks_hit, d.blks_read,
       (select count(*) from pg_stat_activity where wait_event_type = 'Lock') as waiting
  from pg_stat_database d where d.datname = current_database();

-- name: largest_tables
select c.relname as name, pg_total_relation_size(c.oid) as bytes, c.reltuples::bigint as rows
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r' and n.nspname = 'public' order by 2 desc limit 6;

-- name: slowest_now
-- Statements that run at this moment, the longest first; only their beginning, without values.
select left(regexp_replace(query, '\s+', ' ', 'g'), 90) as statement, application_name as program,
       extract(epoch from clock_timestamp() - query_start)::float as for_s
  from pg_stat_activity
 where state = 'active' and application_name <> 'control plane' and datname = current_database()
 order by query_start limit 5;

-- name: work_numbers
-- The tasks' and failovers' share of the eight numbers; the first primary and orders of a person are no instability.
select (select count(*) from tasks where state in ('queued', 'waiting')) as pending,
       (select coalesce(extract(epoch from now() - min(created_at)), 0)::float
          from tasks where state in ('queued', 'waiting')) as oldest_s,
       (select count(*) from tasks where state = 'dead') as dead,
       (select count(*) from failovers where elected_at > now() - interval '1 hour'
           and kind not in ('first', 'switchover', 'released')) as failovers_hour,
       (select count(*) from failovers where elected_at > now() - interval '1 day'
           and kind not in ('first', 'switchover', 'released')) as failovers_day;
