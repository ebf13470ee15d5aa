-- may_elect(votes, agents, primary, epoch, generation;
--           kind, epoch, seq, suspect, held_ms, window_ms, unmoved_ms, agent_prefix, boot_prefix)
--   -> {verdict, quorum, voter, ...}; reads only (PROTOCOLS 6.3)
-- verdict 'yes', or why not: 'overtaken' a later epoch is known; 'alive' the lease is there (evidence lease) or moved
-- since the connection ended (evidence eof); 'few' votes; 'unconfirmed' one voter alone, and the lease not unmoved for
-- long enough. Votes count by TIME, and only those of agents that are alive and not suspected themselves.
redis.register_function({function_name = 'may_elect', flags = {'no-writes'}, callback = function(keys, args)
  local _, refusal = require_generation(keys[5])
  if refusal then return refusal end
  local living = living_voters(keys[2], args[8], args[9], args[4])
  local quorum = math.max(1, math.floor(#living / 2) + 1)
  local since = now_ms() - tonumber(args[6])
  local voters = {}
  for _, id in ipairs(living) do
    local at = redis.call('ZSCORE', keys[1], id)
    if at and tonumber(at) >= since then voters[#voters + 1] = id end
  end
  local verdict = 'yes'
  local lease = redis.call('HMGET', keys[3], 'epoch', 'seq')
  if tonumber(redis.call('GET', keys[4]) or '0') > tonumber(args[2]) then
    verdict = 'overtaken'
  elseif lease[1] and (args[1] ~= 'eof' or lease[1] ~= args[2] or lease[2] ~= args[3]) then
    verdict = 'alive'
  elseif #voters < quorum then
    verdict = 'few'
  elseif lease[1] and #voters < 2 and tonumber(args[5]) < tonumber(args[7]) then
    verdict = 'unconfirmed'
  end
  return {verdict, quorum, unpack(voters)}
end})
