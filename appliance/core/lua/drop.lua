-- drop(high, normal, low, queued; place, entry, task, place, entry, task, ...) -> entries dropped
-- What was read and claimed, or whose row is no longer queued, has done its duty. The row's mark goes only if it still
-- names this entry: the row may have got a new one since (PROTOCOLS 7.2).
redis.register_function('drop', function(keys, args)
  local dropped = 0
  for i = 1, #args, 3 do
    local stream = stream_of(keys, args[i])
    redis.call('XACK', stream, 'agents', args[i + 1])
    dropped = dropped + redis.call('XDEL', stream, args[i + 1])
    local mark = mark_of(args[i], args[i + 1])
    if redis.call('HGET', keys[4], args[i + 2]) == mark then redis.call('HDEL', keys[4], args[i + 2]) end
  end
  return dropped
end)
