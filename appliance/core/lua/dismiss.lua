-- dismiss(high, normal, low, needs; boot_prefix) -> consumers removed
-- A reader of the streams is named after its boot, and Redis keeps it for ever. One whose boot is gone is removed once
-- nothing is pending for it: with a pending entry it would take the entry along. One that only paused is made anew by
-- its next read. Streams of needs that nobody waits with are removed whole.
local function dismissed(stream, boot_prefix)
  local removed, readers = 0, redis.pcall('XINFO', 'CONSUMERS', stream, 'agents')
  for _, reader in ipairs(readers.err and {} or readers) do
    local name, pending = reader[2], reader[4]
    if pending == 0 and redis.call('EXISTS', boot_prefix .. name) == 0 then
      redis.call('XGROUP', 'DELCONSUMER', stream, 'agents', name)
      removed = removed + 1
    end
  end
  return removed
end

redis.register_function('dismiss', function(keys, args)
  local removed = 0
  for class = 1, 3 do removed = removed + dismissed(keys[class], args[1]) end
  for _, needs in ipairs(known_needs(keys[4])) do
    local streams, waits = {}, false
    for class = 1, 3 do
      local stream = stream_of(keys, class .. ':' .. needs)
      removed = removed + dismissed(stream, args[1])
      streams[class], waits = stream, waits or #redis.call('XRANGE', stream, '-', '+', 'COUNT', 1) > 0
    end
    if not waits then
      redis.call('DEL', unpack(streams))
      redis.call('SREM', keys[4], needs)
    end
  end
  return removed
end)
