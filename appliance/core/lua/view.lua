-- view(agents, generation, epoch, primary; agent_prefix, boot_prefix)
--   -> {Redis ms, generation, epoch, primary's holder, {flat agent hash + boot_alive}, ...}
-- One consistent read of the registry. Ids whose record has expired are dropped from the set.
redis.register_function('view', function(keys, args)
  local reply = {now_ms(), redis.call('GET', keys[2]) or '', redis.call('GET', keys[3]) or '0',
                 redis.call('HGET', keys[4], 'holder') or ''}
  for _, id in ipairs(redis.call('SMEMBERS', keys[1])) do
    local record = redis.call('HGETALL', args[1] .. id)
    if #record == 0 then
      redis.call('SREM', keys[1], id)
    else
      local boot = redis.call('HGET', args[1] .. id, 'boot') or ''
      record[#record + 1] = 'boot_alive'
      record[#record + 1] = redis.call('EXISTS', args[2] .. boot)
      reply[#reply + 1] = record
    end
  end
  return reply
end)
