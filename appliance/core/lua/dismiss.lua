-- dismiss(high, normal, low; boot_prefix) -> consumers removed
-- A reader of the streams is named after its boot, and Redis keeps it for ever. One whose boot is gone is removed once
-- nothing is pending for it: with a pending entry it would take the entry along. One that only paused is made anew by
-- its next read.
redis.register_function('dismiss', function(keys, args)
  local removed = 0
  for _, stream in ipairs(keys) do
    local readers = redis.pcall('XINFO', 'CONSUMERS', stream, 'agents')
    for _, reader in ipairs(readers.err and {} or readers) do
      local name, pending = reader[2], reader[4]
      if pending == 0 and redis.call('EXISTS', args[1] .. name) == 0 then
        redis.call('XGROUP', 'DELCONSUMER', stream, 'agents', name)
        removed = removed + 1
      end
    end
  end
  return removed
end)
