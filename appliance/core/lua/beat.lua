-- beat(agent, agents, boot, generation, primary; id, boot, boot_ms, agent_ttl_s, field, value, ...)
--   -> {Redis ms, generation or '', primary's holder or ''}
-- One heartbeat: the record, the boot's liveness key and the agent's place in the set, in one step.
-- last_heartbeat is by Redis' clock: no decision compares two hosts' clocks.
redis.register_function('beat', function(keys, args)
  local now = now_ms()
  local generation = redis.call('GET', keys[4])
  -- A beat after data loss must not look like a living cluster: only initialise may begin a generation.
  if generation then
    redis.call('HSET', keys[1], 'id', args[1], 'boot', args[2], 'last_heartbeat', now, unpack(args, 5))
    redis.call('EXPIRE', keys[1], args[4])
    redis.call('SADD', keys[2], args[1])
    -- Reads of the registry must not write, so a beat drops an id whose record has expired; one look each is enough.
    local someone = redis.call('SRANDMEMBER', keys[2])
    if redis.call('EXISTS', string.sub(keys[1], 1, -#args[1] - 1) .. someone) == 0 then
      redis.call('SREM', keys[2], someone)
    end
    redis.call('SET', keys[3], args[1], 'PX', args[3])
  end
  return {now, generation or '', redis.call('HGET', keys[5], 'holder') or ''}
end)
