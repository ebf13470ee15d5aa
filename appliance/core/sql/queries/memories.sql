-- Everything is one person's: tenant and user stand in every statement.
-- name: memory_head
select memory_head(%(tenant)s, %(user)s);

-- name: keep_memories
select * from keep_memories(%(tenant)s, %(user)s, %(seen)s, %(items)s, %(promotion)s, %(trace)s);

-- name: erase_memories
select * from erase_memories(%(tenant)s, %(user)s, %(id)s, %(trace)s, %(by)s);

-- name: near_memories
select m.*, v.embedding <=> %(vector)s::vector as distance
  from memories m join memory_vectors v on v.memory_id = m.id and v.model = %(model)s
 where m.tenant_id = %(tenant)s and m.user_id = %(user)s and m.valid_to is null
   and vector_dims(v.embedding) = vector_dims(%(vector)s::vector)
 order by distance, m.id limit %(limit)s;

-- name: memory_of_hash
select * from memories where tenant_id = %(tenant)s and user_id = %(user)s and hash = %(hash)s and valid_to is null;

-- name: memory
select * from memories
 where tenant_id = %(tenant)s and user_id = %(user)s and (id = %(id)s::uuid or no = %(no)s::int);

-- name: memories_among
select * from memories where tenant_id = %(tenant)s and user_id = %(user)s and id = any(%(ids)s::uuid[]);

-- name: asked_in
-- The message of a turn: where what it wants remembered comes from.
select id as message_id, conversation_id, turn_no from messages where task_id = %(task)s and role = 'user';

-- name: memories_of
-- A page of them, the newest first; `no` is the number of the last one of the page before. Words are all to be found.
select * from memories
 where tenant_id = %(tenant)s and user_id = %(user)s
   and (not %(living)s or valid_to is null)
   and (%(type)s::text is null or type = %(type)s)
   and (%(topic)s::text is null or %(topic)s = any(topics))
   and (%(before)s::int is null or no < %(before)s)
   and not exists(select 1 from unnest(%(words)s::text[]) as w(word) where position(lower(w.word) in lower(text)) = 0)
 order by no desc limit %(limit)s;

-- name: memory_chain
-- What a memory grew from, and what grew from it, the oldest first.
with recursive older(id) as (
  select id from memories where id = %(id)s::uuid and tenant_id = %(tenant)s and user_id = %(user)s
  union select m.id from memories m join older o on m.superseded_by = o.id),
newer(id) as (
  select superseded_by from memories where id = %(id)s::uuid and tenant_id = %(tenant)s and user_id = %(user)s
  union select m.superseded_by from memories m join newer n on m.id = n.id)
select * from memories where id in (select id from older union select id from newer) order by no;

-- name: memory_sources
select s.source, s.conversation_id, s.message_id, s.turn_no, s.agent_id, s.at
  from memory_sources s join memories m on m.id = s.memory_id
 where m.id = %(id)s::uuid and m.tenant_id = %(tenant)s and m.user_id = %(user)s order by s.at;

-- name: pin_memory
update memories set pinned = %(pinned)s, version = version + 1, indexed = ''
 where id = %(id)s::uuid and tenant_id = %(tenant)s and user_id = %(user)s returning *;

-- name: unindexed_memories
-- What the index does not hold as it is now, with the vector of its model. Never two ranges at once, so that the btree serves.
select m.*, case when v.embedding is null then null else vector_send(v.embedding) end as vector
  from (select * from memories where indexed < %(current)s union all select * from memories where indexed > %(current)s
         limit %(limit)s) m
  left join memory_vectors v on v.memory_id = m.id and v.model = %(model)s;

-- name: unremoved_memories
(select memory_id as id from memory_tombstones where indexed < %(current)s limit %(limit)s)
union all (select memory_id from memory_tombstones where indexed > %(current)s limit %(limit)s) limit %(limit)s;

-- name: mark_memories
-- Those that have changed since they were read stay to be indexed, also if somebody marked them meanwhile.
update memories m set indexed = case when m.version = i.version then %(current)s else '' end
  from unnest(%(ids)s::uuid[], %(versions)s::int[]) as i(id, version)
 where m.id = i.id and m.indexed is distinct from case when m.version = i.version then %(current)s else '' end;

-- name: mark_removed
update memory_tombstones set indexed = %(current)s where memory_id = any(%(ids)s::uuid[]);

-- name: unembedded_memories
select m.id, m.text from memories m
 where m.valid_to is null and not exists(select 1 from memory_vectors v where v.memory_id = m.id and v.model = %(model)s)
 order by m.created_at limit %(limit)s;

-- name: put_vectors
-- A memory that got its vector is to be indexed anew.
-- Locked, so that one which is erased at this moment gets none.
with known as materialized (select id from memories where id = any(%(ids)s::uuid[]) order by id for key share),
put as (
  insert into memory_vectors(memory_id, model, embedding)
  select i.id, %(model)s, i.vector::vector
    from unnest(%(ids)s::uuid[], %(vectors)s::text[]) as i(id, vector) join known on known.id = i.id
  on conflict do nothing returning memory_id)
update memories set indexed = '' where id in (select memory_id from put);

-- name: drop_vectors
with gone as (
  delete from memory_vectors where ctid in (
    select ctid from memory_vectors where model <> %(model)s limit %(limit)s) returning 1)
select count(*) from gone;

-- name: memory_counts
select count(*) filter (where valid_to is null) as living, count(*) as kept,
       (select count(*) from memory_tombstones t where t.tenant_id = %(tenant)s and t.user_id = %(user)s) as erased
  from memories where tenant_id = %(tenant)s and user_id = %(user)s;

-- name: idle_conversations
-- Whose turns may be read for memories: they rest since `delay_s`, the longest first, and nobody was asked to read them
-- yet. Only turns before the first that has not ended, and at most so many.
select c.id, c.tenant_id, c.user_id, c.promoted_turn + 1 as from_turn,
       least(r.to_turn, c.promoted_turn + %(most)s) as to_turn,
       extract(epoch from clock_timestamp() - c.idle_since)::float as idle_s
  from conversations c
  cross join lateral (
    select coalesce(min(t.turn_no) filter (where t.state in ('queued', 'running', 'waiting')) - 1, max(t.turn_no)) as to_turn
      from tasks t where t.conversation_id = c.id and t.kind = 'conversation' and t.turn_no > c.promoted_turn) r
 where c.idle_since <= clock_timestamp() - make_interval(secs => %(delay_s)s) and c.deleted_at is null
   and r.to_turn > c.promoted_turn
   and not exists(select 1 from tasks p where p.idem_key = 'promote:' || c.id || ':' || c.promoted_turn + 1)
 order by c.idle_since limit %(limit)s;

-- name: said_in
-- What a person said in a range of turns; a row without a message says that the conversation is there.
select m.id as message, m.turn_no, m.text, m.created_at as at
  from conversations c
  left join messages m on m.conversation_id = c.id and m.role = 'user' and m.turn_no between %(from_turn)s and %(to_turn)s
 where c.id = %(conversation)s::uuid and c.tenant_id = %(tenant)s and c.user_id = %(user)s and c.deleted_at is null
 order by m.turn_no;

-- name: longest_idle
select coalesce(max(extract(epoch from clock_timestamp() - idle_since)), 0)::float from conversations
 where idle_since is not null and deleted_at is null;
