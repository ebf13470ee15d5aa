-- suspect(suspects, agent, generation; voter, boot, window_ms) -> {voters inside the window, ms since the boot's last beat}
-- A keeper saw the liveness connection of this boot end and its probes fail (PROTOCOLS 7.3). -1 ms: the record is another boot's.
redis.register_function('suspect', function(keys, args)
  local _, refusal = require_generation(keys[3])
  if refusal then return refusal end
  local now = now_ms()
  redis.call('ZADD', keys[1], now, args[1])
  redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', now - tonumber(args[3]))
  redis.call('PEXPIRE', keys[1], 5000)
  local record = redis.call('HMGET', keys[2], 'boot', 'last_heartbeat')
  local voters, silent = redis.call('ZCARD', keys[1]), -1
  if record[1] == args[2] and record[2] then
    silent = now - tonumber(record[2])
    redis.call('HSET', keys[2], 'sdown', voters)  -- shown until its next beat
  end
  return {voters, silent}
end)
