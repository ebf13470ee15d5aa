-- The atomic steps of a turn, one function call each in autocommit: the first statement takes the locks, the later ones
-- see a fresh snapshot (PROTOCOLS 6.2). Lock order everywhere: conversation, boots, tasks.

-- Accept (DESIGN 6.1): message, turn and claim in one transaction, idempotent on the client's message id.
create function accept_turn(
  p_tenant text, p_user uuid, p_conversation uuid, p_create boolean, p_client_id text, p_text text,
  p_task uuid, p_message uuid, p_trace text, p_boot uuid, p_deadline interval, p_max_queued int)
returns table(task_id uuid, message_id uuid, turn_no int, state text, attempt int, duplicate boolean)
language plpgsql as $$
#variable_conflict use_column
declare
  v_key text := p_conversation || ':' || p_client_id;
  v_state text := 'queued';
  v_no int;
begin
  if p_create then
    insert into conversations(id, tenant_id, user_id, trace_id)
    values (p_conversation, p_tenant, p_user, p_trace) on conflict do nothing;
  end if;
  perform 1 from conversations c
    where c.id = p_conversation and c.tenant_id = p_tenant and c.user_id = p_user and c.deleted_at is null
    for update;
  if not found then
    raise exception using errcode = 'NX404', message = 'There is no such conversation.';
  end if;

  return query select t.id, m.id, t.turn_no, t.state, t.attempt, true
    from tasks t join messages m on m.task_id = t.id and m.role = 'user' where t.idem_key = v_key;
  if found then return; end if;

  if exists(select 1 from tasks t where t.conversation_id = p_conversation
              and t.state in ('queued', 'running', 'waiting')) then
    v_state := 'waiting';
  elsif p_boot is not null then
    perform 1 from boots b where b.boot = p_boot and b.dead_at is null for share;
    if found then v_state := 'running'; end if;
  end if;
  if v_state <> 'running' and
     (select count(*) from (select 1 from tasks t where t.state in ('queued', 'waiting') limit p_max_queued) w)
       >= p_max_queued then
    raise exception using errcode = 'NX429', message = 'Too many turns are waiting already; try again in a moment.';
  end if;

  select coalesce(max(t.turn_no), 0) + 1 into v_no from tasks t where t.conversation_id = p_conversation;
  insert into tasks(id, tenant_id, user_id, conversation_id, kind, state, attempt, owner_boot, turn_no, deadline_at,
                    payload, idem_key, trace_id)
  values (p_task, p_tenant, p_user, p_conversation, 'conversation', v_state,
          case when v_state = 'running' then 1 else 0 end, case when v_state = 'running' then p_boot end, v_no,
          case when v_state = 'running' then clock_timestamp() + p_deadline end, '{}', v_key, p_trace);
  insert into messages(id, tenant_id, user_id, conversation_id, task_id, turn_no, role, text, trace_id)
  values (p_message, p_tenant, p_user, p_conversation, p_task, v_no, 'user', p_text, p_trace);
  update conversations c set updated_at = now(),
         title = case when c.title = '' then left(split_part(btrim(p_text), e'\n', 1), 80) else c.title end
   where c.id = p_conversation;
  if v_state = 'queued' then perform pg_notify('nexus_queued', ''); end if;
  return query select p_task, p_message, v_no, v_state, case when v_state = 'running' then 1 else 0 end, false;
end $$;

-- Claim (7.2): the share lock on the boot means that a release either waits for this or forbids it.
create function claim_turns(p_boot uuid, p_limit int, p_deadline interval) returns setof tasks language plpgsql as $$
begin
  perform 1 from boots where boot = p_boot and dead_at is null for share;
  if not found then return; end if;
  return query
    update tasks set state = 'running', attempt = attempt + 1, owner_boot = p_boot, state_at = now(),
                     deadline_at = clock_timestamp() + p_deadline
     where id in (select id from tasks
                   where state = 'queued' and due_at <= now() and kind = 'conversation'
                   order by array_position(array['high', 'normal', 'low'], priority), due_at, id
                   limit p_limit for update skip locked)
    returning *;
end $$;

-- The next turn of a conversation may run once the one before it has ended.
create function wake_next_turn(p_conversation uuid) returns void language plpgsql as $$
begin
  perform 1 from conversations where id = p_conversation for update;
  update tasks set state = 'queued', due_at = now(), state_at = now()
   where id = (select id from tasks where conversation_id = p_conversation and state = 'waiting'
                and kind = 'conversation'
                and not exists(select 1 from tasks where conversation_id = p_conversation
                                and state in ('queued', 'running') and kind = 'conversation')
                order by turn_no limit 1);
  if found then perform pg_notify('nexus_queued', ''); end if;
end $$;

-- Commit (7.2): once, by the attempt that owns the row. false = somebody else's now, discard.
create function end_turn(
  p_task uuid, p_attempt int, p_boot uuid, p_state text, p_reason text, p_result jsonb,
  p_message uuid, p_text text, p_agent text, p_model text, p_meta jsonb) returns boolean language plpgsql as $$
declare v tasks;
begin
  perform 1 from conversations where id = (select conversation_id from tasks where id = p_task) for update;
  update tasks set state = p_state, reason = p_reason, result = p_result, owner_boot = null, state_at = now(),
                   announced_at = null
   where id = p_task and attempt = p_attempt and state = 'running' and owner_boot = p_boot
  returning * into v;
  if not found then return false; end if;
  if p_text is not null then
    insert into messages(id, tenant_id, user_id, conversation_id, task_id, turn_no, role, text, agent_id, model, meta,
                         trace_id)
    values (p_message, v.tenant_id, v.user_id, v.conversation_id, v.id, v.turn_no, 'assistant', p_text, p_agent, p_model,
            p_meta, v.trace_id);
    update conversations set updated_at = now() where id = v.conversation_id;
  end if;
  perform wake_next_turn(v.conversation_id);
  return true;
end $$;

-- A failed try goes back to the queue with a delay (7.6); the next claim raises the attempt.
create function retry_turn(p_task uuid, p_attempt int, p_boot uuid, p_reason text, p_delay interval) returns boolean
language plpgsql as $$
begin
  update tasks set state = 'queued', owner_boot = null, fail_count = fail_count + 1, reason = p_reason,
                   due_at = clock_timestamp() + p_delay, state_at = now()
   where id = p_task and attempt = p_attempt and state = 'running' and owner_boot = p_boot;
  return found;
end $$;

-- Abort (DESIGN 6.5): a durable flag for a running turn, the end of one that has not begun. Returns the state then.
create function cancel_turn(p_tenant text, p_user uuid, p_task uuid) returns text language plpgsql as $$
declare v tasks;
begin
  perform 1 from conversations where id = (select conversation_id from tasks where id = p_task) for update;
  select * into v from tasks where id = p_task and tenant_id = p_tenant and user_id = p_user for update;
  if not found then
    raise exception using errcode = 'NX404', message = 'There is no such turn.';
  end if;
  if v.state in ('queued', 'waiting') then
    update tasks set state = 'cancelled', reason = 'stopped by its user', state_at = now(), announced_at = null,
                     cancel_requested_at = now() where id = p_task;
    perform wake_next_turn(v.conversation_id);
    return 'cancelled';
  elsif v.state = 'running' then
    update tasks set cancel_requested_at = coalesce(cancel_requested_at, now()) where id = p_task;
  end if;
  return v.state;
end $$;

-- The moment of death (7.3): waits for claims in flight and forbids later ones.
create function bury_boot(p_boot uuid, p_reason text) returns boolean language plpgsql set lock_timeout = '1s' as $$
begin
  lock table boots in exclusive mode;
  update boots set dead_at = clock_timestamp(), reason = p_reason where boot = p_boot and dead_at is null;
  return found;
end $$;

-- Release (7.3): hand a boot's work back. p_turns_only: the boot is silent, not yet dead.
create function release_boot(p_boot uuid, p_turns_only boolean) returns int language plpgsql as $$
declare released int;
begin
  perform 1 from tasks where owner_boot = p_boot and state = 'running' order by id for update;
  update tasks set state = 'queued', owner_boot = null, dispatched_at = null, due_at = least(due_at, now()),
                   state_at = now()
   where owner_boot = p_boot and state = 'running' and (not p_turns_only or kind = 'conversation');
  get diagnostics released = row_count;
  if released > 0 then perform pg_notify('nexus_queued', ''); end if;
  return released;
end $$;

-- Intent (7.2): the row with its key stands before the call is made. Returns the finished step when an earlier attempt
-- completed it (replay), an intent to run otherwise, no row when the attempt is not the current one.
create function begin_step(
  p_task uuid, p_attempt int, p_boot uuid, p_no int, p_kind text, p_name text, p_key text, p_hash text)
returns setof steps language plpgsql as $$
declare v tasks;
begin
  select * into v from tasks where id = p_task and attempt = p_attempt and state = 'running' and owner_boot = p_boot
    for share;
  if not found then return; end if;
  return query
    insert into steps as s (task_id, step_no, tenant_id, user_id, kind, name, idem_key, state, attempt, input_hash, trace_id)
    values (p_task, p_no, v.tenant_id, v.user_id, p_kind, p_name, p_key, 'intent', p_attempt, p_hash, v.trace_id)
    on conflict (task_id, step_no) do update
      set attempt = case when s.state = 'intent' then excluded.attempt else s.attempt end,
          name = case when s.state = 'intent' then excluded.name else s.name end
    returning *;
end $$;
