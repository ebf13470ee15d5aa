-- save_session(session; json, version, ttl_s) -> 1, or 0 if a newer version is stored.
-- version is the number of committed messages the document was built from, so an older writer never wins.
redis.register_function('save_session', function(keys, args)
  local stored = redis.call('JSON.GET', keys[1], '$.messages_count')
  if stored then
    local count = cjson.decode(stored)[1]
    if count and tonumber(count) > tonumber(args[2]) then return 0 end
  end
  redis.call('JSON.SET', keys[1], '$', args[1])
  redis.call('EXPIRE', keys[1], args[3])
  return 1
end)
