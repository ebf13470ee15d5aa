-- release(primary, released, generation; holder, boot, epoch, successor, kind, named_ms, channel) -> 1 if the lease was this boot's
-- The primary gives its seat up, after its last authoritative write: it names a successor, who need not be voted for,
-- or nobody (kind 'child': its runner died), and the others agree at once instead of waiting for the lease's end.
redis.register_function('release', function(keys, args)
  local _, refusal = require_generation(keys[3])
  if refusal then return refusal end
  local lease = redis.call('HMGET', keys[1], 'holder', 'boot', 'epoch')
  if lease[1] ~= args[1] or lease[2] ~= args[2] or lease[3] ~= args[3] then return 0 end
  redis.call('DEL', keys[1])
  redis.call('HSET', keys[2], 'epoch', args[3], 'successor', args[4], 'kind', args[5])
  redis.call('PEXPIRE', keys[2], args[6])
  redis.call('PUBLISH', args[7], cjson.encode({type = 'primary_released', id = args[1], successor = args[4],
                                               epoch = tonumber(args[3])}))
  return 1
end)
