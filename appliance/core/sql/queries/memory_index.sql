-- name: living_memories
-- What is shown is what the rows say: one that was erased or closed a moment ago may still stand in the index.
select * from memories
 where tenant_id = %(tenant)s and user_id = %(user)s and id = any(%(ids)s::uuid[]) and valid_to is null;

-- name: memories_with_words
-- The search without an index: whoever holds more of the words comes first, then the newer one.
select m.* from memories m,
       lateral (select count(*) as found from unnest(%(words)s::text[]) as w(word)
                 where position(w.word in lower(normalize(m.text, nfkc))) > 0) f
 where m.tenant_id = %(tenant)s and m.user_id = %(user)s and m.valid_to is null and f.found > 0
   and (%(types)s::text[] = '{}' or m.type = any(%(types)s))
   and (%(topics)s::text[] = '{}' or m.topics && %(topics)s)
   and (%(trusts)s::text[] = '{}' or m.trust = any(%(trusts)s))
 order by f.found desc, m.no desc limit %(limit)s;

-- name: memories_to_index
-- These rows as they are, living or not, with the vector of one model.
select m.*, case when v.embedding is null then null else vector_send(v.embedding) end as vector
  from memories m left join memory_vectors v on v.memory_id = m.id and v.model = %(model)s
 where m.id = any(%(ids)s::uuid[]);

-- name: changed_memories
select id from memories where indexed = '' limit %(limit)s;

-- name: known_memory_ids
-- All ids a document may have had, after one of them; closed and erased ones among them.
select id from ((select id from memories where id > %(after)s::uuid order by id limit %(limit)s)
                union all
                (select memory_id from memory_tombstones where memory_id > %(after)s::uuid order by memory_id
                  limit %(limit)s)) as known(id)
 order by id limit %(limit)s;

-- name: drop_unfit_vectors
delete from memory_vectors where memory_id = any(%(ids)s::uuid[]) and model = %(model)s and vector_dims(embedding) <> %(dims)s;

-- name: measured_memories
-- `unindexed`: changes that no index holds yet.
select (select count(*) from memories where valid_to is null) as items,
       (select count(*) from memories where indexed = '') + (select count(*) from memory_tombstones where indexed = '')
         as unindexed;
