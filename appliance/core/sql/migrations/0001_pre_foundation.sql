-- The system of record (DESIGN part 5). tenant_id, user_id and trace_id stand in every row from the first day.

-- People -------------------------------------------------------------------------------------------------------------
create table users(
  id uuid primary key default gen_random_uuid(),
  tenant_id text not null default 'default',
  name text not null,
  role text not null default 'operator' check (role in ('viewer', 'operator', 'admin')),
  password_hash text,
  created_at timestamptz not null default now(),
  unique (tenant_id, name));

-- Tokens are kept as SHA-256: a stolen dump signs nobody in.
create table login_links(
  token_sha256 bytea primary key,
  user_id uuid not null references users on delete cascade,
  expires_at timestamptz not null,
  used_at timestamptz);

create table logins(
  token_sha256 bytea primary key,
  tenant_id text not null,
  user_id uuid not null references users on delete cascade,
  created_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  expires_at timestamptz not null);

-- Authority (PROTOCOLS 6.2) ------------------------------------------------------------------------------------------
create table boots(
  boot uuid primary key,
  agent_id text not null,
  started_at timestamptz not null default clock_timestamp(),
  dead_at timestamptz,
  reason text);
create index boots_living on boots(agent_id) where dead_at is null;

create table cluster_epoch(
  id int primary key check (id = 1),
  epoch bigint not null,
  primary_id text,
  boot uuid,
  elected_at timestamptz,
  evidence jsonb);
insert into cluster_epoch(id, epoch) values (1, 0);

create function elect(p_agent text, p_boot uuid, p_voted bigint, p_evidence jsonb) returns bigint
language plpgsql set lock_timeout = '1s' as $$
declare won bigint;
begin
  -- The table lock queues fairly; a plain UPDATE starves behind FOR SHARE traffic.
  lock table cluster_epoch in exclusive mode;
  update cluster_epoch
     set epoch = epoch + 1, primary_id = p_agent, boot = p_boot, elected_at = clock_timestamp(), evidence = p_evidence
   where id = 1
     and (epoch = p_voted
          or (epoch > p_voted and elected_at < clock_timestamp() - interval '1 second'))
  returning epoch into won;
  return won;
end $$;

-- What the fleet should be: one row, written by `up --agents` the first time and by scaling later.
create table desired_fleet(
  id int primary key check (id = 1),
  agents int not null check (agents between 1 and 100),
  changed_by text not null,
  changed_at timestamptz not null default now());

-- Conversations ------------------------------------------------------------------------------------------------------
create table conversations(
  id uuid primary key,
  tenant_id text not null,
  user_id uuid not null references users,
  title text not null default '',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz,
  trace_id text not null default '');
create index conversations_of_user on conversations(tenant_id, user_id, updated_at desc) where deleted_at is null;

-- Work (PROTOCOLS 7.1): one ledger, a turn is a task of kind conversation --------------------------------------------
create table tasks(
  id uuid primary key,
  tenant_id text not null,
  user_id uuid not null references users,
  conversation_id uuid references conversations,
  parent_id uuid references tasks,
  kind text not null,
  role text not null default '',
  priority text not null default 'normal' check (priority in ('high', 'normal', 'low')),
  state text not null check (state in ('queued', 'running', 'waiting', 'done', 'failed', 'dead', 'cancelled')),
  attempt int not null default 0,
  crash_count int not null default 0,
  fail_count int not null default 0,
  owner_boot uuid references boots,
  turn_no int,
  due_at timestamptz not null default now(),
  dispatched_at timestamptz,
  deadline_at timestamptz,
  cancel_requested_at timestamptz,
  state_at timestamptz not null default now(),
  announced_at timestamptz,
  payload jsonb not null default '{}',
  result jsonb,
  reason text not null default '',
  idem_key text not null unique,
  trace_id text not null default '',
  created_at timestamptz not null default now(),
  unique (conversation_id, turn_no),
  check ((state = 'running') = (owner_boot is not null)));
create index tasks_due on tasks(due_at) where state = 'queued';
create index tasks_running on tasks(owner_boot) where state = 'running';
create index tasks_unannounced on tasks(state_at)
  where announced_at is null and state in ('done', 'failed', 'dead', 'cancelled');
create index tasks_unfinished on tasks(conversation_id, turn_no) where state in ('queued', 'running', 'waiting');
-- Backstop of the rule "a turn behind an unfinished one waits" (PROTOCOLS 7.2).
create unique index one_running_turn on tasks(conversation_id) where state = 'running' and kind = 'conversation';

create table messages(
  id uuid primary key,
  tenant_id text not null,
  user_id uuid not null references users,
  conversation_id uuid not null references conversations,
  task_id uuid not null references tasks,
  turn_no int not null,
  role text not null check (role in ('user', 'assistant')),
  text text not null,
  agent_id text not null default '',
  model text not null default '',
  meta jsonb not null default '{}',
  trace_id text not null default '',
  created_at timestamptz not null default now(),
  unique (task_id, role));
create index messages_of_conversation on messages(conversation_id, turn_no);

create table steps(
  task_id uuid not null references tasks,
  step_no int not null,
  tenant_id text not null,
  user_id uuid not null,
  kind text not null check (kind in ('model', 'tool')),
  name text not null,
  idem_key text not null unique,
  state text not null check (state in ('intent', 'done', 'unknown')),
  attempt int not null,
  input_hash text not null,
  result jsonb,
  tokens int not null default 0,
  cost numeric not null default 0,
  trace_id text not null default '',
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  primary key (task_id, step_no));
