-- Distributed tasks (PROTOCOLS 7): the rows are the truth, Redis is only told of them. Everything works on batches.
-- Lock order everywhere: conversations, boots, then all task rows needed, by id.

-- The generation of Redis that was told of a queued row; null = nobody was told yet.
alter table tasks add column dispatched_gen text;

-- The indexes of turns no longer carry tasks, of which there may be a hundred thousand.
drop index tasks_due;
create index turns_due on tasks(due_at) where state = 'queued' and kind = 'conversation';
drop index tasks_unannounced;
create index turns_unannounced on tasks(state_at)
  where announced_at is null and state in ('done', 'failed', 'dead', 'cancelled') and kind = 'conversation';
drop index tasks_unfinished;
create index turns_unfinished on tasks(conversation_id, turn_no)
  where state in ('queued', 'running', 'waiting') and kind = 'conversation';
alter table tasks drop constraint tasks_conversation_id_turn_no_key;
create unique index turns_in_order on tasks(conversation_id, turn_no) where turn_no is not null;

create index tasks_undispatched on tasks(user_id, due_at, id)
  where state = 'queued' and kind <> 'conversation' and dispatched_gen is null;
create index tasks_dispatched on tasks(user_id, dispatched_at)
  where state = 'queued' and kind <> 'conversation' and dispatched_gen is not null;
-- What runs where, and what waits, counted at every scrape.
drop index tasks_running;
create index tasks_open on tasks(state, owner_boot, priority) where state in ('queued', 'running', 'waiting');
create index tasks_of_parent on tasks(parent_id) where parent_id is not null;

-- As before (7.2), but only turns wait for turns, and a turn may have a role: `orchestrate` is for the primary.
create function accept_turn(
  p_tenant text, p_user uuid, p_conversation uuid, p_create boolean, p_client_id text, p_text text,
  p_task uuid, p_message uuid, p_trace text, p_boot uuid, p_deadline interval, p_max_queued int, p_role text)
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

  if exists(select 1 from tasks t where t.conversation_id = p_conversation and t.kind = 'conversation'
              and t.state in ('queued', 'running', 'waiting')) then
    v_state := 'waiting';
  elsif p_boot is not null then
    perform 1 from boots b where b.boot = p_boot and b.dead_at is null for share;
    if found then v_state := 'running'; end if;
  end if;
  if v_state <> 'running' and
     (select count(*) from (select 1 from tasks t where t.state in ('queued', 'waiting') and t.kind = 'conversation'
                             limit p_max_queued) w) >= p_max_queued then
    raise exception using errcode = 'NX429', message = 'Too many turns are waiting already; try again in a moment.';
  end if;

  select coalesce(max(t.turn_no), 0) + 1 into v_no from tasks t
   where t.conversation_id = p_conversation and t.turn_no is not null;
  insert into tasks(id, tenant_id, user_id, conversation_id, kind, role, state, attempt, owner_boot, turn_no,
                    deadline_at, payload, idem_key, trace_id)
  values (p_task, p_tenant, p_user, p_conversation, 'conversation', p_role, v_state,
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

-- Whether a boot may take something that was there when two runners died (7.6): one at a time, so that the next death
-- hits nobody who merely waits beside it.
create function may_take_suspect(p_boot uuid) returns boolean language sql stable as $$
  select not exists(select 1 from tasks where owner_boot = p_boot and state = 'running' and crash_count >= 2)
$$;

-- As before, but what is for the primary is left to it, and suspects are taken one at a time.
create function claim_turns(p_boot uuid, p_limit int, p_deadline interval, p_leads boolean) returns setof tasks
language plpgsql as $$
declare v_suspects boolean;
begin
  perform 1 from boots where boot = p_boot and dead_at is null for share;
  if not found then return; end if;
  foreach v_suspects in array array[false, true] loop
    if v_suspects and not may_take_suspect(p_boot) then return; end if;
    return query
      update tasks set state = 'running', attempt = attempt + 1, owner_boot = p_boot, state_at = now(),
                       claimed_at = clock_timestamp(), deadline_at = clock_timestamp() + p_deadline
       where id in (select id from tasks
                     where state = 'queued' and due_at <= now() and kind = 'conversation'
                       and (crash_count >= 2) = v_suspects and (p_leads or role <> 'orchestrate')
                     order by array_position(array['high', 'normal', 'low'], priority), due_at, id
                     limit case when v_suspects then 1 else p_limit end for update skip locked)
      returning *;
  end loop;
end $$;

-- Publish (7.4): tasks of one user. `dispatched` says which of them Redis is to be told of now; the others follow as
-- this user's earlier ones end. A key that is known already is answered with its row.
create function submit_tasks(
  p_tenant text, p_user uuid, p_parent uuid, p_conversation uuid, p_trace text, p_gen text, p_share int,
  p_ids uuid[], p_kinds text[], p_priorities text[], p_payloads jsonb[], p_keys text[], p_delays double precision[])
returns table(id uuid, idem_key text, priority text, dispatched boolean) language plpgsql as $$
#variable_conflict use_column
declare v_room int := 0;
begin
  if p_gen is not null then
    select p_share - count(*) into v_room from (
      select 1 from tasks t where t.user_id = p_user and t.state = 'queued' and t.kind <> 'conversation'
                              and t.dispatched_gen is not null limit p_share) d;
  end if;
  return query
    with wanted as (
      select *, row_number() over (order by w.no) <= v_room and w.delay = 0 as now
        from unnest(p_ids, p_kinds, p_priorities, p_payloads, p_keys, p_delays)
             with ordinality as w(id, kind, priority, payload, key, delay, no)),
    added as (
      insert into tasks(id, tenant_id, user_id, parent_id, conversation_id, kind, priority, state, payload, idem_key,
                        trace_id, due_at, dispatched_gen, dispatched_at)
      select w.id, p_tenant, p_user, p_parent, p_conversation, w.kind, w.priority, 'queued', w.payload, w.key, p_trace,
             now() + make_interval(secs => w.delay), case when w.now then p_gen end, case when w.now then now() end
        from wanted w
      on conflict (idem_key) do nothing
      returning id, idem_key, priority, dispatched_gen is not null)
    select * from added
    union all
    select t.id, t.idem_key, t.priority, false from tasks t
     where t.idem_key = any(p_keys) and t.idem_key not in (select a.idem_key from added a);
  -- Who has more than a share, or something for later, is the dispatcher's.
  if p_gen is null or v_room < cardinality(p_ids) or 0 < any(p_delays) then perform pg_notify('nexus_queued', ''); end if;
end $$;

-- Claim (7.2): those of `p_ids` that are still to be done. The share lock on the boot means that a release either
-- waits for this or forbids it. Suspects that have to wait for another one come back as they are, queued. Rows are
-- found by their ids alone: an index on their state would be read as far as the backlog goes.
create function claim_tasks(p_boot uuid, p_ids uuid[], p_deadline interval) returns setof tasks language plpgsql as $$
declare v_ids uuid[]; v_suspects uuid[];
begin
  perform 1 from boots where boot = p_boot and dead_at is null for share;
  if not found then return; end if;
  -- Nothing is promised by a claim: whatever is (an intent, a result) is committed later, and its flush takes this along.
  perform set_config('synchronous_commit', 'off', true);
  with found as materialized (
    select id, state, due_at, crash_count from tasks where id = any(p_ids) order by id for update)
  select array_agg(id) filter (where crash_count < 2), array_agg(id) filter (where crash_count >= 2)
    into v_ids, v_suspects from found where state = 'queued' and due_at <= now();
  if v_suspects is not null and may_take_suspect(p_boot) then
    v_ids := v_ids || v_suspects[1];
    v_suspects := v_suspects[2:];
  end if;
  return query
    update tasks set state = 'running', attempt = attempt + 1, owner_boot = p_boot, state_at = now(),
                     claimed_at = clock_timestamp(), deadline_at = clock_timestamp() + p_deadline
     where id = any(v_ids)
    returning *;
  return query select * from tasks where id = any(v_suspects);
end $$;

-- Commit (7.2): each once, by the attempt that owns the row. Returns the rows that ended here ('ended'; the others are
-- somebody else's now), and rows of the same users that Redis is to be told of next ('next').
create function commit_tasks(
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
  update tasks t set state = w.state, result = w.result, reason = w.reason, owner_boot = null, state_at = now()
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

-- Stamp up to `p_limit` due rows of one user as told to this generation of Redis, the oldest first.
create function dispatch_of(p_user uuid, p_gen text, p_limit int) returns table(id uuid, priority text)
language sql as $$
  update tasks set dispatched_gen = p_gen, dispatched_at = clock_timestamp()
   where id in (select id from tasks
                 where user_id = p_user and state = 'queued' and kind <> 'conversation' and dispatched_gen is null
                   and due_at <= now()
                 order by due_at, id limit p_limit for update skip locked)
  returning id, priority
$$;

-- The dispatcher's sweep (7.4), as the primary of an epoch: rows that another generation of Redis was told of are
-- forgotten, then each user's due rows are stamped up to its share. One sweep gives delayed tries, reminders, lost
-- wake-ups and the recovery from an empty Redis.
create function sweep_undispatched(p_epoch bigint, p_boot uuid, p_gen text, p_share int, p_limit int)
returns table(id uuid, priority text) language plpgsql as $$
#variable_conflict use_column
declare v_user uuid; v_told int;
begin
  if not fenced(p_epoch, p_boot, 'sweep_undispatched') then
    raise exception using errcode = 'NXEPO', message = 'Another primary is in force.';
  end if;
  update tasks t set dispatched_gen = null, dispatched_at = null
   where t.id in (select o.id from tasks o where o.state = 'queued' and o.kind <> 'conversation'
                   and o.dispatched_gen is not null and o.dispatched_gen <> p_gen
                   limit p_limit for update skip locked);
  for v_user in
    with recursive users(user_id) as (
      (select t.user_id from tasks t
        where t.state = 'queued' and t.kind <> 'conversation' and t.dispatched_gen is null order by t.user_id limit 1)
      union all
      select (select t.user_id from tasks t where t.state = 'queued' and t.kind <> 'conversation'
               and t.dispatched_gen is null and t.user_id > u.user_id order by t.user_id limit 1)
        from users u where u.user_id is not null)
    select u.user_id from users u where u.user_id is not null loop
    select count(*) into v_told from (
      select 1 from tasks t where t.user_id = v_user and t.state = 'queued' and t.kind <> 'conversation'
                              and t.dispatched_gen is not null limit p_share) d;
    if v_told < p_share then
      return query select d.id, d.priority from dispatch_of(v_user, p_gen, least(p_share - v_told, p_limit)) d;
    end if;
  end loop;
end $$;

-- Rows whose entry may have been lost on the way: told long ago and still queued. Stamped anew; only missing entries
-- are added for them.
create function sweep_unclaimed(p_epoch bigint, p_boot uuid, p_gen text, p_older interval, p_limit int)
returns table(id uuid, priority text) language plpgsql as $$
#variable_conflict use_column
begin
  if not fenced(p_epoch, p_boot, 'sweep_unclaimed') then
    raise exception using errcode = 'NXEPO', message = 'Another primary is in force.';
  end if;
  return query
    update tasks t set dispatched_at = clock_timestamp()
     where t.id in (select o.id from tasks o
                     where o.state = 'queued' and o.kind <> 'conversation' and o.dispatched_gen = p_gen
                       and o.dispatched_at < now() - p_older
                     limit p_limit for update skip locked)
    returning t.id, t.priority;
end $$;

-- A failed try (7.6): back to the queue with a delay, or dead after the third. Returns the state then, null when the
-- row is another attempt's.
create function fail_task(p_task uuid, p_attempt int, p_boot uuid, p_reason text, p_delay interval, p_tries int)
returns text language plpgsql as $$
declare v tasks;
begin
  update tasks set fail_count = fail_count + 1, reason = p_reason, owner_boot = null, state_at = now(),
                   state = case when fail_count + 1 >= p_tries then 'dead' else 'queued' end,
                   due_at = clock_timestamp() + p_delay, dispatched_gen = null, dispatched_at = null
   where id = p_task and attempt = p_attempt and state = 'running' and owner_boot = p_boot
  returning * into v;
  if not found then
    insert into refusals(fence, what, boot, task_id, attempt) values ('attempt', 'fail_task', p_boot, p_task, p_attempt);
    return null;
  end if;
  if v.state = 'queued' then perform pg_notify('nexus_queued', ''); end if;
  return v.state;
end $$;

-- As before (7.3); what goes back to the queue is nobody's in Redis any more.
create or replace function release_boot(p_boot uuid, p_turns_only boolean) returns int language plpgsql as $$
declare released int;
begin
  perform 1 from tasks where owner_boot = p_boot and state = 'running' order by id for update;
  update tasks set state = 'queued', owner_boot = null, dispatched_at = null, dispatched_gen = null,
                   due_at = least(due_at, now()), state_at = now(), released_from = p_boot,
                   released_at = clock_timestamp(), claimed_at = null
   where owner_boot = p_boot and state = 'running' and (not p_turns_only or kind = 'conversation');
  get diagnostics released = row_count;
  if released > 0 then perform pg_notify('nexus_queued', ''); end if;
  return released;
end $$;

-- The runner of a boot died by itself (7.6): what it ran is suspected. Whatever was there when three runners died is
-- dead; what goes on runs alone after the second. Written before the death is reported. Returns how many are dead now.
create function note_crash(p_boot uuid) returns int language plpgsql as $$
declare v_dead int;
begin
  perform 1 from tasks where owner_boot = p_boot and state = 'running' order by id for update;
  update tasks set crash_count = crash_count + 1 where owner_boot = p_boot and state = 'running';
  update tasks set state = 'dead', owner_boot = null, state_at = now(), announced_at = null,
                   reason = 'The agent that ran it died three times.'
   where owner_boot = p_boot and state = 'running' and crash_count >= 3;
  get diagnostics v_dead = row_count;
  return v_dead;
end $$;
