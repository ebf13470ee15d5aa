-- Tasks as people see and steer them: lists that stay fast with a hundred thousand rows, what became of each attempt,
-- and what an operator may do: cancel, requeue, discard.

-- Lists -----------------------------------------------------------------------------------------------------------------
-- Every index on this table costs each task something, so there is one for what waits, by its place in line, one for
-- what runs, and one for what has ended, by when; the one for all that is open, which had an entry a change, goes.
create index tasks_in_line on tasks(priority, due_at, id) include (state) where state in ('queued', 'waiting');
create index tasks_running on tasks(owner_boot, priority) where state = 'running';
create index tasks_ended on tasks(state_at, id) where state in ('done', 'failed', 'dead', 'cancelled');
drop index tasks_open;
create index tasks_of_conversation on tasks(conversation_id) where conversation_id is not null;
create index refusals_of_task on refusals(task_id, at) where task_id is not null;
create index audit_log_subjects on audit_log(subject, at);

-- A page of tasks in order: by when they may run while they wait, by when they began or ended otherwise. '' and null let
-- everything through; `p_at` and `p_id` are those of the last row of the page before. The text is put together so that
-- each part is answered from its own index, whatever is filtered.
create function find_tasks(
  p_state text, p_kind text, p_priority text, p_user uuid, p_conversation uuid, p_oldest boolean, p_at timestamptz,
  p_id uuid, p_limit int) returns table(no bigint, id uuid, at timestamptz) language plpgsql stable as $$
declare
  v_order text := case when p_oldest then 'asc' else 'desc' end;
  v_only text := concat(
    case when p_state <> '' then ' and state = $1' end, case when p_kind <> '' then ' and kind = $2' end,
    case when p_priority <> '' then ' and priority = $3' end, case when p_user is not null then ' and user_id = $4' end,
    case when p_conversation is not null then ' and conversation_id = $5' end);
  v_part text := '(select id, %1$I as at from tasks where %2$s' || v_only
    || case when p_at is null then '' when p_oldest then ' and (%1$I, id) > ($6, $7)' else ' and (%1$I, id) < ($6, $7)' end
    || format(' order by %%1$I %1$s, id %1$s limit $8)', v_order);
  v_waits text := 'state in (''queued'', ''waiting'') and priority = ';
  v_parts text[] := '{}';
begin
  if p_state in ('', 'queued', 'waiting') then
    v_parts := array[format(v_part, 'due_at', v_waits || '''high'''), format(v_part, 'due_at', v_waits || '''normal'''),
                     format(v_part, 'due_at', v_waits || '''low''')];
  end if;
  if p_state in ('', 'running') then v_parts := v_parts || format(v_part, 'state_at', 'state = ''running'''); end if;
  if p_state not in ('queued', 'waiting', 'running') then
    v_parts := v_parts || format(v_part, 'state_at', 'state in (''done'', ''failed'', ''dead'', ''cancelled'')');
  end if;
  return query execute
    format('select row_number() over (order by at %1$s, id %1$s), id, at from (', v_order)
    || array_to_string(v_parts, ' union all ')
    || format(') found order by at %1$s, id %1$s limit $8', v_order)
    using p_state, p_kind, p_priority, p_user, p_conversation, p_at, p_id, p_limit;
end $$;

-- What became of each attempt --------------------------------------------------------------------------------------------
-- The boot that committed it: the row's own `owner_boot` is empty by then. A turn's answer says it itself.
alter table tasks add column ran_on uuid;

-- Attempts after which the task went on, waits or is dead. What ends well needs no row here: the task's own says it all.
create table attempts(
  task_id uuid not null references tasks on delete cascade,
  attempt int not null,
  tenant_id text not null,
  user_id uuid not null,
  boot uuid,
  claimed_at timestamptz not null,
  ended_at timestamptz not null,
  became text not null,          -- the task's state afterwards: queued, waiting or dead
  failed boolean not null,       -- it failed; otherwise its agent let go of it
  reason text not null,
  trace_id text not null default '',
  primary key (task_id, attempt));

-- A trigger, so that it is kept whatever lets go of a row; neither a claim nor a commit calls it.
create function keep_attempt() returns trigger language plpgsql as $$
begin
  insert into attempts(task_id, attempt, tenant_id, user_id, boot, claimed_at, ended_at, became, failed, reason,
                       trace_id)
  values (old.id, old.attempt, old.tenant_id, old.user_id, old.owner_boot, coalesce(old.claimed_at, old.state_at),
          new.state_at, new.state, new.fail_count > old.fail_count,
          case when new.fail_count > old.fail_count or new.reason <> old.reason then new.reason else '' end, old.trace_id)
  on conflict do nothing;
  return null;
end $$;
create trigger attempts_are_kept after update of state on tasks for each row
  when (old.state = 'running' and new.state in ('queued', 'waiting', 'dead')) execute function keep_attempt();

-- As before (7.2), and keeps who ran it.
create or replace function commit_tasks(
  p_boot uuid, p_gen text, p_ids uuid[], p_attempts int[], p_states text[], p_results jsonb[], p_reasons text[])
returns table(what text, id uuid, priority text) language plpgsql as $$
#variable_conflict use_column
declare v_ended uuid[]; v_user uuid; v_count int;
begin
  with mine as materialized (
    select t.id, t.attempt, t.state, t.owner_boot from tasks t where t.id = any(p_ids) order by t.id for update)
  select array_agg(m.id) into v_ended
    from mine m join unnest(p_ids, p_attempts) as w(id, attempt) on m.id = w.id and m.attempt = w.attempt
   where m.state = 'running' and m.owner_boot = p_boot;
  update tasks t set state = w.state, result = w.result, reason = w.reason, owner_boot = null, state_at = now(),
                     ran_on = p_boot
    from unnest(p_ids, p_states, p_results, p_reasons) as w(id, state, result, reason)
   where t.id = w.id and t.id = any(v_ended);
  if cardinality(p_ids) > coalesce(cardinality(v_ended), 0) then
    insert into refusals(fence, what, boot, task_id, attempt)
    select 'attempt', 'commit_tasks', p_boot, w.id, w.attempt from unnest(p_ids, p_attempts) as w(id, attempt)
     where w.id <> all(coalesce(v_ended, '{}'));
  end if;
  return query select 'ended', e.id, '' from unnest(v_ended) as e(id);
  if p_gen is null then return; end if;
  for v_user, v_count in
    select t.user_id, count(*) from tasks t where t.id = any(v_ended) group by t.user_id order by t.user_id loop
    return query select 'next', n.id, n.priority from dispatch_of(v_user, p_gen, v_count) n;
  end loop;
end $$;

-- What an operator does ----------------------------------------------------------------------------------------------------
-- Why an act makes no sense for a task; '' when it does.
create function why_not(p_action text, p_state text, p_kind text) returns text language sql immutable as $$
  select case
    when p_action = 'cancel' and p_state in ('queued', 'waiting', 'running') then ''
    when p_action = 'cancel' then 'It has ended already: it is ' || p_state || '.'
    when p_state <> 'dead' then 'It is ' || p_state || ': only what is dead can be ' || rtrim(p_action, 'e') || 'ed.'
    when p_action = 'requeue' and p_kind = 'conversation' then
      'It is a turn: its person tries it again in the conversation, which may have gone on since.'
    else '' end
$$;

-- Do one of them to one task whose row is locked, and audit it.
create function act_on_task(p_task tasks, p_by text, p_action text, p_payload jsonb, p_reason text, p_trace text)
returns void language plpgsql as $$
declare v_steps int;
begin
  if p_action = 'cancel' and p_task.state = 'running' then
    update tasks set cancel_requested_at = coalesce(cancel_requested_at, now()) where id = p_task.id;
  elsif p_action in ('cancel', 'discard') then
    update tasks set state = 'cancelled', waits_for = '', state_at = now(), announced_at = null, cancel_requested_at = now(),
                     reason = concat(case p_action when 'cancel' then 'cancelled' else 'discarded' end, ' by ', p_by,
                                     ': ' || nullif(p_reason, ''))
     where id = p_task.id;
    update approvals set answer = 'withdrawn', answered_at = clock_timestamp()
     where task_id = p_task.id and answer is null;
    if p_task.kind = 'conversation' and p_action = 'cancel' then perform wake_next_turn(p_task.conversation_id); end if;
    -- What it published is of no use any more; a running one stops its own children.
    update tasks set cancel_requested_at = coalesce(cancel_requested_at, now()),
                     state = case when state = 'running' then state else 'cancelled' end,
                     reason = case when state = 'running' then reason else 'its parent was cancelled' end,
                     state_at = case when state = 'running' then state_at else now() end
     where parent_id = p_task.id and state in ('queued', 'waiting', 'running') and p_action = 'cancel';
  else
    -- The attempt goes on counting: it is the fence against whoever still works on an earlier one.
    update tasks set state = 'queued', fail_count = 0, crash_count = 0, payload = coalesce(p_payload, payload),
                     result = null, reason = '', due_at = now(), state_at = now(), cancel_requested_at = null,
                     claimed_at = null, deadline_at = null, dispatched_at = null, dispatched_gen = null
     where id = p_task.id;
    if p_payload <> p_task.payload then
      -- Their results answer another question: kept for the timeline, never replayed.
      select coalesce(min(step_no), 0) into v_steps from steps where task_id = p_task.id and step_no < 0;
      update steps set step_no = v_steps - step_no, idem_key = idem_key || ':until:' || p_task.attempt
       where task_id = p_task.id and step_no > 0;
    end if;
  end if;
end $$;

-- Cancel, requeue or discard tasks, each once, under the request's key; what is refused is audited as well. Returns
-- [{"id", "why"}] in the order of the ids, why = '' for what was done. Lock order: conversations, task rows by id, the log.
create function act_on_tasks(
  p_key uuid, p_by text, p_action text, p_ids uuid[], p_payload jsonb, p_reason text, p_trace text) returns jsonb
language plpgsql as $$
declare v tasks; v_subject text; v_asked requests; v_answer jsonb; v_why jsonb := '{}';
begin
  v_subject := case when cardinality(p_ids) = 1 then p_ids[1]::text
                    else cardinality(p_ids) || ' tasks ' || md5(p_ids::text) end;
  insert into requests(key, actor, action, subject, trace_id) values (p_key, p_by, p_action, v_subject, p_trace)
  on conflict do nothing;
  if not found then
    select * into v_asked from requests where key = p_key;
    if (v_asked.action, v_asked.subject) is distinct from (p_action, v_subject) then
      raise exception 'This key belongs to another request (% %); send a new one.', v_asked.action, v_asked.subject
        using errcode = 'NX409';
    end if;
    return v_asked.answer;
  end if;
  perform 1 from conversations
    where id in (select conversation_id from tasks where id = any(p_ids) and kind = 'conversation') order by id for update;
  for v in select * from tasks where id = any(p_ids) order by id for update loop
    v_why := v_why || jsonb_build_object(v.id, why_not(p_action, v.state, v.kind));
    if v_why ->> v.id::text = '' then perform act_on_task(v, p_by, p_action, p_payload, p_reason, p_trace); end if;
  end loop;
  if p_action = 'requeue' and exists(select 1 from jsonb_each_text(v_why) where value = '') then
    perform pg_notify('nexus_queued', '');
  end if;
  select jsonb_agg(jsonb_build_object('id', w.id, 'why', coalesce(v_why ->> w.id::text, 'There is no such task.'))
                   order by w.no)
    into v_answer from unnest(p_ids) with ordinality w(id, no);
  perform audit(p_by, p_action || case when it ->> 'why' = '' then ' task' else ' task: refused' end, it ->> 'id',
                jsonb_strip_nulls(jsonb_build_object(
                  'request', p_key, 'why', nullif(it ->> 'why', ''), 'reason', nullif(p_reason, ''),
                  'payload', case when it ->> 'why' = '' and p_payload is not null then 'edited' end)), p_trace)
    from jsonb_array_elements(v_answer) it;
  update requests set answer = v_answer where key = p_key;
  return v_answer;
end $$;

-- Who runs a task, or let go of it last; '' when nobody did.
create function agent_of(p_task tasks) returns text language sql stable as $$
  select coalesce(
    (select agent_id from boots where boot = coalesce(
       p_task.owner_boot, p_task.ran_on,
       (select a.boot from attempts a where a.task_id = p_task.id and a.attempt = p_task.attempt))),
    (select agent_id from messages where task_id = p_task.id and role = 'assistant'), '')
$$;

-- A task as a list shows it.
create view task_lines as
  select t.id, t.kind, t.role, t.priority, t.state, t.attempt, t.fail_count, t.crash_count, u.name as person,
         t.conversation_id, t.parent_id, t.turn_no, agent_of(t) as agent, t.created_at, t.due_at, t.state_at,
         t.claimed_at, t.reason, t.state = 'running' and t.cancel_requested_at is not null as stopping,
         left(coalesce(m.text, t.payload::text), 160) as about,
         why_not('cancel', t.state, t.kind) as no_cancel, why_not('requeue', t.state, t.kind) as no_requeue,
         why_not('discard', t.state, t.kind) as no_discard
    from tasks t join users u on u.id = t.user_id
    left join messages m on m.task_id = t.id and m.role = 'user' and t.kind = 'conversation';
