-- Settles reports.
--
-- KEYS[1..n]      streams of reports
-- KEYS[n+1...]    hashes of workers
-- ARGV[1]         n
-- ARGV[2...]      for each stream how many entries, then their ids
-- ARGV[...]       for each worker the number up to which its reports are settled, and its code or nothing
-- Returns         keys of which somebody else had made something else
local streams = tonumber(ARGV[1])
local arg = 2
for i = 1, streams do
    local entries = tonumber(ARGV[arg])
    own('XDEL', KEYS[i], unpack(ARGV, arg + 1, arg + entries))
    arg = arg + entries + 1
end
for i = streams + 1, #KEYS do
    local number, settled = unpack(own('HMGET', KEYS[i], 'number', 'settled'))
    -- Not where there is no hash: it would look like a worker. Without a code the number never falls, whatever is sent late; with
    -- one, what stands there need not be ours, and the worker minds no fall.
    if number and (ARGV[arg + 1] ~= '' or (count_of(settled) or 0) < tonumber(ARGV[arg])) then
        redis.call('HSET', KEYS[i], 'settled', ARGV[arg], 'settled_code', ARGV[arg + 1])
    end
    arg = arg + 2
end
return replaced
