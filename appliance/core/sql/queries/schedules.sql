-- name: create_schedule
select * from create_schedule(%(id)s, %(tenant)s, %(user)s, %(conversation)s, %(kind)s, %(cron)s, %(zone)s, %(text)s,
  %(missed)s, %(next_at)s, %(trace)s, %(max)s);

-- name: schedules_of
select * from living_schedules where tenant_id = %(tenant)s and user_id = %(user)s order by next_at, no;

-- name: cancel_schedule
-- By its id or its number; what has ended is returned as it is.
update schedules set state = case when state = 'active' then 'cancelled' else state end
 where tenant_id = %(tenant)s and user_id = %(user)s and (id = %(id)s::uuid or no = %(no)s::int) returning *;

-- name: due_schedules
-- A job whose last run has not ended is not due: it never runs beside itself.
select s.*, clock_timestamp() as now from living_schedules s
 where s.next_at <= now()
   and not exists(select 1 from tasks t where t.id = s.last_task and t.state in ('queued', 'running', 'waiting'))
 order by s.next_at limit %(limit)s;

-- name: fire_schedule
select fire_schedule(%(epoch)s, %(boot)s, %(schedule)s, %(due)s, %(next_at)s, %(skip)s, %(task)s, %(message)s, %(text)s,
  %(role)s, %(payload)s, %(meta)s);

-- name: asked_at
-- When a turn's message was accepted: what "in 10 minutes" counts from, whenever the turn runs.
select created_at from tasks where id = %(task)s;
