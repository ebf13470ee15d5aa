-- patch_session(session; ttl_s, guard, version, path, json, path, json, ...)
--   -> 1; 0 if what stands at guard is newer than version; -1 if there is no session to patch
-- Writes parts of a session, all or none of them, and stamps updated_at by Redis' clock. guard is the JSON path of what
-- the writer is compared by, version its own, as JSON: an integer, or a list of them that is compared from its first on.
-- A session without anything at guard is older than everybody. A first path of '$' writes the whole, also a new one.
redis.register_function('patch_session', function(keys, args)
  local stored = redis.call('JSON.GET', keys[1], args[2])
  if not stored and args[4] ~= '$' then return -1 end
  local function numbers(value) return type(value) == 'table' and value or {value} end
  local mine, theirs = numbers(cjson.decode(args[3])), numbers((cjson.decode(stored or '[]'))[1])
  for i, number in ipairs(mine) do
    if (theirs[i] or -1) > number then return 0 end
    if (theirs[i] or -1) < number then break end
  end
  for i = 4, #args, 2 do
    if string.sub(args[i], 1, 1) ~= '$' or not args[i + 1] then return redis.error_reply('ERR no path with a value') end
  end
  for i = 4, #args, 2 do redis.call('JSON.SET', keys[1], args[i], args[i + 1]) end
  redis.call('JSON.SET', keys[1], '$.updated_at', math.floor(now_ms() / 1000))
  redis.call('EXPIRE', keys[1], args[1])
  return 1
end)
