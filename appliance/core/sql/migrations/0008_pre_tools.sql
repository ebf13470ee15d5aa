-- Tools and what a person is asked (PROTOCOLS 7.2, DESIGN 12). A turn that waits for a person holds no slot: its row
-- waits, the question is a row, and the answer queues it again, whoever is alive then.

alter table tasks add column waits_for text not null default '' check (waits_for in ('', 'person'));
alter table tasks add constraint waits_for_while_waiting check (waits_for = '' or state = 'waiting');
-- When a person's answer let it go on; later than its last release, it was not lost by anybody.
alter table tasks add column answered_at timestamptz;

-- pure: it changes nothing; idempotent: again with the same key changes nothing more; side_effecting: neither.
alter table steps add column effect text not null default 'pure' check (effect in ('pure', 'idempotent', 'side_effecting'));
alter table steps add column input jsonb;

-- One question to a person. `about` is 0: may this be called? Else the attempt whose call has an unknown outcome.
-- Bound to the hash of the arguments: other arguments are another question.
create table approvals(
  id uuid primary key,
  tenant_id text not null,
  user_id uuid not null references users,
  conversation_id uuid references conversations,
  task_id uuid not null references tasks,
  step_no int not null,
  about int not null,
  tool text not null,
  input jsonb not null,
  input_hash text not null,
  asked_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  announced_at timestamptz,
  answer text check (answer in ('allow', 'deny', 'again', 'happened', 'skip', 'expired', 'withdrawn')),
  answered_by text not null default '',
  answered_at timestamptz,
  trace_id text not null default '',
  unique (task_id, step_no, about, input_hash));
create index approvals_open on approvals(expires_at) where answer is null;
create index approvals_of_conversation on approvals(conversation_id) where answer is null;

-- As before (7.2); what has side effects and was begun by an earlier attempt has an unknown outcome from now on.
drop function begin_step(uuid, int, uuid, int, text, text, text, text);
create function begin_step(
  p_task uuid, p_attempt int, p_boot uuid, p_no int, p_kind text, p_name text, p_key text, p_hash text,
  p_effect text default 'pure', p_input jsonb default null)
returns setof steps language plpgsql as $$
declare v tasks;
begin
  select * into v from tasks where id = p_task and attempt = p_attempt and state = 'running' and owner_boot = p_boot
    for share;
  if not found then
    insert into refusals(fence, what, boot, task_id, attempt) values ('attempt', 'begin_step', p_boot, p_task, p_attempt);
    return;
  end if;
  return query
    insert into steps as s (task_id, step_no, tenant_id, user_id, kind, name, idem_key, state, attempt, input_hash,
                            trace_id, effect, input)
    values (p_task, p_no, v.tenant_id, v.user_id, p_kind, p_name, p_key, 'intent', p_attempt, p_hash, v.trace_id,
            p_effect, p_input)
    on conflict (task_id, step_no) do update
      set state = case when s.state = 'intent' and s.effect = 'side_effecting' and s.attempt < excluded.attempt
                       then 'unknown' else s.state end,
          attempt = case when s.state = 'intent' and s.effect <> 'side_effecting' then excluded.attempt
                         else s.attempt end,
          name = case when s.state = 'intent' then excluded.name else s.name end
    returning *;
end $$;

-- A call of this attempt ended without saying what it did.
create function doubt_step(p_task uuid, p_attempt int, p_no int) returns boolean language plpgsql as $$
begin
  update steps set state = 'unknown' where task_id = p_task and step_no = p_no and attempt = p_attempt
                                       and state = 'intent';
  return found;
end $$;

-- What a person said of an unknown outcome: with a result the step is done, without one this attempt may call again.
create function settle_step(p_task uuid, p_attempt int, p_boot uuid, p_no int, p_result jsonb) returns boolean
language plpgsql as $$
begin
  perform 1 from tasks where id = p_task and attempt = p_attempt and state = 'running' and owner_boot = p_boot
    for share;
  if not found then
    insert into refusals(fence, what, boot, task_id, attempt) values ('attempt', 'settle_step', p_boot, p_task, p_attempt);
    return false;
  end if;
  update steps set state = case when p_result is null then 'intent' else 'done' end, attempt = p_attempt,
                   result = p_result, finished_at = case when p_result is not null then clock_timestamp() end
   where task_id = p_task and step_no = p_no and state = 'unknown';
  return true;
end $$;

-- Ask, once: the answer if there is one, else the task waits for it and is nobody's. No row: another attempt's task.
create function ask_person(
  p_task uuid, p_attempt int, p_boot uuid, p_no int, p_about int, p_id uuid, p_tool text, p_input jsonb, p_hash text,
  p_within interval)
returns setof approvals language plpgsql as $$
declare v tasks; w approvals;
begin
  select * into v from tasks where id = p_task and attempt = p_attempt and state = 'running' and owner_boot = p_boot
    for update;
  if not found then
    insert into refusals(fence, what, boot, task_id, attempt) values ('attempt', 'ask_person', p_boot, p_task, p_attempt);
    return;
  end if;
  insert into approvals(id, tenant_id, user_id, conversation_id, task_id, step_no, about, tool, input, input_hash,
                        expires_at, trace_id)
  values (p_id, v.tenant_id, v.user_id, v.conversation_id, p_task, p_no, p_about, p_tool, p_input, p_hash,
          clock_timestamp() + p_within, v.trace_id)
  on conflict (task_id, step_no, about, input_hash) do nothing;
  select * into w from approvals
   where task_id = p_task and step_no = p_no and about = p_about and input_hash = p_hash;
  if w.answer is null and v.cancel_requested_at is not null then
    update approvals set answer = 'withdrawn', answered_at = clock_timestamp() where id = w.id returning * into w;
  elsif w.answer is null then
    update tasks set state = 'waiting', waits_for = 'person', owner_boot = null, state_at = now(), claimed_at = null
     where id = p_task;
  end if;
  return next w;
end $$;

-- Let a task that waits for a person go on.
create function go_on(p_task uuid) returns void language plpgsql as $$
begin
  update tasks set state = 'queued', waits_for = '', due_at = now(), state_at = now(), answered_at = clock_timestamp(),
                   dispatched_at = null, dispatched_gen = null
   where id = p_task and state = 'waiting' and waits_for = 'person';
  if found then perform pg_notify('nexus_queued', ''); end if;
end $$;

-- Answer, once: the first answer counts, and is what is returned, also to whoever comes later.
create function answer_approval(
  p_tenant text, p_user uuid, p_conversation uuid, p_id uuid, p_answer text, p_by text)
returns setof approvals language plpgsql as $$
declare w approvals;
begin
  select * into w from approvals
   where id = p_id and tenant_id = p_tenant and user_id = p_user and conversation_id = p_conversation;
  if not found then
    raise exception using errcode = 'NX404', message = 'There is no such question.';
  end if;
  if (p_answer in ('allow', 'deny')) <> (w.about = 0) then
    raise exception using errcode = 'NX400', message = case when w.about = 0
      then 'Answer allow or deny.' else 'Answer again, happened or skip.' end;
  end if;
  perform 1 from conversations where id = p_conversation for update;
  perform 1 from tasks where id = w.task_id for update;
  update approvals set answer = case when expires_at < clock_timestamp() then 'expired' else p_answer end,
                       answered_by = p_by, answered_at = clock_timestamp()
   where id = p_id and answer is null;
  if found then
    perform go_on(w.task_id);
    perform audit(p_by, 'answer', w.tool, jsonb_build_object('answer', p_answer, 'task', w.task_id, 'step', w.step_no,
            'about', w.about, 'hash', w.input_hash), w.trace_id);
  end if;
  return query select * from approvals where id = p_id;
end $$;

-- What nobody answered in time, as the primary of an epoch: it is not done, and its task goes on with that.
create function sweep_expired(p_epoch bigint, p_boot uuid) returns int language plpgsql as $$
declare w approvals; v_expired int := 0;
begin
  if not fenced(p_epoch, p_boot, 'sweep_expired') then return null; end if;
  for w in select * from approvals where answer is null and expires_at < clock_timestamp() order by expires_at limit 50 loop
    perform 1 from conversations where id = w.conversation_id for update;
    perform 1 from tasks where id = w.task_id for update;
    update approvals set answer = 'expired', answered_at = clock_timestamp() where id = w.id and answer is null;
    if found then
      perform go_on(w.task_id);
      v_expired := v_expired + 1;
    end if;
  end loop;
  return v_expired;
end $$;

-- As before (7.2), but a turn that waits for a person is woken by the answer only, and those behind it wait for it.
create or replace function wake_next_turn(p_conversation uuid) returns void language plpgsql as $$
begin
  perform 1 from conversations where id = p_conversation for update;
  update tasks set state = 'queued', due_at = now(), state_at = now()
   where id = (select id from tasks where conversation_id = p_conversation and state = 'waiting'
                and kind = 'conversation'
                and not exists(select 1 from tasks where conversation_id = p_conversation and kind = 'conversation'
                                and (state in ('queued', 'running') or waits_for = 'person'))
                order by turn_no limit 1);
  if found then perform pg_notify('nexus_queued', ''); end if;
end $$;

create or replace function sweep_waiting(p_epoch bigint, p_boot uuid) returns int language plpgsql as $$
declare v_conversation uuid; v_woken int := 0;
begin
  if not fenced(p_epoch, p_boot, 'sweep_waiting') then return null; end if;
  for v_conversation in
    select distinct w.conversation_id from tasks w
     where w.state = 'waiting' and w.kind = 'conversation'
       and not exists(select 1 from tasks b where b.conversation_id = w.conversation_id and b.kind = 'conversation'
                       and (b.state in ('queued', 'running') or b.waits_for = 'person'))
     order by w.conversation_id loop
    perform wake_next_turn(v_conversation);
    v_woken := v_woken + 1;
  end loop;
  return v_woken;
end $$;

-- As before (DESIGN 6.5); what was asked for it is withdrawn.
create or replace function cancel_turn(p_tenant text, p_user uuid, p_task uuid) returns text language plpgsql as $$
declare v tasks;
begin
  perform 1 from conversations where id = (select conversation_id from tasks where id = p_task) for update;
  select * into v from tasks where id = p_task and tenant_id = p_tenant and user_id = p_user for update;
  if not found then
    raise exception using errcode = 'NX404', message = 'There is no such turn.';
  end if;
  if v.state in ('queued', 'waiting') then
    update tasks set state = 'cancelled', waits_for = '', reason = 'stopped by its user', state_at = now(),
                     announced_at = null, cancel_requested_at = now() where id = p_task;
    update approvals set answer = 'withdrawn', answered_at = clock_timestamp() where task_id = p_task and answer is null;
    perform wake_next_turn(v.conversation_id);
    return 'cancelled';
  elsif v.state = 'running' then
    update tasks set cancel_requested_at = coalesce(cancel_requested_at, now()) where id = p_task;
  end if;
  return v.state;
end $$;
