-- What is known of people beyond a conversation: the rows are the truth, the index in Redis is made from them (DESIGN 10).
-- Nothing is merged away: who is superseded keeps its row, closed. Living = valid_to is null.
-- Lock order: tasks, conversations, then memory_heads, then memories. Everything is one tenant's and one person's.
do $$ begin
  create extension if not exists vector;
exception when insufficient_privilege or undefined_file or feature_not_supported then
  raise exception using errcode = 'no_data_found', message = 'PostgreSQL lacks the extension `vector` in this database: install '
    || 'pgvector, then run `create extension vector` in it as a superuser, once';
end $$;

-- One row a person: writes are serialised by compare-and-set on `version`. The salt makes the digests of what was erased
-- useless to who guesses texts.
create table memory_heads(
  tenant_id text not null,
  user_id uuid primary key references users,
  version bigint not null default 0,
  last_no int not null default 0,
  salt bytea not null default sha256((gen_random_uuid()::text || gen_random_uuid()::text)::bytea));

create table memories(
  id uuid primary key,
  no int not null,                 -- its number among its person's, for commands; never used again
  tenant_id text not null,
  user_id uuid not null references users,
  type text not null check (type in ('preference', 'fact', 'project', 'pattern', 'goal')),
  text text not null check (text <> '' and char_length(text) <= 2000),
  hash bytea not null,             -- SHA-256 of the normalised text
  topics text[] not null default '{}',
  confidence real not null check (confidence between 0 and 1),
  trust text not null check (trust in ('user', 'agent', 'tool')),
  pinned boolean not null default false,
  source text not null check (source in ('message', 'command', 'tool', 'page')),
  conversation_id uuid references conversations,
  message_id uuid references messages,
  turn_no int,
  agent_id text not null default '',
  valid_from timestamptz not null default now(),
  valid_to timestamptz,
  superseded_by uuid references memories,
  superseded_how text not null default '' check (superseded_how in ('', 'refined', 'contradicted', 'corrected', 'merged')),
  sources int not null default 1,
  version int not null default 1,  -- rises with every change
  indexed text not null default '',-- the index that holds this version; '' = none
  created_at timestamptz not null default now(),
  trace_id text not null default '',
  unique (user_id, no),
  check ((superseded_by is null) = (superseded_how = '')),
  check (superseded_by is null or valid_to is not null));
-- The same text twice is one memory, whoever brings it at the same moment.
create unique index memories_once on memories(user_id, hash) where valid_to is null;
create index memories_of_user on memories(user_id, created_at desc, id);
create index memories_indexed on memories(indexed);
create index memories_chain on memories(superseded_by) where superseded_by is not null;

-- Who else said it.
create table memory_sources(
  memory_id uuid not null references memories on delete cascade,
  source text not null,
  conversation_id uuid references conversations,
  message_id uuid references messages,
  turn_no int,
  agent_id text not null default '',
  at timestamptz not null default now());
create unique index memory_sources_once on memory_sources(memory_id, coalesce(message_id, memory_id));

-- Vectors by model, so that two models can stand beside each other while one replaces the other.
create table memory_vectors(
  memory_id uuid not null references memories on delete cascade,
  model text not null,
  embedding vector not null,
  primary key (memory_id, model));
create index memory_vectors_of on memory_vectors(model);

-- What was erased must not come back by itself: a salted digest of its text, and the messages it came from.
create table memory_tombstones(
  memory_id uuid primary key,
  tenant_id text not null,
  user_id uuid not null references users,
  digest bytea not null,
  messages uuid[] not null,
  erased_at timestamptz not null default now(),
  indexed text not null default '');  -- the index its document was removed from
create index memory_tombstones_of on memory_tombstones(user_id, digest);
create index memory_tombstones_indexed on memory_tombstones(indexed);

-- Which turns were read for memories: each range once.
create table promotions(
  conversation_id uuid not null references conversations,
  from_turn int not null,
  to_turn int not null check (to_turn >= from_turn),
  kept int not null,
  how text not null,
  task_id uuid references tasks,
  promoted_at timestamptz not null default now(),
  primary key (conversation_id, from_turn));

-- Since when a conversation has rested with turns nobody has read for memories; null: nothing to read.
alter table conversations add column idle_since timestamptz, add column promoted_turn int not null default 0;
update conversations c set idle_since = updated_at
 where exists(select 1 from tasks t where t.conversation_id = c.id and t.kind = 'conversation' and t.state = 'done');
create index conversations_idle on conversations(idle_since) where idle_since is not null;

create function note_idle() returns trigger language plpgsql as $$
begin
  update conversations set idle_since = clock_timestamp() where id = new.conversation_id;
  return null;
end $$;
create trigger idle_conversations_are_noted after update of state on tasks for each row
  when (new.kind = 'conversation' and new.state = 'done' and old.state <> 'done') execute function note_idle();

-- The version that a decision about this person's memories is made on.
create function memory_head(p_tenant text, p_user uuid) returns bigint language plpgsql as $$
declare v_version bigint;
begin
  select version into v_version from memory_heads where user_id = p_user;
  if found then return v_version; end if;
  insert into memory_heads(tenant_id, user_id) values (p_tenant, p_user) on conflict do nothing;
  return 0;
end $$;

-- Keep items that were decided on at version `p_seen`. One row an item comes back: kept, same (only its source was
-- added) or refused, with its memory; a row `overtaken` alone: somebody else wrote meanwhile, decide again; `before`
-- alone: this range was promoted already. `p_promotion`: {conversation, from, to, how, task}.
create function keep_memories(p_tenant text, p_user uuid, p_seen bigint, p_items jsonb, p_promotion jsonb, p_trace text)
returns table(no int, what text, memory uuid, why text) language plpgsql as $$
#variable_conflict use_column
declare
  v_head memory_heads; v_item jsonb; v_id uuid; v_same uuid; v_hash bytea; v_at int := 0; v_kept int := 0; v_message uuid;
  v_closes uuid[];
begin
  if p_promotion is not null then
    perform 1 from conversations c where c.id = (p_promotion->>'conversation')::uuid and c.deleted_at is null for update;
    if not found then return query select -1, 'before', null::uuid, 'The conversation was deleted.'; return; end if;
    if exists(select 1 from conversations c where c.id = (p_promotion->>'conversation')::uuid
                and c.promoted_turn <> (p_promotion->>'from')::int - 1) then
      return query select -1, 'before', null::uuid, 'These turns were read already.';
      return;
    end if;
  end if;
  select * into v_head from memory_heads where user_id = p_user and tenant_id = p_tenant for update;
  if v_head.version is distinct from p_seen then
    return query select -1, 'overtaken', null::uuid, 'Somebody else wrote meanwhile.';
    return;
  end if;
  for v_item in select value from jsonb_array_elements(p_items) loop
    v_hash := decode(v_item->>'hash', 'hex');
    v_message := (v_item->>'message')::uuid;
    if v_item->>'source' in ('command', 'page') then  -- its person wants it
      delete from memory_tombstones where user_id = p_user and digest = sha256(v_head.salt || v_hash);
    elsif exists(select 1 from memory_tombstones t where t.user_id = p_user
                   and (t.digest = sha256(v_head.salt || v_hash) or v_message = any(t.messages))) then
      return query select v_at, 'refused', null::uuid, 'It was erased.';
      v_at := v_at + 1;
      continue;
    end if;
    v_closes := array(select (value->>'id')::uuid from jsonb_array_elements(v_item->'closes'));
    v_same := coalesce((v_item->>'confirms')::uuid,
                       (select m.id from memories m where m.user_id = p_user and m.hash = v_hash and m.valid_to is null));
    if v_same = any(v_closes) then v_same := null; end if;  -- the same text, but spelled or typed anew
    if exists(select 1 from unnest(v_closes || array_remove(array[v_same], null)) as n(id)
               where not exists(select 1 from memories m where m.id = n.id and m.user_id = p_user)) then
      raise exception using errcode = 'NX404', message = 'There is no such memory.';
    end if;
    update memories set valid_to = clock_timestamp(), version = version + 1, indexed = ''
     where id = any(v_closes) and user_id = p_user and valid_to is null;
    v_id := coalesce(v_same, (v_item->>'id')::uuid);
    if v_same is null then
      v_head.last_no := v_head.last_no + 1;
      insert into memories(id, no, tenant_id, user_id, type, text, hash, topics, confidence, trust, source, conversation_id,
                           message_id, turn_no, agent_id, valid_from, pinned, trace_id)
      values (v_id, v_head.last_no, p_tenant, p_user, v_item->>'type', v_item->>'text', v_hash,
              array(select jsonb_array_elements_text(v_item->'topics')), (v_item->>'confidence')::real, v_item->>'trust',
              v_item->>'source', (v_item->>'conversation')::uuid, v_message, (v_item->>'turn')::int, v_item->>'agent',
              coalesce((v_item->>'valid_from')::timestamptz, clock_timestamp()), (v_item->>'pinned')::boolean, p_trace);
      if v_item->>'vector' <> '' then
        insert into memory_vectors(memory_id, model, embedding) values (v_id, v_item->>'model', (v_item->>'vector')::vector);
      end if;
      v_kept := v_kept + 1;
    end if;
    insert into memory_sources(memory_id, source, conversation_id, message_id, turn_no, agent_id)
    values (v_id, v_item->>'source', (v_item->>'conversation')::uuid, v_message, (v_item->>'turn')::int, v_item->>'agent')
    on conflict do nothing;
    if v_same is not null and found then update memories set sources = sources + 1 where id = v_same; end if;
    update memories m set superseded_by = v_id, superseded_how = c.value->>'how'
      from jsonb_array_elements(v_item->'closes') c
     where m.id = (c.value->>'id')::uuid and m.user_id = p_user and m.superseded_by is null;
    return query select v_at, case when v_same is null then 'kept' else 'same' end, v_id, '';
    v_at := v_at + 1;
  end loop;
  update memory_heads set version = version + 1, last_no = v_head.last_no where user_id = p_user;
  if p_promotion is not null then
    insert into promotions(conversation_id, from_turn, to_turn, kept, how, task_id)
    values ((p_promotion->>'conversation')::uuid, (p_promotion->>'from')::int, (p_promotion->>'to')::int, v_kept,
            p_promotion->>'how', (p_promotion->>'task')::uuid);
    -- A turn that ended meanwhile is read next time.
    update conversations c set promoted_turn = (p_promotion->>'to')::int,
           idle_since = case when exists(select 1 from tasks t where t.conversation_id = c.id and t.kind = 'conversation'
                                           and t.turn_no > (p_promotion->>'to')::int and t.state = 'done')
                             then c.idle_since end
     where c.id = (p_promotion->>'conversation')::uuid;
  end if;
end $$;

-- Erase one and all it superseded: rows and vectors go, tombstones stay. Returns the texts, for the cache of embeddings.
create function erase_memories(p_tenant text, p_user uuid, p_id uuid, p_trace text, p_by text)
returns table(id uuid, text text) language plpgsql as $$
#variable_conflict use_column
declare v_head memory_heads; v_ids uuid[];
begin
  perform memory_head(p_tenant, p_user);
  select * into v_head from memory_heads where user_id = p_user and tenant_id = p_tenant for update;
  if not found then return; end if;
  if p_id is null then
    select array_agg(m.id) into v_ids from memories m where m.user_id = p_user;
  else
    -- Whoever erases what holds erases what it grew from, too; and what grew from it.
    with recursive chain(id) as (
      select m.id from memories m where m.id = p_id and m.user_id = p_user
      union
      select m.id from memories m join chain c
        on m.superseded_by = c.id or m.id = (select o.superseded_by from memories o where o.id = c.id)
       where m.user_id = p_user)
    select array_agg(c.id) into v_ids from chain c;
  end if;
  if v_ids is null then return; end if;
  insert into memory_tombstones(memory_id, tenant_id, user_id, digest, messages)
  select m.id, p_tenant, p_user, sha256(v_head.salt || m.hash),
         array(select s.message_id from memory_sources s where s.memory_id = m.id and s.message_id is not null)
    from memories m where m.id = any(v_ids);
  update memories set superseded_by = null, superseded_how = '' where superseded_by = any(v_ids);
  return query delete from memories m where m.id = any(v_ids) returning m.id, m.text;
  update memory_heads set version = version + 1 where user_id = p_user;
  -- What was erased is said by number of rows only.
  perform audit(p_by, 'memory.erase', p_user::text, jsonb_build_object('memories', cardinality(v_ids)), p_trace);
end $$;
