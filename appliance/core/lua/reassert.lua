-- reassert(primary, epoch, generation; holder, boot, epoch, lease_ms) -> 1, or 0 if a lease is there or a later epoch is known.
-- Redis lost the lease, not the election: the caller has just verified in PostgreSQL that the epoch is its own (PROTOCOLS 6.4).
redis.register_function('reassert', function(keys, args)
  local _, refusal = require_generation(keys[3])
  if refusal then return refusal end
  if redis.call('EXISTS', keys[1]) == 1 or tonumber(args[3]) < tonumber(redis.call('GET', keys[2]) or '0') then return 0 end
  redis.call('SET', keys[2], args[3])
  redis.call('HSET', keys[1], 'holder', args[1], 'boot', args[2], 'epoch', args[3], 'seq', 0)
  redis.call('PEXPIRE', keys[1], args[4])
  return 1
end)
