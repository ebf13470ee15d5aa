-- initialise(generation, epoch; new_generation, postgres_epoch) -> the generation in force.
-- Run by whoever finds the generation missing; the first one wins. The epoch cache only rises.
redis.register_function('initialise', function(keys, args)
  local cached = tonumber(redis.call('GET', keys[2]) or '-1')
  if tonumber(args[2]) > cached then redis.call('SET', keys[2], args[2]) end
  redis.call('SET', keys[1], args[1], 'NX')
  return redis.call('GET', keys[1])
end)
