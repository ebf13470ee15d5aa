-- name: work_by_state
select (select count(*) from tasks where state = 'running') as running,
       (select count(*) from tasks where state in ('queued', 'waiting') and state = 'queued') as queued,
       (select count(*) from tasks where state in ('queued', 'waiting') and state = 'waiting') as waiting;
