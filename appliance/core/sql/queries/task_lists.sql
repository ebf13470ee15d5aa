-- name: task_lines
-- A page of them, in its order.
select f.no, f.at, l.* from find_tasks(%(state)s, %(kind)s, %(priority)s, %(user)s::uuid, %(conversation)s::uuid,
  %(oldest)s, %(after_at)s::timestamptz, %(after_id)s::uuid, %(limit)s) f join task_lines l on l.id = f.id order by f.no;

-- name: task_line
select l.state_at as at, l.* from task_lines l where l.id = %(task)s;

-- name: child_lines
select l.state_at as at, l.* from task_lines l where l.parent_id = %(parent)s order by l.created_at, l.id limit %(limit)s;

-- name: turn_lines
-- The newest turns of a conversation, or the newest of those before one.
select l.state_at as at, l.* from task_lines l
 where l.conversation_id = %(conversation)s and l.turn_no is not null
   and (%(before)s::int is null or l.turn_no < %(before)s)
 order by l.turn_no desc limit %(limit)s;

-- name: ids_like
-- Which tasks have an id that begins so; two are enough to know that it is not one.
select id from tasks where id between %(first)s::uuid and %(last)s::uuid order by id limit 2;

-- name: dead_ids
select f.id, f.at, why_not(%(action)s, t.state, t.kind) = '' as makes_sense
  from find_tasks('dead', %(kind)s, '', null, null, true, %(after_at)s::timestamptz, %(after_id)s::uuid, %(limit)s) f
  join tasks t on t.id = f.id where f.at <= %(until)s order by f.no;

-- name: tasks_by_priority
-- Counted up to `most` each: a backlog is read no further than that.
select p.priority, due.number as waiting, later.number as later, running.number as running, dead.number as dead,
       coalesce(greatest(extract(epoch from now() - oldest.due_at), 0), 0)::float as oldest_s
  from unnest(array['high', 'normal', 'low']) with ordinality p(priority, no)
  cross join lateral (select count(*) as number from (
    select 1 from tasks where state in ('queued', 'waiting') and priority = p.priority and due_at <= now() limit %(most)s) c) due
  cross join lateral (select count(*) as number from (
    select 1 from tasks where state in ('queued', 'waiting') and priority = p.priority and due_at > now() limit %(most)s) c) later
  cross join lateral (select min(due_at) as due_at from (
    select due_at from tasks where state in ('queued', 'waiting') and priority = p.priority order by due_at limit 1) c) oldest
  cross join lateral (select count(*) as number from (
    select 1 from tasks where state = 'running' and priority = p.priority limit %(most)s) c) running
  cross join lateral (select count(*) as number from (
    select 1 from tasks where state = 'dead' and priority = p.priority limit %(most)s) c) dead
 order by p.no;

-- name: task_contents
-- What it was given and what came of it; a turn's are its messages.
select t.payload, t.result, coalesce(q.text, '') as message, coalesce(a.text, '') as answer
  from tasks t left join messages q on q.task_id = t.id and q.role = 'user'
  left join messages a on a.task_id = t.id and a.role = 'assistant' where t.id = %(task)s;

-- name: turn_texts
select task_id, role, text from messages where task_id = any(%(tasks)s::uuid[]);

-- name: life_of
-- What a timeline needs of the rows themselves.
select t.id as task, t.kind, t.state, t.attempt, t.reason, t.created_at, t.claimed_at, t.dispatched_at, t.due_at, t.state_at,
       t.cancel_requested_at, u.name as person, agent_of(t) as agent, t.needs, t.loosened_at, no_agent(t) as no_agent
  from tasks t join users u on u.id = t.user_id
 where t.id = any(%(tasks)s::uuid[]);

-- name: attempts_of
select a.task_id as task, a.attempt, coalesce(b.agent_id, '') as agent, a.claimed_at, a.ended_at, a.became, a.failed, a.reason,
       case when b.dead_at is not null then coalesce(b.reason, '') end as death
  from attempts a left join boots b on b.boot = a.boot where a.task_id = any(%(tasks)s::uuid[]);

-- name: steps_of
select task_id as task, step_no as no, kind, name, state, attempt, tokens, started_at, finished_at
  from steps where task_id = any(%(tasks)s::uuid[]);

-- name: acts_of
select subject as task, at, actor, action, coalesce(detail ->> 'why', detail ->> 'payload', '') as note
  from audit_log where subject = any(%(tasks)s::text[]);

-- name: refusals_of
select r.task_id as task, r.at, r.what, r.attempt, coalesce(b.agent_id, '') as agent
  from refusals r left join boots b on b.boot = r.boot where r.task_id = any(%(tasks)s::uuid[]);

-- name: conversation_seen
select c.id, c.title, u.name as person, c.created_at, c.updated_at, c.deleted_at is not null as deleted
  from conversations c join users u on u.id = c.user_id where c.id = %(conversation)s;
