-- leave(agent, agents, boot, primary; id, boot, on_purpose) -> 1 if the record was this boot's.
-- The end of a boot: its liveness and its lease go at once; its record stays for people to see. One that left on purpose
-- ('1') stays 'draining', not 'failed', and is of no term any more, so that nobody counts it among those that this term
-- has had and lost; whoever finds it silent afterwards changes nothing about that.
redis.register_function('leave', function(keys, args)
  redis.call('DEL', keys[3])
  if redis.call('HGET', keys[4], 'boot') == args[2] then redis.call('DEL', keys[4]) end
  if redis.call('HGET', keys[1], 'boot') ~= args[2] then return 0 end
  redis.call('HSET', keys[1], 'role', 'secondary', 'current_load', 0, 'can_vote', 0, 'electable', 0)
  if args[3] == '1' then
    redis.call('HSET', keys[1], 'status', 'draining', 'config_epoch', 0)
  elseif redis.call('HGET', keys[1], 'status') ~= 'draining' then
    redis.call('HSET', keys[1], 'status', 'failed')
  end
  return 1
end)
