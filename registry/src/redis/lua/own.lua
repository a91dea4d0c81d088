-- Put before the other scripts: commands on keys of ours, of which somebody else may have made something else.
--
-- own(command, key, ...)      calls a command. A key of another type than the command is for was written by nobody of us: it
--                             is deleted, noted in `replaced`, and the command finds nothing there
-- count_of(text)              a number that one of us may have written there; nil for everything else
-- is_generation(text)         whether this may be a generation
-- generation_of(key, new)     the generation; where there is none, or what is there is none, the new one, which is kept
local replaced = {}
local function own(command, key, ...)
    local reply = redis.pcall(command, key, ...)
    if type(reply) ~= 'table' or not reply.err then
        return reply
    end
    -- A stream whose last entry has the highest id that there is takes no more.
    if string.find(reply.err, 'WRONGTYPE', 1, true) or string.find(reply.err, 'exhausted', 1, true) then
        redis.call('DEL', key)
        replaced[#replaced + 1] = key
    end
    -- Where the type is not what is wrong, this fails with the same words.
    return redis.call(command, key, ...)
end

-- Lua's numbers are exact up to here.
local LARGEST = 2 ^ 52
local function count_of(text)
    local number = tonumber(text)
    if number and number >= 0 and number <= LARGEST and number == math.floor(number) then
        return number
    end
end

-- Spelled out: what is computed here is computed with every call.
local UUID = '^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$'
local function is_generation(text)
    return text and string.find(text, UUID)
end
local function generation_of(key, new)
    local generation = own('GET', key)
    if is_generation(generation) then
        return generation
    end
    if generation then
        replaced[#replaced + 1] = key
    end
    redis.call('SET', key, new)
    return new
end

