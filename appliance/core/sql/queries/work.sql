-- name: work_by_state
select count(*) filter (where state = 'running') as running, count(*) filter (where state = 'queued') as queued,
       count(*) filter (where state = 'waiting') as waiting
  from tasks where state in ('running', 'queued', 'waiting');
