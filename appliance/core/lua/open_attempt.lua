-- open_attempt(events, attempts; generation, turn, attempt, agent, ttl_s, max_entries, mode, type, data)
--   -> {generation, ms since this conversation's last event or -1, agent of the attempt before or '', id of the first event or ''}
-- Takes the maximum: after it no older attempt can append (PROTOCOLS 8.1).
-- mode 'open': a higher attempt than before appends the given first event. mode 'resume': the owner of the same
-- attempt, after Redis lost it or came back, appends its snapshot of the text so far.
redis.register_function('open_attempt', function(keys, args)
  local generation, refusal = require_generation(args[1])
  if refusal then return refusal end
  local turn, attempt = args[2], tonumber(args[3])
  local known = redis.call('HMGET', keys[2], turn, turn .. ':agent')
  local before = tonumber(known[1] or '-1')
  if before > attempt then return redis.error_reply('STALE_ATTEMPT attempt ' .. before .. ' was opened') end
  local gap, id = -1, ''
  local last = redis.call('XREVRANGE', keys[1], '+', '-', 'COUNT', 1)
  if last[1] then gap = now_ms() - tonumber(string.match(last[1][1], '^(%d+)-')) end
  if args[8] ~= '' and (attempt > before or args[7] == 'resume') then
    local data = args[9]
    if attempt > 1 and args[7] == 'open' then
      local fields = cjson.decode(data)
      fields.gap_ms, fields.from = gap, known[2] or ''
      data = cjson.encode(fields)
    end
    id = redis.call('XADD', keys[1], 'MAXLEN', '~', args[6], '*', 't', args[8], 'turn', turn, 'n', attempt, 'd', data)
    redis.call('HSETNX', keys[2], turn .. ':start', id)
    redis.call('HSET', keys[2], 'newest', turn)
  end
  redis.call('HSET', keys[2], turn, attempt, turn .. ':agent', args[4])
  redis.call('EXPIRE', keys[1], args[5])
  redis.call('EXPIRE', keys[2], args[5])
  return {generation, gap, known[2] or '', id}
end)
