-- name: cluster_epoch
select epoch, primary_id, boot, elected_at from cluster_epoch where id = 1;

-- name: elect
select elect(%(agent)s, %(boot)s, %(voted)s, %(evidence)s);

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

-- name: dead_boots_with_work
select distinct t.owner_boot from tasks t join boots b on b.boot = t.owner_boot
 where t.state = 'running' and b.dead_at is not null;

-- name: desired_agents
select agents from desired_fleet where id = 1;

-- name: set_first_desired_agents
insert into desired_fleet(id, agents, changed_by) values (1, %(agents)s, %(by)s) on conflict (id) do nothing;

-- name: ping
select 1 as ok;

-- name: server_version
select current_setting('server_version_num')::int as version;
