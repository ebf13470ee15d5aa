-- renew(primary, generation; holder, boot, epoch, lease_ms) -> 'ok', 'absent' or 'other' (PROTOCOLS 6.3).
redis.register_function('renew', function(keys, args)
  local _, refusal = require_generation(keys[2])
  if refusal then return refusal end
  local lease = redis.call('HMGET', keys[1], 'holder', 'boot', 'epoch')
  if not lease[1] then return 'absent' end
  if lease[1] ~= args[1] or lease[2] ~= args[2] or lease[3] ~= args[3] then return 'other' end
  redis.call('HINCRBY', keys[1], 'seq', 1)
  redis.call('PEXPIRE', keys[1], args[4])
  return 'ok'
end)
