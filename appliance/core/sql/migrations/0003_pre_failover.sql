-- Election, its history, and what an operator orders (PROTOCOLS 6).

-- One row an epoch, written in the transaction that gives birth to it, so that no election can go unrecorded.
create table failovers(
  epoch bigint primary key,
  tenant_id text not null default 'default',
  kind text not null,            -- first, eof, lease, dead, released, switchover
  sole boolean not null default false,
  old_primary text,
  old_boot uuid,
  new_primary text not null,
  new_boot uuid not null,
  evidence jsonb not null,       -- what was seen, who voted, each candidate's score and why it lost
  detect_ms double precision,
  agree_ms double precision,
  elect_ms double precision,
  promote_ms double precision,
  elected_at timestamptz not null default clock_timestamp(),
  served_at timestamptz,         -- null: the winner died before it showed its lease
  trace_id text not null default '');
create index failovers_newest on failovers(elected_at desc);

-- Writes that a fence turned away: what a deposed primary or an overtaken attempt still tried.
create table refusals(
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  fence text not null check (fence in ('epoch', 'attempt')),
  what text not null,
  boot uuid,
  task_id uuid,
  attempt int,
  epoch bigint);
create index refusals_of_boot on refusals(boot, at);

-- Append-only; each row carries the hash of the one before it, so that a removed or altered row shows.
create table audit_log(
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  tenant_id text not null default 'default',
  actor text not null,
  action text not null,
  subject text not null default '',
  detail jsonb not null default '{}',
  trace_id text not null default '',
  hash bytea not null);

create function audit(p_actor text, p_action text, p_subject text, p_detail jsonb, p_trace text) returns bigint
language plpgsql as $$
declare v_id bigint; v_before bytea; v_at timestamptz;
begin
  lock table audit_log in exclusive mode;
  select hash into v_before from audit_log order by id desc limit 1;
  v_at := clock_timestamp();
  insert into audit_log(at, actor, action, subject, detail, trace_id, hash)
  values (v_at, p_actor, p_action, p_subject, p_detail, p_trace,
          sha256(coalesce(v_before, ''::bytea)
                 || convert_to(concat_ws('|', (v_at at time zone 'UTC')::text, p_actor, p_action, p_subject,
                                        p_detail::text, p_trace), 'UTF8')))
  returning id into v_id;
  return v_id;
end $$;

create function forbid_change() returns trigger language plpgsql as $$
begin
  raise exception 'audit_log is append-only';
end $$;
create trigger audit_log_is_append_only before update or delete or truncate on audit_log
  for each statement execute function forbid_change();

-- What an operator asked of the cluster: rows first, hints second.
create table orders(
  id uuid primary key,
  tenant_id text not null default 'default',
  kind text not null check (kind in ('drain', 'switchover')),
  agent_id text not null,        -- drained agent; successor of a switchover, '' for the best
  deadline_s double precision not null default 60,
  asked_by text not null,
  asked_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  outcome text not null default '',
  trace_id text not null default '');
create index orders_open on orders(agent_id) where ended_at is null;
-- One open drain of an agent and one open switchover in all: a second order is the first one.
create unique index one_open_drain on orders(agent_id) where ended_at is null and kind = 'drain';
create unique index one_open_switchover on orders(kind) where ended_at is null and kind = 'switchover';

create table automatic_failover(
  id int primary key check (id = 1),
  paused_by text,
  paused_at timestamptz);
insert into automatic_failover(id) values (1);

-- What a dead boot left behind and when it was taken up again: the last bar of the failover's picture.
alter table tasks add column released_from uuid, add column released_at timestamptz, add column claimed_at timestamptz;
create index tasks_released on tasks(released_from) where released_from is not null;

-- Authority (6.2) ----------------------------------------------------------------------------------------------------

-- First statement of every write that a primary makes: the share lock makes the bump wait for it or refuses it.
create function fenced(p_epoch bigint, p_boot uuid, p_what text) returns boolean language plpgsql as $$
begin
  perform 1 from cluster_epoch where id = 1 and epoch = p_epoch for share;
  if found then return true; end if;
  insert into refusals(fence, what, boot, epoch) values ('epoch', p_what, p_boot, p_epoch);
  return false;
end $$;

create or replace function elect(p_agent text, p_boot uuid, p_voted bigint, p_evidence jsonb) returns bigint
language plpgsql set lock_timeout = '1s' as $$
declare won bigint; v_old cluster_epoch;
begin
  -- The table lock queues fairly; a plain UPDATE starves behind FOR SHARE traffic.
  lock table cluster_epoch in exclusive mode;
  select * into v_old from cluster_epoch where id = 1;
  update cluster_epoch
     set epoch = epoch + 1, primary_id = p_agent, boot = p_boot, elected_at = clock_timestamp(), evidence = p_evidence
   where id = 1
     and (epoch = p_voted
          or (epoch > p_voted and elected_at < clock_timestamp() - interval '1 second'))
     -- A boot that was buried meanwhile may not lead.
     and not exists(select 1 from boots where boot = p_boot and dead_at is not null)
  returning epoch into won;
  if won is not null then
    insert into failovers(epoch, kind, sole, old_primary, old_boot, new_primary, new_boot, evidence, detect_ms, agree_ms)
    values (won, coalesce(p_evidence->>'kind', 'unknown'), coalesce((p_evidence->>'sole')::boolean, false),
            v_old.primary_id, v_old.boot, p_agent, p_boot, p_evidence,
            (p_evidence->>'detect_ms')::double precision, (p_evidence->>'agree_ms')::double precision);
  end if;
  return won;
end $$;

-- The winner serves: how long the last two parts took. false = another epoch is in force.
create function record_promotion(p_epoch bigint, p_boot uuid, p_elect_ms double precision, p_promote_ms double precision)
returns boolean language plpgsql as $$
begin
  if not fenced(p_epoch, p_boot, 'record_promotion') then return false; end if;
  update failovers set elect_ms = p_elect_ms, promote_ms = p_promote_ms, served_at = clock_timestamp()
   where epoch = p_epoch and served_at is null;
  return true;
end $$;

-- The primary's sweep, two transactions so that the lock order holds in each. null = another epoch is in force.
-- Release what dead boots still hold (7.3) …
create function sweep_dead(p_epoch bigint, p_boot uuid) returns int language plpgsql as $$
declare v_boot uuid; v_released int := 0;
begin
  if not fenced(p_epoch, p_boot, 'sweep_dead') then return null; end if;
  for v_boot in select distinct t.owner_boot from tasks t join boots b on b.boot = t.owner_boot
                 where t.state = 'running' and b.dead_at is not null order by t.owner_boot loop
    v_released := v_released + release_boot(v_boot, false);
  end loop;
  return v_released;
end $$;

-- … and wake every waiting turn with nothing left to wait for (7.2).
create function sweep_waiting(p_epoch bigint, p_boot uuid) returns int language plpgsql as $$
declare v_conversation uuid; v_woken int := 0;
begin
  if not fenced(p_epoch, p_boot, 'sweep_waiting') then return null; end if;
  for v_conversation in
    select distinct w.conversation_id from tasks w
     where w.state = 'waiting' and w.kind = 'conversation'
       and not exists(select 1 from tasks b where b.conversation_id = w.conversation_id
                       and b.state in ('queued', 'running') and b.kind = 'conversation')
     order by w.conversation_id loop
    perform wake_next_turn(v_conversation);
    v_woken := v_woken + 1;
  end loop;
  return v_woken;
end $$;

-- Work (7.2, 7.3): as before, with what was refused and what moved kept ---------------------------------------------

create or replace function claim_turns(p_boot uuid, p_limit int, p_deadline interval) returns setof tasks
language plpgsql as $$
begin
  perform 1 from boots where boot = p_boot and dead_at is null for share;
  if not found then return; end if;
  return query
    update tasks set state = 'running', attempt = attempt + 1, owner_boot = p_boot, state_at = now(),
                     claimed_at = clock_timestamp(), deadline_at = clock_timestamp() + p_deadline
     where id in (select id from tasks
                   where state = 'queued' and due_at <= now() and kind = 'conversation'
                   order by array_position(array['high', 'normal', 'low'], priority), due_at, id
                   limit p_limit for update skip locked)
    returning *;
end $$;

create or replace function end_turn(
  p_task uuid, p_attempt int, p_boot uuid, p_state text, p_reason text, p_result jsonb,
  p_message uuid, p_text text, p_agent text, p_model text, p_meta jsonb) returns boolean language plpgsql as $$
declare v tasks;
begin
  perform 1 from conversations where id = (select conversation_id from tasks where id = p_task) for update;
  update tasks set state = p_state, reason = p_reason, result = p_result, owner_boot = null, state_at = now(),
                   announced_at = null
   where id = p_task and attempt = p_attempt and state = 'running' and owner_boot = p_boot
  returning * into v;
  if not found then
    insert into refusals(fence, what, boot, task_id, attempt) values ('attempt', 'end_turn', p_boot, p_task, p_attempt);
    return false;
  end if;
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

create or replace function begin_step(
  p_task uuid, p_attempt int, p_boot uuid, p_no int, p_kind text, p_name text, p_key text, p_hash text)
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
    insert into steps as s (task_id, step_no, tenant_id, user_id, kind, name, idem_key, state, attempt, input_hash, trace_id)
    values (p_task, p_no, v.tenant_id, v.user_id, p_kind, p_name, p_key, 'intent', p_attempt, p_hash, v.trace_id)
    on conflict (task_id, step_no) do update
      set attempt = case when s.state = 'intent' then excluded.attempt else s.attempt end,
          name = case when s.state = 'intent' then excluded.name else s.name end
    returning *;
end $$;

create or replace function release_boot(p_boot uuid, p_turns_only boolean) returns int language plpgsql as $$
declare released int;
begin
  perform 1 from tasks where owner_boot = p_boot and state = 'running' order by id for update;
  update tasks set state = 'queued', owner_boot = null, dispatched_at = null, due_at = least(due_at, now()),
                   state_at = now(), released_from = p_boot, released_at = clock_timestamp(), claimed_at = null
   where owner_boot = p_boot and state = 'running' and (not p_turns_only or kind = 'conversation');
  get diagnostics released = row_count;
  if released > 0 then perform pg_notify('nexus_queued', ''); end if;
  return released;
end $$;
