-- Reminders and jobs that come again: the rows are the truth, the primary fires what is due, each due instant once.
-- Lock order: the epoch, conversations, people, schedules, tasks.

create table schedules(
  id uuid primary key,
  no int not null,
  tenant_id text not null,
  user_id uuid not null references users,
  conversation_id uuid not null references conversations,
  kind text not null check (kind in ('once', 'cron')),
  cron text not null,
  time_zone text not null,
  text text not null,
  missed text not null check (missed in ('once', 'skip')),
  state text not null default 'active' check (state in ('active', 'done', 'cancelled')),
  next_at timestamptz,
  last_fired_at timestamptz,
  last_task uuid references tasks,
  trace_id text not null,
  created_at timestamptz not null default now(),
  unique (user_id, no),
  check ((kind = 'cron') = (cron <> '')),
  check (state <> 'active' or next_at is not null));
create index schedules_due on schedules(next_at) where state = 'active';

-- Those of a deleted conversation are as good as cancelled, from the moment of its deletion.
create view living_schedules as
  select s.* from schedules s join conversations c on c.id = s.conversation_id
   where s.state = 'active' and c.deleted_at is null;

-- Accept one: idempotent on its id. A person's are numbered one after the other, and a number is never used again.
create function create_schedule(
  p_id uuid, p_tenant text, p_user uuid, p_conversation uuid, p_kind text, p_cron text, p_zone text, p_text text,
  p_missed text, p_next timestamptz, p_trace text, p_max int) returns setof schedules language plpgsql as $$
begin
  perform 1 from conversations
    where id = p_conversation and tenant_id = p_tenant and user_id = p_user and deleted_at is null for share;
  if not found then
    raise exception using errcode = 'NX404', message = 'There is no such conversation.';
  end if;
  perform 1 from users where id = p_user for no key update;
  return query select * from schedules where id = p_id and user_id = p_user;
  if found then return; end if;
  if exists(select 1 from schedules where id = p_id) then
    raise exception using errcode = 'NX409', message = 'This id is taken; use another one.';
  end if;
  if (select count(*) from living_schedules where user_id = p_user) >= p_max then
    raise exception using errcode = 'NX429', message = 'You have ' || p_max || ' reminders and jobs, which is the most '
      || 'there may be: cancel one first, for example with `/forget 1`; `/reminders` lists them.';
  end if;
  return query
    insert into schedules(id, no, tenant_id, user_id, conversation_id, kind, cron, time_zone, text, missed, next_at, trace_id)
    select p_id, coalesce(max(no), 0) + 1, p_tenant, p_user, p_conversation, p_kind, p_cron, p_zone, p_text, p_missed, p_next,
           p_trace from schedules where user_id = p_user
    returning *;
end $$;

-- Fire one, as the primary of an epoch: its turn is inserted and `next_at` moves on in one transaction, by
-- compare-and-set on the instant that was due, so an instant is fired once however many primaries saw it due.
-- p_next null: it never comes again. p_skip: it was missed and is only moved on. Returns fired, skipped, or overtaken
-- (somebody fired or cancelled it before); null when another epoch is in force.
create function fire_schedule(
  p_epoch bigint, p_boot uuid, p_schedule uuid, p_due timestamptz, p_next timestamptz, p_skip boolean, p_task uuid,
  p_message uuid, p_text text, p_role text, p_payload jsonb, p_meta jsonb) returns text language plpgsql as $$
declare v schedules; v_state text := 'queued'; v_no int;
begin
  if not fenced(p_epoch, p_boot, 'fire_schedule') then return null; end if;
  perform 1 from conversations c join schedules s on s.conversation_id = c.id
    where s.id = p_schedule and c.deleted_at is null for update of c;
  if not found then return 'overtaken'; end if;
  update schedules set next_at = p_next, state = case when p_next is null then 'done' else state end
   where id = p_schedule and state = 'active' and next_at = p_due
  returning * into v;
  if not found then return 'overtaken'; end if;
  if p_skip then return 'skipped'; end if;

  if exists(select 1 from tasks where conversation_id = v.conversation_id and kind = 'conversation'
              and state in ('queued', 'running', 'waiting')) then
    v_state := 'waiting';
  end if;
  select coalesce(max(turn_no), 0) + 1 into v_no from tasks
   where conversation_id = v.conversation_id and turn_no is not null;
  insert into tasks(id, tenant_id, user_id, conversation_id, kind, role, state, turn_no, payload, idem_key, trace_id)
  values (p_task, v.tenant_id, v.user_id, v.conversation_id, 'conversation', p_role, v_state, v_no, p_payload,
          'schedule:' || v.id || ':' || extract(epoch from p_due), v.trace_id)
  on conflict (idem_key) do nothing;
  if not found then return 'overtaken'; end if;  -- fired before: somebody set the clock of this row back by hand
  insert into messages(id, tenant_id, user_id, conversation_id, task_id, turn_no, role, text, meta, trace_id)
  values (p_message, v.tenant_id, v.user_id, v.conversation_id, p_task, v_no, 'user', p_text, p_meta, v.trace_id);
  update schedules set last_task = p_task, last_fired_at = clock_timestamp() where id = v.id;
  update conversations set updated_at = now() where id = v.conversation_id;
  if v_state = 'queued' then perform pg_notify('nexus_queued', ''); end if;
  return 'fired';
end $$;
