-- name: submit_tasks
-- No row at all: too many of this user's wait already; counted up to the limit only. The share depends on the count, in
-- words, so that the function is not called before it is known.
select s.* from (
  select count(*) as waiting from (
    (select 1 from tasks where user_id = %(user)s and state = 'queued' and kind <> 'conversation'
                           and dispatched_gen is null and lane is null limit %(limit)s)
    union all
    (select 1 from tasks where user_id = %(user)s and state = 'queued' and lane is not null limit %(limit)s)) o) w
 cross join lateral submit_tasks(%(tenant)s, %(user)s, %(parent)s, %(conversation)s, %(trace)s, %(gen)s,
  (%(share)s + 0 * w.waiting)::int, %(ids)s::uuid[], %(kinds)s::text[], %(priorities)s::text[], %(payloads)s::jsonb[],
  %(keys)s::text[], %(delays)s::float8[], %(lanes)s::text[], %(prefers)s::boolean[]) s
 where w.waiting < %(limit)s;

-- name: declare_capabilities
update boots set capabilities = %(capabilities)s::text[] where boot = %(boot)s returning boot;

-- name: claim_tasks
select id, tenant_id, user_id, parent_id, conversation_id, kind, priority, attempt, fail_count, crash_count, payload,
       trace_id, edits, state
  from claim_tasks(%(boot)s, %(ids)s::uuid[], make_interval(secs => %(deadline_s)s));

-- name: commit_tasks
select * from commit_tasks(%(boot)s, %(gen)s, %(ids)s::uuid[], %(attempts)s::int[], %(states)s::text[],
  %(results)s::jsonb[], %(reasons)s::text[]);

-- name: fail_task
select fail_task(%(task)s, %(attempt)s, %(boot)s, %(reason)s, make_interval(secs => %(delay_s)s), %(tries)s);

-- name: ended_tasks
select id, state, result, reason, coalesce(extract(epoch from state_at - claimed_at), 0)::float as seconds from tasks
 where id = any(%(ids)s::uuid[]) and state in ('done', 'failed', 'dead', 'cancelled');

-- name: sweep_undispatched
select * from sweep_undispatched(%(epoch)s, %(boot)s, %(gen)s, %(share)s, %(limit)s);

-- name: sweep_directed
select * from sweep_directed(%(epoch)s, %(boot)s, %(gen)s, %(share)s, make_interval(secs => %(older_s)s),
  make_interval(secs => %(grace_s)s), %(limit)s);

-- name: sweep_unclaimed
select * from sweep_unclaimed(%(epoch)s, %(boot)s, %(gen)s, make_interval(secs => %(older_s)s), %(limit)s);

-- name: tasks_running_of
select id, tenant_id, user_id, parent_id, conversation_id, kind, priority, attempt, fail_count, crash_count, payload,
       trace_id, edits, cancel_requested_at is not null as cancelled, deadline_at < clock_timestamp() as overdue
  from tasks where owner_boot = %(boot)s and state = 'running' and kind <> 'conversation';

-- name: progress_of
select t.id, t.state, coalesce(b.agent_id, '') as agent,
       coalesce(extract(epoch from case when t.state = 'running' then clock_timestamp() else t.state_at end
                                   - t.claimed_at), 0)::float as seconds
  from tasks t left join boots b on b.boot = t.owner_boot where t.parent_id = %(parent)s;

-- name: cancel_children
-- The durable flag of those that run is polled by their agents each second.
update tasks set cancel_requested_at = coalesce(cancel_requested_at, now()),
                 state = case when state = 'queued' then 'cancelled' else state end,
                 reason = case when state = 'queued' then 'stopped by its user' else reason end,
                 state_at = case when state = 'queued' then now() else state_at end
 where parent_id = %(parent)s and state in ('queued', 'running');

-- name: note_crash
select note_crash(%(boot)s);

-- name: what_waits
-- Cheap when nothing does: each part ends at its first row.
select exists(select 1 from tasks where state = 'queued' and kind <> 'conversation' and lane is null
               and dispatched_gen is null)
    or exists(select 1 from tasks where state = 'queued' and kind <> 'conversation' and lane is null
               and dispatched_gen is not null and dispatched_gen <> %(gen)s) as untold,
       exists(select 1 from tasks where state = 'queued' and kind <> 'conversation' and lane is null
               and dispatched_gen is not null) as told,
       exists(select 1 from tasks where state = 'queued' and lane is not null) as directed;

-- name: act_on_tasks
select act_on_tasks(%(key)s, %(by)s, %(action)s, %(ids)s::uuid[], %(payload)s::jsonb, %(reason)s, %(trace)s);
