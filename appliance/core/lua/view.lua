-- view(agents, generation, epoch, primary, released; agent_prefix, boot_prefix)
--   -> {Redis ms, generation, epoch, {holder, boot, epoch, seq, ms left} or {}, {epoch, successor, kind} or {},
--       {flat agent hash + boot_alive}, ...}
-- One consistent read of the registry; reads only. An id whose record has expired is passed over: `beat` drops it.
redis.register_function({function_name = 'view', flags = {'no-writes'}, callback = function(keys, args)
  local lease = redis.call('HMGET', keys[4], 'holder', 'boot', 'epoch', 'seq')
  if lease[1] then lease[5] = redis.call('PTTL', keys[4]) else lease = {} end
  local released = redis.call('HMGET', keys[5], 'epoch', 'successor', 'kind')
  local reply = {now_ms(), redis.call('GET', keys[2]) or '', redis.call('GET', keys[3]) or '0', lease,
                 released[1] and released or {}}
  for _, id in ipairs(redis.call('SMEMBERS', keys[1])) do
    local record = redis.call('HGETALL', args[1] .. id)
    if #record > 0 then
      local boot = redis.call('HGET', args[1] .. id, 'boot') or ''
      record[#record + 1] = 'boot_alive'
      record[#record + 1] = redis.call('EXISTS', args[2] .. boot)
      reply[#reply + 1] = record
    end
  end
  return reply
end})
