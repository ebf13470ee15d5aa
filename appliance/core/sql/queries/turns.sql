-- name: accept_turn
select * from accept_turn(%(tenant)s, %(user)s, %(conversation)s, %(create)s, %(client_id)s, %(text)s, %(task)s,
  %(message)s, %(trace)s, %(boot)s, make_interval(secs => %(deadline_s)s), %(max_queued)s, %(role)s);

-- name: claim_turns
select t.*, m.text as message, extract(epoch from t.claimed_at - greatest(t.due_at, t.released_at))::float as waited_s
  from claim_turns(%(boot)s, %(limit)s, make_interval(secs => %(deadline_s)s), %(leads)s) t
  join messages m on m.task_id = t.id and m.role = 'user'
  -- Asked four times a second by every agent: mostly there is nothing, and then no lock is taken and nothing written.
 where exists(select 1 from tasks q where q.state = 'queued' and q.due_at <= now() and q.kind = 'conversation');

-- name: end_turn
select end_turn(%(task)s, %(attempt)s, %(boot)s, %(state)s, %(reason)s, %(result)s, %(message)s, %(text)s, %(agent)s,
  %(model)s, %(meta)s);

-- name: retry_turn
select retry_turn(%(task)s, %(attempt)s, %(boot)s, %(reason)s, make_interval(secs => %(delay_s)s));

-- name: cancel_turn
select cancel_turn(%(tenant)s, %(user)s, %(task)s);

-- name: begin_step
select * from begin_step(%(task)s, %(attempt)s, %(boot)s, %(no)s, %(kind)s, %(name)s, %(key)s, %(hash)s,
  %(effect)s, %(input)s);

-- name: finish_step
-- A result is a fact: accepted from the attempt that wrote the intent while it still is one, even after a release.
update steps set state = 'done', result = %(result)s, tokens = %(tokens)s, name = %(name)s, finished_at = clock_timestamp()
 where task_id = %(task)s and step_no = %(no)s and attempt = %(attempt)s and state = 'intent' returning step_no;

-- name: team_of
select t.id, t.idem_key, (select coalesce(sum(s.tokens), 0) from steps s where s.task_id = t.id)::int as tokens,
       extract(epoch from clock_timestamp() - t.created_at)::float as age_s
  from tasks t where t.parent_id = %(parent)s and t.kind = 'sub_agent';

-- name: turn
select t.*, m.text as message from tasks t join messages m on m.task_id = t.id and m.role = 'user' where t.id = %(task)s;

-- name: cancelled_among
-- The durable flag behind the abort hint, polled each second.
select id from tasks where id = any(%(tasks)s) and cancel_requested_at is not null;

-- name: running_of
-- Everything the ledger believes this boot runs.
select id, attempt from tasks where owner_boot = %(boot)s and state = 'running' and kind = 'conversation';

-- name: overdue
select id from tasks where owner_boot = %(boot)s and state = 'running' and deadline_at < clock_timestamp();

-- name: unannounced
select t.*, m.text as message, a.id as answer_id, a.text as answer, a.agent_id, a.model, a.meta
  from tasks t join messages m on m.task_id = t.id and m.role = 'user'
  left join messages a on a.task_id = t.id and a.role = 'assistant'
 where t.announced_at is null and t.state in ('done', 'failed', 'dead', 'cancelled')
   and t.state_at < now() - interval '1 second' and t.kind = 'conversation'
 order by t.state_at limit 50;

-- name: ended_turn
select t.id, t.attempt, t.state, t.reason, a.id as answer_id, a.text as answer, a.model, a.meta
  from tasks t left join messages a on a.task_id = t.id and a.role = 'assistant'
 where t.id = %(task)s and t.conversation_id = %(conversation)s and t.state in ('done', 'failed', 'dead', 'cancelled');

-- name: announced
update tasks set announced_at = now() where id = %(task)s and attempt = %(attempt)s and state = %(state)s;

-- name: queued_before
select count(*) from tasks where state = 'queued' and kind = 'conversation' and due_at <= now()
   and (due_at, id) < (select due_at, id from tasks where id = %(task)s);
