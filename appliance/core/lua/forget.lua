-- forget(agent, agents; id, boot_prefix) -> 1 if the agent is not in the registry any more, 0 if its boot lives.
-- Who was removed from the fleet is not shown as failed until its record expires. Whoever lives is never forgotten.
redis.register_function('forget', function(keys, args)
  local boot = redis.call('HGET', keys[1], 'boot') or ''
  if redis.call('EXISTS', args[2] .. boot) == 1 then return 0 end
  redis.call('DEL', keys[1])
  redis.call('SREM', keys[2], args[1])
  return 1
end)
