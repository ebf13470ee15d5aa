-- leave(agent, agents, boot, primary; id, boot, forget) -> 1 if the record was this boot's.
-- An agent that ends on purpose: its liveness and its lease go at once; with forget = '1' its record too.
redis.register_function('leave', function(keys, args)
  redis.call('DEL', keys[3])
  if redis.call('HGET', keys[4], 'boot') == args[2] then redis.call('DEL', keys[4]) end
  if redis.call('HGET', keys[1], 'boot') ~= args[2] then return 0 end
  if args[3] == '1' then
    redis.call('DEL', keys[1])
    redis.call('SREM', keys[2], args[1])
  else
    redis.call('HSET', keys[1], 'status', 'failed', 'role', 'secondary', 'current_load', 0, 'can_vote', 0, 'electable', 0)
  end
  return 1
end)
