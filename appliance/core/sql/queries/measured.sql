-- name: measured_pending
-- Due or not: a try that is put off waits, too. Its age counts from the moment it could run.
select priority, count(*) as pending, coalesce(max(extract(epoch from now() - greatest(due_at, released_at))), 0)::float as oldest_s
  from tasks where state = 'queued' group by priority;

-- name: measured_work
select (select count(*) from tasks where state = 'running') as running, (select count(*) from tasks where state = 'dead') as dead,
       (select coalesce(sum(l.number), 0)::int from (
          select lane, count(*) as number from tasks where state = 'queued' and lane is not null group by lane) l
         where not able(l.lane)) as unservable,
       (select epoch from cluster_epoch where id = 1) as epoch, (select number from desired_fleet where id = 1) as desired;

-- name: measured_failovers
-- How many of each kind, and the newest of each: the caller takes the newest of all.
select kind, count(*) as number, max(epoch) as newest from failovers group by kind;

-- name: measured_newest_failover
select kind, new_primary, extract(epoch from elected_at)::float as at, detect_ms, agree_ms, elect_ms, promote_ms
  from failovers order by epoch desc limit 1;

-- name: measured_database
select xact_commit, xact_rollback, deadlocks, blks_hit, blks_read, pg_database_size(datid) as size,
       current_setting('max_connections')::int as max_connections
  from pg_stat_database where datname = current_database();

-- name: measured_connections
select coalesce(state, 'other') as state, count(*) as number from pg_stat_activity
 where datname = current_database() group by 1;

-- name: measured_locks
select count(*) filter (where granted) as held, count(*) filter (where not granted) as waiting from pg_locks;
