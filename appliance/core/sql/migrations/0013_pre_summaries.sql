-- What an older part of a conversation was about, in short: one row each, the newest summary.
create table conversation_summaries(
  conversation_id uuid primary key references conversations,
  tenant_id text not null,
  user_id uuid not null,
  upto_turn int not null check (upto_turn > 0),
  text text not null,
  model text not null,
  trace_id text not null,
  made_at timestamptz not null default now());
