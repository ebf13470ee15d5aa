-- Directed work (PROTOCOLS 7.5): a task may need capabilities, and only agents that have them are told of it.

-- What an agent can, as its runner declares before it takes anything; `agent:ID` is every agent's own.
alter table boots add column capabilities text[] not null default '{}';

-- What an agent must have, sorted. `lane` is the same joined by `+` while it holds; null: any agent may run it. A mere
-- preference is given up (`loosened_at`) when nobody has been able to for a while.
alter table tasks add column needs text[] not null default '{}', add column prefers boolean not null default false,
                  add column lane text, add column loosened_at timestamptz;

-- The lines of undirected work, as before; directed work stands in lines of its own, so neither is read past the other.
drop index tasks_undispatched;
create index tasks_undispatched on tasks(user_id, due_at, id)
  where state = 'queued' and kind <> 'conversation' and dispatched_gen is null and lane is null;
drop index tasks_dispatched;
create index tasks_dispatched on tasks(user_id, dispatched_at)
  where state = 'queued' and kind <> 'conversation' and dispatched_gen is not null and lane is null;
create index tasks_directed on tasks(user_id, lane, due_at, id) where state = 'queued' and lane is not null;
create index tasks_preferring on tasks(lane) where state = 'queued' and lane is not null and prefers;

-- Whether an agent that lives, or lived until so long ago, has all that a lane names.
create function able(p_lane text, p_until interval default '0') returns boolean language sql stable as $$
  select exists(select 1 from boots where (dead_at is null or dead_at > now() - p_until)
                                      and capabilities @> string_to_array(p_lane, '+'))
$$;

-- Why nobody runs a task that waits; '' when somebody can, or anybody may.
create function no_agent(p_task tasks) returns text language sql stable as $$
  select case
    when p_task.state <> 'queued' or p_task.lane is null or able(p_task.lane) then ''
    when p_task.prefers then 'No agent has what it prefers: ' || replace(p_task.lane, '+', ', ') || '. Soon any may run it.'
    else 'No agent can do it: needs ' || replace(p_task.lane, '+', ', ') || '.' end
$$;

-- As before (7.4), with what each needs (`p_lanes`, null when none of them needs anything). Directed work is told by the
-- dispatcher alone, which knows whether anybody can do it.
-- A single task, here and below, goes a short way first: mostly somebody waits for it, and statements over scalars keep
-- their plans, while those over arrays are planned anew each time, at half of what the call costs. What is not as usual
-- falls through. `coalesce` keeps them to the row's id: an index on the state would be read as far as the backlog goes.
create function submit_tasks(
  p_tenant text, p_user uuid, p_parent uuid, p_conversation uuid, p_trace text, p_gen text, p_share int,
  p_ids uuid[], p_kinds text[], p_priorities text[], p_payloads jsonb[], p_keys text[], p_delays double precision[],
  p_lanes text[], p_prefers boolean[])
returns table(id uuid, idem_key text, priority text, dispatched boolean) language plpgsql as $$
#variable_conflict use_column
declare v_room int := 0; v_now boolean;
begin
  if p_gen is not null then
    select p_share - count(*) into v_room from (
      select 1 from tasks t where t.user_id = p_user and t.state = 'queued' and t.kind <> 'conversation'
                              and t.dispatched_gen is not null and t.lane is null limit p_share) d;
  end if;
  if cardinality(p_ids) = 1 and p_lanes is null then
    v_now := v_room > 0 and p_delays[1] = 0;
    return query
      insert into tasks(id, tenant_id, user_id, parent_id, conversation_id, kind, priority, state, payload, idem_key,
                        trace_id, due_at, dispatched_gen, dispatched_at)
      values (p_ids[1], p_tenant, p_user, p_parent, p_conversation, p_kinds[1], p_priorities[1], 'queued',
              p_payloads[1], p_keys[1], p_trace, now() + make_interval(secs => p_delays[1]),
              case when v_now then p_gen end, case when v_now then now() end)
      on conflict (idem_key) do nothing
      returning id, idem_key, priority, dispatched_gen is not null;
    if found then
      if not v_now then perform pg_notify('nexus_queued', ''); end if;
      return;
    end if;
  end if;
  return query
    with wanted as (
      select *, row_number() over (order by w.no) <= v_room and w.delay = 0 and w.lane is null as now
        from unnest(p_ids, p_kinds, p_priorities, p_payloads, p_keys, p_delays, p_lanes, p_prefers)
             with ordinality as w(id, kind, priority, payload, key, delay, lane, prefers, no)),
    added as (
      insert into tasks(id, tenant_id, user_id, parent_id, conversation_id, kind, priority, state, payload, idem_key,
                        trace_id, due_at, dispatched_gen, dispatched_at, lane, needs, prefers)
      select w.id, p_tenant, p_user, p_parent, p_conversation, w.kind, w.priority, 'queued', w.payload, w.key, p_trace,
             now() + make_interval(secs => w.delay), case when w.now then p_gen end, case when w.now then now() end,
             w.lane, coalesce(string_to_array(w.lane, '+'), '{}'), coalesce(w.prefers, false)
        from wanted w
      on conflict (idem_key) do nothing
      returning id, idem_key, priority, dispatched_gen is not null)
    select * from added
    union all
    select t.id, t.idem_key, t.priority, false from tasks t
     where t.idem_key = any(p_keys) and t.idem_key not in (select a.idem_key from added a);
  -- Who has more than a share, something for later or something directed, is the dispatcher's.
  if p_gen is null or v_room < cardinality(p_ids) or 0 < any(p_delays) or p_lanes is not null then
    perform pg_notify('nexus_queued', '');
  end if;
end $$;

-- As before (7.2), and nothing is claimed for a boot that lacks what it needs.
create or replace function claim_tasks(p_boot uuid, p_ids uuid[], p_deadline interval) returns setof tasks
language plpgsql as $$
declare v_ids uuid[]; v_suspects uuid[]; v_can text[];
begin
  select capabilities into v_can from boots where boot = p_boot and dead_at is null for share;
  if not found then return; end if;
  -- Nothing is promised by a claim: whatever is (an intent, a result) is committed later, and its flush takes this along.
  perform set_config('synchronous_commit', 'off', true);
  if cardinality(p_ids) = 1 then
    return query
      update tasks set state = 'running', attempt = attempt + 1, owner_boot = p_boot, state_at = now(),
                       claimed_at = clock_timestamp(), deadline_at = clock_timestamp() + p_deadline
       where id = p_ids[1] and coalesce(state, '') = 'queued' and due_at <= now() and crash_count < 2 and lane is null
      returning *;
    if found then return; end if;
  end if;
  with found as materialized (
    select id, state, due_at, crash_count, lane, needs from tasks where id = any(p_ids) order by id for update)
  select array_agg(id) filter (where crash_count < 2), array_agg(id) filter (where crash_count >= 2)
    into v_ids, v_suspects from found
   where state = 'queued' and due_at <= now() and (lane is null or needs <@ v_can);
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

-- As before, of undirected work.
create or replace function dispatch_of(p_user uuid, p_gen text, p_limit int) returns table(id uuid, priority text)
language sql as $$
  update tasks set dispatched_gen = p_gen, dispatched_at = clock_timestamp()
   where id in (select id from tasks
                 where user_id = p_user and state = 'queued' and kind <> 'conversation' and dispatched_gen is null
                   and lane is null and due_at <= now()
                 order by due_at, id limit p_limit for update skip locked)
  returning id, priority
$$;

-- As before (7.2); when directed work ended, the dispatcher learns that the next of its line may be told. Mostly nothing
-- of that person waits untold: to see that costs a third of an update that finds nothing.
create or replace function commit_tasks(
  p_boot uuid, p_gen text, p_ids uuid[], p_attempts int[], p_states text[], p_results jsonb[], p_reasons text[])
returns table(what text, id uuid, priority text) language plpgsql as $$
#variable_conflict use_column
declare v_ended uuid[]; v_user uuid; v_count int; v_directed int;
begin
  if cardinality(p_ids) = 1 then
    update tasks t set state = p_states[1], result = p_results[1], reason = p_reasons[1], owner_boot = null,
                       state_at = now(), ran_on = p_boot
     where t.id = p_ids[1] and t.attempt = p_attempts[1] and coalesce(t.state, '') = 'running'
       and t.owner_boot = p_boot and t.lane is null
    returning t.user_id into v_user;
    if found then
      return query select 'ended', p_ids[1], '';
      if p_gen is not null and exists(
        select 1 from tasks t where t.user_id = v_user and t.state = 'queued' and t.kind <> 'conversation'
                                and t.dispatched_gen is null and t.lane is null) then
        return query select 'next', n.id, n.priority from dispatch_of(v_user, p_gen, 1) n;
      end if;
      return;
    end if;
  end if;
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
  for v_user, v_count, v_directed in
    select t.user_id, count(*), count(t.lane) from tasks t where t.id = any(v_ended)
     group by t.user_id order by t.user_id loop
    if v_directed > 0 then perform pg_notify('nexus_queued', ''); end if;
    continue when not exists(
      select 1 from tasks t where t.user_id = v_user and t.state = 'queued' and t.kind <> 'conversation'
                              and t.dispatched_gen is null and t.lane is null);
    return query select 'next', n.id, n.priority from dispatch_of(v_user, p_gen, v_count - v_directed) n;
  end loop;
end $$;

-- As before (7.4), of undirected work.
create or replace function sweep_undispatched(p_epoch bigint, p_boot uuid, p_gen text, p_share int, p_limit int)
returns table(id uuid, priority text) language plpgsql as $$
#variable_conflict use_column
declare v_user uuid; v_told int;
begin
  if not fenced(p_epoch, p_boot, 'sweep_undispatched') then
    raise exception using errcode = 'NXEPO', message = 'Another primary is in force.';
  end if;
  update tasks t set dispatched_gen = null, dispatched_at = null
   where t.id in (select o.id from tasks o where o.state = 'queued' and o.kind <> 'conversation' and o.lane is null
                   and o.dispatched_gen is not null and o.dispatched_gen <> p_gen
                   limit p_limit for update skip locked);
  for v_user in
    with recursive users(user_id) as (
      (select t.user_id from tasks t where t.state = 'queued' and t.kind <> 'conversation' and t.lane is null
         and t.dispatched_gen is null order by t.user_id limit 1)
      union all
      select (select t.user_id from tasks t where t.state = 'queued' and t.kind <> 'conversation' and t.lane is null
               and t.dispatched_gen is null and t.user_id > u.user_id order by t.user_id limit 1)
        from users u where u.user_id is not null)
    select u.user_id from users u where u.user_id is not null loop
    select count(*) into v_told from (
      select 1 from tasks t where t.user_id = v_user and t.state = 'queued' and t.kind <> 'conversation'
                              and t.lane is null and t.dispatched_gen is not null limit p_share) d;
    if v_told < p_share then
      return query select d.id, d.priority from dispatch_of(v_user, p_gen, least(p_share - v_told, p_limit)) d;
    end if;
  end loop;
end $$;

-- As before, of undirected work.
create or replace function sweep_unclaimed(p_epoch bigint, p_boot uuid, p_gen text, p_older interval, p_limit int)
returns table(id uuid, priority text) language plpgsql as $$
#variable_conflict use_column
begin
  if not fenced(p_epoch, p_boot, 'sweep_unclaimed') then
    raise exception using errcode = 'NXEPO', message = 'Another primary is in force.';
  end if;
  return query
    update tasks t set dispatched_at = clock_timestamp()
     where t.id in (select o.id from tasks o
                     where o.state = 'queued' and o.kind <> 'conversation' and o.lane is null
                       and o.dispatched_gen = p_gen and o.dispatched_at < now() - p_older
                     limit p_limit for update skip locked)
    returning t.id, t.priority;
end $$;

-- The dispatcher's sweep of directed work, as the primary of an epoch. Preferences that no agent has been able to serve
-- for `p_grace` are given up. Of each line (a person's tasks with the same needs) that somebody alive can serve, the
-- first `p_share` are told: those this Redis was not told of, and those told so long ago that it may have been lost.
-- `place` is the priority and the needs. What nobody can do is not told, so it is in nobody's way.
create function sweep_directed(
  p_epoch bigint, p_boot uuid, p_gen text, p_share int, p_older interval, p_grace interval, p_limit int)
returns table(id uuid, place text) language plpgsql as $$
#variable_conflict use_column
declare v_user uuid; v_lane text;
begin
  if not fenced(p_epoch, p_boot, 'sweep_directed') then
    raise exception using errcode = 'NXEPO', message = 'Another primary is in force.';
  end if;
  for v_lane in select distinct t.lane from tasks t where t.state = 'queued' and t.lane is not null and t.prefers loop
    continue when able(v_lane, p_grace);
    update tasks t set lane = null, loosened_at = clock_timestamp(), dispatched_gen = null, dispatched_at = null
     where t.id in (select o.id from tasks o
                     where o.state = 'queued' and o.lane = v_lane and o.prefers limit p_limit for update skip locked);
  end loop;
  for v_user, v_lane in
    with recursive lines(user_id, lane) as (
      (select t.user_id, t.lane from tasks t where t.state = 'queued' and t.lane is not null
        order by t.user_id, t.lane limit 1)
      union all
      select n.user_id, n.lane from lines l cross join lateral (
        select t.user_id, t.lane from tasks t
         where t.state = 'queued' and t.lane is not null and (t.user_id, t.lane) > (l.user_id, l.lane)
         order by t.user_id, t.lane limit 1) n)
    select l.user_id, l.lane from lines l loop
    continue when not able(v_lane);
    return query
      with first as materialized (
        select o.id, o.dispatched_gen, o.dispatched_at from tasks o
         where o.user_id = v_user and o.lane = v_lane and o.state = 'queued' and o.due_at <= now()
         order by o.due_at, o.id limit p_share),
      untold as (
        select o.id from tasks o join first f on f.id = o.id
         where o.state = 'queued' and (f.dispatched_gen is distinct from p_gen or f.dispatched_at < now() - p_older)
         limit p_limit for update of o skip locked)
      update tasks t set dispatched_gen = p_gen, dispatched_at = clock_timestamp() from untold u where t.id = u.id
      returning t.id, t.priority || ':' || t.lane;
  end loop;
end $$;

-- A task as a list shows it, with what it needs.
create or replace view task_lines as
  select t.id, t.kind, t.role, t.priority, t.state, t.attempt, t.fail_count, t.crash_count, u.name as person,
         t.conversation_id, t.parent_id, t.turn_no, agent_of(t) as agent, t.created_at, t.due_at, t.state_at,
         t.claimed_at, t.reason, t.state = 'running' and t.cancel_requested_at is not null as stopping,
         left(coalesce(m.text, t.payload::text), 160) as about,
         why_not('cancel', t.state, t.kind) as no_cancel, why_not('requeue', t.state, t.kind) as no_requeue,
         why_not('discard', t.state, t.kind) as no_discard,
         t.needs, t.prefers, no_agent(t) as no_agent
    from tasks t join users u on u.id = t.user_id
    left join messages m on m.task_id = t.id and m.role = 'user' and t.kind = 'conversation';
