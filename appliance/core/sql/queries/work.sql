-- name: work_by_state
select count(*) filter (where state = 'running') as running, count(*) filter (where state = 'queued') as queued,
       count(*) filter (where state = 'waiting') as waiting
  from tasks where state in ('running', 'queued', 'waiting');

-- name: ledger_now
-- What every page about the cluster says of PostgreSQL, in one round trip; paused_by is null while nobody paused fail-over.
select w.running, w.queued, w.waiting, e.epoch, f.paused_by, f.paused_at
  from cluster_epoch e, automatic_failover f,
       (select count(*) filter (where state = 'running') as running, count(*) filter (where state = 'queued') as queued,
               count(*) filter (where state = 'waiting') as waiting
          from tasks where state in ('running', 'queued', 'waiting')) w
 where e.id = 1 and f.id = 1;
