-- Deletes keys of ours of which somebody else made something else.
--
-- KEYS            keys
-- ARGV            for each the type that one of us gives it
-- Returns         the keys that were deleted
local replaced = {}
for i = 1, #KEYS do
    local found = redis.call('TYPE', KEYS[i]).ok
    if found ~= 'none' and found ~= ARGV[i] then
        redis.call('DEL', KEYS[i])
        replaced[#replaced + 1] = KEYS[i]
    end
end
return replaced
