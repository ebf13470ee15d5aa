-- name: cluster_epoch
select epoch, primary_id, boot, elected_at from cluster_epoch where id = 1;

-- name: elect
-- A candidate that waited long for its connection must not depose a winner that serves: its votes were against another.
select elect(%(agent)s, %(boot)s, %(voted)s, %(evidence)s) where not exists(
  select 1 from failovers f join cluster_epoch e on e.epoch = f.epoch where f.epoch > %(voted)s and f.served_at is not null);

-- name: register_boot
insert into boots(boot, agent_id) values (%(boot)s, %(agent)s) on conflict (boot) do nothing;

-- name: living_boots
select boot, agent_id from boots where dead_at is null and (%(agent)s::text is null or agent_id = %(agent)s);

-- name: boot_is_dead
select dead_at is not null from boots where boot = %(boot)s;

-- name: bury_boot
select bury_boot(%(boot)s, %(reason)s);

-- name: release_boot
select release_boot(%(boot)s, %(turns_only)s);

-- name: standing
-- What a keeper asks each second: is this boot dead, which term is in force, who was its boot, is fail-over paused.
select exists(select 1 from boots where boot = %(boot)s::uuid and dead_at is not null) as dead, e.epoch, e.primary_id, e.boot,
       e.boot is not null and exists(select 1 from boots b where b.boot = e.boot and b.dead_at is null) as holder_lives,
       extract(epoch from coalesce(clock_timestamp() - e.elected_at, interval '1 day'))::float as born_s,
       f.paused_by
  from cluster_epoch e, automatic_failover f where e.id = 1 and f.id = 1;

-- name: record_promotion
select record_promotion(%(epoch)s, %(boot)s, %(elect_ms)s, %(promote_ms)s);

-- name: sweeps_due
-- What a primary would find to do, in one look: mostly nothing.
select (select epoch from cluster_epoch where id = 1) = %(epoch)s as in_force,
       exists(select 1 from tasks t join boots b on b.boot = t.owner_boot
               where t.state = 'running' and b.dead_at is not null) as dead,
       exists(select 1 from tasks w where w.state = 'waiting' and w.kind = 'conversation'
               and not exists(select 1 from tasks b where b.conversation_id = w.conversation_id and b.kind = 'conversation'
                               and (b.state in ('queued', 'running') or b.waits_for = 'person'))) as waiting,
       exists(select 1 from approvals a where a.answer is null and a.expires_at < clock_timestamp()) as expired,
       exists(select 1 from approvals a where a.answer is null and a.announced_at is null
               and a.asked_at < clock_timestamp() - interval '1 second') as unasked,
       exists(select 1 from tasks t where t.announced_at is null and t.kind = 'conversation'
               and t.state in ('done', 'failed', 'dead', 'cancelled')
               and t.state_at < now() - interval '1 second') as unannounced,
       exists(select 1 from living_schedules s where s.next_at <= now()
               and not exists(select 1 from tasks t where t.id = s.last_task
                               and t.state in ('queued', 'running', 'waiting'))) as schedules,
       exists(select 1 from memories where indexed = '') or exists(select 1 from memory_tombstones where indexed = '')
         as memories,
       exists(select 1 from conversations c
               where c.idle_since <= clock_timestamp() - make_interval(secs => %(promote_after_s)s) and c.deleted_at is null
                 and not exists(select 1 from tasks p
                                 where p.idem_key = 'promote:' || c.id || ':' || c.promoted_turn + 1)) as promotions;

-- name: sweep_dead
select sweep_dead(%(epoch)s, %(boot)s);

-- name: sweep_waiting
select sweep_waiting(%(epoch)s, %(boot)s);

-- name: end_epoch_blockers
-- Sessions that hold the fence against an election, ended by the candidate whose lock wait hit its limit (6.2).
select pg_terminate_backend(b.pid) from (
  select distinct l.pid from pg_locks l
   where l.relation = 'cluster_epoch'::regclass and l.granted and l.pid <> pg_backend_pid()) b;

-- name: ping
select 1 as ok;

-- name: server_version
select current_setting('server_version_num')::int as version;

-- name: failovers
-- Newest first, with what can only be known afterwards: what moved, when the first turn went on, what was refused.
-- A boot may be deposed and die much later as a secondary: what is released then belongs to no failover.
select f.*, m.moved, m.first_turn_ms, r.refused
  from failovers f
  left join lateral (
    select count(distinct t.conversation_id) as moved,
           (extract(epoch from min(t.claimed_at) - min(t.released_at)) * 1000)::double precision as first_turn_ms
      from tasks t where t.released_from = f.old_boot
       and t.released_at between f.elected_at - interval '10 seconds' and f.elected_at + interval '10 seconds') m on true
  left join lateral (
    select count(*) as refused from refusals x
     where x.boot = f.old_boot and x.at >= f.elected_at - interval '10 seconds') r on true
 where %(before)s::bigint is null or f.epoch < %(before)s
 order by f.epoch desc limit %(limit)s;

-- name: order_drain
-- An agent drains by one order at a time: asked again, the open one is returned. One statement with its audit row.
with asked as (
  insert into orders(id, kind, agent_id, deadline_s, asked_by, trace_id)
  values (%(id)s, 'drain', %(agent)s, %(deadline_s)s, %(by)s, %(trace)s)
  on conflict (agent_id) where ended_at is null and kind = 'drain' do update set agent_id = excluded.agent_id
  returning *)
select a.*, a.id = %(id)s as new, case when a.id = %(id)s then
         audit(a.asked_by, a.kind, a.agent_id, jsonb_build_object('order', a.id, 'deadline_s', a.deadline_s), a.trace_id)
       end as audited
  from asked a;

-- name: order_switchover
-- There is one switchover at a time, whoever is to follow. One statement with its audit row.
with asked as (
  insert into orders(id, kind, agent_id, deadline_s, asked_by, trace_id)
  values (%(id)s, 'switchover', %(agent)s, %(deadline_s)s, %(by)s, %(trace)s)
  on conflict (kind) where ended_at is null and kind = 'switchover' do update set kind = excluded.kind
  returning *)
select a.*, a.id = %(id)s as new, case when a.id = %(id)s then
         audit(a.asked_by, a.kind, a.agent_id, jsonb_build_object('order', a.id, 'deadline_s', a.deadline_s), a.trace_id)
       end as audited
  from asked a;

-- name: order
select * from orders where id = %(id)s;

-- name: open_orders
select * from orders where ended_at is null order by asked_at;

-- name: end_order
update orders set ended_at = clock_timestamp(), outcome = %(outcome)s where id = %(id)s and ended_at is null returning id;

-- name: pause_failover
-- Whoever paused it first stays named; only a change is audited.
update automatic_failover set paused_by = coalesce(paused_by, %(by)s), paused_at = coalesce(paused_at, now()) where id = 1
returning paused_by, paused_at,
          case when paused_at = now() then audit(%(by)s, 'pause automatic failover', '', '{}', %(trace)s) end as audited;

-- name: resume_failover
-- No row: it was not paused.
with changed as (
  update automatic_failover set paused_by = null, paused_at = null where id = 1 and paused_by is not null returning id)
select audit(%(by)s, 'resume automatic failover', '', '{}', %(trace)s) as audited from changed;

-- name: paused_failover
select paused_by, paused_at from automatic_failover where id = 1 and paused_by is not null;

-- name: audit
select audit(%(actor)s, %(action)s, %(subject)s, %(detail)s, %(trace)s);
