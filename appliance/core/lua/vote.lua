-- vote(votes, voter_record, voter_boot, generation; voter, boot, epoch, suspect, kind, window_ms, stale_ms, channel)
--   -> votes inside the window, or -1: this voter's own beat is stale, so its word does not count (PROTOCOLS 6.3)
-- The hint tells the others that an agent is suspected (SDOWN): it shortens their wait, nothing depends on it.
redis.register_function('vote', function(keys, args)
  local _, refusal = require_generation(keys[4])
  if refusal then return refusal end
  local now = now_ms()
  local own = redis.call('HMGET', keys[2], 'boot', 'last_heartbeat', 'can_vote')
  if own[1] ~= args[2] or own[3] ~= '1' or redis.call('EXISTS', keys[3]) == 0
     or now - tonumber(own[2] or '0') > tonumber(args[7]) then
    return -1
  end
  redis.call('ZADD', keys[1], now, args[1])
  redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', now - tonumber(args[6]))
  redis.call('PEXPIRE', keys[1], 5000)
  redis.call('PUBLISH', args[8], cjson.encode({type = 'sdown', agent = args[4], voter = args[1],
                                               epoch = tonumber(args[3]), evidence = args[5]}))
  return redis.call('ZCARD', keys[1])
end)
