-- install(primary, epoch, generation, released; holder, boot, epoch, lease_ms, channel) -> 1, or 0 if this epoch or a later one is known.
-- Makes the winner of the compare-and-set in PostgreSQL visible: its lease, the cached epoch, a hint to all.
redis.register_function('install', function(keys, args)
  local _, refusal = require_generation(keys[3])
  if refusal then return refusal end
  if tonumber(args[3]) <= tonumber(redis.call('GET', keys[2]) or '0') then return 0 end
  redis.call('SET', keys[2], args[3])
  redis.call('DEL', keys[1], keys[4])
  redis.call('HSET', keys[1], 'holder', args[1], 'boot', args[2], 'epoch', args[3], 'seq', 0)
  redis.call('PEXPIRE', keys[1], args[4])
  redis.call('PUBLISH', args[5], cjson.encode({type = 'primary_elected', id = args[1], epoch = tonumber(args[3])}))
  return 1
end)
