-- name: audit_entries
-- Newest first; an empty filter lets everything through.
select id, at, actor, action, subject, detail from audit_log
 where (%(before)s::bigint is null or id < %(before)s)
   and (%(person)s = '' or actor = %(person)s)
   and (%(action)s = '' or action = %(action)s)
   and (%(subject)s = '' or position(lower(%(subject)s) in lower(subject)) > 0)
 order by id desc limit %(limit)s;

-- name: audit_choices
-- What the filters offer: people and actions of the newest entries.
with newest as materialized (select actor, action from audit_log order by id desc limit 5000)
select array(select distinct actor from newest order by actor) as people,
       array(select distinct action from newest order by action) as actions;

-- name: audit_chain
-- Every row's hash again, from the row and the hash before it; broken_at is the first that does not fit.
select count(*) as entries, min(id) filter (where hash is distinct from expected) as broken_at from (
  select id, hash, sha256(coalesce(lag(hash) over (order by id), ''::bytea)
         || convert_to(concat_ws('|', (at at time zone 'UTC')::text, actor, action, subject, detail::text, trace_id),
                       'UTF8')) as expected
    from audit_log) chain;

-- name: newest_hurt
select max(at) from audit_log where action in ('kill', 'freeze');

-- name: aftermath
-- What happened since a moment, from the rows that tell of it, in order.
select at, kind, what from (
  select at, case when action in ('kill', 'freeze') then 'hurt' else 'order' end as kind,
         actor || ': ' || action || case when subject = '' then '' else ' ' || subject end as what
    from audit_log where at >= %(since)s and action not like '%%: outcome'
  union all
  select dead_at, 'death', agent_id || ' has ended: ' || coalesce(reason, 'no reason was given')
    from boots where dead_at >= %(since)s
  union all
  select started_at, 'start', agent_id || ' started anew' from boots where started_at >= %(since)s
  union all
  select elected_at, 'elected', new_primary || ' was elected for epoch ' || epoch
    from failovers where elected_at >= %(since)s
  union all
  select served_at, 'served', new_primary || ' serves as primary of epoch ' || epoch
    from failovers where served_at >= %(since)s
) as told order by at limit 60;
