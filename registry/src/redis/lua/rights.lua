-- Tries every command that Muster's keys need, on a key that nobody has, and leaves nothing.
--
-- KEYS[1]         the key
-- Returns         {command, what the server says, ...} of those that fail
local failed = {}
local function try(...)
    local answer = redis.pcall(...)
    if type(answer) == 'table' and answer.err then
        failed[#failed + 1] = select(1, ...)
        failed[#failed + 1] = answer.err
        return false
    end
    return true
end
-- First, while the script has written nothing: later on a server without memory lets it go on. It expires by itself, and
-- what could not be removed again is not written.
try('SET', KEYS[1], '1', 'PX', '1000')
if not try('DEL', KEYS[1]) then
    return failed
end
local function again()
    redis.call('DEL', KEYS[1])
end
try('TYPE', KEYS[1])
try('GET', KEYS[1])
try('MGET', KEYS[1])
try('EXPIRE', KEYS[1], '1')
again()
try('HSET', KEYS[1], 'f', '1')
try('HGET', KEYS[1], 'f')
try('HMGET', KEYS[1], 'f')
-- Workers of the previous version use it.
try('HEXISTS', KEYS[1], 'f')
try('HDEL', KEYS[1], 'f')
again()
try('SADD', KEYS[1], '1')
try('SMEMBERS', KEYS[1])
try('SSCAN', KEYS[1], '0')
try('SREM', KEYS[1], '1')
again()
try('ZADD', KEYS[1], '1', '1')
try('ZSCAN', KEYS[1], '0')
try('ZREM', KEYS[1], '1')
again()
try('XADD', KEYS[1], '1-1', 'f', '1')
try('XDEL', KEYS[1], '1-1')
again()
try('TIME')
return failed
